"""Whatever happens to Redis and to connections, readers end at the truth: the rows F01 to F04 of the fan-out checklist.

Each fault runs a few times here and as often as the checklist says in the slow variant.
"""

import asyncio
import contextlib
import os
import shutil
import signal

import pytest

from app.embedded import valkey
from app.storage.redis import Messages, connect
from app.stream import scripts
from app.stream.hub import Hub
from app.tasks import running
from tests.stream.fleet import OUT_OF_REACH, Reader, Writer, client, cut_subscribers, until, wrong

CHANNEL = "rows/c1/pods"
QUICK_OR_FULL = [pytest.param(3, id="quick"), pytest.param(20, id="full", marks=pytest.mark.slow)]


@contextlib.asynccontextmanager
async def watched(url, *, interval_s=0.002, seed=1):
    """A writer that never stops, and a reader that follows it through a hub."""
    async with client(url) as redis, Hub(url) as hub:
        writer, reader = Writer(redis, CHANNEL, seed=seed), Reader(hub, CHANNEL)
        await writer.start()
        async with running("writer", writer.run(interval_s=interval_s)) as work, running("reader", reader.run()):
            await until(lambda: reader.state is not None)
            yield writer, reader, work


async def settled(writer, reader, work):
    """Let the writer finish what it has, then wait until the reader shows the truth."""
    work.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await work
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(*OUT_OF_REACH):
                await writer.flush()
                await writer.check()
                if not wrong(reader, writer) and reader.position == writer.publisher.position:
                    break
            await asyncio.sleep(0.05)
    assert reader.stale is None


class Naive:
    """Plain pub/sub as redis-py offers it, which subscribes again by itself: the control."""

    def __init__(self, url):
        self.seen = set()
        self._url = url

    async def run(self):
        while True:
            with contextlib.suppress(*OUT_OF_REACH):
                async with Messages(self._url) as messages:
                    await messages.send("SUBSCRIBE", scripts.name(CHANNEL))
                    while True:
                        kind, _, data = await messages.receive()
                        if kind == b"message":
                            self.seen.add(data.partition(b"\n")[0])


@pytest.mark.case("F01")
@pytest.mark.parametrize("cuts", QUICK_OR_FULL)
async def test_cut_subscribers_lose_nothing_where_plain_pubsub_does(redis, redis_url, cuts):
    control = Naive(redis_url)
    async with running("control", control.run()), watched(redis_url) as (writer, reader, work):
        await until(lambda: control.seen)
        for _ in range(cuts):
            goal = writer.published + 150
            await until(lambda goal=goal: writer.published >= goal)
            assert await cut_subscribers(redis) >= 1
        await settled(writer, reader, work)
        first = min(int(head.rpartition(b" ")[2]) for head in control.seen)
        lost = writer.publisher.position.offset - first + 1 - len(control.seen)
        assert lost > 0, "the control lost nothing, so this test proves nothing"
        assert reader.snapshots == 1  # the history sufficed each time


async def restart(server, *, before=None):
    """Kill the server; `before` changes its files while it is down; wait until it runs again."""
    starts = server.starts
    if before is not None:
        before()
    os.kill(server.pid, signal.SIGKILL)
    await until(lambda: server.starts > starts and server.pid is not None)


@pytest.mark.case("F02")
@pytest.mark.parametrize("kept", ["nothing", "the log"])
@pytest.mark.parametrize("kills", QUICK_OR_FULL)
async def test_a_killed_redis_that_comes_back_with(tmp_path, kept, kills):
    """... nothing, or its append-only log, leaves no wrong key."""
    options = {"appendonly": "no"} if kept == "nothing" else {}
    async with valkey.running(tmp_path / "v", options=options) as server, watched(server.url) as (writer, reader, work):
        for _ in range(kills):
            goal, healed = writer.published + 60, writer.healed
            await until(lambda goal=goal: writer.published >= goal)
            await restart(server)
            await until(lambda healed=healed: writer.healed > healed or kept != "nothing")
        await settled(writer, reader, work)


@pytest.mark.case("F02")
@pytest.mark.parametrize("kills", QUICK_OR_FULL)
async def test_a_killed_redis_that_comes_back_with_an_old_state_leaves_no_wrong_key(tmp_path, kills):
    async with valkey.running(tmp_path / "v", options={"appendonly": "no"}) as server:
        dump, old = tmp_path / "v" / "dump.rdb", tmp_path / "old.rdb"
        async with watched(server.url) as (writer, reader, work), connect(server.url) as redis:
            for _ in range(kills):
                await redis.execute_command("SAVE")
                shutil.copyfile(dump, old)
                goal = writer.published + 60
                await until(lambda goal=goal: writer.published >= goal)
                healed = writer.healed
                await restart(server, before=lambda: shutil.copyfile(old, dump))
                await until(lambda healed=healed: writer.healed > healed)
            await settled(writer, reader, work)
            assert writer.healed >= kills


@pytest.mark.case("F03")
@pytest.mark.parametrize(
    "frozen_s",
    [pytest.param(3.5, id="3.5s"), *(pytest.param(s, id=f"{s:.0f}s", marks=pytest.mark.slow) for s in (10.0, 60.0))],
)
async def test_a_frozen_redis_is_told_as_stale_and_forgiven(tmp_path, frozen_s):
    async with valkey.running(tmp_path / "v") as server, watched(server.url) as (writer, reader, work):
        await until(lambda: writer.published > 50)
        frozen_at = asyncio.get_running_loop().time()
        os.kill(server.pid, signal.SIGSTOP)
        try:
            await until(lambda: reader.stale, patience_s=5.0, what="stale within 5 s")  # the checklist's figure
            assert "Redis" in reader.stale.reason
            await asyncio.sleep(max(0.0, frozen_at + frozen_s - asyncio.get_running_loop().time()))
        finally:
            os.kill(server.pid, signal.SIGCONT)
        await settled(writer, reader, work)


@pytest.mark.case("F04")
@pytest.mark.parametrize("loss", ["FLUSHALL", "position", "snapshot", "history"])
@pytest.mark.parametrize("times", QUICK_OR_FULL)
async def test_what_redis_forgets_is_published_again(redis, redis_url, loss, times):
    async with watched(redis_url) as (writer, reader, work):
        for _ in range(times):
            goal = writer.published + 30
            await until(lambda goal=goal: writer.published >= goal)
            if loss == "FLUSHALL":
                await redis.flushall()
            else:
                await redis.delete(scripts.keys(CHANNEL)[["position", "snapshot", "history"].index(loss)])
            if loss == "history":
                await cut_subscribers(redis)  # who needs the history now needs a snapshot
        await settled(writer, reader, work)
        late = Reader(Hub(redis_url), CHANNEL)
        async with late._hub, running("late", late.run()):
            await until(lambda: late.state == writer.truth)


@pytest.mark.case("F04")
async def test_an_idle_channel_that_redis_forgot_is_published_again(redis, redis_url):
    async with client(redis_url) as own, Hub(redis_url) as hub:
        writer, reader = Writer(own, CHANNEL), Reader(hub, CHANNEL)
        await writer.start()
        async with running("reader", reader.run()):
            await until(lambda: reader.state is not None)
            await redis.flushall()
            await writer.check()
            await until(lambda: reader.snapshots == 2)
            assert reader.state == writer.truth


@pytest.mark.case("F04")
async def test_a_full_redis_refuses_and_nothing_is_wrong_when_it_has_room_again(redis, redis_url):
    async with watched(redis_url) as (writer, reader, work):
        await until(lambda: writer.published > 20)
        await redis.config_set("maxmemory", "1")
        published = writer.published
        await asyncio.sleep(0.3)
        assert writer.published <= published + 1
        await redis.config_set("maxmemory", "0")
        await settled(writer, reader, work)


@pytest.mark.case("F06")
async def test_of_two_writers_that_both_think_they_lead_readers_only_ever_see_the_one_with_the_higher_token(
    redis, redis_url
):
    from app.stream.publisher import Fenced

    async with client(redis_url) as own, Hub(redis_url) as hub:
        behind, ahead = Writer(own, CHANNEL, token=1, seed=1), Writer(own, CHANNEL, token=2, seed=2)
        reader = Reader(hub, CHANNEL)
        await behind.start()
        async with running("reader", reader.run()):
            await until(lambda: reader.state is not None)
            await ahead.start()
            refused = 0
            for _ in range(100):
                for writer in (behind, ahead):
                    writer.change()
                    try:
                        await writer.flush()
                    except Fenced:
                        refused += 1
            await until(lambda: not wrong(reader, ahead))
            assert refused == 100
            assert reader.position.epoch.startswith("2.")
