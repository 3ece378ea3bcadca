"""Browser sessions in Redis: made at sign-in only, looked up by the hash of a secret, ended at once everywhere.

The secret is 256 random bits and exists in the cookie alone; Redis and everything that is shown or logged have its
SHA-256, the handle. A session ends when it was not used for `idle_s`, `absolute_s` after sign-in, when it is revoked,
and when Redis loses it.
"""

import asyncio
import contextlib
import hashlib
import secrets
from collections import defaultdict
from collections.abc import Iterator
from typing import Final, cast

import msgspec
import structlog

from app.clock import SYSTEM_CLOCK, Clock
from app.storage.redis import Redis

log = structlog.get_logger()

CHANNEL: Final = "kn:sessions/ended"
"""Handles of ended sessions, by Redis pub/sub."""

Handle = str


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """One signed-in browser. Times are seconds since 1970.

    method: "password" or "link". ends: the latest end, whatever its use. agent: the User-Agent header, cut.
    """

    user_id: str
    method: str
    created: float
    used: float
    ends: float
    address: str
    agent: str


class Sessions:
    """The sessions of all users, and the streams of this process that must end with them."""

    def __init__(self, redis: Redis, *, idle_s: float, absolute_s: float, clock: Clock = SYSTEM_CLOCK) -> None:
        self._redis = redis
        self._idle_s = idle_s
        self._absolute_s = absolute_s
        # How stale the time of last use may be: a write for each request would double the cost of reading.
        self._grain_s = min(30.0, idle_s / 4)
        self._clock = clock
        self._streams: dict[Handle, set[asyncio.Event]] = defaultdict(set)

    async def create(self, user_id: str, *, method: str, address: str, agent: str) -> str:
        """Begin a session and return its secret, for the cookie."""
        secret = secrets.token_urlsafe(32)
        now = self._clock.now().timestamp()
        session = Session(
            user_id=user_id,
            method=method,
            created=now,
            used=now,
            ends=now + self._absolute_s,
            address=address[:64],
            agent=agent[:256],
        )
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.set(_key(handle_of(secret)), msgspec.msgpack.encode(session), px=self._left_ms(session))
            pipe.zadd(_index(user_id), {handle_of(secret): session.ends})
            pipe.zremrangebyscore(_index(user_id), 0, now)
            pipe.expire(_index(user_id), round(self._absolute_s) + 60)
            await pipe.execute()
        return secret

    async def find(self, handle: Handle) -> Session | None:
        """The live session of that handle, marked as used; None when it ended."""
        session = await self._read(handle)
        if session is None:
            return None
        now = self._clock.now().timestamp()
        if now - session.used >= self._grain_s:
            session = msgspec.structs.replace(session, used=now)
            # XX: a session that was revoked since it was read must not come back.
            await self._redis.set(_key(handle), msgspec.msgpack.encode(session), px=self._left_ms(session), xx=True)
        return session

    async def of(self, user_id: str) -> dict[Handle, Session]:
        """The live sessions of a user, newest first."""
        found: dict[Handle, Session] = {}
        for handle in await self._handles(user_id):
            if (session := await self._read(handle)) is not None:
                found[handle] = session
        return found

    async def revoke(self, user_id: str, handle: Handle) -> bool:
        """End one session of that user, and its streams in every process; False when it is not theirs or has ended."""
        session = await self._read(handle)
        if session is None or session.user_id != user_id:
            return False
        await self._end(user_id, [handle])
        return True

    async def revoke_all(self, user_id: str, *, but: Handle = "") -> int:
        """End every session of that user except `but`; how many there were."""
        doomed = [handle for handle in await self._handles(user_id) if handle != but]
        await self._end(user_id, doomed)
        return len(doomed)

    @contextlib.contextmanager
    def held(self, handle: Handle) -> Iterator[asyncio.Event]:
        """For a stream: an event that is set when its session has ended, within 1 s of a revocation.

        While it is held the session counts as used, so that a wall display stays; `absolute_s` still ends it.
        """
        event = asyncio.Event()
        self._streams[handle].add(event)
        try:
            yield event
        finally:
            self._streams[handle].discard(event)
            if not self._streams[handle]:
                del self._streams[handle]

    async def end_streams(self) -> None:
        """Listen for ended sessions, for ever; run one in each process that holds streams, under `supervise`.

        Messages may be lost while Redis is away, so every held session is looked up after each (re)connect and then
        every few seconds.
        """
        async with self._redis.pubsub() as pubsub:
            await pubsub.subscribe(CHANNEL)
            due = self._clock.monotonic()
            while True:
                if self._clock.monotonic() >= due:
                    await self._verify_held()
                    due = self._clock.monotonic() + self._grain_s / 3
                message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=1.0)
                if message is not None:
                    self._release(message["data"].decode())

    def release_streams(self) -> None:
        """End every stream that this process holds, at once: the server that carries them is stopping."""
        for handle in list(self._streams):
            self._release(handle)

    async def _verify_held(self) -> None:
        for handle in list(self._streams):
            if await self.find(handle) is None:
                self._release(handle)

    def _release(self, handle: Handle) -> None:
        for event in self._streams.get(handle, ()):
            event.set()

    async def _end(self, user_id: str, handles: list[Handle]) -> None:
        if not handles:
            return
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.delete(*(_key(handle) for handle in handles))
            pipe.zrem(_index(user_id), *handles)
            for handle in handles:
                pipe.publish(CHANNEL, handle)
            await pipe.execute()
        for handle in handles:
            self._release(handle)
        log.info("session.ended", user=user_id, count=len(handles))

    async def _handles(self, user_id: str) -> list[Handle]:
        raw = cast("list[bytes]", await self._redis.zrevrange(_index(user_id), 0, -1))
        return [handle.decode() for handle in raw]

    async def _read(self, handle: Handle) -> Session | None:
        raw = cast("bytes | None", await self._redis.get(_key(handle)))
        if raw is None:
            return None
        session = msgspec.msgpack.decode(raw, type=Session)
        now = self._clock.now().timestamp()
        return session if now < min(session.ends, session.used + self._idle_s) else None

    def _left_ms(self, session: Session) -> int:
        return max(1, round(1000 * (min(session.ends, session.used + self._idle_s) - session.used)))


def handle_of(secret: str) -> Handle:
    """The name of a session that its cookie's secret opens; the secret cannot be had back from it."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _key(handle: Handle) -> str:
    return f"kn:session:{handle}"


def _index(user_id: str) -> str:
    return f"kn:user-sessions:{user_id}"
