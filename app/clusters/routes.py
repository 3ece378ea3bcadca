"""The HTTP API of the registry."""

import asyncio
from typing import Any, Final

from litestar import Request, Router, delete, get, patch, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from litestar.types import ControllerRouterHandler

from app.authz.guards import requires
from app.authz.identity import Identity
from app.authz.visibility import scope
from app.clusters import local
from app.clusters.kubeconfig import Candidate
from app.clusters.schemas import (
    Cluster,
    ClusterChange,
    Connection,
    ContextView,
    KubeconfigText,
    LocalImport,
    Registration,
    Step,
)
from app.clusters.service import ClusterService
from app.problems import Forbidden, NotFound
from app.settings import Settings

Registry = NamedDependency[ClusterService]
Who = NamedDependency[Identity]
Configured = NamedDependency[Settings]
REGISTER: Final = [requires("clusters:register", everywhere=True)]


@get("/", guards=[requires("clusters:read")], operation_id="list_clusters")
async def list_clusters(identity: Who, clusters: Registry) -> list[Cluster]:
    """The clusters of which the caller may see anything, by name."""
    visible = scope(identity)
    return [cluster for cluster in await clusters.list() if visible.sees_cluster(cluster.id)]


@get("/{cluster_id:str}", guards=[requires("clusters:read")], operation_id="get_cluster")
async def get_cluster(cluster_id: FromPath[str], identity: Who, clusters: Registry) -> Cluster:
    """One cluster."""
    if not scope(identity).sees_cluster(cluster_id):
        # The same words as for a cluster that is not there: an id must not tell that it exists (security.md S19).
        raise NotFound("There is no such cluster. It may have been removed.")
    return await clusters.get(cluster_id)


@post("/", guards=REGISTER, operation_id="register_cluster")
async def register_cluster(data: JSONBody[Registration], clusters: Registry) -> Cluster:
    """Try a connection and keep it with what is said about the cluster."""
    return await clusters.register(data)


@post("/validate", guards=REGISTER, operation_id="validate_connection", status_code=200)
async def validate_connection(data: JSONBody[Connection], clusters: Registry) -> list[Step]:
    """Try a connection and keep nothing: each step with what it found."""
    return [step async for step in clusters.validate(data)]


@post("/contexts", guards=REGISTER, operation_id="list_contexts", status_code=200)
async def list_contexts(data: JSONBody[KubeconfigText], clusters: Registry) -> list[ContextView]:
    """The contexts of a kubeconfig: which of them can be registered, and why the others cannot."""
    return [_view(candidate) for candidate in await clusters.contexts(data.kubeconfig)]


@get("/local", guards=REGISTER, operation_id="list_local_contexts")
async def list_local_contexts(
    request: Request[Any, Any, Any], settings: Configured, clusters: Registry
) -> list[ContextView]:
    """The contexts of the kubeconfig on the server's machine; empty unless the caller sits at it."""
    text = await asyncio.to_thread(local.read, local.path_of()) if _at_the_machine(request, settings) else ""
    return [_view(candidate) for candidate in await clusters.contexts(text)] if text else []


@post("/local", guards=REGISTER, operation_id="import_local_context")
async def import_local_context(
    request: Request[Any, Any, Any], data: JSONBody[LocalImport], settings: Configured, clusters: Registry
) -> Cluster:
    """Register one context of the kubeconfig on the server's machine."""
    if not _at_the_machine(request, settings):
        raise Forbidden("This is for a browser on the machine that the server runs on. Paste the kubeconfig instead.")
    text = await asyncio.to_thread(local.read, local.path_of())
    return await clusters.register(Registration(Connection(kubeconfig=text, context=data.context), data.details))


@patch("/{cluster_id:str}", guards=[requires("clusters:edit", cluster="cluster_id")], operation_id="change_cluster")
async def change_cluster(cluster_id: FromPath[str], data: JSONBody[ClusterChange], clusters: Registry) -> Cluster:
    """Change what is said about a cluster, or pause it."""
    return await clusters.change(cluster_id, data)


@put(
    "/{cluster_id:str}/credential",
    guards=[requires("clusters:rotate", cluster="cluster_id")],
    operation_id="replace_credential",
)
async def replace_credential(cluster_id: FromPath[str], data: JSONBody[Connection], clusters: Registry) -> Cluster:
    """Replace how a cluster is reached, once the new connection was tried."""
    return await clusters.replace_credential(cluster_id, data)


@post(
    "/{cluster_id:str}/approve",
    guards=[requires("clusters:rotate", cluster="cluster_id")],
    operation_id="approve_cluster",
    status_code=200,
)
async def approve_cluster(cluster_id: FromPath[str], clusters: Registry) -> Cluster:
    """Accept that another cluster now answers at this one's address."""
    return await clusters.approve(cluster_id)


@delete(
    "/{cluster_id:str}",
    guards=[requires("clusters:remove", cluster="cluster_id")],
    operation_id="remove_cluster",
)
async def remove_cluster(cluster_id: FromPath[str], clusters: Registry) -> None:
    """Forget a cluster and destroy its credential; nothing happens in the cluster itself."""
    await clusters.remove(cluster_id)


def _at_the_machine(request: Request[Any, Any, Any], settings: Settings) -> bool:
    peer = request.client.host if request.client else ""
    return local.is_offered(settings, peer=peer, host=request.headers.get("host", ""), headers=request.headers.keys())


def _view(candidate: Candidate) -> ContextView:
    return ContextView(
        name=candidate.name,
        server=candidate.server,
        user=candidate.user,
        namespace=candidate.namespace,
        current=candidate.current,
        refusal=candidate.refusal,
    )


ROUTES: Final[list[ControllerRouterHandler]] = [
    Router(
        "/api/v1/clusters",
        tags=["clusters"],
        route_handlers=[
            list_clusters,
            get_cluster,
            register_cluster,
            validate_connection,
            list_contexts,
            list_local_contexts,
            import_local_context,
            change_cluster,
            replace_credential,
            approve_cluster,
            remove_cluster,
        ],
    )
]
