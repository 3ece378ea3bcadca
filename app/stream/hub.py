"""The reading end of all channels in one process: one pub/sub connection, shared by all readers.

Pub/sub alone loses messages without a word, at each reconnect for instance. So every publication has a position, and
what does not follow the last one is repaired here: from the channel's history, or by a fresh snapshot. A lost *last*
message leaves no gap behind, so idle channels are compared with Redis every `check_s`.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any, Final, Self

import structlog

from app import tasks
from app.clock import SYSTEM_CLOCK, Clock
from app.storage.redis import Messages, RedisError, connect
from app.stream import scripts
from app.stream.follower import BACKLOG, Follower, Item
from app.stream.publication import Position, Publication, Snapshot, Stale

log = structlog.get_logger()
CHECK_S: Final = 1.0  # a lost last message is found within this
STALE_S: Final = 2.0  # out of reach longer than this is told to readers
COMMAND_DEADLINE_S: Final = 1.5  # of a check, so that a frozen Redis is told within STALE_S + CHECK_S
SNAPSHOT_DEADLINE_S: Final = 10.0  # 100,000 entries take about 1 s
SILENCE_S: Final = 4.0  # without a message or a PONG the pub/sub connection counts as dead
REPAIRERS: Final = 4  # channels repaired at the same time
ALWAYS: Final = "hub"  # subscribed to at all times: a connection without a subscription cannot wait for messages
OUT_OF_REACH: Final = (RedisError, OSError, TimeoutError)
NO_REDIS: Final = "Redis does not answer, so changes do not arrive."
NOT_PUBLISHED: Final = "No watcher publishes this at the moment."


class Channel:
    """What the hub knows of one channel that somebody follows.

    position: that of the last publication passed on; None before the first snapshot.
    right_at: wall clock, seconds since 1970, when it was last known to be right; right_mark: the same, monotonic.
    """

    def __init__(self, name: str, clock: Clock) -> None:
        self.name = name
        self.keys = scripts.keys(name)
        self.position: Position | None = None
        self.followers: set[Follower] = set()
        self.subscribed = False
        self.heard = False  # anything, since the last check
        self.unsure = False  # something may be missing
        self.repairing = False
        self.missed = False  # something was said while it was being repaired
        self.confirm(clock)

    def confirm(self, clock: Clock) -> None:
        """Note that what the readers have is right now."""
        self.right_mark, self.right_at = clock.monotonic(), clock.now().timestamp()
        for follower in self.followers:
            follower.freshen()

    def pass_on(self, epoch: str, offset: int, payload: bytes) -> None:
        publication = Publication(Position(epoch, offset), payload)
        self.position = publication.position
        for follower in self.followers:
            follower.offer(publication)

    def is_behind(self, epoch: str, offset: int) -> bool:
        """Whether Redis, being at that place, has something that the readers lack.

        A lower offset is a Redis that came back with older data: the publisher will notice and begin a new epoch.
        """
        known = self.position
        return known is None or known.epoch != epoch or known.offset < offset

    def needs_snapshot(self) -> bool:
        return self.position is None or any(follower.position is None for follower in self.followers)


class Hub:
    """Follows channels: `async with Hub(url) as hub: async for item in hub.follow(channel): ...`.

    check_s, stale_s: see CHECK_S and STALE_S. delays: seconds to wait before each try to connect again.
    snapshots_read: how many snapshots were read from Redis so far; one a channel, however many readers wait for it.
    """

    def __init__(
        self,
        redis_url: str,
        *,
        clock: Clock = SYSTEM_CLOCK,
        check_s: float = CHECK_S,
        stale_s: float = STALE_S,
        delays: Callable[[], Iterator[float]] = lambda: tasks.backoff(0.05, 1.0),
    ) -> None:
        self.snapshots_read = 0
        self._url = redis_url
        self._clock = clock
        self._check_s = check_s
        self._stale_s = stale_s
        self._delays = delays
        self._channels: dict[bytes, Channel] = {}
        self._damaged: dict[Channel, None] = {}  # an ordered set, bounded by the channels
        self._damage = asyncio.Event()
        self._messages: Messages | None = None
        self._heard_mark = 0.0
        self._reason = NOT_PUBLISHED
        self._redis = connect(redis_url, command_deadline_s=SNAPSHOT_DEADLINE_S)
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._stack.push_async_callback(self._redis.aclose)
        for name, work in [("listen", self._listen), ("check", self._watch), *[("repair", self._repair)] * REPAIRERS]:
            await self._stack.enter_async_context(
                tasks.running(f"hub.{name}", tasks.supervise(f"hub.{name}", work, self._delays))
            )
        return self

    async def __aexit__(self, *_: object) -> None:
        for channel in self._channels.values():
            for follower in channel.followers:
                follower.close()
        await self._stack.aclose()

    @property
    def is_hearing(self) -> bool:
        """Whether messages arrive: Redis is connected and answered lately."""
        return self._messages is not None and self._clock.monotonic() - self._heard_mark < SILENCE_S

    async def follow(self, name: str, *, backlog: int = BACKLOG) -> AsyncGenerator[Item, None]:
        """The channel's state and then each change: a Snapshot first, once there is one.

        Then lists of contiguous publications; a Snapshot again whenever continuity cannot be kept; a Stale when
        Redis or the channel is out of reach, before the first Snapshot too. After a Stale an empty list says that
        nothing was missed. Readers share snapshots: do not change their dicts. Ends when the hub is left.
        """
        follower = Follower(backlog)
        channel, is_new = self._channel(name)
        channel.followers.add(follower)
        try:
            if is_new:
                await self._send("SUBSCRIBE", scripts.name(name))
            while not follower.closed:
                if follower.position is None and channel.subscribed:
                    self._damage_found(channel)
                await follower.ready.wait()
                for item in follower.take():
                    yield item
        finally:
            channel.followers.discard(follower)  # `_watch` leaves a channel that nobody follows at its next check

    def _channel(self, name: str) -> tuple[Channel, bool]:
        """The channel, and whether it was not followed until now."""
        key = scripts.name(name).encode()
        if (channel := self._channels.get(key)) is not None:
            return channel, False
        channel = self._channels[key] = Channel(name, self._clock)
        return channel, True

    async def _send(self, *command: str | bytes) -> None:
        """Send on the pub/sub connection; if it is lost, the next one subscribes to all channels anyway."""
        if self._messages is not None:
            with contextlib.suppress(*OUT_OF_REACH):
                await self._messages.send(*command)

    # Hearing

    async def _listen(self) -> None:
        """Hold the pub/sub connection, for ever."""
        waits = self._delays()
        while True:
            heard = self._heard_mark
            try:
                async with Messages(self._url) as self._messages:
                    await self._hear(self._messages)
            except OUT_OF_REACH as error:
                log.warning("hub.cut_off", reason=str(error))
            self._messages = None
            for channel in self._channels.values():
                channel.subscribed = False
            if self._heard_mark != heard:
                waits = self._delays()
            await self._clock.sleep(next(waits))

    async def _hear(self, messages: Messages) -> None:
        await messages.send("SUBSCRIBE", scripts.name(ALWAYS), *self._channels)
        while True:
            kind, name, *data = await messages.receive()
            self._heard_mark = self._clock.monotonic()
            if (channel := self._channels.get(name)) is None:
                continue
            if kind == b"message":
                self._take_in(channel, data[0])
            elif kind == b"subscribe":
                channel.subscribed = True
                self._damage_found(channel)  # whatever was said before this moment was not heard

    def _take_in(self, channel: Channel, message: bytes) -> None:
        head, _, payload = message.partition(b"\n")
        epoch, _, text = head.decode().rpartition(" ")
        offset = int(text)
        channel.heard = True
        known = channel.position
        if known is None or known.epoch != epoch or offset > known.offset + 1:
            self._damage_found(channel)
        elif offset == known.offset + 1:
            if channel.repairing:
                channel.missed = True  # the repair may deliver it already
            else:
                channel.pass_on(epoch, offset, payload)

    # Repairing

    def _damage_found(self, channel: Channel) -> None:
        channel.unsure = True
        if channel.repairing:
            channel.missed = True
        else:
            self._damaged[channel] = None
            self._damage.set()

    async def _repair(self) -> None:
        """Repair damaged channels, for ever."""
        while True:
            await self._damage.wait()
            if not self._damaged:
                self._damage.clear()
                continue
            channel = next(iter(self._damaged))
            del self._damaged[channel]
            channel.repairing, channel.missed = True, False
            try:
                await self._mend(channel)
                channel.unsure = channel.missed
            except OUT_OF_REACH as error:
                log.warning("hub.not_repaired", channel=channel.name, reason=str(error))  # the next check tries again
                channel.missed = False
            finally:
                channel.repairing = False
            if channel.missed:
                self._damage_found(channel)

    async def _mend(self, channel: Channel) -> None:
        """Bring the readers to where Redis is: from the history if that suffices, else by a snapshot."""
        if not channel.followers:
            return
        if channel.needs_snapshot() or not await self._recover(channel):
            await self._load(channel)

    async def _recover(self, channel: Channel) -> bool:
        """Pass on what the history holds after the readers' position; False when it does not reach back so far."""
        known = channel.position
        if known is None:
            return False
        arguments = [known.epoch, known.offset]
        verdict, *found = await scripts.RECOVER.run(self._redis, channel.keys, arguments)
        if verdict == b"OK":
            for offset, payload in enumerate(found, known.offset + 1):
                channel.pass_on(known.epoch, offset, payload)
            channel.confirm(self._clock)
        elif verdict == b"MOVED":
            channel.position = None
        return channel.position is not None

    async def _load(self, channel: Channel) -> None:
        """Give a snapshot to the readers that lack one, or to all when the epoch is another."""
        snapshot = await self._read(channel)
        if snapshot is None:
            return
        known, place = channel.position, snapshot.position
        if known is not None and known.epoch == place.epoch:
            if place.offset < known.offset:
                return
            # The readers that are in step stay so: they get what lies between from the messages or the history.
            behind = [follower for follower in channel.followers if follower.position is None]
            channel.missed |= place.offset > known.offset
        else:
            channel.position, behind = place, list(channel.followers)
        for follower in behind:
            follower.load(snapshot)
        channel.confirm(self._clock)

    async def _read(self, channel: Channel) -> Snapshot | None:
        """The snapshot in Redis; None when there is none, or a part of it is gone."""
        pipe: Any = self._redis.pipeline(transaction=True)
        pipe.hgetall(channel.keys[0])
        pipe.hgetall(channel.keys[1])
        held, entries = await pipe.execute()
        self.snapshots_read += 1
        if b"epoch" not in held or int(held[b"count"]) != len(entries):
            return None
        meta = {key[len(scripts.META) :]: value for key, value in held.items() if key.startswith(scripts.META)}
        return Snapshot(Position(held[b"epoch"].decode(), int(held[b"offset"])), entries, meta)

    # Checking

    async def _watch(self) -> None:
        """Compare idle channels with Redis, and tell readers of what is out of reach, for ever."""
        while True:
            await self._clock.sleep(self._check_s)
            try:
                async with asyncio.timeout(COMMAND_DEADLINE_S):
                    await self._compare()
                    await self._attend()
                self._reason = NOT_PUBLISHED
            except OUT_OF_REACH as error:
                log.warning("hub.not_checked", reason=str(error))
                self._reason = NO_REDIS
            self._tell_stale()

    async def _compare(self) -> None:
        """Find channels that are behind although nothing was heard of them."""
        quiet = []
        for channel in self._channels.values():
            if channel.heard and not channel.needs_snapshot() and not channel.unsure:
                channel.confirm(self._clock)
            else:
                quiet.append(channel)
            channel.heard = False
        pipe: Any = self._redis.pipeline(transaction=False)
        pipe.ping()
        for channel in quiet:
            pipe.hmget(channel.keys[0], ["epoch", "offset"])
        _, *places = await pipe.execute()
        for channel, (epoch, offset) in zip(quiet, places, strict=True):
            if epoch is not None and not channel.heard:
                self._place_found(channel, Position(epoch.decode(), int(offset)))

    def _place_found(self, channel: Channel, held: Position) -> None:
        if channel.is_behind(held.epoch, held.offset) or channel.needs_snapshot() or channel.unsure:
            self._damage_found(channel)
        elif channel.position == held:
            channel.confirm(self._clock)

    async def _attend(self) -> None:
        """Keep the pub/sub connection honest, and leave channels that nobody follows any more."""
        if self._messages is None:
            return
        if self._clock.monotonic() - self._heard_mark > SILENCE_S:
            await self._messages.cut()
            return
        await self._send("PING")
        for key, channel in list(self._channels.items()):
            if not channel.followers:
                del self._channels[key]
                self._damaged.pop(channel, None)
                await self._send("UNSUBSCRIBE", key)

    def _tell_stale(self) -> None:
        now = self._clock.monotonic()
        for channel in self._channels.values():
            if now - channel.right_mark > self._stale_s:
                for follower in channel.followers:
                    follower.grow_stale(Stale(channel.right_at, self._reason))
