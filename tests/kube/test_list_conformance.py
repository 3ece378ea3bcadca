"""Rows that tell how a list is made: versions, pages, streaming lists (W02, W03, W10, W11, W29)."""

import asyncio

import pytest

from app.tasks import running

from .fault_apiserver import TOO_LARGE, Exchange, FaultServer, after, gone, refuse, status
from .mirror import QUICK, Rig, until, watching

SEEDS = pytest.mark.parametrize("seed", [1, 2, 3])


async def relisted(rig: Rig, times: int) -> None:
    """Wait for so many lists and for the truth."""
    await until(lambda: len(rig.server.of("list")) >= times)
    await rig.caught_up()


@pytest.mark.case("W02")
@SEEDS
async def test_lists_ask_for_any_version_then_the_last_then_the_newest(seed: int) -> None:
    server = FaultServer()
    server.world.fill(4)
    server.on("watch", after(1, Exchange.end), refuse(410, gone("too old")))
    async with watching(server, seed=seed) as rig:
        await rig.caught_up()
        seen = rig.world.put("seen")["metadata"]["resourceVersion"]
        server.on("list", refuse(410, gone("The resourceVersion for the provided list is too old.")))
        await relisted(rig, 3)
        await until(lambda: len(server.of("watch")) >= 3)

    assert rig.lists() == ["0", seen, None]
    assert [request.params.get("limit") for request in server.of("list")] == ["500", None, "500"]
    watches = server.of("watch")
    assert all(request.params["allowWatchBookmarks"] == "true" for request in watches)
    assert watches[1].version == seen


@pytest.mark.case("W02")
async def test_a_version_that_the_server_cannot_read_is_given_up() -> None:
    server = FaultServer()
    server.world.fill(4)
    server.on(
        "watch", after(1, Exchange.end), refuse(500, status(500, message='resourceVersion: Invalid value: "abc"'))
    )
    async with watching(server) as rig:
        await rig.caught_up()
        rig.world.put("seen")
        server.on("list", refuse(500, status(500, message='resourceVersion: Invalid value: "abc"')))
        await relisted(rig, 3)

    assert rig.lists()[2] is None


@pytest.mark.case("W03")
@SEEDS
async def test_a_token_that_expires_at_page_three_is_followed_by_a_whole_list(seed: int) -> None:
    server = FaultServer()
    server.pages_from_cache = True
    server.world.fill(10_000)

    async def expire(exchange: Exchange) -> None:
        server.world.delete("object-00007")  # was on page one: a list of pages and a rest would keep it
        await exchange.answer(410, gone("The provided continue parameter is too old"))

    async with watching(server, seed=seed, start=False) as rig:
        server.on("list", Exchange.normal, Exchange.normal, expire)
        async with running("machine", rig.machine.run()):
            await rig.caught_up(20)

    assert len(rig.mirror.versions) == 9_999
    asked = [(r.params.get("limit"), "continue" in r.params, r.version) for r in server.of("list")]
    assert asked == [("500", False, "0"), ("500", True, None), ("500", True, None), (None, False, "0")]


@pytest.mark.case("W03")
async def test_pages_are_followed_to_the_end() -> None:
    server = FaultServer()
    server.pages_from_cache = True
    server.world.fill(2_300)
    async with watching(server) as rig:
        await rig.caught_up()

    assert len(server.of("list")) == 5


@pytest.mark.case("W10")
@SEEDS
@pytest.mark.parametrize("how", [Exchange.end, Exchange.reset, Exchange.close])
async def test_a_streaming_list_is_swapped_in_only_at_its_end(seed: int, how) -> None:
    server = FaultServer(streaming=True)
    server.world.fill(200)

    async def slow_and_cut(exchange: Exchange) -> None:
        await exchange.start()
        for made in [*server.world.objects.values()][:120]:
            await exchange.line("ADDED", made)
            await asyncio.sleep(0.001)
        await how(exchange)

    server.on("streaming", slow_and_cut)
    seen = set()
    async with watching(server, seed=seed, streaming=True) as rig:

        def poll() -> bool:
            seen.add(len(rig.mirror.versions))
            return rig.mirror.synced

        await until(poll)
        await rig.caught_up()

    assert seen == {0, 200}


@pytest.mark.case("W10")
@SEEDS
async def test_changes_and_deletions_before_the_end_of_a_streaming_list_count(seed: int) -> None:
    server = FaultServer(streaming=True)
    server.world.fill(10)

    async def interleaved(exchange: Exchange) -> None:
        await exchange.start()
        for made in [*server.world.objects.values()]:
            await exchange.line("ADDED", made)
        server.world.delete("object-00002")
        changed = server.world.put("object-00003", step="1")
        await exchange.line("DELETED", server.world.history[-2][2])
        await exchange.line("MODIFIED", changed)
        at = server.world.version
        await exchange.bookmark(ends_list=True)
        await exchange.live(at)

    server.on("streaming", interleaved)
    async with watching(server, seed=seed, streaming=True) as rig:
        await rig.caught_up()
        rig.world.put("later")
        await rig.caught_up()

    assert len(server.of("list")) == 0
    assert rig.machine.version == str(server.world.version)


@pytest.mark.case("W11")
@SEEDS
@pytest.mark.parametrize("code", [400, 422])
async def test_a_server_that_refuses_streaming_lists_is_listed(seed: int, code: int) -> None:
    server = FaultServer()
    server.world.fill(10)
    server.always("streaming", refuse(code, status(code, "Invalid", "sendInitialEvents is forbidden")))
    async with watching(server, seed=seed, streaming=True) as rig:
        await rig.caught_up()
        server.on("watch", refuse(410, gone("too old")))
        rig.world.put("seen")
        await rig.caught_up()
        server.drop()
        await relisted(rig, 2)

    assert len(server.of("streaming")) == 1  # it is not asked again for an hour


@pytest.mark.case("W11")
@SEEDS
async def test_a_server_that_ignores_streaming_lists_is_listed_after_a_while(seed: int) -> None:
    server = FaultServer()
    server.world.fill(10)
    server.bookmarks = False

    async def as_if_unknown(exchange: Exchange) -> None:
        await exchange.start()
        for made in [*server.world.objects.values()]:
            await exchange.line("ADDED", made)
        await exchange.live(server.world.version)

    server.always("streaming", as_if_unknown)
    async with watching(server, seed=seed, streaming=True, timing=QUICK) as rig:
        until_s = asyncio.get_running_loop().time() + 0.4
        while asyncio.get_running_loop().time() < until_s and not server.of("list"):
            rig.world.put("object-00001")  # changes must not keep it waiting
            await asyncio.sleep(0.02)
        await rig.caught_up()

    assert len(server.of("streaming")) == 1
    assert len(server.of("list")) == 1


@pytest.mark.case("W11")
async def test_a_streaming_list_that_is_gone_is_listed_at_the_newest() -> None:
    server = FaultServer()
    server.world.fill(3)
    server.always("streaming", refuse(504, TOO_LARGE))
    async with watching(server, streaming=True) as rig:
        await rig.caught_up()

    assert rig.lists() == ["0"]


@pytest.mark.case("W29")
@SEEDS
@pytest.mark.parametrize("streaming", [False, True])
async def test_synced_is_told_only_after_the_whole_first_list(seed: int, streaming: bool) -> None:
    server = FaultServer(streaming=streaming)
    server.pages_from_cache = True
    server.world.fill(1_700)
    server.on("list", refuse(500), Exchange.normal, refuse(500))
    seen = set()
    async with watching(server, seed=seed, streaming=streaming) as rig:

        def poll() -> bool:
            seen.add((rig.mirror.synced, len(rig.mirror.versions)))
            return rig.mirror.synced

        await until(poll)
        first = [state for state, _ in rig.mirror.states]

    assert seen <= {(False, 0), (True, 1_700)}
    assert first[0] == "listing"
