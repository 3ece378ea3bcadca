"""Connections to Redis or Valkey, and scripts. The only module that imports `redis`; others use its names from here.

Never retries by itself: a script may have run although its answer was lost, and only its caller knows what then.
"""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Sequence
from hashlib import sha1
from typing import Any, Final, Self, cast

import hiredis
from redis.asyncio import BlockingConnectionPool, ConnectionPool, Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.connection import HiredisRespSerializer
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

__all__ = ["Messages", "Redis", "RedisConnectionError", "RedisError", "Script", "connect"]

CONNECT_DEADLINE_S: Final = 2.0
COMMAND_DEADLINE_S: Final = 5.0
POOL_SIZE: Final = 32
PACKER: Final = HiredisRespSerializer()
NEVER: Final = Retry(NoBackoff(), 0)


class Client(Redis):
    """A Redis client whose every command has a deadline.

    redis-py's own `socket_timeout` is not used: it waits with `asyncio.wait_for`, which on Python 3.11 loses a
    cancellation that arrives as the command has just been sent, and a task that cannot be cancelled never ends.
    """

    deadline_s = COMMAND_DEADLINE_S

    async def execute_command(self, *arguments: Any, **options: Any) -> Any:
        call: Any = super().execute_command
        async with within(self.deadline_s):
            return await call(*arguments, **options)

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> "Commands":  # noqa: FBT001, FBT002
        commands = Commands(self.connection_pool, self.response_callbacks, transaction, shard_hint)
        commands.deadline_s = self.deadline_s
        return commands


class Commands(Pipeline):
    """Commands that are sent together, with one deadline for all."""

    deadline_s = COMMAND_DEADLINE_S

    async def execute(self, raise_on_error: bool = True) -> list[Any]:  # noqa: FBT001, FBT002 - redis-py's signature
        call: Any = super().execute
        async with within(self.deadline_s):
            answers: list[Any] = await call(raise_on_error)
            return answers

    async def immediate_execute_command(self, *arguments: Any, **options: Any) -> Any:
        call: Any = super().immediate_execute_command
        async with within(self.deadline_s):
            return await call(*arguments, **options)


def packing(connection: type[Any]) -> type[Any]:
    """A kind of connection that packs commands in C; redis-py's asyncio client does it in Python, 3 times slower."""

    class Packing(connection):  # type: ignore[misc]
        def pack_command(self, name: Any, *arguments: Any) -> Any:
            if isinstance(name, str):
                try:
                    return [hiredis.pack_command((*name.split(), *arguments))]
                except TypeError:
                    pass  # a buffer, or something that cannot be sent, which the slower way tells
            return PACKER.pack(name, *arguments)

    return Packing


@contextlib.asynccontextmanager
async def within(deadline_s: float) -> AsyncIterator[None]:
    """Raise redis-py's TimeoutError when the block takes longer; its connection was dropped by then."""
    try:
        async with asyncio.timeout(deadline_s):
            yield
    except TimeoutError as error:
        raise RedisTimeoutError(f"Redis did not answer within {deadline_s:g} s") from error


def connect(url: str, *, command_deadline_s: float = COMMAND_DEADLINE_S) -> Client:
    """A client that gives bytes; connects at the first command, again after a loss. Close it with `aclose()`.

    Commands raise RedisError (its ConnectionError or TimeoutError when the server is out of reach).
    """
    pool = BlockingConnectionPool.from_url(
        url,
        protocol=2,
        max_connections=POOL_SIZE,
        timeout=None,
        socket_connect_timeout=CONNECT_DEADLINE_S,
        socket_timeout=None,
        retry=NEVER,
    )
    pool.connection_class = packing(pool.connection_class)
    client: Any = Client.from_pool(pool)
    client.deadline_s = command_deadline_s
    return cast(Client, client)


class Messages:
    """One connection that hears messages.

    It never reconnects by itself: what was said meanwhile is lost, and only the caller can find out what.
    Every method raises RedisError or OSError after the connection was lost.
    """

    def __init__(self, url: str) -> None:
        pool: Any = ConnectionPool.from_url(
            url, protocol=2, socket_connect_timeout=CONNECT_DEADLINE_S, socket_timeout=None, retry=NEVER
        )
        self._connection: Any = pool.make_connection()

    async def __aenter__(self) -> Self:
        async with within(CONNECT_DEADLINE_S):
            await self._connection.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connection.disconnect(nowait=True)

    async def send(self, *command: str | bytes) -> None:
        """SUBSCRIBE, UNSUBSCRIBE or PING; the answer is one of what `receive` gives."""
        if not self._connection.is_connected:
            raise RedisConnectionError("the connection was lost")
        async with within(CONNECT_DEADLINE_S):
            await self._connection.send_command(*command, check_health=False)

    async def receive(self) -> list[Any]:
        """The next message: [b"message", channel, data], [b"subscribe", channel, count], [b"pong", text] ..."""
        if not self._connection.is_connected:
            raise RedisConnectionError("the connection was lost")
        answer: list[Any] = await self._connection.read_response(timeout=math.inf)
        return answer

    async def cut(self) -> None:
        """Drop the connection, so that whoever waits in `receive` gets an error."""
        await self._connection.disconnect(nowait=True)


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
