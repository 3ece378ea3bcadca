"""The writing end of a channel: one publisher a channel, held to that by a fencing token.

Never retries: it says that the stream was lost, and the owner of the state calls `replace`.
"""

import asyncio
import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from app.storage.redis import Redis
from app.stream import scripts
from app.stream.publication import Position

HISTORY: Final = 512  # publications; 15 s at a tick of 30 ms, so a reader that was away shorter needs no snapshot
LOAD_CHUNK: Final = 500  # entries in one HSET of a snapshot that is loaded
LOAD_DEADLINE_S: Final = 600  # a snapshot half loaded by a writer that died is forgotten after this


class Fenced(Exception):  # noqa: N818 - the field's word
    """A writer with a higher token has taken over: stop for good."""


class Lost(Exception):  # noqa: N818 - the field's word
    """Redis does not hold our stream, or we cannot know what of it: call `replace`."""


class Publisher:
    """Writes one channel.

    token: the fencing token of the lease under which this process writes; a higher one refuses all lower ones.
    identity: what the epoch names beside the token, e.g. the uid of the cluster's kube-system.
    history: publications kept for readers that were cut off.
    One publication at a time: calls wait for each other.
    """

    def __init__(self, redis: Redis, channel: str, *, token: int, identity: str, history: int = HISTORY) -> None:
        self.channel = channel
        self.position: Position | None = None
        self._redis = redis
        self._token = token
        self._identity = "".join(identity.split())
        self._history = history
        self._keys = scripts.keys(channel)
        self._in_doubt = False
        self._turn = asyncio.Lock()

    async def replace(self, entries: Mapping[bytes, bytes], meta: Mapping[bytes, bytes]) -> Position:
        """Begin a new epoch with these entries; readers load them. Raises Fenced, Lost or RedisError.

        Loaded in parts beside what readers see, and swapped in at once.
        """
        async with self._turn:
            self.position = None
            generation = next(GENERATIONS)
            epoch = f"{self._token}.{self._identity}.{generation}"
            loading = f"{self._keys[1]}:{epoch}"
            await self._run(scripts.ADMIT, self._keys, [self._token])
            await self._redis.delete(loading)
            for chunk in chunks(entries):
                pipe = self._redis.pipeline(transaction=False)
                pipe.hset(loading, items=[part for entry in chunk.items() for part in entry])
                pipe.expire(loading, LOAD_DEADLINE_S)
                await pipe.execute()
            arguments = [self._token, epoch, scripts.name(self.channel), len(entries), generation]
            arguments += itertools.chain.from_iterable(meta.items())
            await self._run(scripts.REPLACE, [*self._keys, loading], arguments)
            self._in_doubt = False
            self.position = Position(epoch, 0)
            return self.position

    async def publish(self, payload: bytes, *, sets: Mapping[bytes, bytes], removes: Sequence[bytes]) -> Position:
        """Change the snapshot and tell readers, both or neither. Raises Fenced, Lost or RedisError.

        After a RedisError it may have happened or not. Then publish the same changes, or later states of the same
        keys, again; this finds out what holds, and raises Lost when it cannot.
        """
        async with self._turn:
            if self._in_doubt:
                await self._settle()
            position = self._known()
            arguments: list[Any] = [
                self._token, position.epoch, position.offset, self._history, scripts.name(self.channel), payload,
                len(sets), *itertools.chain.from_iterable(sets.items()), *removes,
            ]  # fmt: skip
            self._in_doubt = True
            try:
                answer = await self._run(scripts.PUBLISH, self._keys, arguments)
            except (Lost, Fenced):
                self.position, self._in_doubt = None, False
                raise
            self._in_doubt = False
            self.position = Position(position.epoch, answer[1])
            return self.position

    async def check(self) -> None:
        """Find out whether Redis still holds what was published; call it, or `lost`, every few seconds.

        Raises Fenced, Lost or RedisError.
        """
        async with self._turn:
            if self._in_doubt:
                await self._settle()
            position = self._known()
            held, whole = await self._read()
            if held != position or not whole:
                self.position = None
                raise Lost(f"{self.channel}: Redis is at {held}")

    async def remove(self) -> None:
        """Delete the channel and tell readers. Raises Fenced or RedisError."""
        async with self._turn:
            self.position = None
            arguments = [self._token, scripts.name(self.channel), scripts.TOKEN_KEPT_S]
            await self._run(scripts.REMOVE, self._keys, arguments)

    def _known(self) -> Position:
        if self.position is None:
            raise Lost(f"{self.channel}: nothing was published yet")
        return self.position

    async def _settle(self) -> None:
        """Learn whether the publication in doubt happened.

        A script runs only on the offset that it was meant for, so of all tries since then one at most did.
        If none did, a try may still be on its way, and a server that restarted may have forgotten one that
        readers saw: only a new epoch is safe.
        """
        position = self._known()
        held, _ = await self._read()
        if held != Position(position.epoch, position.offset + 1):
            self.position = None
            raise Lost(f"{self.channel}: a publication in doubt after {position}, Redis is at {held}")
        self.position, self._in_doubt = held, False

    async def _read(self) -> tuple[Position, bool]:
        """Where Redis is, and whether the snapshot is complete."""
        pipe = self._redis.pipeline(transaction=True)
        self.ask(pipe)
        return self.judge(*await pipe.execute())

    def ask(self, pipe: Any) -> None:
        """Queue the two commands whose answers `judge` takes."""
        pipe.hmget(self._keys[0], ["token", "epoch", "offset", "count"])
        pipe.hlen(self._keys[1])

    def judge(self, held: Sequence[bytes | None], entries: int) -> tuple[Position, bool]:
        """Where Redis is, and whether the snapshot is complete. Raises Fenced or Lost."""
        token, epoch, offset, count = held
        if token is not None and int(token) > self._token:
            raise Fenced(f"{self.channel}: token {self._token} was superseded by {int(token)}")
        if epoch is None or offset is None or count is None:
            self.position = None
            raise Lost(f"{self.channel}: Redis does not hold it")
        return Position(epoch.decode(), int(offset)), int(count) == entries

    @property
    def is_busy(self) -> bool:
        """Whether a call is under way or its outcome unknown; it finds out by itself whether the stream holds."""
        return self._turn.locked() or self._in_doubt

    async def _run(self, script: Any, keys: Sequence[str], arguments: Sequence[Any]) -> list[Any]:
        answer: list[Any] = await script.run(self._redis, keys, arguments)
        match answer[0]:
            case b"OK":
                return answer
            case b"FENCED":
                raise Fenced(f"{self.channel}: token {self._token} was superseded by {int(answer[1])}")
        raise Lost(f"{self.channel}: {answer[0].decode()}, {answer[1].decode()}")


async def lost(redis: Redis, publishers: Sequence[Publisher]) -> list[Publisher]:
    """Those whose stream Redis does not hold any more, or holds for a higher token: `check` says which.

    One round trip for all. Raises RedisError.
    """
    idle = [(publisher, publisher.position) for publisher in publishers if not publisher.is_busy]
    pipe = redis.pipeline(transaction=False)
    for publisher, _ in idle:
        publisher.ask(pipe)
    answers: list[Any] = await pipe.execute()
    found = []
    for (publisher, position), held, entries in zip(idle, answers[::2], answers[1::2], strict=True):
        if publisher.is_busy or publisher.position is not position:
            continue  # it published meanwhile
        try:
            intact = publisher.judge(held, entries) == (position, True)
        except (Fenced, Lost):
            intact = False
        if not intact:
            found.append(publisher)
    return found


def generations() -> Iterator[int]:
    """Rising numbers, never the same twice in a process and, as far as the wall clock holds, in any."""
    last = 0
    while True:
        last = max(last + 1, time.time_ns() // 1_000_000)
        yield last


GENERATIONS: Final = generations()


def chunks(entries: Mapping[bytes, bytes]) -> Iterator[dict[bytes, bytes]]:
    """The entries in parts that do not hold Redis up."""
    rest = iter(entries.items())
    while chunk := dict(itertools.islice(rest, LOAD_CHUNK)):
        yield chunk
