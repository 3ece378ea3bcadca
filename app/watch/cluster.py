"""One cluster under one lease: connect, find out who and what it is, mirror its kinds, say how it stands.

A `ClusterWatch` lives in its own tasks with its own deadlines, so a cluster that is slow, hostile or gone costs the
others nothing. It never mirrors a cluster whose identity is another one than was registered.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import Final

import msgspec
import structlog
from msgspec.structs import replace

from app.clusters.schemas import Cluster
from app.kube import discovery, errors
from app.kube.client import ApiServer, Endpoint
from app.problems import Problem
from app.storage.encryption import SealError
from app.storage.redis import Redis, RedisError
from app.stream.publisher import Fenced, Publisher
from app.tasks import backoff, stop
from app.watch import summary
from app.watch.catalogue import ALWAYS
from app.watch.groups import group
from app.watch.packing import Packers
from app.watch.reflector import PACE, Pace, Reflector
from app.watch.schemas import ClusterPhase, ClusterStatus, ResourceRef, ResourceStatus, rows_channel

log = structlog.get_logger()

LOOK_S: Final = 20.0  # between two looks at identity and kinds: W32 allows 30 s, jitter included
PING_S: Final = 4.0  # so that a server that hangs is told within 10 s, its watches notice after 75 s
STATUS_S: Final = 1.0  # least time between two statuses
HEARTBEAT_S: Final = 1.8  # most time; readers call a status stale after 5 s
REMOVE_DEADLINE_S: Final = 10.0

Report = Callable[[int, ClusterStatus], Awaitable[None]]


class Replaced(Exception):  # noqa: N818 - the phase's word
    """Another cluster answers at the address."""


class Means(msgspec.Struct, frozen=True, kw_only=True):
    """What all clusters of a watcher share.

    endpoint: opened credentials by cluster id. report: takes (token, status) on its way to the fleet page.
    idle_s: how long a kind stays watched after its last viewer. look_s: between looks at identity and kinds.
    ping_s: silence after which a server is asked whether it is there, and how long it may take to say so.
    """

    redis: Redis
    packers: Packers
    endpoint: Callable[[str], Awaitable[Endpoint]]
    report: Report
    pace: Pace = PACE
    idle_s: float = 300.0
    look_s: float = LOOK_S
    ping_s: float = PING_S


class ClusterWatch:
    """Watches `cluster` with fencing token `token`; `run` ends by cancellation or by `Fenced`."""

    def __init__(self, cluster: Cluster, token: int, means: Means) -> None:
        self.cluster = cluster
        self.token = token
        self._means = means
        self._clock = means.pace.clock
        self._running: dict[str, _Running] = {}
        self._wanted: dict[str, float] = {}  # on-demand kinds, and until when (monotonic)
        self._available: dict[str, ResourceRef] = {}
        self._resources: list[discovery.Resource] = []
        self._identity = cluster.identity
        self._version = ""
        self._watching = False
        self._failure: tuple[ClusterPhase, str] | None = None
        self._failed_at = 0.0  # seconds since 1970
        self._shown: tuple[ClusterPhase, str] | None = None
        self._since = 0.0
        self._moved = asyncio.Event()  # other kinds are wanted
        self._rng = random.SystemRandom()

    # -- from outside ------------------------------------------------------------------------------------------------

    def want(self, keys: Collection[str]) -> None:
        """Somebody looks at these kinds now."""
        until = self._clock.monotonic() + self._means.idle_s
        new = [key for key in keys if key not in ALWAYS and key not in self._wanted]
        self._wanted.update({key: until for key in keys if key not in ALWAYS})
        if new:
            self._moved.set()

    async def forget(self) -> None:
        """Remove what was published; for a cluster that was removed. Call it after `run` has ended."""
        await self._remove(list(self._running))

    # -- one life ----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Watch until cancelled. Raises `Fenced` when another watcher has taken over."""
        async with group() as tasks:
            tasks.create_task(self._tell(), name=f"status of {self.cluster.id}")
            tasks.create_task(self._live(), name=f"life of {self.cluster.id}")

    async def _live(self) -> None:
        waits = backoff()
        while True:
            try:
                endpoint = await self._means.endpoint(self.cluster.id)
                async with ApiServer(endpoint, renew=self._renewal(endpoint)) as api:
                    await self._meet(api)
                    waits = backoff()
                    await self._watch(api)
            except Replaced as error:
                self._failure = ("replaced", str(error))
                log.error("cluster.replaced", cluster=self.cluster.id)  # noqa: TRY400 - expected, no traceback
                await self._remove(list(self._running))
            except (errors.KubeError, Problem, SealError) as error:
                self._failure = _failure(error)
            await self._clock.sleep(next(waits))

    async def _meet(self, api: ApiServer) -> None:
        """Learn who answers, in which version, with which kinds. Raises `Replaced` or `KubeError`."""
        await self._greet(api)
        self._version = await discovery.version(api)
        found = await discovery.discover(api, self._resources)
        self._resources = found.resources
        self._available = {
            each.key: each
            for each in (ResourceRef(r.group, r.version, r.resource, r.kind, r.namespaced) for r in watchable(found))
        }
        self._failure = None

    async def _greet(self, api: ApiServer) -> None:
        """See that the same cluster answers as before, soon. Raises `Replaced` or `KubeError`."""
        try:
            async with asyncio.timeout(self._means.ping_s):
                identity = await discovery.identity(api)
        except TimeoutError as error:
            raise errors.Unreachable("The API server does not answer. What is shown may be old.") from error
        if self.cluster.identity and identity and identity != self.cluster.identity:
            raise Replaced(
                "Another cluster answers at this address than the one that was registered, so nothing of it is shown. "
                "Approve it on the cluster's page, or correct the address."
            )
        self._identity = identity or self._identity

    async def _watch(self, api: ApiServer) -> None:
        """Mirror what is wanted, and look now and then whether it is still the same cluster with the same kinds."""
        self._watching = True
        look_at = self._clock.monotonic() + self._look_s()
        try:
            async with group() as tasks:
                while True:
                    await self._reconcile(api, tasks)
                    if await self._moved_within(min(self._means.ping_s, self._means.look_s)):
                        continue
                    if self._clock.monotonic() >= look_at:
                        await self._try(self._meet(api))
                        look_at = self._clock.monotonic() + self._look_s()
                    elif not self._heard_since(self._clock.now().timestamp() - self._means.ping_s):
                        await self._try(self._greet(api))
        finally:
            self._watching = False

    def _look_s(self) -> float:
        return self._means.look_s * (0.9 + 0.3 * self._rng.random())

    async def _try(self, question: Awaitable[None]) -> None:
        """Note whether the API server answers; the mirrors go on trying on their own when it does not."""
        try:
            await question
        except errors.KubeError as error:
            self._failure = _failure(error)
            self._failed_at = self._clock.now().timestamp()
        else:
            self._failure = None

    def _heard_since(self, time: float) -> bool:
        """Whether any watch has brought an event or a bookmark since."""
        newest = (each.reflector.newest() for each in self._running.values())
        return any(each is not None and each > time for each in newest)

    async def _moved_within(self, limit_s: float) -> bool:
        """Wait for other kinds to be wanted; whether they were."""
        try:
            async with asyncio.timeout(limit_s):
                await self._moved.wait()
        except TimeoutError:
            return False
        self._moved.clear()
        return True

    def _renewal(self, used: Endpoint) -> Callable[[], Awaitable[Endpoint | None]]:
        async def renew() -> Endpoint | None:
            try:
                found = await self._means.endpoint(self.cluster.id)
            except (Problem, SealError):
                return None
            return None if found == used else found

        return renew

    # -- reflectors --------------------------------------------------------------------------------------------------

    async def _reconcile(self, api: ApiServer, tasks: asyncio.TaskGroup) -> None:
        """Start what is wanted; stop what is not, or is served in another version or under another identity now."""
        now = self._clock.monotonic()
        self._wanted = {key: until for key, until in self._wanted.items() if until > now}
        keys = {key for key in ALWAYS | self._wanted.keys() if key in self._available}
        stale = [
            key
            for key, each in self._running.items()
            if key not in keys
            or each.task.done()
            or (each.ref, each.identity) != (self._available[key], self._identity)
        ]
        for key in stale:
            await stop(self._running[key].task)
        await self._remove([key for key in stale if key not in keys])
        for key in sorted(keys):
            if key not in self._running or key in stale:
                self._running[key] = self._start(api, tasks, self._available[key])

    def _start(self, api: ApiServer, tasks: asyncio.TaskGroup, ref: ResourceRef) -> "_Running":
        publisher = Publisher(
            self._means.redis,
            rows_channel(self.cluster.id, ref.key),
            token=self.token,
            identity=self._identity or self.cluster.id,
        )
        packer = self._means.packers.of(ref.key)
        reflector = Reflector(api, ref, publisher, packer, namespaces=self._namespaces, pace=self._means.pace)
        task = tasks.create_task(self._mirror(reflector), name=f"{ref.key} of {self.cluster.id}")
        return _Running(reflector, publisher, task, self._identity)

    async def _mirror(self, reflector: Reflector) -> None:
        for wait_s in backoff():
            try:
                await reflector.run()
            except Fenced:
                raise
            except Exception:
                log.exception("watch.broken", cluster=self.cluster.id, resource=reflector.ref.key)
            await self._clock.sleep(wait_s)

    async def _remove(self, keys: Iterable[str]) -> None:
        """Take published rows back. What Redis does not do now is overwritten by the next lease's holder."""
        for key in keys:
            removed = self._running.pop(key, None)
            if removed is None:
                continue
            try:
                async with asyncio.timeout(REMOVE_DEADLINE_S):
                    await removed.publisher.remove()
            except (RedisError, Fenced, TimeoutError) as error:
                log.warning("watch.not_removed", cluster=self.cluster.id, resource=key, reason=type(error).__name__)

    def _namespaces(self) -> Sequence[str]:
        """The namespaces to watch one by one: those configured, else those that can be listed."""
        if self.cluster.namespaces is not None:
            return self.cluster.namespaces
        listed = self._running.get("namespaces")
        return listed.reflector.names() if listed is not None else ()

    # -- status ------------------------------------------------------------------------------------------------------

    async def _tell(self) -> None:
        """Report the status when it has changed, and as a sign of life."""
        told, told_s = None, float("-inf")
        while True:
            status = self.status()
            now = self._clock.monotonic()
            if told is None or now - told_s >= HEARTBEAT_S or status != replace(told, heartbeat=status.heartbeat):
                try:
                    await self._means.report(self.token, status)
                except RedisError as error:
                    log.warning("cluster.not_reported", cluster=self.cluster.id, reason=type(error).__name__)
                else:
                    told, told_s = status, now
            await self._clock.sleep(STATUS_S)

    def status(self) -> ClusterStatus:
        """How the cluster stands now."""
        now = self._clock.now().timestamp()
        reflectors = [self._running[key].reflector for key in sorted(self._running)] if self._watching else []
        resources = [reflector.status() for reflector in reflectors]
        found = self._phase(resources)
        if found != self._shown:
            self._shown, self._since = found, now
        newest = [time for reflector in reflectors if (time := reflector.newest()) is not None]
        return ClusterStatus(
            self.cluster.id,
            found[0],
            found[1],
            self._version,
            self._identity,
            now,
            self._since,
            max(newest, default=None),
            max((reflector.lag_s(now) for reflector in reflectors), default=0.0),
            summary.counters(reflectors),
            resources,
            summary.troubles(reflectors),
            sorted(self._available.values()),
        )

    def _phase(self, resources: Sequence[ResourceStatus]) -> tuple[ClusterPhase, str]:
        if not self._watching:
            return self._failure or ("connecting", "Connecting to the API server.")
        if self._failure is not None and not self._heard_since(self._failed_at):
            return self._failure
        return summary.phase(resources)


class _Running(msgspec.Struct):
    reflector: Reflector
    publisher: Publisher
    task: asyncio.Task[None]
    identity: str

    @property
    def ref(self) -> ResourceRef:
        return self.reflector.ref


def watchable(found: discovery.Discovered) -> list[discovery.Resource]:
    """The kinds that can be mirrored."""
    return [resource for resource in found.resources if resource.is_watchable and "/" not in resource.resource]


def _failure(error: Exception) -> tuple[ClusterPhase, str]:
    message = error.detail if isinstance(error, Problem) else str(error)
    return "unauthorized" if isinstance(error, errors.Unauthorized) else "unreachable", message
