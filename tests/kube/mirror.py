"""What the tests of the list and watch machine share: a small store, a clock that does not wait, and a set-up."""

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from app.kube.client import ApiServer, Endpoint
from app.kube.codec import Metadata, MetadataCodec
from app.kube.events import Event
from app.kube.watch import ListWatch, Timing
from app.tasks import running

from .fault_apiserver import FaultServer

PATH = "/api/v1/namespaces/shop/configmaps"
QUICK = Timing(watch_s=(300, 600), idle_s=(5, 5), first_bookmark_s=0.3)


class SkippingClock:
    """Sleeps take no time and are noted; the time they would have taken is added to the clock."""

    def __init__(self) -> None:
        self.skipped_s = 0.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time() + self.skipped_s

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, delay_s: float) -> None:
        self.slept.append(delay_s)
        self.skipped_s += delay_s
        await asyncio.sleep(min(delay_s, 0.002))


class Mirror:
    """A handler that holds uid -> version, and notes all it was told in order."""

    def __init__(self) -> None:
        self.versions: dict[str, str] = {}
        self.told: list[tuple[str, Any]] = []
        self.states: list[tuple[str, str]] = []
        self.synced = False
        self._listing: dict[str, str] | None = None

    def begin(self) -> None:
        self._listing = {}
        self.told.append(("begin", None))

    def listed(self, events: list[Event[Metadata]]) -> None:
        assert self._listing is not None
        for event in events:
            assert event.type == "apply"
            self._listing[event.uid] = event.version

    def complete(self, version: str) -> None:
        assert self._listing is not None
        for uid in self.versions.keys() - self._listing.keys():
            self.told.append(("vanished", uid))
        self.versions, self._listing = self._listing, None
        self.synced = True
        self.told.append(("complete", version))

    def changed(self, events: list[Event[Metadata]]) -> None:
        for event in events:
            self.told.append((event.type, event.uid))
            if event.type == "delete":
                self.versions.pop(event.uid, None)
            else:
                self.versions[event.uid] = event.version

    def progressed(self, version: str) -> None:
        self.told.append(("bookmark", version))

    def state(self, state: str, message: str) -> None:
        self.states.append((state, message))


class Rig:
    """A fault server, a machine that watches it, and the mirror it feeds."""

    def __init__(
        self, server: FaultServer, api: ApiServer, clock: SkippingClock, machine: ListWatch[Metadata], mirror: Mirror
    ) -> None:
        self.server = server
        self.world = server.world
        self.api = api
        self.clock = clock
        self.machine = machine
        self.mirror = mirror

    async def caught_up(self, within_s: float = 8.0) -> None:
        """Wait until the mirror holds the truth and the machine stands at a whole list."""
        await until(lambda: self.mirror.synced and self.mirror.versions == self.world.versions(), within_s)

    def lists(self) -> list[str | None]:
        """The resourceVersion of each list, in order."""
        return [request.version for request in self.server.of("list")]


async def until(holds: Callable[[], bool], within_s: float = 8.0) -> None:
    """Wait until `holds`; a wait for something to happen, not for time to pass."""
    async with asyncio.timeout(within_s):
        while not holds():
            await asyncio.sleep(0.002)


def endpoint(server: FaultServer, **fields: Any) -> Endpoint:
    return Endpoint(server=server.url, allow_loopback=True, allow_plaintext=True, **fields)


@contextlib.asynccontextmanager
async def watching(
    server: FaultServer,
    *,
    seed: int = 1,
    timing: Timing = QUICK,
    streaming: bool = False,
    clock: SkippingClock | None = None,
    codec: Any = None,
    start: bool = True,
    **fields: Any,
) -> AsyncIterator[Rig]:
    """Run a machine against `server` for the length of the block; faults are put in before or inside."""
    clock = clock or SkippingClock()
    mirror = Mirror()
    async with contextlib.AsyncExitStack() as stack:
        if server.port == 0:
            await stack.enter_async_context(server)
        api = await stack.enter_async_context(ApiServer(endpoint(server), **fields))
        machine = ListWatch(
            api,
            PATH,
            codec or MetadataCodec("ConfigMap", "v1"),
            mirror,
            clock=clock,
            rng=random.Random(seed),
            timing=timing,
            streaming=streaming,
        )
        if start:
            await stack.enter_async_context(running("machine", machine.run()))
        yield Rig(server, api, clock, machine, mirror)


def gaps(requests: list[Any]) -> Iterator[float]:
    """Seconds between requests."""
    for earlier, later in itertools.pairwise(requests):
        yield later.at_s - earlier.at_s
