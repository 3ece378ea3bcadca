"""What the stream's tests share: a writer with a known truth, a reader that keeps what it is shown, and waiting."""

import asyncio
import contextlib
import random

from app.storage.redis import RedisError, connect
from app.stream.publication import Snapshot, Stale
from app.stream.publisher import Lost, Publisher

PATIENCE_S = 30.0
OUT_OF_REACH = (RedisError, OSError, TimeoutError)


class Writer:
    """Changes random keys, publishes each change, and heals its stream as a watcher does. `truth` is the state.

    A payload is "key=value" or "key" for a removal, a line each.
    """

    def __init__(self, redis, channel, *, token=1, identity="uid", keys=200, seed=1, history=512):
        self.publisher = Publisher(redis, channel, token=token, identity=identity, history=history)
        self.truth = {b"k%d" % number: b"0" for number in range(keys)}
        self.published = self.healed = 0
        self._rng = random.Random(seed)
        self._counter = 0
        self._pending = {}

    async def start(self):
        await self.publisher.replace(self.truth, {b"columns": b"[]"})

    def change(self, count=3):
        """Change some keys in the truth; returns nothing until `flush` tells readers."""
        for _ in range(count):
            self._counter += 1
            key = b"k%d" % self._rng.randrange(400)
            if self._rng.random() < 0.2:
                self.truth.pop(key, None)
                self._pending[key] = None
            else:
                self.truth[key] = self._pending[key] = b"%d" % self._counter

    async def flush(self):
        """Publish what changed; after a loss everything, as a new epoch."""
        sets = {key: value for key, value in self._pending.items() if value is not None}
        removes = [key for key, value in self._pending.items() if value is None]
        payload = b"\n".join([*(b"%s=%s" % item for item in sets.items()), *removes])
        try:
            await self.publisher.publish(payload, sets=sets, removes=removes)
            self._pending.clear()
            self.published += 1
        except Lost:
            await self.heal()

    async def heal(self):
        pending = set(self._pending)
        await self.publisher.replace(dict(self.truth), {b"columns": b"[]"})
        self.healed += 1
        for key in pending:
            self._pending.pop(key, None)

    async def check(self):
        try:
            await self.publisher.check()
        except Lost:
            await self.heal()

    async def run(self, *, interval_s, check_every=20):
        """Change and publish for ever, through all losses of Redis."""
        for turn in range(10**9):
            self.change()
            with contextlib.suppress(*OUT_OF_REACH):
                await self.flush()
                if turn % check_every == 0:
                    await self.check()
            await asyncio.sleep(interval_s)


class Reader:
    """Follows a channel and keeps its state as a replica would."""

    def __init__(self, hub, channel):
        self.state = None
        self.meta = None
        self.position = None
        self.stale = None
        self.items = []
        self.snapshots = self.stales = 0
        self._hub, self._channel = hub, channel

    async def run(self):
        async for item in self._hub.follow(self._channel):
            self.items.append(type(item).__name__)
            match item:
                case Snapshot():
                    self.state, self.meta, self.position = dict(item.entries), item.meta, item.position
                    self.snapshots += 1
                    self.stale = None
                case Stale():
                    self.stale = item
                    self.stales += 1
                case publications:
                    self.stale = None
                    for publication in publications:
                        assert publication.position.epoch == self.position.epoch
                        assert publication.position.offset == self.position.offset + 1
                        self.position = publication.position
                        self.apply(publication.payload)

    def apply(self, payload):
        for line in payload.split(b"\n"):
            key, equals, value = line.partition(b"=")
            if equals:
                self.state[key] = value
            elif key:
                self.state.pop(key, None)


def wrong(reader, writer):
    """Keys that the reader shows otherwise than the truth."""
    shown, truth = reader.state or {}, writer.truth
    return {key for key in shown.keys() | truth.keys() if shown.get(key) != truth.get(key)}


async def until(condition, patience_s=PATIENCE_S, what=""):
    """Wait until `condition()` holds. The patience is a safety net, not a claim."""
    try:
        async with asyncio.timeout(patience_s):
            while not condition():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"it did not come to hold: {what or condition}") from None


async def cut_subscribers(redis):
    """Cut all pub/sub connections; how many there were."""
    return await redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")


@contextlib.asynccontextmanager
async def client(url, deadline_s=1.0):
    redis = connect(url, command_deadline_s=deadline_s)
    try:
        yield redis
    finally:
        await redis.aclose()
