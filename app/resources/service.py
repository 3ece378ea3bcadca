"""One object with its events, owners and what it owns, read from its cluster for a person who may see it.

Rights come first: what the scope does not see is not found, in the same words as what is not there. Secret values
are masked before anything leaves this package. Nothing is written.
"""

import re
from typing import Final, Self

from app.authz.visibility import Scope
from app.clock import SYSTEM_CLOCK, Clock
from app.clusters.service import ClusterService
from app.kube import errors
from app.kube.client import ApiServer
from app.problems import Forbidden, InvalidInput, NotFound, Problem, UpstreamFailed, UpstreamTimeout
from app.resources import relations
from app.resources.connections import Connections
from app.resources.manifests import masked
from app.resources.relations import Manifest
from app.resources.schemas import Happening, ObjectPlace, ObjectView, Related
from app.watch.schemas import ResourceRef

# Wider than DNS labels, since RBAC objects have names like "system:node"; no slash, blank, "%" or dots alone.
_NAME: Final = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9][A-Za-z0-9._:@+-]{0,252}")
_KEY: Final = re.compile(r"[a-z0-9][a-z0-9.-]{0,252}")
MISSING: Final = "There is no such object here. It may have been deleted, or you may not see it."
DEADLINE_S: Final = 10.0


class ObjectService:
    """Reads objects through its own connections; an async context manager, as they are."""

    def __init__(self, clusters: ClusterService, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clusters = clusters
        self._connections = Connections(clusters, clock)

    async def __aenter__(self) -> Self:
        await self._connections.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._connections.__aexit__(*error)

    async def get(self, scope: Scope, place: ObjectPlace) -> ObjectView:
        """The object and what is around it. Raises `NotFound`, `InvalidInput`, `Forbidden` or `Upstream…`."""
        _check(scope, place)
        cluster = await self._clusters.get(place.cluster_id)
        try:
            kinds = await self._connections.kinds(cluster)
            ref = _known(kinds.get(place.key), place)
            async with self._connections.to(cluster) as api:
                manifest = await _read(api, ref, place)
                return await _around(api, scope, place, manifest, kinds)
        except errors.KubeError as error:
            raise problem_of(error, cluster.name) from error


async def _read(api: ApiServer, ref: ResourceRef, place: ObjectPlace) -> Manifest:
    answer = await api.request("GET", relations.path_of(ref, place.namespace, place.name), deadline_s=DEADLINE_S)
    manifest = relations.decode(answer.body)
    if not isinstance(manifest.get("metadata"), dict):
        raise errors.NotKubernetes
    return manifest


async def _around(
    api: ApiServer, scope: Scope, place: ObjectPlace, manifest: Manifest, kinds: relations.Kinds
) -> ObjectView:
    notes: list[str] = []
    events: list[Happening] = []
    owned: list[Related] = []
    if scope.sees(place.cluster_id, "events", place.namespace):
        try:
            events = await relations.events_of(api, manifest)
        except errors.KubeError as error:
            notes.append(f"Its events could not be read: {error}")
    owners, missing = await relations.owners_of(api, manifest, kinds)
    notes += missing
    try:
        owned = await relations.owned_by(api, place.key, manifest, kinds)
    except errors.KubeError as error:
        notes.append(f"What it owns could not be read: {error}")
    return ObjectView(
        place=place,
        kind=str(manifest.get("kind", "")),
        manifest=masked(manifest),
        events=events,
        owners=[o for o in owners if scope.sees(place.cluster_id, o.key, o.namespace)],
        owned=[o for o in owned if scope.sees(place.cluster_id, o.key, o.namespace)],
        notes=notes,
    )


def _check(scope: Scope, place: ObjectPlace) -> None:
    if not scope.sees_cluster(place.cluster_id) or not scope.sees(place.cluster_id, place.key, place.namespace):
        raise NotFound(MISSING)
    names = [place.name, *([place.namespace] if place.namespace else [])]
    if not _KEY.fullmatch(place.key) or not all(_NAME.fullmatch(name) for name in names):
        raise InvalidInput("This is not the name of a Kubernetes object. Follow a link from a list instead.")


def _known(ref: ResourceRef | None, place: ObjectPlace) -> ResourceRef:
    if ref is None:
        raise NotFound(f'This cluster does not serve "{place.key}". Its definition may have been removed.')
    if ref.namespaced != bool(place.namespace):
        raise NotFound(MISSING)
    return ref


def problem_of(error: errors.KubeError, cluster: str) -> Problem:
    """What a person is told of a failure in a cluster, without the other side's words."""
    match error:
        case errors.NotFound():
            return NotFound(MISSING)
        case errors.Forbidden():
            return Forbidden(
                f'The credential of cluster "{cluster}" may not read this. Give it "get" on the kind in that cluster, '
                "then open this page again."
            )
        case errors.Unreachable():
            return UpstreamTimeout(f'The API server of cluster "{cluster}" cannot be reached: {error}')
        case errors.Invalid():
            return InvalidInput(f'The API server of cluster "{cluster}" does not accept this name.')
        case _:
            return UpstreamFailed(f'Cluster "{cluster}": {error}')
