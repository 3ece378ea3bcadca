"""Statuses of all clusters, from any number of watchers onto one channel.

A channel has one writer, so watchers note their statuses in a hash, each under its lease's token, and whichever holds
the lease named `BOARD` publishes what is in it. Clusters that nobody watches on purpose are told as paused.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
import structlog
from msgspec.structs import replace

from app.clock import SYSTEM_CLOCK, Clock
from app.clusters.schemas import Cluster
from app.storage.redis import Redis, RedisError, Script
from app.stream.publisher import Fenced, Lost, Publisher
from app.watch.schemas import CLUSTER_STATUS, Batch, ClusterStatus

log = structlog.get_logger()

BOARD: Final = CLUSTER_STATUS
"""The lease of the publisher, beside those of clusters; no cluster has this id."""

KEY: Final = "kn:watch/statuses"
PERIOD_S: Final = 0.5
RETRY_S: Final = 1.0

_NOTE: Final = Script(
    """
-- KEYS: the hash. ARGV: cluster id, token, encoded status.
local held = redis.call('HGET', KEYS[1], ARGV[1])
if held and tonumber(string.match(held, '^(%d+) ')) > tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. ARGV[3])
return 1
"""
)
_encode: Final = msgspec.msgpack.Encoder().encode


async def note(redis: Redis, token: int, status: ClusterStatus) -> None:
    """Put one cluster's status on the board. Raises `Fenced` when another watcher has it now, or RedisError."""
    if not await _NOTE.run(redis, [KEY], [status.cluster_id, token, _encode(status)]):
        raise Fenced(f"{status.cluster_id}: token {token} was superseded")


class Board:
    """Publishes the board under the lease's token. clusters: all that are registered, by id."""

    def __init__(
        self, redis: Redis, token: int, clusters: Callable[[], Mapping[str, Cluster]], clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._redis = redis
        self._publisher = Publisher(redis, CLUSTER_STATUS, token=token, identity="fleet")
        self._clusters = clusters
        self._clock = clock
        self._told: dict[str, bytes] | None = None  # None: all must be published anew
        self._paused: dict[str, ClusterStatus] = {}

    async def run(self) -> None:
        """Publish until cancelled. Raises `Fenced` when another watcher has taken over."""
        while True:
            try:
                await self._publish(await self._statuses())
            except Lost:
                self._told = None
            except RedisError as error:
                log.warning("board.publish_failed", reason=type(error).__name__)
                await self._clock.sleep(RETRY_S)
            await self._clock.sleep(PERIOD_S)

    async def _statuses(self) -> dict[str, bytes]:
        """Encoded statuses by cluster id; what is on the board of clusters that are no more is wiped off."""
        call: Any = self._redis.hgetall(KEY)
        noted = {key.decode(): value.partition(b" ")[2] for key, value in (await call).items()}
        clusters = self._clusters()
        if gone := [cluster_id for cluster_id in noted if cluster_id not in clusters]:
            wipe: Any = self._redis.hdel(KEY, *gone)
            await wipe
        found = {cluster_id: status for cluster_id, status in noted.items() if cluster_id in clusters}
        now = self._clock.now().timestamp()
        self._paused = {key: status for key, status in self._paused.items() if key in clusters and clusters[key].paused}
        for cluster in clusters.values():
            if cluster.paused:
                found[cluster.id] = _encode(self._pause(cluster, now))
        return found

    def _pause(self, cluster: Cluster, now: float) -> ClusterStatus:
        known = self._paused.get(cluster.id)
        if known is None:
            message = "Watching is paused: what is shown is as it was then. Resume it on the cluster's page."
            known = ClusterStatus(
                cluster.id, "paused", message, "", cluster.identity, now, now, None, 0.0, {}, [], [], []
            )
        elif now - known.heartbeat >= 1.0:
            known = replace(known, heartbeat=now)
        self._paused[cluster.id] = known
        return known

    async def _publish(self, statuses: dict[str, bytes]) -> None:
        sets = {cluster_id.encode(): status for cluster_id, status in statuses.items()}
        if self._told is None:
            await self._publisher.replace(sets, {})
            self._told = statuses
            return
        changed = {key: value for key, value in statuses.items() if self._told.get(key) != value}
        removed = [key for key in self._told if key not in statuses]
        if not changed and not removed:
            await self._publisher.check()
            return
        batch = Batch(self._clock.now().timestamp(), [msgspec.Raw(value) for value in changed.values()], removed)
        sets = {key.encode(): value for key, value in changed.items()}
        await self._publisher.publish(_encode(batch), sets=sets, removes=[key.encode() for key in removed])
        self._told = statuses
