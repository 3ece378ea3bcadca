"""One object: what it is, how it stands, what happened to it, what stands around it, and its YAML."""

import asyncio
from typing import Any, Final

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency

from app.authz.guards import requires
from app.authz.identity import Identity
from app.authz.permissions import Permission
from app.authz.visibility import scope
from app.clusters.schemas import Cluster
from app.clusters.service import ClusterService
from app.problems import NotFound, Problem, UpstreamFailed, UpstreamTimeout
from app.resources.manifests import as_yaml
from app.resources.schemas import ObjectPlace, ObjectView
from app.resources.service import ObjectService
from app.views.fleet import Fleet
from ui.live.patches import Parts
from ui.live.session import View
from ui.pages import fleet as fleet_pages
from ui.pages.containers import Container, containers
from ui.shell import TITLES, AnyRequest, page, shell
from ui.templating import render

PERIOD_S: Final = 2.0
LEAVES: Final = ("object-state", "object-summary", "object-events", "object-around", "object-yaml")


class Condition(msgspec.Struct, frozen=True):
    """level: its colour; a condition such as MemoryPressure is bad when True, most others when False."""

    type: str
    status: str
    level: str
    reason: str
    message: str
    since: str


class Seen(msgspec.Struct, frozen=True):
    """An object prepared for the templates, or why there is none. level, sentence: what stands above it."""

    place: ObjectPlace
    cluster: Cluster
    level: str
    word: str
    sentence: str
    view: ObjectView | None = None
    conditions: list[Condition] = []
    containers: list[Container] = []
    yaml: str = ""
    managed: bool = False


def place_of(cluster_id: str, key: str, namespace: str, name: str) -> ObjectPlace:
    return ObjectPlace(cluster_id, key, "" if namespace == "-" else namespace, name)


async def seen(place: ObjectPlace, cluster: Cluster, view: ObjectView, *, managed: bool) -> Seen:
    """Prepare what was read."""
    manifest = view.manifest
    deleting = manifest.get("metadata", {}).get("deletionTimestamp")
    status = manifest.get("status")
    phase = str(status.get("phase", "")) if isinstance(status, dict) else ""
    found = conditions(manifest)
    level = {"Failed": "error", "Pending": "progress", "Running": "ok", "Succeeded": "ok"}.get(phase, "")
    bad = [c for c in found if c.level == "error"]
    word = f"{bad[0].type}: {bad[0].status}" if bad and phase not in {"Pending", "Succeeded"} else phase
    level = "error" if bad and phase not in {"Pending", "Succeeded"} else level or "ok"
    inside = containers(manifest)
    troubled = next((c for c in inside if c.level == "error"), None)
    if troubled is not None:
        level, word = "error", troubled.state
    if deleting:
        level, word = "progress", "Terminating"
    text = await asyncio.to_thread(as_yaml, manifest, managed_fields=managed)
    return Seen(place, cluster, level, word or "Present", "", view, found, inside, text, managed)


def conditions(manifest: dict[str, Any]) -> list[Condition]:
    """`status.conditions`, those that are wrong first."""
    status = manifest.get("status")
    listed = status.get("conditions") if isinstance(status, dict) else None
    found = []
    for item in listed if isinstance(listed, list) else ():
        if not isinstance(item, dict):
            continue
        kind, value = str(item.get("type", "")), str(item.get("status", ""))
        bad_when = "True" if kind.endswith(("Pressure", "Unavailable", "Failure", "Failed", "Stalled")) else "False"
        level = "unknown" if value == "Unknown" else ("error" if value == bad_when else "ok")
        if level == "error" and str(item.get("reason", "")) in {"PodCompleted", "Completed"}:
            level = "ok"
        found.append(
            Condition(
                kind,
                value,
                level,
                str(item.get("reason", "")),
                str(item.get("message", "")),
                str(item.get("lastTransitionTime") or ""),
            )
        )
    return sorted(found, key=lambda condition: condition.level != "error")


def parts(shown: Seen) -> Parts:
    """The live regions of the page."""
    leaves = {leaf: render(f"objects/_{leaf.removeprefix('object-')}.html", o=shown) for leaf in LEAVES}
    return Parts(leaves, leaves)


class _Rendering:
    """One object read again and again; keeps the last that could be read, for when the cluster is away."""

    def __init__(self, place: ObjectPlace, cluster: Cluster, resources: ObjectService, scope_: Any) -> None:
        self._place = place
        self._cluster = cluster
        self._resources = resources
        self._scope = scope_
        self._last: Seen | None = None

    async def __call__(self) -> Parts:
        try:
            view = await self._resources.get(self._scope, self._place)
            self._last = await seen(self._place, self._cluster, view, managed=False)
        except Problem as problem:
            return parts(self._without(problem))
        return parts(self._last)

    def _without(self, problem: Problem) -> Seen:
        last = self._last or Seen(self._place, self._cluster, "unknown", "Unknown", "")
        match problem:
            case NotFound():
                said = ("unknown", "Deleted", "It is not in the cluster any more. What is shown is how it was last.")
            case UpstreamTimeout() | UpstreamFailed():
                said = ("warning", "Stale", f"{problem.detail} What is shown is how it was last; it is tried again.")
            case _:
                said = ("error", "Refused", problem.detail)
        return msgspec.structs.replace(last, level=said[0], word=said[1], sentence=said[2])


async def live_view(identity: Identity, place: ObjectPlace, resources: ObjectService, clusters: ClusterService) -> View:
    """The live view of one object for a caller; raises `NotFound` for what they may not see."""
    visible = scope(identity, Permission.OBJECTS_READ)
    if not visible.sees(place.cluster_id, place.key, place.namespace):
        raise NotFound("There is no such object here. It may have been deleted, or you may not see it.")
    cluster = await clusters.get(place.cluster_id)
    key = (visible.key, place.cluster_id, place.key, place.namespace, place.name)
    return View("object", key, _Rendering(place, cluster, resources, visible), period_s=PERIOD_S)


@get(
    "/clusters/{cluster_id:str}/{key:str}/{namespace:str}/{name:str}",
    guards=[requires("objects:read")],
    include_in_schema=False,
)
async def object_page(
    request: AnyRequest,
    identity: NamedDependency[Identity],
    clusters: NamedDependency[ClusterService],
    fleet: NamedDependency[Fleet],
    resources: NamedDependency[ObjectService],
) -> Response[str]:
    """The page at first load; patches follow, unless the managed fields were asked for."""
    path = request.path_params
    place = place_of(path["cluster_id"], path["key"], path["namespace"], path["name"])
    visible = scope(identity, Permission.OBJECTS_READ)
    managed = request.query_params.get("managed") == "1"
    shown, status = await _shown(place, visible, resources, clusters, managed=managed)
    surroundings = await shell(
        request,
        identity,
        clusters,
        here="resources",
        available=fleet_pages.available(fleet, scope(identity)),
        kind=place.key,
        cluster=place.cluster_id,
    )
    whole = parts(shown).whole
    title = TITLES.get(place.key, place.key)
    return page("objects/index.html", surroundings, status=status, o=shown, whole=whole, title=title)


async def _shown(
    place: ObjectPlace, visible: Any, resources: ObjectService, clusters: ClusterService, *, managed: bool
) -> tuple[Seen, int]:
    """The object, or a page of its own where the cluster is away or refuses; raises `NotFound`."""
    try:
        view = await resources.get(visible, place)
    except NotFound:
        raise
    except Problem as problem:
        if not visible.sees_cluster(place.cluster_id):
            raise
        cluster = await clusters.get(place.cluster_id)
        return Seen(place, cluster, "error", "Not readable", problem.detail), problem.status
    cluster = await clusters.get(place.cluster_id)
    return await seen(place, cluster, view, managed=managed), 200
