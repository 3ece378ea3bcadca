"""Viewers at a desk, on a real stream: what they are sent, how it merges, and what ends them."""

import asyncio

import pytest

from app.views import service
from app.views.schemas import Acknowledge, Ping, Unsubscribe
from app.views.service import SlowViewer, ViewService
from tests.servers import ManualClock
from tests.views.world import COLUMNS, row, status, until, viewer_of, watching, world


@pytest.fixture
async def on_stream(redis, redis_url):
    async with world(redis, redis_url) as made:
        yield made


async def test_rows_come_and_change_and_go(on_stream) -> None:
    eu = await on_stream.cluster("eu", [row(1), row(2)])
    async with watching(on_stream.views) as viewer:
        await viewer.ask()
        await until(lambda: viewer.names() == ["pod-00001", "pod-00002"])
        await eu.change(row(2, status="Failed", level=4), row(3), gone=["u1"])
        await until(lambda: viewer.names() == ["pod-00002", "pod-00003"])
        failed = next(held for held in viewer.viewers[1].rows.values() if held[7] == "pod-00002")
        assert (failed[2], failed[9]) == (4, "Failed")
        assert viewer.states["eu"]["state"] == "live"


async def test_a_cluster_that_is_registered_later_joins_an_open_view_and_leaves_when_removed(on_stream) -> None:
    await on_stream.cluster("eu", [row(1)])
    async with watching(on_stream.views) as viewer:
        await viewer.ask()
        await until(lambda: viewer.names() == ["pod-00001"])
        await on_stream.cluster("us", [row(7)])
        await until(lambda: viewer.names() == ["pod-00001", "pod-00007"])
        on_stream.registry.remove("eu")
        await until(lambda: viewer.names() == ["pod-00007"])


async def test_two_views_of_a_kind_at_one_desk_both_stay_live_when_one_ends(on_stream) -> None:
    eu = await on_stream.cluster("eu", [row(1)])
    async with watching(on_stream.views) as viewer:
        await viewer.ask(id=1)
        await viewer.ask(id=2)
        await until(lambda: viewer.names(1) and viewer.names(2))
        await viewer.desk.take(Unsubscribe(id=1))
        await eu.change(row(2))
        await until(lambda: len(viewer.names(2)) == 2)
        assert len(viewer.names(1)) == 1


async def test_nobody_sees_rows_out_of_scope(on_stream) -> None:
    await on_stream.cluster("eu", [row(1, namespace="a"), row(2, namespace="b")])
    await on_stream.cluster("us", [row(3, namespace="a")])
    async with watching(on_stream.views, viewer_of("eu", namespaces=["a"])) as viewer:
        await viewer.ask()
        await until(lambda: viewer.names() == ["pod-00001"])
        assert set(viewer.states) == {"eu"}
        await viewer.ask(id=2, clusters=["us"])
        await until(lambda: viewer.viewers[2].mode == "whole")
        assert viewer.names(2) == []


async def test_changed_rights_begin_every_view_anew(on_stream) -> None:
    await on_stream.cluster("eu", [row(1)])
    await on_stream.cluster("us", [row(2)])
    async with watching(on_stream.views) as viewer:
        await viewer.ask()
        await until(lambda: len(viewer.names()) == 2)
        viewer.desk.identify(viewer_of("us"))
        await until(lambda: viewer.names() == ["pod-00002"])
        assert viewer.resets == [(1, "resync", "What you may see has changed.")]
        viewer.desk.identify(viewer_of("us"))
        await asyncio.sleep(0.05)
        assert len(viewer.resets) == 1, "the same rights change nothing"


@pytest.mark.case("F10")
async def test_a_viewer_that_comes_back_gets_what_differs(on_stream) -> None:
    eu = await on_stream.cluster("eu", [row(n) for n in range(50)])
    async with watching(on_stream.views) as viewer:
        await viewer.ask()
        await until(lambda: len(viewer.names()) == 50)
        held = viewer.viewers[1]
    await eu.change(row(3, status="Failed"), gone=["u4"])
    async with watching(on_stream.views) as viewer:
        await viewer.ask(have=f"{held.epoch}-{held.seq}")
        viewer.viewers[1] = held
        await until(lambda: len(viewer.names()) == 49)
        assert not any(frame.get("full") for frames in viewer.frames for frame in frames)


async def test_what_was_held_under_other_rights_proves_nothing(on_stream) -> None:
    await on_stream.cluster("eu", [row(1)])
    async with watching(on_stream.views) as viewer:
        await viewer.ask()
        await until(lambda: len(viewer.names()) == 1)
        held = viewer.viewers[1]
    async with watching(on_stream.views, viewer_of("other")) as viewer:
        await viewer.ask(have=f"{held.epoch}-{held.seq}")
        await until(lambda: viewer.frames)
        assert viewer.frames[0][0]["full"]
        assert viewer.frames[0][0]["a"] == []


async def test_a_viewer_that_acknowledges_late_gets_one_merged_frame(on_stream) -> None:
    eu = await on_stream.cluster("eu", [row(1)])
    async with watching(on_stream.views, acknowledges=False) as viewer:
        await viewer.ask()
        await until(lambda: sum(map(len, viewer.frames)) == service.IN_FLIGHT)
        for n in range(20):
            await eu.change(row(1, restarts=n + 1), row(n + 2))
        replica = on_stream.views.replica("pods")
        await until(lambda: len(replica.table) == 21)
        assert sum(map(len, viewer.frames)) == service.IN_FLIGHT
        for frame in [frame for frames in viewer.frames for frame in frames]:
            await viewer.desk.take(Acknowledge(id=1, seq=frame["seq"]))
        await until(lambda: len(viewer.names()) == 21)
        assert sum(map(len, viewer.frames)) == service.IN_FLIGHT + 1
        assert {held[10] for held in viewer.viewers[1].rows.values()} == {0, 20}


@pytest.mark.case("F07")
async def test_a_viewer_that_acknowledges_nothing_for_ten_seconds_is_let_go(on_stream) -> None:
    eu = await on_stream.cluster("eu", [row(1)])
    clock = ManualClock()
    views = ViewService(on_stream.hub, on_stream.redis, on_stream.fleet, clock=clock)
    async with watching(views, acknowledges=False) as viewer:
        await viewer.ask()
        silent_since = 0.0
        for n in range(200):
            await eu.change(row(1, restarts=n))
            await asyncio.sleep(0.005)
            await clock.advance(0.1)
            if not silent_since and sum(map(len, viewer.frames)) == service.IN_FLIGHT:
                silent_since = clock.monotonic()
            if viewer.failed:
                break
        assert isinstance(viewer.failed, SlowViewer)
        assert 10 < clock.monotonic() - silent_since <= 12
        assert sum(map(len, viewer.frames)) == service.IN_FLIGHT
    await views.replica("pods").close()


async def test_a_filter_of_columns_that_are_not_known_yet_waits_for_them(on_stream) -> None:
    eu = await on_stream.cluster("eu")
    async with watching(on_stream.views) as viewer:
        await viewer.ask(filter="restarts>3", sort="-restarts")
        await viewer.ask(id=2, filter="nobody>3")
        await until(lambda: viewer.frames)
        await eu.begin([row(1, restarts=9)], COLUMNS)
        await until(lambda: viewer.names() == ["pod-00001"])
        await until(lambda: viewer.resets)
        assert viewer.resets[0][:2] == (2, "invalid")


async def test_a_wrong_filter_and_too_many_views_are_refused_in_words(on_stream) -> None:
    await on_stream.cluster("eu", [row(1)])
    async with watching(on_stream.views) as viewer:
        await viewer.ask()
        await until(viewer.names)
        await viewer.ask(id=2, filter='"nobody"  nobody=1')
        await until(lambda: viewer.resets)
        assert viewer.resets[0][1] == "invalid"
        assert "position 11" in viewer.resets[0][2]
        for number in range(3, service.MOST_VIEWS + 3):
            await viewer.ask(id=number)
        await until(lambda: len(viewer.resets) == 2)
        assert viewer.resets[1] == (service.MOST_VIEWS + 2, "forbidden", "One page may hold 16 views.")


async def test_a_ping_is_answered(on_stream) -> None:
    async with watching(on_stream.views) as viewer:
        await viewer.desk.take(Ping())
        await until(lambda: viewer.frames == [[{"pong": True}]])


@pytest.mark.parametrize(
    ("said", "state", "message"),
    [
        (lambda: status("eu"), "live", None),
        (lambda: status("eu", phase="unreachable", message="No route to it."), "unreachable", "No route to it."),
        (lambda: status("eu", state="forbidden", resource_message="May not list."), "forbidden", "May not list."),
        (lambda: status("eu", heartbeat=1.0), "stale", "The watcher of this cluster is not heard from"),
    ],
)
async def test_each_cluster_says_how_its_rows_stand(on_stream, said, state, message) -> None:
    await on_stream.cluster("eu", [row(1)], name="europe")
    await on_stream.say(said())
    async with watching(on_stream.views) as viewer:
        await viewer.ask()
        await until(lambda: viewer.states.get("eu", {}).get("state") == state)
        assert viewer.states["eu"]["name"] == "europe"
        if message:
            assert viewer.states["eu"]["message"].startswith(message)


async def test_a_kind_that_a_cluster_does_not_serve_is_absent(on_stream) -> None:
    await on_stream.cluster("eu")
    await on_stream.say(status("eu"))
    async with watching(on_stream.views) as viewer:
        await viewer.ask(kind="gadgets.example.com")
        await until(lambda: viewer.states.get("eu", {}).get("state") == "absent")
