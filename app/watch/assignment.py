"""Which clusters this process watches: leases in PostgreSQL, shared fairly among the watchers that are alive.

A lease row rather than an advisory lock, which stays with a stopped or killed holder for as long as its connection
seems open (measured: more than 30 s). The holder renews each second and lets go after 3 s without, by its own
monotonic clock; others may take over after 5 s, by the database's. What a paused holder still writes afterwards is
refused by the fencing token. The margin of 2 s is for clocks that run at different speeds and for a slow stop.
"""

import asyncio
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

import msgspec
import structlog

from app.clock import SYSTEM_CLOCK, Clock
from app.problems import Unavailable
from app.storage.postgres import Engine, reachable

log = structlog.get_logger()

DEMOTE_PART: Final = 0.6  # of the lease's time: 3 of 5 s
TAKEN_AT_ONCE: Final = 50  # leases a round, so that the first watcher of many does not start them all at once

SEEN: Final = """
    INSERT INTO watcher (id, seen_at) VALUES ($1, clock_timestamp())
    ON CONFLICT (id) DO UPDATE SET seen_at = clock_timestamp()
"""
ALIVE: Final = """
    SELECT count(*) AS watchers FROM watcher WHERE seen_at > clock_timestamp() - make_interval(secs => $1)
"""
FORGET: Final = "DELETE FROM watcher WHERE seen_at < clock_timestamp() - interval '1 hour' OR id = $1"
RENEW: Final = """
    UPDATE watch_lease SET expires_at = clock_timestamp() + make_interval(secs => $2)
    WHERE holder = $1 AND cluster_id = ANY($3::varchar[]) AND expires_at > clock_timestamp()
    RETURNING cluster_id, token
"""
FREE: Final = """
    SELECT wanted.id FROM unnest($2::varchar[]) AS wanted(id)
    LEFT JOIN watch_lease AS lease ON lease.cluster_id = wanted.id
    WHERE lease.cluster_id IS NULL OR lease.expires_at <= clock_timestamp() OR lease.holder = $1
    ORDER BY wanted.id LIMIT $3
"""
TAKE: Final = """
    INSERT INTO watch_lease AS lease (cluster_id, holder, token, expires_at)
    SELECT free.id, $1, (extract(epoch FROM clock_timestamp()) * 1000)::bigint,
           clock_timestamp() + make_interval(secs => $2)
    FROM unnest($3::varchar[]) AS free(id)
    ON CONFLICT (cluster_id) DO UPDATE SET
        holder = excluded.holder,
        token = greatest(lease.token + 1, excluded.token),
        expires_at = excluded.expires_at
    WHERE lease.expires_at <= clock_timestamp() OR lease.holder = excluded.holder
    RETURNING cluster_id, token
"""
RELEASE: Final = """
    UPDATE watch_lease SET expires_at = '-infinity'
    WHERE holder = $1 AND ($2::varchar[] IS NULL OR cluster_id = ANY($2::varchar[]))
"""


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """ttl_s: a lease's time. renew_s: between renewals. demote_s: without a renewal, after which we let go."""

    ttl_s: float = 5.0
    renew_s: float = 1.0

    @property
    def demote_s(self) -> float:
        return self.ttl_s * DEMOTE_PART


class Assignment:
    """The leases of one watcher.

    wanted: ids of all clusters that should be watched by somebody. changed: told the leases held now, token by
    cluster id, whenever they have changed; sync.
    """

    def __init__(
        self,
        engine: Engine,
        holder: str,
        wanted: Callable[[], Collection[str]],
        changed: Callable[[Mapping[str, int]], None],
        *,
        terms: Terms = Terms(),  # noqa: B008 - frozen
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.holder = holder
        self.held: dict[str, int] = {}
        self._database = _Database(engine)
        self._wanted = wanted
        self._changed = changed
        self._terms = terms
        self._clock = clock
        self._renewed_s = float("-inf")  # when the last renewal that succeeded was sent, monotonic

    async def run(self) -> None:
        """Hold leases until cancelled, then release them, so that others take over at once."""
        try:
            while True:
                started = self._clock.monotonic()
                await self._round(started)
                await self._clock.sleep(max(self._terms.renew_s - (self._clock.monotonic() - started), 0.0))
        finally:
            self._hold({})

    async def release_all(self) -> None:
        """Give everything back; call it when nothing is watched or published any more. Does not fail: leases expire."""
        try:
            async with asyncio.timeout(self._terms.renew_s):
                await self._database.fetch(RELEASE, self.holder, None)
                await self._database.fetch(FORGET, self.holder)
        except (Unavailable, TimeoutError) as error:
            log.warning("leases.not_released", holder=self.holder, reason=type(error).__name__)
        finally:
            self._database.cut()

    def drop(self, cluster_id: str) -> None:
        """Another has taken over: stop believing in this lease."""
        if cluster_id in self.held:
            self._hold({id_: token for id_, token in self.held.items() if id_ != cluster_id})

    async def _round(self, started: float) -> None:
        left = self._terms.demote_s - (started - self._renewed_s) if self.held else self._terms.ttl_s
        try:
            async with asyncio.timeout(max(left, 0.05)):
                held = await self._renew()
                self._renewed_s = started
                self._hold(held)
                await self._balance()
        except (Unavailable, TimeoutError) as error:
            self._database.cut()
            log.warning("leases.not_renewed", holder=self.holder, reason=type(error).__name__, held=len(self.held))
        if self.held and self._clock.monotonic() - self._renewed_s >= self._terms.demote_s:
            log.error("leases.demoted", holder=self.holder, held=len(self.held))
            self._hold({})

    async def _renew(self) -> dict[str, int]:
        """Renew what is held and has not expired."""
        await self._database.fetch(SEEN, self.holder)
        rows = await self._database.fetch(RENEW, self.holder, self._terms.ttl_s, list(self.held))
        return {row["cluster_id"]: row["token"] for row in rows}

    async def _balance(self) -> None:
        """Take what nobody holds up to our share, give back what is above it or no longer wanted."""
        wanted = set(self._wanted())
        alive = await self._database.fetch(ALIVE, self._terms.ttl_s)
        share = math.ceil(len(wanted) / max(alive[0]["watchers"], 1))
        gone = [cluster_id for cluster_id in self.held if cluster_id not in wanted]
        above = [cluster_id for cluster_id in sorted(self.held) if cluster_id in wanted][share:]
        if given := gone + above:
            self._hold({id_: token for id_, token in self.held.items() if id_ not in given})
            await asyncio.sleep(0)
            await self._database.fetch(RELEASE, self.holder, given)
        room = min(share - len(self.held), TAKEN_AT_ONCE)
        if room > 0 and (missing := sorted(wanted - self.held.keys())):
            await self._take(missing, room)

    async def _take(self, missing: Sequence[str], room: int) -> None:
        free = [row["id"] for row in await self._database.fetch(FREE, self.holder, list(missing), room)]
        if not free:
            return
        taken = await self._database.fetch(TAKE, self.holder, self._terms.ttl_s, free)
        self._hold({**self.held, **{row["cluster_id"]: row["token"] for row in taken}})

    def _hold(self, held: dict[str, int]) -> None:
        if held == self.held:
            return
        self.held = held
        self._changed(held)


class _Database:
    """One connection, apart from the pool.

    A pool that is used up, or that waits for a server to answer a cancellation, must not hold up a lease's end.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Any = None

    async def fetch(self, statement: str, *values: Any) -> list[Any]:
        """The rows. Raises `Unavailable` when the database is out of reach; then call `cut`."""
        with reachable():
            if self._connection is None or self._connection.is_closed():
                self._connection = await self._engine.get_new_connection()
            rows: list[Any] = await self._connection.fetch(statement, *values)
            return rows

    def cut(self) -> None:
        """Drop the connection without a word; the next statement opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()
