"""The storage of one simulated cluster: objects, one revision counter, and the histories that watches are fed from.

Synchronous and single-writer: it is what etcd and the API server's registry are together. A stored object is never
changed in place; whoever changes one makes a new dict (parts may be shared). Each version is rendered to JSON at most
once, for all lists and watches. Knows no HTTP, no rights and no controllers; those subscribe with `on_change`.
"""

import copy
import itertools
import random
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final, Literal

import msgspec

from kubesim import errors
from kubesim.clock import Clock, stamp
from kubesim.kinds import BUILT_IN, GROUPS, Kind, of_definition

Object = dict[str, Any]
ChangeType = Literal["ADDED", "MODIFIED", "DELETED"]
HISTORY: Final = 10_000  # changes kept a resource; older versions answer 410, as after etcd's compaction
NAME_LETTERS: Final = "bcdfghjklmnpqrstvwxz2456789"  # rand.String's alphabet in apimachinery
_encode: Final = msgspec.json.Encoder().encode


class Entry:
    """One version of one object; `json` is rendered when it is first asked for."""

    __slots__ = ("_json", "object", "revision")

    def __init__(self, obj: Object, revision: int) -> None:
        self.object = obj
        self.revision = revision
        self._json: bytes | None = None

    @property
    def json(self) -> bytes:
        if self._json is None:
            self._json = _encode(self.object)
        return self._json


class Change:
    """One step of a resource's history. before: the version that it replaced, None for ADDED."""

    __slots__ = ("before", "entry", "kind", "line", "type")

    def __init__(self, kind: Kind, change: ChangeType, entry: Entry, before: Entry | None) -> None:
        self.kind = kind
        self.type = change
        self.entry = entry
        self.before = before
        self.line: bytes | None = None  # the watch line, once for all watchers that see it as it is


class Resource:
    """The objects and the history of one resource."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.objects: dict[tuple[str, str], Entry] = {}
        self.history: deque[Change] = deque(maxlen=HISTORY)
        self.compacted = 0  # changes at or below this revision are gone
        self.watchers: set[Callable[[Change], None]] = set()
        self.gone = False

    def after(self, revision: int) -> list[Change]:
        """The changes after `revision`, oldest first. Raises `ApiError` 410 when they are not known any more."""
        if revision < self.compacted:
            raise errors.expired(f"too old resource version: {revision} ({self.compacted + 1})")
        newer = itertools.takewhile(lambda change: change.entry.revision > revision, reversed(self.history))
        return list(newer)[::-1]


class Store:
    """All resources of one cluster."""

    def __init__(self, clock: Clock, seed: int, *, identity: str = "") -> None:
        """identity: the uid of kube-system; empty makes one of the seed."""
        self.clock = clock
        self.identity = identity
        self.rng = random.Random(seed)
        self.revision = 1
        self.resources: dict[str, Resource] = {key: Resource(kind) for key, kind in BUILT_IN.items()}
        self._listeners: list[Callable[[Change], None]] = []

    # -- reading -----------------------------------------------------------------------------------------------------

    def resource(self, key: str) -> Resource:
        """Raises `ApiError` 404 for a resource that is not served."""
        found = self.resources.get(key)
        if found is None:
            raise errors.no_such_resource() if key.partition(".")[2] in GROUPS else errors.page_not_found()
        return found

    def find(self, key: str, namespace: str, name: str) -> Object | None:
        entry = self.resource(key).objects.get((namespace, name))
        return None if entry is None else entry.object

    def get(self, key: str, namespace: str, name: str) -> Object:
        """Raises `ApiError` 404."""
        return self.entry(key, namespace, name).object

    def entry(self, key: str, namespace: str, name: str) -> Entry:
        resource = self.resource(key)
        found = resource.objects.get((namespace, name))
        if found is None:
            raise errors.not_found(resource.kind.plural, resource.kind.group, name)
        return found

    def entries(self, key: str, namespace: str | None = None) -> Iterator[Entry]:
        """In the order of a list: by namespace, then name."""
        objects = self.resource(key).objects
        for place in sorted(objects):
            if namespace is None or place[0] == namespace:
                yield objects[place]

    def list(self, key: str, namespace: str | None = None) -> list[Object]:
        """In no order; cheap."""
        return [
            entry.object
            for place, entry in self.resource(key).objects.items()
            if namespace is None or place[0] == namespace
        ]

    def on_change(self, listener: Callable[[Change], None]) -> None:
        """Call `listener` after each change, at once and in order; it must not wait and may write."""
        self._listeners.append(listener)

    def forget(self, listener: Callable[[Change], None]) -> None:
        """Undo an `on_change`."""
        self._listeners.remove(listener)

    # -- writing -----------------------------------------------------------------------------------------------------

    def create(self, key: str, obj: Object, namespace: str = "") -> Object:
        """Store a new object; fills metadata as an API server does. The dict is taken over: do not change it after."""
        resource = self.resource(key)
        kind = resource.kind
        meta = obj["metadata"]
        if not meta.get("name") and meta.get("generateName"):
            meta["name"] = meta["generateName"] + self.suffix()
        namespace = meta.get("namespace") or namespace if kind.namespaced else ""
        place = (namespace, meta["name"])
        if place in resource.objects:
            raise errors.already_exists(kind.plural, kind.group, meta["name"])
        self.fill(kind, meta, namespace)
        self._commit(resource, "ADDED", place, obj, None)
        return obj

    def fill(self, kind: Kind, meta: Object, namespace: str) -> None:
        """What the server adds to the metadata of a new object."""
        if namespace:
            meta["namespace"] = namespace
        is_system = kind.key == "namespaces" and meta["name"] == "kube-system"
        number = self.rng.getrandbits(128)
        meta["uid"] = self.identity if is_system and self.identity else str(uuid.UUID(int=number, version=4))
        meta["creationTimestamp"] = stamp(self.clock.now())
        if kind.key not in _WITHOUT_GENERATION:
            meta["generation"] = 1

    def load(self, obj: Object, key: str) -> None:
        """Store an object of another server as it is, its version too; so load older versions first."""
        resource = self.resource(key)
        meta = obj["metadata"]
        self.revision = max(self.revision, int(meta["resourceVersion"]) - 1)
        place = (meta.get("namespace", "") if resource.kind.namespaced else "", meta["name"])
        before = resource.objects.get(place)
        self._commit(resource, "MODIFIED" if before else "ADDED", place, obj, before)

    def replace(self, key: str, obj: Object, *, subresource: str = "") -> Object:
        """Store a new version of an object that exists, by the rules of an update; the dict is taken over.

        A `metadata.resourceVersion` must be the present one. "status" changes nothing but the status, "" all but the
        status where the kind has that subresource. Nothing is written when nothing would change.
        """
        resource = self.resource(key)
        kind = resource.kind
        meta = obj["metadata"]
        place = (meta.get("namespace", "") if kind.namespaced else "", meta["name"])
        before = self.entry(key, *place)
        old = before.object
        given = meta.get("resourceVersion")
        if given and given != str(before.revision):
            raise errors.conflict(kind.plural, kind.group, meta["name"])
        if meta.get("uid") and meta["uid"] != old["metadata"]["uid"]:
            raise errors.precondition_uid(kind.plural, kind.group, meta["name"], meta["uid"], old["metadata"]["uid"])
        obj = _merged(kind, old, obj, subresource)
        if _same(obj, old):
            return old
        if _finished(obj):
            self._commit(resource, "DELETED", place, obj, before)
        else:
            self._commit(resource, "MODIFIED", place, obj, before)
        return obj

    def change(self, key: str, obj: Object, **parts: Any) -> Object:
        """A new version of a stored object with top-level parts replaced, e.g. `status=...`; for controllers."""
        return self.replace(key, {**obj, **parts}, subresource="status" if set(parts) == {"status"} else "")

    def annotate(self, key: str, obj: Object, **meta: Any) -> Object:
        """A new version of a stored object with parts of its metadata replaced."""
        return self.replace(key, {**obj, "metadata": {**obj["metadata"], **meta}})

    def delete(self, key: str, namespace: str, name: str, *, grace_s: int | None = None) -> Object:
        """Delete, or mark as being deleted where finalizers or a grace period hold it; the last or the marked state.

        grace_s: None is the kind's own (a pod's terminationGracePeriodSeconds), 0 deletes at once.
        """
        resource = self.resource(key)
        place = (namespace, name)
        before = self.entry(key, namespace, name)
        old = before.object
        meta = dict(old["metadata"])
        grace = _grace(key, old) if grace_s is None else grace_s
        if not meta.get("finalizers") and not grace:
            if grace_s is not None and key == "pods":
                meta["deletionGracePeriodSeconds"] = 0
                meta.setdefault("deletionTimestamp", stamp(self.clock.now()))
            return self._remove(resource, place, {**old, "metadata": meta}, before)
        if "deletionTimestamp" in meta and meta.get("deletionGracePeriodSeconds", 0) <= grace:
            return old
        meta["deletionTimestamp"] = stamp(self.clock.now() + grace)
        meta["deletionGracePeriodSeconds"] = grace
        if "generation" in meta:
            meta["generation"] += 1
        obj = {**old, "metadata": meta}
        self._commit(resource, "MODIFIED", place, obj, before)
        return obj

    def compact(self) -> None:
        """Forget all histories, as etcd does after some minutes: watches from older versions end with 410."""
        for resource in self.resources.values():
            resource.history.clear()
            resource.compacted = self.revision

    def suffix(self, length: int = 5) -> str:
        """What generateName appends."""
        return "".join(self.rng.choices(NAME_LETTERS, k=length))

    def _remove(self, resource: Resource, place: tuple[str, str], obj: Object, before: Entry) -> Object:
        self._commit(resource, "DELETED", place, obj, before)
        return obj

    def _commit(
        self, resource: Resource, change: ChangeType, place: tuple[str, str], obj: Object, before: Entry | None
    ) -> None:
        self.revision += 1
        kind = resource.kind
        # The order in which a real server writes them; lists cut the first two off (`http.list_body`).
        head = {"kind": kind.kind, "apiVersion": kind.api_version}
        meta = {**obj["metadata"], "resourceVersion": str(self.revision)}
        rest = {k: v for k, v in obj.items() if k not in _HEAD}
        obj.clear()
        obj.update(head | {"metadata": meta} | rest)
        entry = Entry(obj, self.revision)
        if change == "DELETED":
            del resource.objects[place]
        else:
            resource.objects[place] = entry
        if len(resource.history) == HISTORY:
            resource.compacted = resource.history[0].entry.revision
        step = Change(resource.kind, change, entry, before)
        resource.history.append(step)
        for watcher in list(resource.watchers):
            watcher(step)
        if resource.kind.key == "customresourcedefinitions.apiextensions.k8s.io":
            self._serve(change, obj)
        for listener in self._listeners:
            listener(step)

    def _serve(self, change: ChangeType, definition: Object) -> None:
        """Begin or end to serve a custom resource."""
        kinds = of_definition(definition)
        for kind in kinds[:1]:
            known = self.resources.get(kind.key)
            if change == "DELETED" and known is not None:
                for namespace, name in list(known.objects):
                    self.delete(kind.key, namespace, name, grace_s=0)
                known.gone = True
                del self.resources[kind.key]
            elif change != "DELETED" and known is None:
                self.resources[kind.key] = Resource(kind)
            elif known is not None:
                known.kind = kind


_WITHOUT_GENERATION: Final = {
    "configmaps", "secrets", "services", "namespaces", "nodes", "events", "serviceaccounts", "endpoints",
    "persistentvolumes", "persistentvolumeclaims", "leases.coordination.k8s.io", "roles.rbac.authorization.k8s.io",
    "rolebindings.rbac.authorization.k8s.io", "clusterroles.rbac.authorization.k8s.io",
    "clusterrolebindings.rbac.authorization.k8s.io", "storageclasses.storage.k8s.io", "resourcequotas",
    "limitranges", "horizontalpodautoscalers.autoscaling",
}  # fmt: skip


_HEAD: Final = frozenset({"kind", "apiVersion", "metadata"})


def _merged(kind: Kind, old: Object, new: Object, subresource: str) -> Object:
    """What an update stores: the server's own metadata stays, and only the part that is written changes."""
    kept = old["metadata"]
    if subresource == "status":
        status = {"status": new["status"]} if "status" in new else {}
        return {**old, "metadata": dict(kept), **status}
    meta = {**new["metadata"]}
    for name in ("uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds"):
        meta.pop(name, None)
        if name in kept:
            meta[name] = kept[name]
    obj = {**new, "metadata": meta, "kind": kind.kind, "apiVersion": kind.api_version}
    if "status" in kind.subresources:
        obj.pop("status", None)
        if "status" in old:
            obj["status"] = old["status"]
    if "generation" in kept and obj.get("spec") != old.get("spec"):
        meta["generation"] = kept["generation"] + 1
    return obj


def _same(obj: Object, old: Object) -> bool:
    left, right = dict(obj), dict(old)
    left["metadata"] = {k: v for k, v in obj["metadata"].items() if k not in {"resourceVersion", "managedFields"}}
    right["metadata"] = {k: v for k, v in old["metadata"].items() if k not in {"resourceVersion", "managedFields"}}
    return left == right


def _finished(obj: Object) -> bool:
    meta = obj["metadata"]
    return bool(
        meta.get("deletionTimestamp") and not meta.get("finalizers") and not meta.get("deletionGracePeriodSeconds")
    )


def _grace(key: str, obj: Object) -> int:
    if key != "pods" or not obj["spec"].get("nodeName"):
        return 0
    return int(obj["spec"].get("terminationGracePeriodSeconds", 30))


def deep(obj: Object) -> Object:
    """A copy that may be changed at will."""
    return copy.deepcopy(obj)
