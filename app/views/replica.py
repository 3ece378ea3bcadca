"""One copy of one kind's rows in this web process, over all clusters that somebody here looks at.

Follows a channel a cluster while there are viewers, declares their interest to the watchers, and lets go after a
linger. However many viewers there are, each channel is read once.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Iterable
from typing import Final, Protocol

import msgspec
import structlog

from app import tasks
from app.clock import SYSTEM_CLOCK, Clock
from app.storage.redis import Redis, RedisError
from app.stream.hub import Hub
from app.stream.publication import Publication, Snapshot, Stale
from app.views.table import Table
from app.watch import interests
from app.watch.schemas import COLUMNS_META, Batch, Column, Row, rows_channel

log = structlog.get_logger()

INTEREST_S: Final = 30.0  # declared for so long, again each third of it
LINGER_S: Final = 30.0  # a copy without viewers is kept so long, for those who come back
SLICE: Final = 2_000  # rows of a snapshot taken in before others may run: about 30 ms

_batch: Final = msgspec.msgpack.Decoder(Batch)
_row: Final = msgspec.msgpack.Decoder(Row)
_columns: Final = msgspec.msgpack.Decoder(list[Column])


class Freshness(msgspec.Struct, frozen=True):
    """How one cluster's rows stand. loaded: whether a snapshot was read. stale_since: seconds since 1970, or None."""

    loaded: bool = False
    stale_since: float | None = None
    reason: str = ""


class Names(Protocol):
    def __call__(self, cluster_id: str) -> str:
        """The name that people know a cluster by."""


class Replica:
    """The rows of `key`; `use` clusters while viewers look at them.

    newest: when the newest change that is in here arrived at its watcher, seconds since 1970.
    """

    def __init__(self, hub: Hub, redis: Redis, key: str, names: Names, clock: Clock = SYSTEM_CLOCK) -> None:
        self.key = key
        self.epoch = secrets.token_hex(4)  # row ids and numbers are of this copy alone
        self.table = Table()
        self.newest = 0.0
        self.freshness: dict[str, Freshness] = {}
        self.viewers = 0
        self.left_at = clock.monotonic()
        self.revision = 0  # rises when freshness or columns change
        self._hub = hub
        self._redis = redis
        self._names = names
        self._clock = clock
        self._followers: dict[str, contextlib.AsyncExitStack] = {}
        self._listeners: dict[Callable[[], None], int] = {}  # with how often each was given: two views may share one

    # -- viewers -----------------------------------------------------------------------------------------------------

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` after each change; it must not wait."""
        self._listeners[listener] = self._listeners.get(listener, 0) + 1
        self.viewers += 1

    def unlisten(self, listener: Callable[[], None]) -> None:
        self._listeners[listener] -= 1
        if not self._listeners[listener]:
            del self._listeners[listener]
        self.viewers -= 1
        self.left_at = self._clock.monotonic()

    async def use(self, clusters: Iterable[str]) -> None:
        """Follow these clusters, beside those followed already, and tell the watchers that somebody looks."""
        fresh = [cluster for cluster in clusters if cluster not in self._followers]
        for cluster in fresh:
            self.freshness.setdefault(cluster, Freshness())
            stack = contextlib.AsyncExitStack()
            self._followers[cluster] = stack
            name = f"replica {self.key} {cluster[:8]}"
            work = tasks.supervise(name, lambda cluster=cluster: self._follow(cluster))  # type: ignore[misc]
            await stack.enter_async_context(tasks.running(name, work))
        if fresh:
            await self.declare()

    async def drop(self, cluster: str) -> None:
        """Stop following a cluster that is no more."""
        stack = self._followers.pop(cluster, None)
        if stack is not None:
            await stack.aclose()
        self.freshness.pop(cluster, None)
        self.table.drop_cluster(cluster)
        self._changed()

    @property
    def loaded(self) -> bool:
        """Whether any cluster's rows, and so the columns, are here."""
        return any(freshness.loaded for freshness in self.freshness.values())

    @property
    def clusters(self) -> list[str]:
        return list(self._followers)

    async def declare(self) -> None:
        """Tell the watchers what is looked at; they forget it by themselves."""
        until = self._clock.now().timestamp() + INTEREST_S
        try:
            await interests.declare(self._redis, [interests.member(c, self.key) for c in self._followers], until)
        except RedisError as error:
            log.warning("replica.interest_not_declared", kind=self.key, reason=type(error).__name__)

    def rename(self, cluster: str) -> None:
        """Show a cluster's present name."""
        self.table.names[cluster] = self._names(cluster)
        self.table.rename(cluster, self._names(cluster))
        self._changed()

    async def close(self) -> None:
        """Stop following everything."""
        followers, self._followers = self._followers, {}
        for stack in followers.values():
            await stack.aclose()

    # -- following ---------------------------------------------------------------------------------------------------

    async def _follow(self, cluster: str) -> None:
        self.table.names[cluster] = self._names(cluster)
        async for item in self._hub.follow(rows_channel(cluster, self.key)):
            match item:
                case Snapshot():
                    await self._load(cluster, item)
                    self._fresh(cluster, Freshness(loaded=True))
                case Stale():
                    loaded = self.freshness.get(cluster, Freshness()).loaded
                    self._fresh(cluster, Freshness(loaded, item.since, item.reason))
                case _:
                    self._advance(cluster, item)
                    self._fresh(cluster, Freshness(loaded=True))
            self._changed()

    async def _load(self, cluster: str, snapshot: Snapshot) -> None:
        columns = _columns.decode(snapshot.meta[COLUMNS_META]) if COLUMNS_META in snapshot.meta else []
        if self.table.adopt(cluster, columns):
            self.revision += 1
        rows: list[Row] = []
        for number, encoded in enumerate(snapshot.entries.values(), 1):
            rows.append(_row.decode(encoded))
            if number % SLICE == 0:
                await asyncio.sleep(0)
        known = {row.uid for row in rows}
        # In slices, so that a large snapshot does not stop the loop; what is gone goes last.
        for first in range(0, len(rows), SLICE):
            self.table.apply(cluster, rows[first : first + SLICE], ())
            await asyncio.sleep(0)
        self.table.keep(cluster, known)

    def _advance(self, cluster: str, publications: list[Publication]) -> None:
        for publication in publications:
            batch = _batch.decode(publication.payload)
            self.table.apply(cluster, [_row.decode(raw) for raw in batch.upserts], batch.deletes)
            self.newest = max(self.newest, batch.time)

    def _fresh(self, cluster: str, now: Freshness) -> None:
        if self.freshness.get(cluster) != now:
            self.freshness[cluster] = now
            self.revision += 1

    def tell(self) -> None:
        """Let viewers look again, for something beside the rows has changed."""
        self._changed()

    def _changed(self) -> None:
        for listener in list(self._listeners):
            listener()
