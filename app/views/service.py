"""Views of lists: which copies this process keeps, and what each viewer of them is sent.

Knows no framework: a route opens a `Desk` for its socket, hands it messages, and sends what `frames` gives.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
import structlog

from app import tasks
from app.authz.identity import Identity
from app.authz.visibility import Scope, scope
from app.clock import SYSTEM_CLOCK, Clock
from app.problems import InvalidInput
from app.storage.redis import Redis
from app.stream.hub import Hub
from app.views.fleet import Fleet
from app.views.frames import WIDEST, Frame, Picture, Window
from app.views.query import Query, QueryError, parse
from app.views.replica import INTEREST_S, LINGER_S, Freshness, Replica
from app.views.schemas import Acknowledge, Message, Move, Ping, RowPage, RowView, Subscribe, Unsubscribe
from app.watch.schemas import LEVELS, ResourceStatus

log = structlog.get_logger()

MOST_VIEWS: Final = 16  # of one socket
IN_FLIGHT: Final = 2  # frames that a viewer has not acknowledged
FULL_S: Final = 10.0  # a viewer that acknowledges nothing for so long is let go (F07)
MOST_COPIES: Final = 200  # kinds that one process keeps a copy of
LOAD_S: Final = 5.0  # how long an API client waits for a first copy
UPKEEP_S: Final = 5.0


class SlowViewer(Exception):  # noqa: N818 - what happened, not a fault of ours
    """A viewer that takes nothing: close its socket; it comes back and begins anew."""


class ViewService:
    """The copies of one web process; `run` for ever, owned by the web role."""

    def __init__(
        self, hub: Hub, redis: Redis, fleet: Fleet, *, tick_s: float = 0.05, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self.fleet = fleet
        self.tick_s = tick_s
        self.clock = clock
        self.desks = 0
        self._hub = hub
        self._redis = redis
        self._replicas: dict[str, Replica] = {}

    async def run(self) -> None:
        """Keep interests declared, follow the registry, let unused copies go."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(tasks.supervise("view registry", self._follow_registry), name="view registry")
                group.create_task(tasks.supervise("view upkeep", self._upkeep), name="view upkeep")
        finally:
            for replica in self._replicas.values():
                await replica.close()

    def replica(self, key: str) -> Replica:
        """The copy of a kind's rows; made at the first use."""
        found = self._replicas.get(key)
        if found is None:
            if len(self._replicas) >= MOST_COPIES:
                raise InvalidInput("This server shows too many different kinds already. Close some views.")
            found = self._replicas[key] = Replica(self._hub, self._redis, key, self.fleet.name, self.clock)
        return found

    def wanted(self, visible: Scope, clusters: list[str]) -> list[str]:
        """Ids of the clusters to follow: those asked for, or all, of those that the scope shows."""
        seen = {cluster.id for cluster in self.fleet.clusters(visible)}
        return sorted(seen & set(clusters) if clusters else seen)

    async def page(self, identity: Identity, key: str, asked: Subscribe) -> RowPage:
        """One page of rows for an API client. Raises `InvalidInput`; waits a little for a first copy."""
        visible = scope(identity)
        replica = self.replica(key)
        listener = asyncio.Event()
        replica.listen(listener.set)
        try:
            wanted = self.wanted(visible, asked.clusters)
            await replica.use(wanted)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOAD_S):
                    while not all(replica.freshness[c].loaded for c in wanted if c in replica.freshness):
                        await listener.wait()
                        listener.clear()
            query = query_of(asked, replica)
            table = replica.table
            stop = min(asked.stop, asked.start + WIDEST)
            rows = table.window(visible, query, asked.start, stop)
            return RowPage(
                total=table.count(visible, query),
                start=asked.start,
                columns=[{"key": c.key, "title": c.title, "type": c.type} for c in table.columns],
                rows=[
                    RowView(
                        cluster=row.cluster,
                        level=LEVELS[row.level],
                        labels=row.labels,
                        owner=row.owner,
                        values=list(row.values),
                    )
                    for row in rows
                ],
                clusters=self.states(replica, wanted),
            )
        except QueryError as error:
            raise InvalidInput(str(error), errors={"filter": str(error)}) from error
        finally:
            replica.unlisten(listener.set)

    def states(self, replica: Replica, clusters: list[str]) -> dict[str, dict[str, Any]]:
        """How each cluster's rows stand, for the badge and the empty states: name, state, since, message."""
        found: dict[str, dict[str, Any]] = {}
        for cluster in clusters:
            state, since, message = self._state(replica, cluster)
            found[cluster] = {"name": self.fleet.name(cluster), "state": state}
            if since is not None:
                found[cluster]["since"] = since
            if message:
                found[cluster]["message"] = message
        return found

    def _state(self, replica: Replica, cluster: str) -> tuple[str, float | None, str]:
        """State, since when, and a sentence: what the cluster itself says first, then the way from it to us."""
        status = self.fleet.status(cluster)
        freshness = replica.freshness.get(cluster, Freshness())
        mine = None
        if status is not None:
            mine = next((r for r in status.resources if r.ref.key == replica.key), None)
            if status.phase not in {"live", "connecting", "stale"}:
                return status.phase, status.since, status.message
            if mine is None and status.available and all(r.key != replica.key for r in status.available):
                return "absent", None, "This cluster does not serve this kind."
        if mine is not None and mine.state in {"forbidden", "gone", "degraded"}:
            return mine.state, mine.since, mine.message
        return self._way(freshness, mine, self.fleet.stale_since(cluster))

    @staticmethod
    def _way(
        freshness: Freshness, mine: ResourceStatus | None, silent_since: float | None
    ) -> tuple[str, float | None, str]:
        if freshness.stale_since is not None and freshness.loaded:
            return "stale", freshness.stale_since, freshness.reason
        if silent_since is not None:
            why = "The watcher of this cluster is not heard from; another takes over within seconds."
            return "stale", silent_since, why
        if not freshness.loaded:
            return "loading", None, ""
        if mine is None or mine.state in {"live", "listing"}:
            return "live", None, ""
        return mine.state, mine.since, mine.message

    async def _follow_registry(self) -> None:
        """Viewers of all clusters see a new one at once, a removed one no more, and how each stands."""
        seen = -1
        known: dict[str, str] = {}
        while True:
            seen = await self.fleet.changed(seen)
            now = {cluster.id: cluster.name for cluster in self.fleet.clusters(EVERYTHING)}
            for replica in list(self._replicas.values()):
                replica.tell()
                if now == known:
                    continue
                for cluster in replica.clusters:
                    if cluster not in now:
                        await replica.drop(cluster)
                    elif known.get(cluster) != now[cluster]:
                        replica.rename(cluster)
            known = now

    async def _upkeep(self) -> None:
        while True:
            await self.clock.sleep(min(UPKEEP_S, INTEREST_S / 3))
            now = self.clock.monotonic()
            for key, replica in list(self._replicas.items()):
                if replica.viewers:
                    await replica.declare()
                elif now - replica.left_at > LINGER_S:
                    del self._replicas[key]
                    await replica.close()


EVERYTHING: Final = Scope(all=True, bindings=(), key="all")


class _View:
    """One view of one socket. picture: None until a filter can be read, for which columns must be known.

    unacknowledged: numbers of frames in flight; waiting_since: when they became too many. revision: of the replica
    and of the fleet, as of the states that were sent last.
    """

    def __init__(self, asked: Subscribe, replica: Replica, clusters: list[str]) -> None:
        self.asked = asked
        self.replica = replica
        self.clusters = clusters
        self.window = Window(asked.start, max(asked.start, asked.stop))
        self.picture: Picture | None = None
        self.unacknowledged: list[int] = []
        self.waiting_since: float | None = None
        self.states: dict[str, dict[str, Any]] = {}
        self.revision: tuple[int, int] = (-1, -1)

    def draw(self, visible: Scope) -> None:
        """Make the picture. Raises `QueryError`; does nothing before columns are known that the filter may name."""
        replica, asked = self.replica, self.asked
        try:
            query = query_of(asked, replica)
        except QueryError:
            if replica.loaded:
                raise
            return
        # Another scope, like another copy, is another epoch: what was held under it proves nothing.
        epoch = f"{replica.epoch}{visible.key[:8]}"
        self.picture = Picture(asked.id, replica.table, epoch, visible, query, self.window)
        if asked.have:
            self.picture.resume(asked.have)

    def move(self, window: Window) -> None:
        self.window = window
        if self.picture is not None:
            self.picture.move(window)


class Desk:
    """All views of one socket. identify: who holds the socket now, None when the session has ended."""

    def __init__(self, service: ViewService, identity: Identity) -> None:
        self._service = service
        self._identity = identity
        self._scope = scope(identity)
        self._views: dict[int, _View] = {}
        self._wake = asyncio.Event()
        self._out: list[Frame] = []

    async def take(self, message: Message) -> None:
        """Take in one message; what it is answered comes out of `frames`."""
        match message:
            case Subscribe():
                await self._subscribe(message)
            case Move():
                if (view := self._views.get(message.id)) is not None:
                    view.move(Window(message.start, max(message.start, message.stop)))
            case Acknowledge():
                if (view := self._views.get(message.id)) is not None and message.seq in view.unacknowledged:
                    del view.unacknowledged[: view.unacknowledged.index(message.seq) + 1]
                    view.waiting_since = None
            case Unsubscribe():
                self._drop(message.id)
            case Ping():
                self._out.append({"pong": True})
        self._wake.set()

    def identify(self, identity: Identity) -> None:
        """Rights were looked up again; when they show something else, every view begins anew."""
        found = scope(identity)
        self._identity = identity
        if found.key == self._scope.key:
            return
        self._scope = found
        for number, view in list(self._views.items()):
            self._drop(number)
            self._out.append({"id": number, "reset": "resync", "msg": "What you may see has changed."})
            self._begin(view.asked)
        self._wake.set()

    async def frames(self) -> AsyncIterator[list[Frame]]:
        """What to send, as it comes; one list a tick at the most. Raises `SlowViewer`."""
        service = self._service
        while True:
            await self._wake.wait()
            self._wake.clear()
            out, self._out = self._out, []
            for view in list(self._views.values()):
                await self._follow(view)
                self._draw(view, out)
            if out:
                yield out
            await service.clock.sleep(service.tick_s)

    def close(self) -> None:
        for number in list(self._views):
            self._drop(number)

    async def _subscribe(self, asked: Subscribe) -> None:
        if asked.id in self._views:
            self._drop(asked.id)
        if len(self._views) >= MOST_VIEWS:
            self._refuse(asked.id, "forbidden", f"One page may hold {MOST_VIEWS} views.")
            return
        self._begin(asked)
        if (view := self._views.get(asked.id)) is not None:
            await view.replica.use(view.clusters)

    def _begin(self, asked: Subscribe) -> None:
        try:
            replica = self._service.replica(asked.kind)
            view = _View(asked, replica, self._service.wanted(self._scope, asked.clusters))
            view.draw(self._scope)
        except (QueryError, InvalidInput) as error:
            self._refuse(asked.id, "invalid", str(error))
            return
        self._views[asked.id] = view
        replica.listen(self._wake.set)

    async def _follow(self, view: _View) -> None:
        """Clusters come and go: a view of all of them, or of some that are not known yet, takes in the new ones."""
        if view.revision[1] != self._service.fleet.revision:
            view.clusters = self._service.wanted(self._scope, view.asked.clusters)
            await view.replica.use(view.clusters)

    def _drop(self, number: int) -> None:
        view = self._views.pop(number, None)
        if view is not None:
            view.replica.unlisten(self._wake.set)

    def _refuse(self, number: int, reason: str, message: str) -> None:
        self._out.append({"id": number, "reset": reason, "msg": message})

    def _draw(self, view: _View, out: list[Frame]) -> None:
        if len(view.unacknowledged) >= IN_FLIGHT:
            now = self._service.clock.monotonic()
            view.waiting_since = view.waiting_since if view.waiting_since is not None else now
            if now - view.waiting_since > FULL_S:
                raise SlowViewer
            return
        try:
            if view.picture is None:
                view.draw(self._scope)
        except QueryError as error:
            self._drop(view.asked.id)
            out.append({"id": view.asked.id, "reset": "invalid", "msg": str(error)})
            return
        frame = view.picture.frame() if view.picture is not None else None
        states = self._states(view)
        if states is not None:
            frame = frame or {"id": view.asked.id, "seq": view.picture.seq if view.picture is not None else 0}
            frame["clusters"] = states
        if frame is None:
            return
        if view.replica.newest:
            frame["t"] = round(view.replica.newest, 3)
        view.unacknowledged.append(frame["seq"])
        out.append(frame)

    def _states(self, view: _View) -> dict[str, dict[str, Any]] | None:
        """The clusters' states when they differ from what was sent."""
        revision = (view.replica.revision, self._service.fleet.revision)
        if revision == view.revision:
            return None
        view.revision = revision
        states = self._service.states(view.replica, view.clusters)
        if states == view.states:
            return None
        view.states = states
        return states


def query_of(asked: Subscribe, replica: Replica) -> Query:
    """The query of a subscription. Raises `QueryError`; a column that no cluster has sent yet is not known."""
    terms, order = parse(asked.filter, asked.sort, replica.table.columns[4:])
    return Query(terms, order, frozenset(asked.clusters), frozenset(asked.namespaces))


def encode(frames: list[Frame]) -> bytes:
    """Frames as one JSON text; several are an array."""
    return msgspec.json.encode(frames[0] if len(frames) == 1 else frames)
