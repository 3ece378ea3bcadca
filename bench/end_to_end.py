"""The whole line: simulated API server over TLS, watcher, Valkey, web role, dashboards over WebSocket.

The delay of a change is from its write into the API server's store, which the changed cell itself says, to its bytes at
the dashboard: one clock, one machine. Between them lie two ticks, the watcher's of 30 ms and the views' of 50 ms.
"""

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import msgspec

from bench import process
from bench.installation import Installation, cluster, installed
from bench.report import Result, at_most, figure

CHANGES = 200
PODS = 500


class Window(msgspec.Struct, frozen=True):
    """One run. CPU is in seconds within the window; seen: the dashboards' tally."""

    seconds: float
    watcher_s: float
    valkey_s: float
    web_s: float
    seen: dict[str, Any]


def measure(*, quick: bool) -> list[Result]:
    """Delays and CPU at 200 changes/s and 200 dashboards; the API server's CPU is not counted."""
    viewers = 200
    window = asyncio.run(run(viewers, 8 if quick else 20))
    seen = window.seen
    events = max(seen["changes"] / viewers, 1)
    tick_ms = 80.0  # the watcher's and the views'
    note = f"{events / window.seconds:.0f} changes/s to each of {viewers} dashboards, {seen['lost']} lost"
    return [
        at_most("change at the API server to bytes at the socket, p50", seen["p50_ms"], "ms", gate=tick_ms, note=note),
        at_most("change at the API server to bytes at the socket, p99", seen["p99_ms"], "ms", gate=tick_ms + 60),
        figure("watcher, CPU an event", window.watcher_s * 1e6 / events, "us"),
        figure("Valkey, CPU an event", window.valkey_s * 1e6 / events, "us"),
        figure("web role, CPU a delivered change", window.web_s * 1e6 / max(seen["changes"], 1), "us"),
        figure("web role, CPU a delivered WebSocket frame", window.web_s * 1e6 / max(seen["frames"], 1), "us"),
        figure("bytes a delivered change", seen["bytes"] / max(seen["changes"], 1), "B"),
    ]


async def run(viewers: int, seconds: float) -> Window:
    async with installed() as place, cluster(pods=PODS, changes=CHANGES) as simulated:
        await place.register(simulated.kubeconfig)
        with place.role("watcher") as watcher, place.role("web") as web:
            await asyncio.to_thread(place.ready)
            return await asyncio.to_thread(watched, place, simulated.base, watcher.pid, web.pid, viewers, seconds)


def watched(place: Installation, base: float, watcher: int, web: int, viewers: int, seconds: float) -> Window:
    pids = (watcher, place.valkey_pid, web)
    with looking(place, viewers, 5.0, seconds, base) as client:
        assert client.stdout is not None
        client.stdout.readline()
        began, before = time.monotonic(), [process.cpu_s(pid) for pid in pids]
        seen = json.loads(client.stdout.readline())
        spent = [process.cpu_s(pid) - b for pid, b in zip(pids, before, strict=True)]
    return Window(time.monotonic() - began, *spent, seen)


@contextlib.contextmanager
def looking(
    place: Installation, viewers: int, warmup_s: float, seconds: float, base: float
) -> Iterator[subprocess.Popen[str]]:
    """Dashboards as a process; prints "counting", then its tally."""
    numbers = [str(n) for n in (place.settings.port, viewers, warmup_s, seconds, base)]
    argv = [sys.executable, "-m", "bench.viewers", *numbers]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=process.ROOT) as client:
        try:
            assert client.stdin is not None
            client.stdin.write(place.cookie + "\n")
            client.stdin.flush()
            yield client
        finally:
            client.kill()
