"""Which kinds have a projection, and which are watched whoever looks. Pure.

Every other kind with list and watch is shown as the server prints it (app.watch.table) while somebody looks.
"""

from typing import Any, Final, TypeVar

import msgspec

from app.watch.kinds import batch, config, events, network, nodes, pods, policy, storage, workloads
from app.watch.projection import Projection
from app.watch.schemas import ResourceRef
from app.watch.store import Kind

T = TypeVar("T")

PROJECTIONS: Final[dict[tuple[str, str], Projection[Any]]] = {
    (each.group, each.resource): each
    for each in (
        pods.PODS,
        nodes.NODES,
        nodes.NAMESPACES,
        workloads.DEPLOYMENTS,
        workloads.REPLICASETS,
        workloads.STATEFULSETS,
        workloads.DAEMONSETS,
        batch.JOBS,
        batch.CRONJOBS,
        events.CORE_EVENTS,
        events.NEW_EVENTS,
        network.SERVICES,
        network.INGRESSES,
        network.ENDPOINTSLICES,
        storage.PVCS,
        storage.PVS,
        storage.STORAGECLASSES,
        config.CONFIGMAPS,
        config.SECRETS,
        config.SERVICEACCOUNTS,
        policy.HPAS,
        policy.PDBS,
    )
}

ALWAYS: Final = frozenset(
    each.ref().key
    for each in (
        pods.PODS,
        nodes.NODES,
        nodes.NAMESPACES,
        workloads.DEPLOYMENTS,
        workloads.REPLICASETS,
        workloads.STATEFULSETS,
        workloads.DAEMONSETS,
        batch.JOBS,
        batch.CRONJOBS,
        events.CORE_EVENTS,
        network.SERVICES,
        network.INGRESSES,
        storage.PVCS,
        storage.PVS,
        policy.HPAS,
    )
)
"""`ResourceRef.key`s that every cluster is watched for, as far as its server has them."""

TROUBLE_KEYS: Final = frozenset(
    each.ref().key
    for each in (
        pods.PODS,
        nodes.NODES,
        workloads.DEPLOYMENTS,
        workloads.STATEFULSETS,
        workloads.DAEMONSETS,
        batch.JOBS,
        storage.PVCS,
        storage.PVS,
        policy.HPAS,
    )
)
"""Kinds whose rows at level error are listed as troubles; a replica set's trouble is its deployment's."""


def projection_of(ref: ResourceRef) -> Projection[Any] | None:
    """The projection that reads this resource at this version, None when it has to come as a Table."""
    found = PROJECTIONS.get((ref.group, ref.resource))
    return found if found is not None and ref.version in found.versions else None


def kind_of(projection: Projection[T]) -> Kind[T]:
    """What a store needs to know of a projected kind."""
    key = projection.ref().key
    return Kind(
        key,
        projection.project,
        projection.status,
        projection.since,
        lists_troubles=key in TROUBLE_KEYS,
        expires=projection.expires,
        reread=msgspec.json.Decoder(projection.type).decode,
    )
