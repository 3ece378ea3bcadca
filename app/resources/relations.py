"""What stands around an object: its events, its owners up and what it owns down. Reads, never writes.

Every function takes an `ApiServer`-like reader and answers with what it could read; what it could not is a note.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from app.kube.client import ApiServer
from app.kube.errors import KubeError
from app.resources.schemas import Happening, Related
from app.watch.schemas import ResourceRef

DEADLINE_S: Final = 8.0
MOST_EVENTS: Final = 100
MOST_OWNED: Final = 200
DEPTH: Final = 5  # Pod, ReplicaSet, Deployment and one or two operators above
OWNED: Final[Mapping[str, tuple[str, ...]]] = {
    "deployments.apps": ("replicasets.apps",),
    "replicasets.apps": ("pods",),
    "statefulsets.apps": ("pods",),
    "daemonsets.apps": ("pods",),
    "replicationcontrollers": ("pods",),
    "cronjobs.batch": ("jobs.batch",),
    "jobs.batch": ("pods",),
}
"""What controllers of a kind make."""

Manifest = dict[str, Any]
Kinds = Mapping[str, ResourceRef]


def path_of(ref: ResourceRef, namespace: str, name: str = "") -> str:
    """The API path of an object, or of its collection; names were checked by `names.check` before."""
    root = f"/apis/{ref.group}/{ref.version}" if ref.group else f"/api/{ref.version}"
    place = f"/namespaces/{namespace}" if ref.namespaced and namespace else ""
    return f"{root}{place}/{ref.resource}" + (f"/{name}" if name else "")


async def events_of(api: ApiServer, manifest: Manifest) -> list[Happening]:
    """Events about the object, newest first. Raises `KubeError`."""
    metadata = manifest.get("metadata", {})
    namespace = str(metadata.get("namespace", ""))
    path = f"/api/v1/namespaces/{namespace}/events" if namespace else "/api/v1/events"
    uid = str(metadata.get("uid", ""))
    # A node's events carry its name as uid, so for what has no namespace the name and kind select.
    selector = (
        f"involvedObject.uid={uid}"
        if namespace
        else f"involvedObject.kind={manifest.get('kind', '')},involvedObject.name={metadata.get('name', '')}"
    )
    params = [("fieldSelector", selector), ("limit", str(MOST_EVENTS))]
    found = [_happening(item) for item in await _items(api, path, params)]
    return sorted(found, key=lambda event: event.last, reverse=True)


async def owners_of(api: ApiServer, manifest: Manifest, kinds: Kinds) -> tuple[list[Related], list[str]]:
    """The chain of controllers upwards, nearest first, and notes on what could not be read."""
    chain: list[Related] = []
    notes: list[str] = []
    seen: set[str] = set()
    current: Manifest | None = manifest
    while current is not None and len(chain) < DEPTH:
        owner = _controller(current)
        if owner is None or str(owner.get("uid")) in seen:
            break
        seen.add(str(owner.get("uid")))
        ref = _ref(kinds, str(owner.get("apiVersion", "")), str(owner.get("kind", "")))
        namespace = str(current.get("metadata", {}).get("namespace", "")) if ref is None or ref.namespaced else ""
        name = str(owner.get("name", ""))
        chain.append(Related(str(owner.get("kind", "")), ref.key if ref else "", namespace, name))
        current = None
        if ref is not None:
            try:
                current = await _get(api, path_of(ref, namespace, name))
            except KubeError as error:
                notes.append(f"The owner {ref.kind} {name} could not be read: {error}")
    return chain, notes


async def owned_by(api: ApiServer, key: str, manifest: Manifest, kinds: Kinds) -> list[Related]:
    """What a controller made, newest first. Raises `KubeError`."""
    metadata = manifest.get("metadata", {})
    found: list[Related] = []
    for child in OWNED.get(key, ()):
        ref = kinds.get(child)
        if ref is None:
            continue
        params = [("limit", str(MOST_OWNED))]
        if selector := _selector(manifest):
            params.append(("labelSelector", selector))
        for item in await _items(api, path_of(ref, str(metadata.get("namespace", ""))), params):
            owners = item.get("metadata", {}).get("ownerReferences") or []
            if any(owner.get("uid") == metadata.get("uid") for owner in owners):
                found.append(_related(ref, item))
    return sorted(found, key=lambda related: related.created, reverse=True)


def _selector(manifest: Manifest) -> str:
    spec = manifest.get("spec") or {}
    selector = spec.get("selector") if isinstance(spec, dict) else None
    labels = selector.get("matchLabels") if isinstance(selector, dict) else None
    if not isinstance(labels, dict):
        return ""
    return ",".join(f"{key}={value}" for key, value in labels.items())


def _related(ref: ResourceRef, item: Manifest) -> Related:
    metadata, status, spec = item.get("metadata", {}), item.get("status") or {}, item.get("spec") or {}
    ready = str(status.get("phase", ""))
    if ref.resource == "replicasets":
        ready = f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}"
    elif ref.resource == "jobs":
        done = [c.get("type", "") for c in status.get("conditions") or [] if c.get("status") == "True"]
        ready = str(done[-1]) if done else "Running"
    return Related(
        ref.kind,
        ref.key,
        str(metadata.get("namespace", "")),
        str(metadata.get("name", "")),
        ready,
        str(metadata.get("creationTimestamp", "")),
    )


def _controller(manifest: Manifest) -> Manifest | None:
    owners = manifest.get("metadata", {}).get("ownerReferences") or []
    return next((owner for owner in owners if owner.get("controller")), owners[0] if owners else None)


def _ref(kinds: Kinds, api_version: str, kind: str) -> ResourceRef | None:
    group = api_version.rpartition("/")[0]
    return next((ref for ref in kinds.values() if ref.group == group and ref.kind == kind), None)


def _happening(item: Manifest) -> Happening:
    series = item.get("series") or {}
    source = (item.get("source") or {}).get("component") or item.get("reportingComponent") or ""
    first = item.get("firstTimestamp") or item.get("eventTime") or item.get("metadata", {}).get("creationTimestamp")
    last = series.get("lastObservedTime") or item.get("lastTimestamp") or first
    return Happening(
        type=str(item.get("type", "")),
        reason=str(item.get("reason", "")),
        message=str(item.get("message", "")),
        source=str(source),
        count=int(series.get("count") or item.get("count") or 1),
        first=str(first or ""),
        last=str(last or ""),
    )


async def _get(api: ApiServer, path: str) -> Manifest:
    answer = await api.request("GET", path, deadline_s=DEADLINE_S)
    return decode(answer.body)


async def _items(api: ApiServer, path: str, params: list[tuple[str, str]]) -> list[Manifest]:
    answer = await api.request("GET", path, params=params, deadline_s=DEADLINE_S)
    items = decode(answer.body).get("items")
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def decode(body: bytes) -> Manifest:
    """A JSON object; anything else is an empty one, for what answers may be no Kubernetes."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return {}
    return value if isinstance(value, dict) else {}
