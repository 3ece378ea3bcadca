"""The live table on its real page: rows from real streams, the keyboard, the address, long lists and hostile names."""

import asyncio
import os
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from app.clusters.schemas import ClusterChange
from app.stream.publisher import Publisher
from app.watch.schemas import COLUMNS_META, Batch, Column, Row, rows_channel

LONG = 8_000
KIND = "networkpolicies.networking.k8s.io"
COLUMNS = [Column("status", "Status", "status"), Column("restarts", "Restarts", "number"), Column("node", "Node")]
SHOTS = os.environ.get("LIVE_TABLE_SHOTS")


def gadget(number, *, status="Running", restarts=0, level=1, name=None):
    name = name or f"gadget-{number:05}"
    return Row(f"u{number}", "shop", name, 1_700_000_000, level, (status, restarts, f"node-{number % 9}"), "app=web")


class Source:
    """Publishes gadgets of one cluster as a watcher does."""

    def __init__(self, redis, cluster):
        self.cluster = cluster
        self._publisher = Publisher(redis, rows_channel(cluster, KIND), token=10**9, identity="uid")

    async def begin(self, rows):
        entries = {row.uid.encode(): msgspec.msgpack.encode(row) for row in rows}
        await self._publisher.replace(entries, {COLUMNS_META: msgspec.msgpack.encode(COLUMNS)})

    async def change(self, *rows, gone=()):
        encoded = {row.uid.encode(): msgspec.msgpack.encode(row) for row in rows}
        batch = Batch(1.0, [msgspec.Raw(raw) for raw in encoded.values()], list(gone))
        removes = [uid.encode() for uid in gone]
        await self._publisher.publish(msgspec.msgpack.encode(batch), sets=encoded, removes=removes)


@pytest_asyncio.fixture
async def source(running, kubeconfig):
    """A cluster that nobody watches, so that its streams are the test's alone."""
    cluster = await running.register(kubeconfig, "prod-eu", name="prod-eu")
    await running.services.clusters.change(cluster, ClusterChange(paused=True))
    fleet = running.services.fleet
    async with asyncio.timeout(30):
        while (status := fleet.status(cluster)) is None or status.phase != "paused":
            await asyncio.sleep(0.05)
    return Source(running.services.redis, cluster)


async def opened(page, running, query="", kind=KIND):
    await page.goto(f"{running.url}/resources/{kind}{query}")
    await page.wait_for_selector(".lt-row:not([hidden]) a", timeout=LONG)


async def count(page, text):
    await page.wait_for_function(
        "text => document.querySelector('.lt-count')?.textContent === text", arg=text, timeout=LONG
    )


NAMES = """() => [...document.querySelectorAll('.lt-row:not([hidden])')]
  .sort((a, b) => a.dataset.at - b.dataset.at).map((row) => row.querySelector('a').textContent)"""


async def names(page):
    """Of the rows on screen, from the top."""
    return await page.evaluate(NAMES)


async def topped(page, *wanted):
    """Wait until the first rows on screen are these: a table draws at the next frame, not at the click."""
    await page.wait_for_function(
        f"wanted => {{ const found = ({NAMES})(); return wanted.every((name, n) => found[n] === name); }}",
        arg=list(wanted),
        timeout=LONG,
    )


async def test_rows_appear_and_change_live(page, running, source) -> None:
    await source.begin([gadget(1), gadget(2)])
    await opened(page, running)
    await count(page, "2 objects")
    await source.change(gadget(2, status="Failed", level=4), gadget(3), gone=["u1"])
    await page.wait_for_selector(".lt-row[data-level=error] .lt-status:text-is('Failed')")
    await count(page, "2 objects")
    await topped(page, "gadget-00002", "gadget-00003")
    assert await names(page) == ["gadget-00002", "gadget-00003"]


async def test_pods_of_a_real_cluster_are_listed(page, running, kubeconfig) -> None:
    await running.register(kubeconfig, "prod-eu", name="prod-eu")
    await opened(page, running, kind="pods")
    await page.wait_for_selector(".lt-badge.lt-live", timeout=LONG)
    heads = await page.locator(".lt-th button").all_inner_texts()
    assert heads[0].startswith("Name")
    if SHOTS:
        for theme in ("dark", "light"):
            await page.evaluate("theme => document.documentElement.dataset.bsTheme = theme", theme)
            await page.mouse.move(5, 5)
            await page.screenshot(path=str(Path(SHOTS) / f"pods-{theme}.png"))


async def test_typing_filters_and_the_address_keeps_the_view(page, running, source) -> None:
    await source.begin([gadget(n, restarts=n % 4) for n in range(40)])
    await opened(page, running)
    await page.fill("form.filters [name=q]", "restarts>2")
    await count(page, "10 of 40")
    await page.click(".lt-th button:has-text('Restarts')")
    await page.click(".lt-th button:has-text('Name')")
    await page.click(".lt-th button:has-text('Name')")
    await topped(page, "gadget-00039")
    await page.wait_for_function("location.search.includes('sort=-name') && location.search.includes('q=')")

    await page.reload()
    await count(page, "10 of 40")
    await topped(page, "gadget-00039")
    assert await page.input_value("form.filters [name=q]") == "restarts>2"

    await page.fill("form.filters [name=q]", "nobody=1")
    await page.wait_for_selector(".lt-empty:has-text('There is no column')")


async def test_columns_are_chosen_and_line_up_with_their_heads(page, running, source) -> None:
    await source.begin([gadget(n) for n in range(5)])
    await page.set_viewport_size({"width": 640, "height": 700})
    await opened(page, running)
    await page.evaluate("document.querySelector('.lt-grid').scrollLeft = 200")
    lines = """() => {
      const at = (cells) => [...cells].map((cell) => Math.round(cell.getBoundingClientRect().left));
      return [at(document.querySelectorAll('.lt-th')), at(document.querySelector('.lt-row:not([hidden])').children)];
    }"""
    heads, cells = await page.evaluate(lines)
    assert heads == cells

    await page.click(".lt-columns summary")
    box = await page.locator(".lt-choices").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 640
    await page.uncheck(".lt-choice:has-text('Node') input")
    await page.wait_for_function("location.search.includes('cols=')")
    assert "Node" not in "".join(await page.locator(".lt-th button").all_inner_texts())
    heads, cells = await page.evaluate(lines)
    assert heads == cells


async def test_the_keyboard_moves_chooses_and_opens(page, running, source) -> None:
    await source.begin([gadget(n) for n in range(200)])
    await opened(page, running)
    await count(page, "200 objects")
    await page.focus(".lt-grid")
    for key in ("j", "ArrowDown", "k", "x"):
        await page.keyboard.press(key)
    await page.wait_for_selector(".lt-row[aria-selected=true] a:text-is('gadget-00001')")
    await page.keyboard.press("End")
    await page.wait_for_selector(".lt-focused a:text-is('gadget-00199')")
    active = "document.getElementById(document.querySelector('.lt-grid').getAttribute('aria-activedescendant'))"
    assert await page.evaluate(f"{active}.querySelector('a').textContent") == "gadget-00199"
    assert await page.locator("#lt-focused-row").count() == 1
    await page.keyboard.press("Home")
    await page.wait_for_selector(".lt-focused a:text-is('gadget-00000')")
    await page.keyboard.press("/")
    assert await page.evaluate("document.activeElement.name") == "q"
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("j")
    await page.evaluate(
        """document.addEventListener('row-open', (e) => { e.preventDefault(); window.went = e.detail.href; })"""
    )
    await page.keyboard.press("Enter")
    assert await page.evaluate("window.went") == f"/clusters/{source.cluster}/{KIND}/shop/gadget-00001"


async def test_a_list_too_long_to_be_sent_whole_scrolls_to_its_end_and_filters_on_the_server(
    page, running, source
) -> None:
    await source.begin([gadget(n, restarts=n % 100) for n in range(12_000)])
    await opened(page, running)
    await count(page, "12,000 objects")
    await page.focus(".lt-grid")
    await page.keyboard.press("End")
    await page.wait_for_selector(".lt-focused a:text-is('gadget-11999')", timeout=LONG)
    await source.change(gadget(11_999, status="Failed", restarts=99, level=4))
    await page.wait_for_selector(".lt-row[data-level=error] .lt-status:text-is('Failed')", timeout=LONG)

    await page.fill("form.filters [name=q]", "restarts>97")
    await count(page, "240 objects")
    await page.reload()
    await count(page, "240 objects")
    await page.wait_for_selector(".lt-row a:text-is('gadget-00098')")


async def test_hostile_names_are_text(page, running, source) -> None:
    hostile = ["<img src=x onerror=alert(1)>", "\u202egnp.exe", "a\u0000b\u001b[31m", "javascript:alert(1)", "{{7*7}}"]
    await source.begin([gadget(n, name=name, status=name) for n, name in enumerate(hostile)])
    await opened(page, running)
    await count(page, "5 objects")
    shown = " ".join(await names(page))
    assert "<img src=x onerror=alert(1)>" in shown
    assert "\\u202egnp.exe" in shown
    assert "a\\u0000b\\u001b[31m" in shown
    assert "\u202e" not in await page.inner_text(".lt-body")
    assert await page.locator(".lt-body img, .lt-body a[href^='javascript']").count() == 0


@pytest.mark.case("F10")
async def test_a_page_that_was_offline_catches_up_with_what_it_missed(page, running, source) -> None:
    await page.add_init_script("""{
      const Real = WebSocket;
      window.sockets = [];
      window.WebSocket = class extends Real { constructor(...of) { super(...of); window.sockets.push(this); } };
    }""")
    await source.begin([gadget(1), gadget(2)])
    await opened(page, running)
    await count(page, "2 objects")

    await page.evaluate("window.sockets.at(-1).close()")
    await page.wait_for_selector(".lt-badge:has-text('reconnecting')")
    await source.change(gadget(3), gone=["u1"])

    await page.wait_for_selector(".lt-row a:text-is('gadget-00003')")
    await topped(page, "gadget-00002", "gadget-00003")
    assert await names(page) == ["gadget-00002", "gadget-00003"]
    await page.wait_for_selector(".lt-badge:not(:has-text('reconnecting'))")
