"""Which kinds somebody is looking at, besides those that are always watched: kept in Redis, expiring by themselves.

Web processes declare what their viewers look at every few seconds; watchers read it. Losing it costs a few seconds.
"""

from collections.abc import Iterable
from typing import Any, Final

from app.storage.redis import Redis
from app.watch.schemas import INTERESTS

KEY: Final = f"kn:{INTERESTS}"
MOST: Final = 20_000  # members that a watcher reads; more than all kinds of a hundred clusters


def member(cluster_id: str, resource_key: str) -> str:
    """How an interest is written: "<cluster id> <resource key>"."""
    return f"{cluster_id} {resource_key}"


async def declare(redis: Redis, members: Iterable[str], until: float) -> None:
    """Somebody looks at these until `until` (seconds since 1970); an earlier, longer interest stands. RedisError."""
    scores = dict.fromkeys(members, until)
    if scores:
        call: Any = redis.zadd(KEY, scores, gt=True)
        await call


async def read(redis: Redis, now: float) -> dict[str, set[str]]:
    """Resource keys by cluster id that somebody looks at now; forgets what has expired. Raises RedisError."""
    pipe = redis.pipeline(transaction=False)
    pipe.zremrangebyscore(KEY, "-inf", now)
    pipe.zrangebyscore(KEY, now, "+inf", start=0, num=MOST)
    _, members = await pipe.execute()
    found: dict[str, set[str]] = {}
    for each in members:
        cluster_id, _, key = each.decode(errors="replace").partition(" ")
        found.setdefault(cluster_id, set()).add(key)
    return found
