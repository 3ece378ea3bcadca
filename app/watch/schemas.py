"""The messages from a watcher to the web processes: rows, batches, and the state of a cluster.

All are msgpack arrays (`array_like`): a batch of 50 costs a few microseconds a change through Redis.
Fields are only ever added at the end, so that a newer watcher and an older web process understand each other.
"""

from typing import Final, Literal

import msgspec

Cell = str | int | float | bool | None
"""A value of a column. None is unknown, and is never shown as 0."""

LEVELS: Final = ("unknown", "ok", "progress", "warning", "error")
"""What a row's `level` numbers mean."""

CellType = Literal["text", "number", "time", "ratio", "status", "bytes", "millicores"]
"""How a column is drawn and sorted.

text: as it is. number: int or float. time: seconds since 1970, drawn as an age. ratio: "2/3".
status: a word coloured by the row's level. bytes, millicores: number in that unit.
"""


class Column(msgspec.Struct, frozen=True, array_like=True):
    """One column of a kind's table. `key` is unique in the kind and is what filters and sorts name."""

    key: str
    title: str
    type: CellType = "text"
    wide: bool = False  # shown only when asked for, like `kubectl get -o wide`
    help: str = ""


class Row(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One object as a table shows it.

    uid: unique in its cluster. created: seconds since 1970. level: index into LEVELS.
    cells: one a column of the kind, in the order of the columns. labels: "k=v,k=v" sorted by key.
    owner: "Kind/name" of the controller, "" without one. version: a decimal or opaque resourceVersion.
    """

    uid: str
    namespace: str
    name: str
    created: int
    level: int
    cells: tuple[Cell, ...]
    labels: str = ""
    owner: str = ""
    version: str = ""


class Batch(msgspec.Struct, frozen=True, array_like=True):
    """What changed in one (cluster, resource) since the publication before it: the payload of a rows channel.

    time: when the newest event in it arrived at the watcher, seconds since 1970 (float).
    upserts: encoded `Row`s (msgpack), so that they are encoded once. deletes: uids.
    """

    time: float
    upserts: list[msgspec.Raw]
    deletes: list[str]


class ResourceRef(msgspec.Struct, frozen=True, array_like=True, order=True):
    """A kind of object that an API server serves: group ("" is core), version, plural resource name."""

    group: str
    version: str
    resource: str
    kind: str
    namespaced: bool

    @property
    def key(self) -> str:
        """E.g. "pods" or "deployments.apps": unique in a cluster whatever the version, and what URLs carry."""
        return f"{self.resource}.{self.group}" if self.group else self.resource


ResourceState = Literal["listing", "live", "stale", "forbidden", "degraded", "gone"]


class ResourceStatus(msgspec.Struct, frozen=True, array_like=True):
    """How the mirror of one resource in one cluster stands.

    count: objects mirrored, None while the first list is not complete (unknown is not 0).
    since: when this state began, seconds since 1970. message: what happened and what to do.
    namespaces: those mirrored when the credential may not list all; None means all.
    """

    ref: ResourceRef
    state: ResourceState
    count: int | None
    since: float
    message: str = ""
    namespaces: tuple[str, ...] | None = None


ClusterPhase = Literal["connecting", "live", "stale", "unreachable", "unauthorized", "replaced", "paused"]


class Trouble(msgspec.Struct, frozen=True, array_like=True):
    """One broken thing, as the fleet page lists it."""

    resource: str  # ResourceRef.key
    uid: str
    namespace: str
    name: str
    reason: str
    since: float


class ClusterStatus(msgspec.Struct, frozen=True, array_like=True):
    """The state of one cluster, published by its watcher on `CLUSTER_STATUS` under the cluster's id.

    heartbeat: when the watcher last wrote this, seconds since 1970, at least every 2 s: older than 5 s is stale.
    last_event: arrival of the newest event or bookmark of any watch; None before the first.
    lag_s: age of the oldest unpublished change at the last tick. identity: uid of namespace kube-system.
    counters: e.g. {"nodes": 3, "nodes_ready": 3, "pods": 40, "pods_Running": 38, ...}; a missing key is unknown.
    """

    cluster_id: str
    phase: ClusterPhase
    message: str
    version: str
    identity: str
    heartbeat: float
    since: float
    last_event: float | None
    lag_s: float
    counters: dict[str, int]
    resources: list[ResourceStatus]
    troubles: list[Trouble]
    available: list[ResourceRef]  # all kinds that discovery found with list and watch


CLUSTER_STATUS: Final = "clusters/status"
"""Channel whose snapshot holds one encoded `ClusterStatus` a cluster, keyed by cluster id.

Its publications are `Batch`es: upserts are encoded `ClusterStatus`, deletes are ids of clusters that were removed.
"""

INTERESTS: Final = "watch/interests"
"""Sorted set in Redis: "<cluster id> <resource key>", scored by when the interest ends (seconds since 1970)."""

COLUMNS_META: Final = b"columns"
"""Key in a rows channel's snapshot meta: msgpack of list[Column]."""


def rows_channel(cluster_id: str, resource_key: str) -> str:
    """The channel of one resource in one cluster. Snapshot keys are uids, values are encoded `Row`s."""
    return f"rows/{cluster_id}/{resource_key}"
