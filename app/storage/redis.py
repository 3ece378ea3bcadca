"""Connections to Redis or Valkey, and scripts. The only module that imports `redis`; others use its names from here.

Never retries by itself: a script may have run although its answer was lost, and only its caller knows what then.
"""

from collections.abc import Sequence
from hashlib import sha1
from typing import Any, Final

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError

__all__ = ["PubSub", "Redis", "RedisConnectionError", "RedisError", "Script", "connect", "connect_for_messages"]

CONNECT_DEADLINE_S: Final = 2.0
COMMAND_DEADLINE_S: Final = 5.0
POOL_SIZE: Final = 32


def connect(url: str, *, command_deadline_s: float = COMMAND_DEADLINE_S) -> Redis:
    """A client that gives bytes; connects at the first command, again after a loss. Close it with `aclose()`.

    Commands raise RedisError (its ConnectionError or TimeoutError when the server is out of reach).
    """
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=POOL_SIZE,
        timeout=command_deadline_s,
        socket_connect_timeout=CONNECT_DEADLINE_S,
        socket_timeout=command_deadline_s,
        retry=Retry(NoBackoff(), 0),
    )
    return Redis.from_pool(pool)


def connect_for_messages(url: str) -> Redis:
    """A client for one pub/sub connection, whose reads may wait for ever."""
    return Redis.from_url(
        url, socket_connect_timeout=CONNECT_DEADLINE_S, socket_timeout=None, retry=Retry(NoBackoff(), 0)
    )


class Script:
    """A Lua script, sent as its hash; in full when the server does not know it (yet, or any more)."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._digest = sha1(text.encode(), usedforsecurity=False).hexdigest()

    async def run(self, redis: Redis, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        """The script's answer. Raises RedisError."""
        call: Any = redis.execute_command
        try:
            return await call("EVALSHA", self._digest, len(keys), *keys, *arguments)
        except NoScriptError:
            return await call("EVAL", self._text, len(keys), *keys, *arguments)
