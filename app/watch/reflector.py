"""One resource of one cluster: list and watch into stores, and what changed out to the web processes.

Publishes one batch a tick, the first change at once. What cannot be delivered stays to be told in the store, so
an outage of Redis costs no memory and loses nothing. Never decides who watches: a `Fenced` ends it for good.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import msgspec
import structlog

from app.clock import SYSTEM_CLOCK, Clock
from app.kube.client import ApiServer
from app.kube.events import Codec
from app.kube.verify import EVERY_S, verify_always
from app.kube.watch import TIMING, ListWatch, Timing
from app.storage.redis import RedisError
from app.stream.publisher import Lost, Publisher
from app.tasks import backoff, running
from app.watch.catalogue import kind_of, projection_of
from app.watch.codec import ObjectCodec
from app.watch.groups import group
from app.watch.ingest import BATCH_ROWS, batch_bytes
from app.watch.mirror import Mirror
from app.watch.packing import Packer, train
from app.watch.schemas import COLUMNS_META, Column, ResourceRef, ResourceState, ResourceStatus, Trouble
from app.watch.store import Change, Kind, Store, decode_row
from app.watch.table import PARAMS, TableCodec, project_printed

_BARRED: Final = ("forbidden", "gone")
log = structlog.get_logger()

IDLE_S: Final = 5.0  # then Redis is asked whether it still holds our stream: it may have come back empty
UPKEEP: Final = 200  # objects packed between two looks at what is to be told: 2 ms
SNAPSHOT_STRIDE: Final = 1_000  # rows unpacked before others may run: 5 ms
RETRY_FIRST_S, RETRY_CAP_S = 0.1, 2.0  # after Redis failed
NAMESPACES_S: Final = 10.0  # how often namespaces are looked up anew where each is watched on its own
MOST_NAMESPACES: Final = 200  # watched one by one; more would be as many connections


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """When things happen.

    tick_s: least time between two publications of one resource. verify_s: between comparisons with the server.
    """

    tick_s: float = 0.03
    verify_s: float = EVERY_S
    timing: Timing = TIMING
    clock: Clock = SYSTEM_CLOCK


PACE: Final = Pace()


class Reflector:
    """Mirrors `ref`; `run` ends only by cancellation or by `Fenced`.

    namespaces: which to watch when the credential may not list all; asked when that is so.
    """

    def __init__(
        self,
        api: ApiServer,
        ref: ResourceRef,
        publisher: Publisher,
        packer: Packer,
        *,
        namespaces: Callable[[], Sequence[str]] = tuple,
        pace: Pace = PACE,
    ) -> None:
        self.ref = ref
        self._api = api
        self._publisher = publisher
        self._packer = packer
        self._namespaces = namespaces
        self._tick_s = pace.tick_s
        self._verify_s = pace.verify_s
        self._timing = pace.timing
        self._clock = pace.clock
        projection = projection_of(ref)
        self._columns: Sequence[Column] = projection.columns if projection is not None else ()
        self._codecs: list[TableCodec] = []
        self._kind: Kind[Any] = kind_of(projection) if projection is not None else Kind(ref.key, project_printed)
        self._projection = projection
        self._mirrors: dict[str, Mirror[Any]] = {}
        self._spoken_s = float("-inf")  # with Redis, monotonic
        self._wake = asyncio.Event()
        self._refused = asyncio.Event()  # the whole resource was forbidden

    # -- how it stands -----------------------------------------------------------------------------------------------

    def status(self) -> ResourceStatus:
        """The state of the mirror, as the fleet sees it."""
        mirrors = list(self._mirrors.values())
        if not mirrors:
            return ResourceStatus(self.ref, "listing", None, self._clock.now().timestamp())
        listed = [mirror for mirror in mirrors if mirror.store.listed_once]
        count = sum(len(mirror.store) for mirror in listed) if listed else None
        if "" in self._mirrors:
            only = mirrors[0]
            message = forbidden_message(self.ref) if only.current == "forbidden" else only.message
            return ResourceStatus(self.ref, only.current, count, only.since, message)
        worst = _worst(mirrors)
        shown = tuple(sorted(mirror.namespace for mirror in mirrors if mirror.current != "forbidden"))
        message = forbidden_message(self.ref) if not shown else worst.message
        return ResourceStatus(self.ref, worst.current, count, worst.since, message, shown)

    def counters(self) -> dict[tuple[int, str], int]:
        """How many objects there are by (level, status word)."""
        total: dict[tuple[int, str], int] = {}
        for mirror in self._mirrors.values():
            for key, count in mirror.store.counters().items():
                total[key] = total.get(key, 0) + count
        return total

    def troubles(self) -> list[Trouble]:
        return [trouble for mirror in self._mirrors.values() for trouble in mirror.store.troubles.values()]

    def newest(self) -> float | None:
        """Arrival of the newest event or bookmark, seconds since 1970."""
        return max((mirror.newest for mirror in self._mirrors.values() if mirror.newest is not None), default=None)

    def lag_s(self, now: float) -> float:
        """Age of the oldest change that has not been published."""
        oldest = [mirror.oldest for mirror in self._mirrors.values() if mirror.oldest is not None]
        return max(now - min(oldest), 0.0) if oldest else 0.0

    def names(self) -> list[str]:
        """Names of all objects; for namespaces, of which there are few."""
        return [decode_row(row).name for mirror in self._mirrors.values() for _, row in mirror.store.rows()]

    def object(self, uid: str) -> bytes | None:
        """The object's JSON, None when it is not mirrored."""
        found = (mirror.store.object(uid) for mirror in self._mirrors.values())
        return next((each for each in found if each is not None), None)

    # -- list and watch ----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Mirror and publish until cancelled. Raises `Fenced` when another watcher has taken over."""
        async with group() as tasks:
            tasks.create_task(self._mirror(tasks), name=f"mirror {self.ref.key}")
            tasks.create_task(self._publish(), name=f"publish {self.ref.key}")

    async def _mirror(self, tasks: asyncio.TaskGroup) -> None:
        """Watch the whole resource; each namespace on its own once that turned out to be forbidden."""
        whole = tasks.create_task(self._watch(""), name=f"watch {self.ref.key}")
        await self._refused.wait()
        while not (self.ref.namespaced and self._namespaces()):
            await self._clock.sleep(NAMESPACES_S)
        whole.cancel()
        self._mirrors.clear()
        log.info("watch.by_namespace", resource=self.ref.key)
        while True:
            for namespace in list(self._namespaces())[:MOST_NAMESPACES]:
                if namespace not in self._mirrors:
                    tasks.create_task(self._watch(namespace), name=f"watch {self.ref.key} in {namespace}")
                    self._mirrors[namespace] = self._mirror_of(namespace)
            self._wake.set()
            await self._clock.sleep(NAMESPACES_S)

    async def _watch(self, namespace: str) -> None:
        mirror = self._mirrors.setdefault(namespace, self._mirror_of(namespace))
        watch: ListWatch[Any] = ListWatch(
            self._api,
            path_of(self.ref, namespace),
            self._codec(),
            mirror,
            params=() if self._projection is not None else tuple(PARAMS.items()),
            clock=self._clock,
            timing=self._timing,
            streaming=self._projection is not None,  # an ordinary list names a Table's columns also when it is empty
        )
        every_s = self._verify_s * random.uniform(0.9, 1.1)  # noqa: S311 - so that not all kinds are listed at once
        async with running(
            f"verify {self.ref.key}", verify_always(watch, mirror.versions, every_s=every_s, clock=self._clock)
        ):
            await watch.run()

    def _mirror_of(self, namespace: str) -> Mirror[Any]:
        return Mirror(namespace, Store(self._kind, self._packer), self._clock, self._woken)

    def _codec(self) -> Codec[Any]:
        if self._projection is not None:
            return ObjectCodec(self._projection, self.ref.version)
        codec = TableCodec(self.ref)
        self._codecs.append(codec)
        return codec

    def _woken(self) -> None:
        self._wake.set()
        whole = self._mirrors.get("")
        if whole is not None and whole.current == "forbidden":
            self._refused.set()

    # -- publish -----------------------------------------------------------------------------------------------------

    async def _publish(self) -> None:
        while not any(mirror.store.listed_once or mirror.current in _BARRED for mirror in self._mirrors.values()):
            await self._woken_within(IDLE_S)
            await self._train()  # a first list may be long: without a dictionary its objects take five times the room
        replace, waits = True, backoff(RETRY_FIRST_S, RETRY_CAP_S)
        while True:
            started = self._clock.monotonic()
            replace = self._learnt() or replace
            try:
                if replace:
                    await self._replace()
                    replace = False
                told = await self._tell()
                if not told:
                    await self._check()
            except Lost:
                if replace:  # also what we loaded was lost: a Redis that is full, or that keeps restarting
                    await self._clock.sleep(next(waits))
                replace = True
                continue
            except RedisError as error:
                log.warning("watch.publish_failed", resource=self.ref.key, reason=type(error).__name__)
                await self._clock.sleep(next(waits))
                continue
            waits = backoff(RETRY_FIRST_S, RETRY_CAP_S)
            if told:  # packing can wait: an object that changes again soon is then packed once
                await self._clock.sleep(max(self._tick_s - (self._clock.monotonic() - started), 0.0))
            elif await self._upkeep():
                await asyncio.sleep(0)
            else:
                await self._woken_within(self._quiet_s())

    async def _tell(self) -> bool:
        """Publish up to a batch of what changed; whether there was anything."""
        now = self._clock.now().timestamp()
        parts = list(self._changes(now))
        changes = [change for _, part in parts for change in part]
        if not changes:
            return False
        sets = {change.uid.encode(): change.row for change in changes if change.row is not None}
        removes = [change.uid.encode() for change in changes if change.row is None]
        try:
            await self._publisher.publish(batch_bytes(changes, self.newest() or now), sets=sets, removes=removes)
        except BaseException:
            for mirror, part in parts:
                mirror.store.untold(part)
            raise
        self._spoken_s = self._clock.monotonic()
        for mirror, _ in parts:
            mirror.told(now)
        return True

    def _changes(self, now: float) -> Iterator[tuple[Mirror[Any], list[Change]]]:
        room = BATCH_ROWS
        for mirror in list(self._mirrors.values()):
            mirror.store.absorb(now)
            part = mirror.store.changes(room)
            room -= len(part)
            if part:
                yield mirror, part
            elif not mirror.store.waiting:
                mirror.told(now)

    async def _replace(self) -> None:
        """Publish everything as a new epoch."""
        entries: dict[bytes, bytes] = {}
        now = self._clock.now().timestamp()
        for mirror in list(self._mirrors.values()):
            mirror.store.absorb(now)
            mirror.store.told_all()
            for number, (uid, row) in enumerate(mirror.store.rows(), 1):
                entries[uid.encode()] = row
                if number % SNAPSHOT_STRIDE == 0:
                    await asyncio.sleep(0)
        meta = {COLUMNS_META: msgspec.msgpack.encode(list(self._columns))}
        await self._publisher.replace(entries, meta)
        for mirror in self._mirrors.values():
            mirror.told(now)
        log.debug("watch.replaced", resource=self.ref.key, objects=len(entries))

    async def _check(self) -> None:
        if self._clock.monotonic() - self._spoken_s >= IDLE_S:
            await self._publisher.check()
            self._spoken_s = self._clock.monotonic()

    def _learnt(self) -> bool:
        """Whether the server's columns are others than those published."""
        named = next((codec.columns for codec in reversed(self._codecs) if codec.columns is not None), None)
        if named is None or named == self._columns:
            return False
        self._columns = named
        return True

    async def _upkeep(self) -> bool:
        """Pack a little; whether more is left."""
        await self._train()
        busy = [mirror.store.settle(UPKEEP) for mirror in list(self._mirrors.values())]
        return any(busy)

    async def _train(self) -> None:
        if self._packer.ready():
            dictionary = await asyncio.to_thread(train, self._packer.take_samples())
            if dictionary is not None:
                self._packer.adopt(dictionary)

    def _quiet_s(self) -> float:
        """How long nothing need be done unless something is heard."""
        now = self._clock.now().timestamp()
        ends = [end for mirror in self._mirrors.values() if (end := mirror.store.due_at()) is not None]
        return min([IDLE_S, *(max(end - now, 0.0) for end in ends)])

    async def _woken_within(self, limit_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self._wake.wait()
        self._wake.clear()


def path_of(ref: ResourceRef, namespace: str = "") -> str:
    """The path of a resource's list, in all namespaces or one."""
    root = f"/apis/{ref.group}/{ref.version}" if ref.group else f"/api/{ref.version}"
    return f"{root}/namespaces/{namespace}/{ref.resource}" if namespace else f"{root}/{ref.resource}"


def forbidden_message(ref: ResourceRef) -> str:
    """What is missing, and what to do."""
    group = f'API group "{ref.group}"' if ref.group else "the core API group"
    return (
        f'The cluster\'s credential may not read {ref.key}. Grant it the verbs "list" and "watch" on "{ref.resource}" '
        f"in {group}, or name the namespaces that it may read."
    )


_ORDER: Final[tuple[ResourceState, ...]] = ("degraded", "stale", "listing", "gone", "live", "forbidden")


def _worst(mirrors: Sequence[Mirror[Any]]) -> Mirror[Any]:
    return min(mirrors, key=lambda mirror: _ORDER.index(mirror.current))
