"""Leases on a real PostgreSQL, held by real processes that are killed and stopped."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping

import pytest

from app.settings import Secret, Settings
from app.storage import postgres
from app.stream.publisher import Fenced, Publisher
from app.tasks import running
from app.watch.assignment import TAKE, Assignment, Terms

QUICK = Terms(ttl_s=1.0, renew_s=0.1)


class Watch:
    """One assignment in this process, with all that it was told."""

    def __init__(self, engine, name: str, clusters: list[str], terms: Terms = QUICK) -> None:
        self.clusters = clusters
        self.told: list[dict[str, int]] = []
        self._news = asyncio.Event()
        self.assignment = Assignment(engine, name, lambda: self.clusters, self._changed, terms=terms)

    @property
    def held(self) -> dict[str, int]:
        return self.assignment.held

    def _changed(self, held: Mapping[str, int]) -> None:
        self.told.append(dict(held))
        self._news.set()

    async def until(self, count: int, within_s: float = 20.0) -> dict[str, int]:
        async with asyncio.timeout(within_s):
            while len(self.held) != count:
                self._news.clear()
                await self._news.wait()
        return dict(self.held)


@contextlib.asynccontextmanager
async def watching(watch: Watch) -> AsyncIterator[Watch]:
    try:
        async with running("assignment", watch.assignment.run()):
            yield watch
    finally:
        await watch.assignment.release_all()


async def test_one_watcher_takes_all_and_renews(engine) -> None:
    async with watching(Watch(engine, "one", ["a", "b", "c"])) as one:
        held = await one.until(3)
        await asyncio.sleep(2 * QUICK.ttl_s)
        assert one.held == held
        assert len(one.told) == 1


async def test_two_watchers_share_and_none_is_held_twice(engine) -> None:
    clusters = [f"c{number}" for number in range(7)]
    async with watching(Watch(engine, "one", clusters)) as one:
        await one.until(7)
        async with watching(Watch(engine, "two", clusters)) as two:
            await one.until(4)
            await two.until(3)
            assert not one.held.keys() & two.held.keys()
        assert len(await one.until(7)) == 7


async def test_a_watcher_that_ends_gives_its_leases_back_at_once_and_tokens_rise(engine) -> None:
    slow = Terms(ttl_s=600.0, renew_s=0.1)
    async with watching(Watch(engine, "one", ["a"], slow)) as one:
        first = await one.until(1)
    async with watching(Watch(engine, "two", ["a"], slow)) as two:
        second = await two.until(1, within_s=30)

    assert second["a"] > first["a"]


async def test_a_cluster_that_is_removed_or_paused_is_let_go(engine) -> None:
    async with watching(Watch(engine, "one", ["a", "b"])) as one:
        await one.until(2)
        one.clusters = ["b"]
        assert (await one.until(1)).keys() == {"b"}


async def test_of_two_that_saw_a_lease_free_one_takes_it(engine) -> None:
    takers = [Watch(engine, name, ["a"]).assignment for name in ("one", "two", "three")]
    try:
        taken = await asyncio.gather(*(each._database.fetch(TAKE, each.holder, 60.0, ["a"]) for each in takers))
    finally:
        for each in takers:
            each._database.cut()

    assert sorted(map(len, taken)) == [0, 0, 1]


async def test_tokens_rise_over_a_database_that_forgot(engine) -> None:
    async with watching(Watch(engine, "one", ["a"])) as one:
        first = (await one.until(1))["a"]
    await engine.run_ddl("DELETE FROM watch_lease")
    async with watching(Watch(engine, "two", ["a"])) as two:
        assert (await two.until(1))["a"] > first


@pytest.mark.case("F06")
async def test_a_watcher_that_loses_the_database_lets_go_before_others_may_take(engine, redis) -> None:
    """Cut off from PostgreSQL it stops believing at 60 % of the lease's time; what it writes later is refused."""
    gate = await Gate(engine).open()
    cut = Watch(gate.engine, "cut off", ["a"])
    try:
        async with watching(cut):
            lower = (await cut.until(1))["a"]
            publisher = Publisher(redis, "rows/a/pods", token=lower, identity="x")
            await publisher.replace({}, {})
            gate.shut()
            async with watching(Watch(engine, "other", ["a"])) as other:
                await cut.until(0)
                assert not other.held
                higher = (await other.until(1))["a"]
                await Publisher(redis, "rows/a/pods", token=higher, identity="x").replace({}, {})
                with pytest.raises(Fenced):
                    await publisher.publish(b"late", sets={b"k": b"v"}, removes=[])
                with pytest.raises(Fenced):
                    await publisher.replace({}, {})
    finally:
        await gate.close()


class Gate:
    """PostgreSQL behind a TCP relay that can be shut: packets vanish, connections stay open."""

    def __init__(self, engine) -> None:
        self._socket = engine.config["dsn"].partition("host=")[2] + "/.s.PGSQL.5432"
        self._dsn = engine.config["dsn"]
        self._passes = asyncio.Event()
        self._passes.set()
        self._tasks = set()

    async def open(self) -> "Gate":
        import urllib.parse

        self._socket = urllib.parse.unquote(self._socket)
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        before, _, _ = self._dsn.partition("?")
        scheme, _, rest = before.partition("://")
        user, _, database = rest.rpartition("@")[0], "", rest.rpartition("/")[2]
        self.engine = postgres.Engine({"dsn": f"{scheme}://{user}@127.0.0.1:{port}/{database}", "timeout": 5.0})
        return self

    def shut(self) -> None:
        self._passes.clear()

    async def close(self) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.current_task())
        there, back = await asyncio.open_unix_connection(self._socket)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pump(reader, back))
                tasks.create_task(self._pump(there, writer))
        finally:
            back.close()
            writer.close()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while chunk := await source.read(65536):
            await self._passes.wait()
            sink.write(chunk)
            await sink.drain()
        sink.close()


@contextlib.asynccontextmanager
async def process(url: str, name: str, ttl_s: float) -> AsyncIterator[asyncio.subprocess.Process]:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.watch.holder", url, name, str(ttl_s), "a",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()


async def told(child: asyncio.subprocess.Process) -> dict[str, int]:
    """What the process holds since its next change; its log lines are skipped."""
    async with asyncio.timeout(60):
        while not (line := await child.stdout.readline()).startswith(b"{"):
            assert line, "the process has ended"
    return json.loads(line)["held"]


async def takeover(engine, url: str, redis, how: signal.Signals, ttl_s: float) -> None:
    """Kill or stop the holder; another takes over, and nothing that the first writes afterwards is accepted."""
    async with process(url, "first", ttl_s) as first:
        lower = (await told(first))["a"]
        late = Publisher(redis, "rows/a/pods", token=lower, identity="x")
        await late.replace({}, {})
        os.kill(first.pid, how)
        async with watching(Watch(engine, "second", ["a"], Terms(ttl_s=ttl_s, renew_s=ttl_s / 5))) as second:
            higher = (await second.until(1, within_s=60))["a"]
            assert higher > lower
            await Publisher(redis, "rows/a/pods", token=higher, identity="x").replace({}, {})
            with pytest.raises(Fenced):
                await late.publish(b"late", sets={}, removes=[])
            if how is signal.SIGSTOP:
                os.kill(first.pid, signal.SIGCONT)
                assert await told(first) == {}  # it notices by its own clock
                await asyncio.sleep(ttl_s)
            assert second.held == {"a": higher}


@pytest.mark.case("F05")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["kill -9", "SIGSTOP"])
async def test_another_takes_over_from_a_holder_that_is_gone(engine, postgres_url, redis, how) -> None:
    await takeover(engine, postgres_url, redis, how, ttl_s=1.0)


@pytest.mark.slow
@pytest.mark.case("F05")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["kill -9", "SIGSTOP"])
async def test_twenty_takeovers_with_the_real_lease_time(engine, postgres_url, redis, how) -> None:
    for _ in range(20):
        await redis.flushdb()
        await takeover(engine, postgres_url, redis, how, ttl_s=Terms().ttl_s)


def test_settings_give_the_terms_of_the_design() -> None:
    settings = Settings(database_url=Secret(""))
    terms = Terms(ttl_s=settings.lease_ttl_s, renew_s=settings.lease_renew_s)

    assert (terms.ttl_s, terms.renew_s, terms.demote_s) == (5.0, 1.0, 3.0)
