"""Rows that need a store behind the machine, and the invariants of whole histories (W24, W26-W28, W30, W39)."""

import asyncio
import random
from typing import Any

import pytest

from app.kube.codec import Metadata
from app.kube.events import Event
from app.tasks import running
from app.watch.packing import Packer
from app.watch.schemas import Row
from app.watch.store import Change, Kind, Store

from .fault_apiserver import (
    Exchange,
    Fault,
    FaultServer,
    World,
    after,
    ends_at_once,
    error_event,
    gone,
    half_a_line,
    raw_lines,
    refuse,
    status,
)
from .mirror import Mirror, Rig, until, watching

SEEDS = pytest.mark.parametrize("seed", [1, 2, 3])


def project(seen: Metadata, _now: float) -> Row:
    return Row(seen.uid, seen.namespace, seen.name, 0, 1, (), version=seen.resource_version)


class Stored(Mirror):
    """A mirror with the product's store beside it; `told_changes` is what readers would be told, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.store = Store(Kind("things", project), Packer())
        self.told_changes: list[Change] = []

    def begin(self) -> None:
        super().begin()
        self.store.begin()

    def listed(self, events: list[Event[Metadata]]) -> None:
        super().listed(events)
        self.store.listed(events, 0.0)

    def complete(self, version: str) -> None:
        super().complete(version)
        self.store.complete()
        self._tell()

    def changed(self, events: list[Event[Metadata]]) -> None:
        super().changed(events)
        self.store.apply(events)
        self._tell()

    def _tell(self) -> None:
        self.store.absorb(0.0)
        self.told_changes += self.store.changes(100_000)


async def with_a_gap(server: FaultServer, seed: int, meanwhile: Any) -> tuple[Stored, Rig]:
    """Mirror, lose the connection and all history, let `meanwhile` happen, and come back."""
    stored = Stored()
    async with watching(server, seed=seed, start=False) as rig:
        rig.mirror = rig.machine._handler = stored
        async with running("machine", rig.machine.run()):
            await rig.caught_up()
            server.always("any", refuse(503))
            server.drop()
            stored.told_changes.clear()
            meanwhile(server.world)
            server.world.compact()
            server.heal()
            await rig.caught_up()
            await until(lambda: stored.store.versions() == server.world.versions())
    return stored, rig


@pytest.mark.case("W26")
@SEEDS
async def test_an_object_made_again_in_a_gap_is_a_deletion_and_another_object(seed: int) -> None:
    server = FaultServer()
    server.world.fill(4)
    old = server.world.objects["object-00002"]["metadata"]["uid"]

    def again(world: World) -> None:
        world.delete("object-00002")
        world.put("object-00002")

    stored, _ = await with_a_gap(server, seed, again)

    new = server.world.objects["object-00002"]["metadata"]["uid"]
    assert old != new
    assert {(change.uid, change.row is None) for change in stored.told_changes} == {(old, True), (new, False)}


@pytest.mark.case("W27")
@SEEDS
async def test_a_deletion_in_a_gap_is_told_exactly_once(seed: int) -> None:
    server = FaultServer()
    server.world.fill(4)
    gone_uid = server.world.objects["object-00001"]["metadata"]["uid"]

    stored, _ = await with_a_gap(server, seed, lambda world: world.delete("object-00001"))

    assert [(change.uid, change.row) for change in stored.told_changes] == [(gone_uid, None)]


@pytest.mark.case("W28")
async def test_a_deletion_that_is_seen_carries_the_last_state() -> None:
    server = FaultServer()
    server.world.fill(2)
    seen: list[Event[Metadata]] = []

    class Noting(Mirror):
        def changed(self, events: list[Event[Metadata]]) -> None:
            super().changed(events)
            seen.extend(events)

    async with watching(server, start=False) as rig:
        rig.mirror = rig.machine._handler = Noting()
        async with running("machine", rig.machine.run()):
            await rig.caught_up()
            server.world.delete("object-00001")
            await rig.caught_up()

    assert [event.type for event in seen] == ["delete"]
    assert seen[0].object is not None
    assert seen[0].object.name == "object-00001"


@pytest.mark.case("W30")
async def test_everything_is_told_again_from_the_store_without_a_request() -> None:
    server = FaultServer()
    server.world.fill(50)
    stored, _ = await with_a_gap(server, 1, lambda _world: None)
    before = len(server.requests)

    told = dict(stored.store.rows())

    assert told.keys() == server.world.versions().keys()
    assert len(server.requests) == before


@pytest.mark.case("W24")
@SEEDS
async def test_a_stream_that_repeats_and_reorders_itself_changes_nothing(seed: int) -> None:
    server = FaultServer()
    server.world.fill(20)
    rng = random.Random(seed)

    async def stutter(exchange: Exchange) -> None:
        at = int(exchange.request.version or 0)
        await exchange.start()
        for step in range(60):
            server.world.put(f"object-{rng.randrange(20):05}", step=str(step))
        events = [entry for entry in server.world.history if entry[0] > at]
        for _, type_, made in [*events, *rng.sample(events, 40)]:
            await exchange.line(type_, made)
        await exchange.live(server.world.version)

    stored = Stored()
    server.on("watch", stutter)
    async with watching(server, seed=seed, start=False) as rig:
        rig.machine._handler = stored
        async with running("machine", rig.machine.run()):
            await until(lambda: rig.machine.counters.events == 100)

            assert stored.store.versions() == server.world.versions()
            assert rig.machine.version == str(server.world.version)  # late events do not turn it back


class Historian(Mirror):
    """Holds what it was told against the world's log, event by event, and counts what it compared."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.position: int | None = None  # in versions; None while listing
        self.compared = 0

    def begin(self) -> None:
        super().begin()
        self.position = None

    def complete(self, version: str) -> None:
        super().complete(version)
        self.position = int(version)

    def changed(self, events: list[Event[Metadata]]) -> None:
        super().changed(events)
        assert self.position is not None
        for event in events:
            version = int(event.version)
            assert version > self.position, "ordered and unique: a watch never goes back or repeats itself"
            due = next(entry for entry in self.log_after(self.position))
            type_ = "delete" if due[1] == "DELETED" else "apply"
            assert (version, event.type, event.uid) == (due[0], type_, due[2]), "reliable: none is left out"
            self.position = version
            self.compared += 1

    def progressed(self, version: str) -> None:
        super().progressed(version)
        if self.position is not None:
            missed = [entry for entry in self.log_after(self.position) if entry[0] <= int(version)]
            assert missed == [], "bookmarkable: all up to a bookmark was told before it"
            self.position = max(self.position, int(version))

    def log_after(self, version: int) -> list[tuple[int, str, str]]:
        assert self.world.log is not None
        return [entry for entry in self.world.log[-2_000:] if entry[0] > version]


def faults() -> list[Fault]:
    return [
        after(1, Exchange.reset),
        after(2, Exchange.end),
        after(1, Exchange.close),
        half_a_line(Exchange.reset),
        half_a_line(Exchange.end),
        ends_at_once(),
        error_event(gone("too old")),
        error_event(gone("too old", "Gone")),
        error_event(status(429, "TooManyRequests", details={"retryAfterSeconds": 1})),
        error_event(status(500, "InternalError")),
        refuse(503, b"down"),
        refuse(429, b"busy", Retry_After="1"),
        refuse(410, gone("too old")),
        refuse(401, status(401, "Unauthorized")),
        refuse(504),
        raw_lines(b"garbage"),
        raw_lines(b'{"type":"SURPRISE","object":{}}'),
    ]


async def history(seed: int, wanted: int) -> Historian:
    """Play `wanted` faults into a life of changes; every claim of `Historian` is checked on the way."""
    rng = random.Random(seed)
    server = FaultServer(streaming=seed % 2 == 0)
    server.bookmark_s = 0.01
    server.world.log = []
    server.world.fill(30)
    historian = Historian(server.world)
    played = 0

    def counted(fault: Fault) -> Fault:
        async def play(exchange: Exchange) -> None:
            nonlocal played
            played += 1
            await fault(exchange)

        return play

    async with watching(server, seed=seed, streaming=True, start=False) as rig:
        rig.mirror = rig.machine._handler = historian
        async with asyncio.TaskGroup() as tasks, running("machine", rig.machine.run()) as machine:
            watcher = tasks.create_task(_alive(machine))
            while played < wanted:
                for _ in range(rng.randrange(1, 12)):
                    _change(server.world, rng)
                server.on(rng.choice(["watch", "watch", "list", "streaming"]), counted(rng.choice(faults())))
                if rng.random() < 0.1:
                    server.world.compact()
                if rng.random() < 0.5:
                    server.drop()
                await asyncio.sleep(rng.random() * 0.01)
            server.heal()
            server.drop()
            server.world.put("last")
            await rig.caught_up(20)
            watcher.cancel()
    return historian


async def _alive(machine: asyncio.Task[None]) -> None:
    """A machine that raised would otherwise only look slow."""
    await asyncio.wait([machine])
    machine.result()


def _change(world: World, rng: random.Random) -> None:
    name = f"object-{rng.randrange(40):05}"
    if name in world.objects and rng.random() < 0.3:
        world.delete(name)
    else:
        world.put(name, step=str(rng.random()))


@pytest.mark.case("W39")
@SEEDS
async def test_histories_under_random_faults_keep_every_invariant(seed: int) -> None:
    historian = await history(seed, 110)

    assert historian.compared > 100


@pytest.mark.case("W39")
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 110))
async def test_longer_histories_under_random_faults_keep_every_invariant(seed: int) -> None:
    assert (await history(seed, 1_000)).compared > 1_000
