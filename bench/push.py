"""Pushing: server CPU of one frame to one client, and memory of a connection.

Page streams (SSE) beside Litestar's `ServerSentEvent` and beside one C `send()` a client; then frames of a live list
over WebSocket. The load client is C over epoll, its CPU is not counted.
"""

import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from app.roles import supervisor
from bench import process
from bench.installation import Installation, child, installed
from bench.report import Result, at_least, at_most, figure

HERE = Path(__file__).parent
WARMUP_S = 3.0


class Load(msgspec.Struct, frozen=True):
    """What a server did for its clients. kilobytes: of RSS for each connection."""

    us: float
    kilobytes: float
    frames: float
    size: float
    open: int


def measure(*, quick: bool) -> list[Result]:
    """Microseconds a frame of ours, of the peer and of the floor; rounds interleaved, medians."""
    with process.compiled(HERE / "drain.c") as drain, process.compiled(HERE / "send.c") as send:
        if drain is None or send is None:
            print("push: there is no C compiler, so that nothing can be measured", file=sys.stderr)
            return []
        return asyncio.run(pushed(drain, send, rounds=1 if quick else 3, seconds=6 if quick else 10, clients=1000))


async def pushed(drain: Path, send: Path, *, rounds: int, seconds: float, clients: int) -> list[Result]:
    async with installed() as place:
        ours, peer, floor = [], [], []
        for _ in range(rounds):
            ours.append(await asyncio.to_thread(page_stream, place, drain, clients, seconds))
            peer.append(await asyncio.to_thread(litestar_sse, drain, clients, seconds))
            floor.append(await asyncio.to_thread(c_send, drain, send, clients, seconds))
        many = await asyncio.to_thread(page_stream, place, drain, 2 * clients, seconds)
    us, peer_us, floor_us = (statistics.median(load.us for load in found) for found in (ours, peer, floor))
    cheaper = at_least(
        f"frames to {clients:,} SSE clients",
        1e6 / us,
        "frames/CPU-s",
        beside="Litestar ServerSentEvent",
        beside_value=1e6 / peer_us,
        gate=3,
        goal=3,
        note=f"{us:.1f} us a frame of {ours[0].size:.0f} bytes, {ours[0].frames:,.0f} frames/s; peer {peer_us:.1f} us",
    )
    beside_floor = at_most(
        f"frames to {clients:,} SSE clients, times the C floor", us / floor_us, "x", gate=2.4, goal=2
    )
    cores = many.us * many.frames / 1e6
    return [
        cheaper,
        msgspec.structs.replace(beside_floor, beside="C send(), us", beside_value=round(floor_us, 2)),
        at_most("memory of an SSE connection", ours[0].kilobytes, "KB", gate=12, note=f"peer {peer[0].kilobytes:.0f}"),
        msgspec.structs.replace(
            at_most(
                f"{2 * clients:,} SSE clients at 10 frames/s",
                cores * 20 * clients / max(many.frames, 1),
                "cores",
                gate=1,
                note=f"{many.open} open, {many.frames:,.0f} of {20 * clients:,} frames/s, {many.us:.1f} us each",
            ),
            target="<= 1, and 90 % of the frames arrive",
            met=cores <= 1 and many.frames >= 18 * clients,
        ),
        figure("frames that arrived of those due, 2,000 clients", many.frames / (20 * clients), "share"),
    ]


def page_stream(place: Installation, drain: Path, clients: int, seconds: float) -> Load:
    env = {**os.environ, **supervisor.environment(place.settings)}
    with child([sys.executable, "-W", "ignore", "-m", "bench.push_server"], env) as server:
        place.ready()
        headers = [f"Cookie: {place.cookie}"]
        return loaded(server.pid, drain, place.settings.port, clients, seconds, "/bench", headers)


def litestar_sse(drain: Path, clients: int, seconds: float) -> Load:
    with process.serving("bench.sse_peer") as (server, port):
        return loaded(server.pid, drain, int(port), clients, seconds, "/", [])


def loaded(pid: int, drain: Path, port: int, clients: int, seconds: float, path: str, headers: list[str]) -> Load:
    """A server under its clients: CPU between the line where counting begins and the last one."""
    before = process.rss_bytes(pid)
    with draining(drain, port, clients, seconds, path, headers) as client:
        line(client)
        line(client)
        began, held = process.cpu_s(pid), process.rss_bytes(pid)
        words = line(client).split()
        spent = process.cpu_s(pid) - began
    count, size, events = int(words[1]), int(words[3]), int(words[5])
    kilobytes = (held - before) / 1000 / clients
    return Load(spent * 1e6 / max(events, 1), kilobytes, events / seconds, size / max(events, 1), count)


def c_send(drain: Path, send: Path, clients: int, seconds: float) -> Load:
    with subprocess.Popen([send, str(clients), str(int(seconds))], stdout=subprocess.PIPE, text=True) as server:
        port = int(line(server))
        with draining(drain, port, clients, seconds + WARMUP_S, "/", []) as client:
            line(client)
            sends, us = (int(word) for word in line(server).split())
    return Load(us / sends, 0, sends / seconds, 500, clients)


@contextlib.contextmanager
def draining(
    drain: Path, port: int, clients: int, seconds: float, path: str, headers: list[str]
) -> Iterator[subprocess.Popen[str]]:
    argv = [drain, str(port), str(clients), str(WARMUP_S), str(seconds), path, *headers]
    with subprocess.Popen([str(a) for a in argv], stdout=subprocess.PIPE, text=True) as client:
        try:
            yield client
        finally:
            client.kill()


def line(source: subprocess.Popen[str]) -> str:
    assert source.stdout is not None
    found = source.stdout.readline()
    if not found:
        raise RuntimeError(f"{source.args} ended before it answered")
    return found
