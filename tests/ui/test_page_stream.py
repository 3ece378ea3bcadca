"""Page streams over real sockets: patches, replay, and their end."""

import asyncio
import re

import pytest

from app.authz.roles import Role
from tests.ui.registering import insert
from tests.ui.sample_fleet import SampleCard, status, trouble
from ui.live.patches import RING, Parts, Ring, changes, message, render_patch


class Events:
    """Server-sent events of a response as they come: (id, data)."""

    def __init__(self, response) -> None:
        self._lines = response.aiter_lines()

    async def next(self) -> tuple[str, str]:
        identifier, data = "", []
        async with asyncio.timeout(20):
            async for line in self._lines:
                if line.startswith("id: "):
                    identifier = line[4:]
                elif line.startswith("data: "):
                    data.append(line[6:])
                elif not line and data:
                    return identifier, "\n".join(data)
        raise AssertionError("the stream ended")

    async def rest(self) -> None:
        async with asyncio.timeout(10):
            async for _ in self._lines:
                pass


async def test_a_new_viewer_gets_the_page_whole_and_then_only_what_changed(served, fleet) -> None:
    one, two = [await insert(served.services.clusters, name) for name in ("one", "two")]
    fleet.all = [SampleCard(one, status(one.id)), SampleCard(two, status(two.id))]
    async with served.signed_in() as client, client.stream("GET", "/live/page/fleet") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        events = Events(response)
        _, whole = await events.next()
        assert 'hx-target="#fleet-cards"' in whole
        assert one.id in whole
        assert two.id in whole

        fleet.all[0] = SampleCard(one, fleet.all[0].status, 1_700_000_000.0)
        _, patch = await events.next()

    assert f'hx-target="#card-{one.id}"' in patch
    assert two.id not in patch
    assert 'hx-target="#fleet-cards"' not in patch


async def test_a_viewer_who_comes_back_gets_what_it_missed_once(served, fleet) -> None:
    one = await insert(served.services.clusters, "one")
    fleet.all = [SampleCard(one, status(one.id))]
    page = "/live/page/fleet"
    # One viewer stays, so that the page goes on while the other is away.
    async with served.signed_in() as client, client.stream("GET", page) as stays:
        staying = Events(stays)
        seen, _ = await staying.next()
        fleet.all = [SampleCard(one, fleet.all[0].status, 1_700_000_000.0)]
        missed = await staying.next()

        async with client.stream("GET", page, headers={"last-event-id": seen}) as back:
            assert await Events(back).next() == missed
        async with client.stream("GET", f"{page}?since={seen}") as back:
            assert await Events(back).next() == missed


async def test_an_unknown_epoch_gets_the_page_whole(served, fleet) -> None:
    one = await insert(served.services.clusters, "one")
    fleet.all = [SampleCard(one, status(one.id))]
    async with served.signed_in() as client:
        for since in ("0123456789ab-7", "nonsense", "-", "x" * 5000):
            async with client.stream("GET", "/live/page/fleet", headers={"last-event-id": since}) as response:
                _, whole = await Events(response).next()
                assert 'hx-target="#fleet-cards"' in whole


async def test_a_stream_ends_with_its_session(served, fleet) -> None:
    async with served.signed_in() as client, client.stream("GET", "/live/page/fleet") as response:
        events = Events(response)
        await events.next()

        assert (await client.delete("/api/v1/session")).status_code == 204

        await events.rest()  # would time out


async def test_streams_end_when_the_server_stops(served, fleet) -> None:
    async with served.signed_in() as client, client.stream("GET", "/live/page/fleet") as response:
        events = Events(response)
        await events.next()

        served.services.sessions.release_streams()

        await events.rest()


async def test_a_stream_never_carries_what_its_viewer_may_not_see(served, fleet) -> None:
    mine, other = [await insert(served.services.clusters, name) for name in ("mine", "other")]
    fleet.all = [
        SampleCard(mine, status(mine.id)),
        SampleCard(other, status(other.id, troubles=[trouble("concealed")])),
    ]
    where = {"clusters": frozenset({mine.id})}
    async with served.signed_in(Role.VIEWER, **where) as client, client.stream("GET", "/live/page/fleet") as response:
        _, whole = await Events(response).next()

    assert mine.id in whole
    for text in (other.id, "other", "concealed"):
        assert text not in whole


async def test_nobody_without_a_session_gets_a_stream(served) -> None:
    async with served.client() as client:
        assert (await client.get("/live/page/fleet")).status_code == 401


@pytest.mark.case("S49")
async def test_hostile_text_stays_text_in_patches(served, fleet) -> None:
    one = await insert(served.services.clusters, "one")
    payload = "</hx-partial><script>alert(1)</script><img src=x onerror=alert(1)>\n\nid: 9\ndata: x"
    fleet.all = [SampleCard(one, status(one.id, troubles=[trouble("pod", reason=payload)]))]
    async with served.signed_in() as client, client.stream("GET", "/live/page/fleet") as response:
        identifier, whole = await Events(response).next()

    assert "<script>" not in whole
    assert "<img src=x" not in whole
    assert re.fullmatch(r"[0-9a-f]{12}-\d+", identifier)


def test_a_line_break_in_a_patch_cannot_begin_another_field() -> None:
    for separator in ("\n", "\r", "\r\n", "\x0b", "\x85", "\u2028"):
        lines = message("e-1", f"a{separator}id: 2").decode().split("\n")
        assert all(line.startswith(("id: e-1", "data: ")) or not line for line in lines)
        assert "\r" not in "".join(lines)


def test_the_ring_replays_without_gaps_or_says_that_it_cannot() -> None:
    ring = Ring("e")
    for number in range(RING + 10):
        ring.add(str(number))

    assert ring.position("e-9") is None
    assert ring.position("other-70") is None
    assert ring.position(f"e-{RING + 11}") is None
    position = ring.position(f"e-{RING + 7}")
    assert [m.decode().split("data: ")[1].strip() for m in ring.after(position)] == ["71", "72", "73"]
    assert ring.after(9) is None


def test_only_elements_that_changed_are_patched() -> None:
    before = Parts({"a": "1", "b": "2"}, {"all": "12"})

    assert changes("v", before, Parts({"a": "1", "b": "3"}, {"all": "13"})) == render_patch("v", "b", "3")
    assert changes("v", before, Parts({"b": "2", "a": "1"}, {"all": "21"})) == render_patch("v", "all", "21")
    assert changes("v", before, before) == ""
