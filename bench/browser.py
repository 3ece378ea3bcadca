"""The live table in Chromium: how busy its main thread is, and how late what it paints.

Rows come from `bench.publish` through Valkey and the web role, with no API server behind them. A visible cell says when
it was written; its delay ends in the frame after the one that drew it, so that the ticks of
the publisher and of the views are in it.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from typing import Any

import msgspec
from playwright.async_api import CDPSession, Page, async_playwright

from bench.installation import Installation, child, cluster, installed
from bench.report import Result, at_most, figure

BROWSER = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
WATCH = """(base) => {
  window.delays = [];
  let seen = [];
  new MutationObserver((mutations) => {
    for (const { target } of mutations) {
      const cell = target.nodeType === 1 ? target : target.parentElement;
      if (cell?.classList.contains("lt-number")) seen.push(Number(cell.textContent));
    }
    if (!seen.length) return;
    const drawn = seen;
    seen = [];
    requestAnimationFrame(() => {
      const now = Date.now() - base * 1000;
      for (const value of drawn) if (value > 0) window.delays.push(now - value / 10);
    });
  }).observe(document.querySelector(".lt-body"), { childList: true, characterData: true, subtree: true });
}"""


class Seen(msgspec.Struct, frozen=True):
    """busy: share of the main thread's time. size: bytes a changed row. grown: of the heap, bytes a minute."""

    busy: float
    p50_ms: float
    p99_ms: float
    size: float
    changes: float
    grown: float


def measure(*, quick: bool) -> list[Result]:
    """Each size of list at a slow and at the full rate."""
    if shutil.which("chromium") is None:
        print("browser: there is no chromium, so that nothing can be measured", file=sys.stderr)
        return []
    return asyncio.run(measured(6 if quick else 20))


async def measured(seconds: float) -> list[Result]:
    results: list[Result] = []
    for rows, changes in ((5_000, 100), (5_000, 2_000), (50_000, 100), (50_000, 2_000)):
        async with installed() as place:
            seen = await opened(place, rows, changes, seconds)
        name = f"{rows:,} rows, {changes:,} changes/s: "
        note = f"{seen.changes:.0f} changed rows/s reached the page"
        results += [
            at_most(name + "main thread busy", 100 * seen.busy, "%", gate=20, note=note),
            at_most(name + "change to paint, p99", seen.p99_ms, "ms", gate=150),
            figure(name + "change to paint, p50", seen.p50_ms, "ms"),
            at_most(name + "bytes a changed row", seen.size, "B", gate=30),
            figure(name + "growth of the heap", seen.grown / 1e6, "MB a minute"),
        ]
    return results


async def opened(place: Installation, rows: int, changes: int, seconds: float) -> Seen:
    async with cluster(pods=10, changes=0) as simulated:
        (target,) = await place.register(simulated.kubeconfig)
        argv = [sys.executable, "-m", "bench.publish", target, str(rows), str(changes)]
        with place.role("web"), child(argv, dict(os.environ), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as source:
            assert source.stdin is not None
            assert source.stdout is not None
            source.stdin.write(place.settings.redis_url.reveal().encode() + b"\n")
            source.stdin.flush()
            base = float(await asyncio.to_thread(source.stdout.readline))
            await asyncio.to_thread(place.ready)
            return await looked_at(place, base, seconds)


async def looked_at(place: Installation, base: float, seconds: float) -> Seen:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=shutil.which("chromium"), args=BROWSER)
        context = await browser.new_context(viewport={"width": 1360, "height": 820})
        name, _, value = place.cookie.partition("=")
        await context.add_cookies([{"name": name, "value": value, "url": place.origin}])
        page = await context.new_page()
        frames: list[str | bytes] = []
        page.on("websocket", lambda socket: socket.on("framereceived", lambda text: frames.append(text)))  # noqa: PLW0108
        await page.goto(place.origin + "/resources/pods")
        await page.wait_for_selector(".lt-row .lt-number", timeout=30_000)
        await asyncio.sleep(3)
        session = await context.new_cdp_session(page)
        seen = await window(page, session, frames, base, seconds)
        await browser.close()
        return seen


async def window(page: Page, session: CDPSession, frames: list[str | bytes], base: float, seconds: float) -> Seen:
    await session.send("Performance.enable")
    await page.evaluate(WATCH, base)
    before = await metrics(session)
    frames.clear()
    await asyncio.sleep(seconds)
    taken = list(frames)
    after = await metrics(session)
    delays = sorted(await page.evaluate("window.delays")) or [float("inf")]
    wall = after["Timestamp"] - before["Timestamp"]
    size, changes = sum(len(text) for text in taken), sum(changed(text) for text in taken)
    return Seen(
        busy=(after["TaskDuration"] - before["TaskDuration"]) / wall,
        p50_ms=delays[len(delays) // 2],
        p99_ms=delays[int(len(delays) * 0.99)],
        size=size / max(changes, 1),
        changes=changes / wall,
        grown=(after["JSHeapUsedSize"] - before["JSHeapUsedSize"]) * 60 / wall,
    )


async def metrics(session: CDPSession) -> dict[str, float]:
    """Of the page, after a garbage collection: its own time is outside of the window on both sides."""
    await session.send("HeapProfiler.collectGarbage")
    found: dict[str, Any] = await session.send("Performance.getMetrics")
    return {metric["name"]: metric["value"] for metric in found["metrics"]}


def changed(text: str | bytes) -> int:
    found = json.loads(text)
    return sum(
        len(frame.get("u", ())) + len(frame.get("a", ())) for frame in (found if type(found) is list else [found])
    )
