"""Rows of the watch conformance table that tell how a watch opens, goes on and recovers (W01, W04-W09, W12-W18)."""

import asyncio
import random
from typing import Any

import pytest

from app.kube.client import Endpoint
from app.kube.watch import TIMING, Timing, Waits
from app.settings import Secret

from .fault_apiserver import (
    TOO_LARGE,
    Exchange,
    FaultServer,
    after,
    ends_at_once,
    error_event,
    gone,
    refuse,
    status,
)
from .mirror import QUICK, SkippingClock, endpoint, until, watching

SEEDS = pytest.mark.parametrize("seed", [1, 2, 3])


@pytest.mark.case("W01")
@SEEDS
@pytest.mark.parametrize("streaming", [False, True])
async def test_nothing_written_between_list_and_watch_is_missed(seed: int, streaming: bool) -> None:
    server = FaultServer(streaming=streaming)
    server.world.fill(20)

    async def write_then_list(exchange: Exchange) -> None:
        await exchange.normal()
        server.world.fill(1000)  # after the list was made, before the watch is opened

    server.on("list", write_then_list)
    async with watching(server, seed=seed, streaming=streaming) as rig:
        if streaming:
            server.world.fill(1000)
        await rig.caught_up()
        rig.world.delete("object-00003")
        await rig.caught_up()

    assert len(rig.mirror.versions) == 999
    assert len(server.of("list")) == (0 if streaming else 1)


@pytest.mark.case("W04")
@SEEDS
@pytest.mark.parametrize("reason", ["Expired", "Gone"])
@pytest.mark.parametrize("how", ["event", "status"])
async def test_410_in_any_form_lists_again(seed: int, how: str, reason: str) -> None:
    failure = gone("too old resource version: 300 (32404)", reason)
    server = FaultServer()
    server.world.fill(5)
    server.on("watch", after(1, Exchange.end), error_event(failure) if how == "event" else refuse(410, failure))
    async with watching(server, seed=seed) as rig:
        await rig.caught_up()
        rig.world.put("seen")
        await rig.caught_up()
        await until(lambda: len(server.of("watch")) >= 3)
        rig.world.put("later")
        await rig.caught_up()

    assert len(server.of("list")) == 2
    assert rig.lists()[1] not in {"0", "", None}
    assert rig.mirror.states[-1][0] == "live"


@pytest.mark.case("W06")
@SEEDS
async def test_a_watch_that_ends_at_once_is_a_relist_with_backoff(seed: int) -> None:
    server = FaultServer()
    server.world.fill(3)
    server.always("watch", ends_at_once())
    clock = SkippingClock()
    async with watching(server, seed=seed, clock=clock) as rig:
        await until(lambda: clock.skipped_s > 60)
        before, at_s = len(server.requests), clock.skipped_s
        await until(lambda: clock.skipped_s > 400)
        rate = (len(server.requests) - before) / (clock.skipped_s - at_s)
        server.heal()
        rig.world.put("after")
        await rig.caught_up()

    assert rate <= 0.25


@pytest.mark.case("W07")
@SEEDS
async def test_synthetic_added_events_do_not_advance_the_version(seed: int) -> None:
    server = FaultServer()
    server.world.fill(100)
    names = [*server.world.objects]
    random.Random(seed).shuffle(names)
    server.world.objects = {name: server.world.objects[name] for name in names}

    async def list_without_version(exchange: Exchange) -> None:
        await exchange.answer(200, {"kind": "ConfigMapList", "metadata": {}, "items": []})

    server.on("list", list_without_version)
    server.on("watch", after(1, Exchange.close))
    async with watching(server, seed=seed) as rig:
        await rig.caught_up()

    assert server.of("watch")[0].version is None
    assert len(rig.mirror.versions) == 100


@pytest.mark.case("W08")
@SEEDS
async def test_a_bookmark_advances_the_version_and_is_no_change(seed: int) -> None:
    server = FaultServer()
    server.world.fill(3)
    server.bookmark_s = 0.02
    async with watching(server, seed=seed) as rig:
        await rig.caught_up()
        server.world.version += 500  # changes of other kinds
        await until(lambda: rig.machine.version == str(server.world.version))
        told = [kind for kind, _ in rig.mirror.told]
        server.world.compact()
        server.drop()
        await until(lambda: len(server.of("watch")) >= 2)
        rig.world.put("after")
        await rig.caught_up()

    assert "apply" not in told
    assert len(server.of("list")) == 1


@pytest.mark.case("W09")
@SEEDS
async def test_a_server_without_bookmarks_costs_only_a_relist(seed: int) -> None:
    server = FaultServer()
    server.world.fill(3)
    server.bookmarks = False
    async with watching(server, seed=seed) as rig:
        await rig.caught_up()
        server.world.version += 500
        server.world.compact()
        server.drop()
        rig.world.put("after")
        await rig.caught_up()

    assert len(server.of("list")) == 2


@pytest.mark.case("W12")
async def test_watches_ask_for_a_random_time_of_five_to_ten_minutes() -> None:
    server = FaultServer()
    server.second_s = 0.0
    server.always("watch", after(1, Exchange.end))
    server.world.fill(1)

    async def change_and_end(exchange: Exchange) -> None:
        server.world.put("object-00000")
        await exchange.watch(most=1)
        await exchange.end()

    server.always("watch", change_and_end)
    server.second_s = 1.0
    async with watching(server):
        await until(lambda: len(server.of("watch")) >= 200, 20)

    asked = [int(request.params["timeoutSeconds"]) for request in server.of("watch")[:200]]
    assert 300 <= min(asked) < 330
    assert 570 < max(asked) <= 600


@pytest.mark.case("W13")
@SEEDS
async def test_backoff_is_client_go_s(seed: int) -> None:
    clock = SkippingClock()
    waits = Waits(clock, random.Random(seed), TIMING)
    same = random.Random(seed)

    taken = []
    for _ in range(9):
        taken.append(waits.next_s())
        clock.skipped_s += taken[-1]
    expected = [min(0.8 * 2**n, 30.0) * (1 + same.random()) for n in range(9)]
    clock.skipped_s += 121.0

    assert taken == pytest.approx(expected)
    assert 0.8 <= waits.next_s() <= 1.6


@pytest.mark.case("W13")
async def test_the_machine_waits_by_that_sequence() -> None:
    server = FaultServer()
    clock = SkippingClock()
    server.always("any", refuse(500))
    async with watching(server, seed=7, clock=clock):
        await until(lambda: len(clock.slept) >= 8)

    for slept, nominal in zip(clock.slept, [0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30], strict=False):
        assert nominal <= slept <= nominal * 2


@pytest.mark.case("W14")
@SEEDS
async def test_five_hundred_watchers_come_back_spread_out(seed: int) -> None:
    """Each machine's own waits, played over an outage of 15 s in virtual time: when does it reach the server again."""
    rng = random.Random(seed)
    arrivals = []
    for _ in range(500):
        clock = SkippingClock()
        waits = Waits(clock, random.Random(rng.random()), TIMING)
        start = clock.monotonic()
        clock.skipped_s += rng.uniform(0, TIMING.backoff_first_s)  # the jitter of a watch that ended early
        while clock.monotonic() - start < 15:
            clock.skipped_s += waits.next_s()
        arrivals.append(clock.monotonic() - start)

    by_second = [sum(1 for a in arrivals if second <= a < second + 1) for second in range(15, 90)]
    assert max(arrivals) - min(arrivals) >= 0.8
    assert max(by_second) <= 125


@pytest.mark.case("W14")
async def test_watchers_of_a_server_that_says_goodbye_do_not_return_at_once() -> None:
    server = FaultServer()
    server.world.fill(1)
    clocks = [SkippingClock() for _ in range(20)]
    async with server:
        from contextlib import AsyncExitStack

        async with AsyncExitStack() as stack:
            rigs = [
                await stack.enter_async_context(watching(server, seed=n, clock=clock)) for n, clock in enumerate(clocks)
            ]
            for rig in rigs:
                await rig.caught_up()
            await until(lambda: len(server.of("watch")) >= 20)
            server.second_s = 0.0
            server.bookmark_s = 0.01
            server.world.put("wake")  # every watch ends cleanly, long before its time
            server.drop()
            await until(lambda: all(clock.slept for clock in clocks))

    first = [clock.slept[0] for clock in clocks]
    assert len({round(delay, 3) for delay in first}) > 15


@pytest.mark.case("W15")
@SEEDS
@pytest.mark.parametrize("where", ["header", "details", "event"])
async def test_429_is_waited_out_and_never_a_relist(seed: int, where: str) -> None:
    failure = status(429, "TooManyRequests", details={"retryAfterSeconds": 17})
    plain = b"Too many requests, please try again later.\n"
    fault: dict[str, Any] = {
        "header": refuse(429, plain, Retry_After="17"),
        "details": refuse(429, failure),
        "event": error_event(failure),
    }
    server = FaultServer()
    server.world.fill(4)
    server.on("watch", after(1, Exchange.end), fault[where])
    clock = SkippingClock()
    async with watching(server, seed=seed, clock=clock) as rig:
        await rig.caught_up()
        rig.world.put("seen")
        await until(lambda: len(server.of("watch")) >= 3)
        rig.world.put("later")
        await rig.caught_up()

    assert max(clock.slept) >= 17
    assert len(server.of("list")) == 1


@pytest.mark.case("W16")
@SEEDS
async def test_refused_connections_keep_the_version_and_list_nothing(seed: int) -> None:
    server = FaultServer()
    server.world.fill(4)
    clock = SkippingClock()
    async with watching(server, seed=seed, clock=clock) as rig:
        await rig.caught_up()
        await until(lambda: len(server.of("watch")) == 1)
        server.world.put("seen")  # a watch that brought nothing in its first second is a fault of its own
        await rig.caught_up()
        await server.stop()
        at_s = clock.skipped_s
        server.world.put("meanwhile")
        server.world.delete("object-00001")
        await until(lambda: clock.skipped_s > at_s + 20)
        await server.start()
        await rig.caught_up()

    assert len(server.of("list")) == 1
    assert ("stale", "The API server refuses connections: it may be restarting.") in rig.mirror.states


@pytest.mark.case("W17")
@SEEDS
@pytest.mark.parametrize("code", [500, 502, 503, 504])
@pytest.mark.parametrize("how", ["open", "event"])
async def test_5xx_recovers_and_is_not_hammered(seed: int, code: int, how: str) -> None:
    server = FaultServer()
    server.world.fill(4)
    failing = refuse(code, b"upstream connect error") if how == "open" else error_event(status(code, "InternalError"))
    server.always("watch", failing)
    clock = SkippingClock()
    async with watching(server, seed=seed, clock=clock) as rig:
        await until(lambda: clock.skipped_s > 60)
        before, at_s = len(server.requests), clock.skipped_s
        await until(lambda: clock.skipped_s > 300)
        rate = (len(server.requests) - before) / (clock.skipped_s - at_s)
        server.heal()
        rig.world.put("after")
        await rig.caught_up()

    assert rate <= 0.25


@pytest.mark.case("W17")
@SEEDS
async def test_a_list_that_fails_is_tried_again(seed: int) -> None:
    server = FaultServer()
    server.world.fill(4)
    server.on("list", refuse(503, b"service unavailable"), refuse(500), refuse(504, status(504, "Timeout")))
    async with watching(server, seed=seed) as rig:
        await rig.caught_up()

    assert len(server.of("list")) == 4


@pytest.mark.case("W18")
@SEEDS
async def test_a_refused_token_is_renewed_once_for_all_and_the_watch_goes_on(seed: int) -> None:
    server = FaultServer()
    server.world.fill(4)
    asked = 0

    async def guarded(exchange: Exchange) -> None:
        token = exchange.request.headers.get("authorization", "")
        await (exchange.normal() if token == "Bearer new" else exchange.answer(401, status(401, "Unauthorized")))

    async def renew() -> Endpoint:
        nonlocal asked
        asked += 1
        return endpoint(server, token=Secret("new"))

    server.always("any", guarded)
    async with watching(server, seed=seed, renew=renew) as rig:
        await rig.caught_up()

    assert asked == 1
    assert rig.clock.slept == []
    assert "degraded" not in [state for state, _ in rig.mirror.states]


@pytest.mark.case("W18")
@SEEDS
async def test_a_token_that_stays_refused_is_degraded_and_heals(seed: int) -> None:
    server = FaultServer()
    server.world.fill(4)
    async with watching(server, seed=seed) as rig:
        await rig.caught_up()
        await until(lambda: len(server.of("watch")) == 1)
        rig.world.put("seen")
        await rig.caught_up()
        server.always("any", refuse(401, status(401, "Unauthorized")))
        server.drop()
        await until(lambda: rig.mirror.states[-1][0] == "degraded")
        server.heal()
        rig.world.put("after")
        await rig.caught_up()
        await until(lambda: rig.mirror.states[-1][0] == "live")

    assert len(server.of("list")) == 1


@pytest.mark.case("W18")
@SEEDS
async def test_403_stops_this_kind_and_asks_again_each_minute(seed: int) -> None:
    server = FaultServer()
    server.world.fill(4)
    server.always("any", refuse(403, status(403, "Forbidden")))
    clock = SkippingClock()
    async with watching(server, seed=seed, clock=clock) as rig:
        await until(lambda: len(server.requests) >= 4)
        server.heal()
        await rig.caught_up()
        await until(lambda: rig.mirror.states[-1][0] == "live")

    assert set(clock.slept) == {60.0}
    assert "forbidden" in [state for state, _ in rig.mirror.states]


@pytest.mark.case("W05")
@SEEDS
async def test_a_version_in_the_server_s_future_lists_the_newest_next(seed: int) -> None:
    server = FaultServer()
    server.world.fill(4)
    server.on("watch", after(1, Exchange.end), refuse(410, gone("too old")))
    async with watching(server, seed=seed) as rig:
        await rig.caught_up()
        server.on("list", refuse(504, TOO_LARGE))
        rig.world.put("seen")
        await until(lambda: len(server.of("list")) >= 3)
        await rig.caught_up()

    assert rig.lists()[0] == "0"
    assert rig.lists()[1] not in {None, "0"}
    assert rig.lists()[2] is None


@pytest.mark.case("W06")
@pytest.mark.slow
async def test_a_watch_that_ends_at_once_stays_slow_in_real_time() -> None:
    from app.clock import SYSTEM_CLOCK

    server = FaultServer()
    server.world.fill(3)
    server.always("watch", ends_at_once())
    async with watching(server, clock=SYSTEM_CLOCK):  # type: ignore[arg-type]
        await asyncio.sleep(60)
        before = len(server.requests)
        await asyncio.sleep(30)

    assert (len(server.requests) - before) / 30 <= 0.25


@pytest.mark.case("W16")
@pytest.mark.slow
async def test_an_outage_of_twenty_real_seconds_lists_nothing() -> None:
    from app.clock import SYSTEM_CLOCK

    server = FaultServer()
    server.world.fill(3)
    async with watching(server, clock=SYSTEM_CLOCK) as rig:  # type: ignore[arg-type]
        await rig.caught_up()
        await until(lambda: len(server.of("watch")) == 1)
        server.world.put("seen")
        await rig.caught_up()
        await server.stop()
        await asyncio.sleep(20)
        server.world.put("meanwhile")
        await server.start()
        await rig.caught_up(70)

    assert len(server.of("list")) == 1


def test_the_default_timing_is_client_go_s() -> None:
    assert (TIMING.backoff_first_s, TIMING.backoff_cap_s, TIMING.backoff_reset_s) == (0.8, 30.0, 120.0)
    assert TIMING.watch_s == (300.0, 600.0)
    assert TIMING.idle_s == (70.0, 75.0)
    assert isinstance(QUICK, Timing)
