"""What surrounds every page of somebody who is signed in: navigation, clusters to pick, kinds to list, who they are."""

from typing import Any, Final

import msgspec
from litestar import Request, Response
from litestar.enums import MediaType

from app.authz.identity import Identity
from app.authz.permissions import Permission
from app.authz.visibility import scope
from app.clusters.schemas import Cluster
from app.clusters.service import ClusterService
from app.gateway.security_headers import nonce
from app.watch.schemas import ResourceRef
from ui.templating import render

AnyRequest = Request[Any, Any, Any]
HTMX: Final = 'extensions:"sse,hx-csp",includeIndicatorCSS:false,history:false'


class Kind(msgspec.Struct, frozen=True):
    """An entry of the side navigation."""

    key: str
    title: str


class Category(msgspec.Struct, frozen=True):
    """Kinds under one heading. open: shown unfolded."""

    title: str
    kinds: list[Kind]
    open: bool = True


BUILT_IN: Final = (
    Category(
        "Workloads",
        [
            Kind("pods", "Pods"),
            Kind("deployments.apps", "Deployments"),
            Kind("statefulsets.apps", "StatefulSets"),
            Kind("daemonsets.apps", "DaemonSets"),
            Kind("replicasets.apps", "ReplicaSets"),
            Kind("jobs.batch", "Jobs"),
            Kind("cronjobs.batch", "CronJobs"),
            Kind("horizontalpodautoscalers.autoscaling", "Autoscalers"),
        ],
    ),
    Category(
        "Cluster",
        [Kind("nodes", "Nodes"), Kind("namespaces", "Namespaces"), Kind("events", "Events")],
    ),
    Category(
        "Network",
        [
            Kind("services", "Services"),
            Kind("ingresses.networking.k8s.io", "Ingresses"),
            Kind("endpointslices.discovery.k8s.io", "EndpointSlices"),
            Kind("networkpolicies.networking.k8s.io", "NetworkPolicies"),
        ],
        open=False,
    ),
    Category(
        "Config",
        [
            Kind("configmaps", "ConfigMaps"),
            Kind("secrets", "Secrets"),
            Kind("serviceaccounts", "ServiceAccounts"),
            Kind("poddisruptionbudgets.policy", "DisruptionBudgets"),
            Kind("resourcequotas", "ResourceQuotas"),
        ],
        open=False,
    ),
    Category(
        "Storage",
        [
            Kind("persistentvolumeclaims", "Claims"),
            Kind("persistentvolumes", "Volumes"),
            Kind("storageclasses.storage.k8s.io", "StorageClasses"),
        ],
        open=False,
    ),
    Category(
        "Access",
        [
            Kind("roles.rbac.authorization.k8s.io", "Roles"),
            Kind("rolebindings.rbac.authorization.k8s.io", "RoleBindings"),
            Kind("clusterroles.rbac.authorization.k8s.io", "ClusterRoles"),
            Kind("clusterrolebindings.rbac.authorization.k8s.io", "ClusterRoleBindings"),
        ],
        open=False,
    ),
)
TITLES: Final = {kind.key: kind.title for category in BUILT_IN for kind in category.kinds}
MOST_CUSTOM: Final = 200


class Shell(msgspec.Struct, frozen=True):
    """nonce: of the response. here: the part of the navigation that is current. kind: the listed kind's key, or ""."""

    nonce: str
    here: str
    identity: Identity
    clusters: list[Cluster]
    categories: list[Category]
    kind: str
    cluster: str
    may_register: bool
    htmx: str = HTMX


def categories(available: list[ResourceRef]) -> list[Category]:
    """The built-in kinds, then every other that some cluster serves, by API group."""
    others: dict[str, dict[str, Kind]] = {}
    for ref in available[: 20 * MOST_CUSTOM]:
        if ref.key not in TITLES:
            others.setdefault(ref.group or "core", {})[ref.key] = Kind(ref.key, ref.kind)
    custom = [Category(group, sorted(others[group].values(), key=_title), open=False) for group in sorted(others)]
    return [*BUILT_IN, *custom]


def _title(kind: Kind) -> str:
    return kind.title


async def shell(
    request: AnyRequest,
    identity: Identity,
    clusters: ClusterService,
    *,
    here: str,
    available: list[ResourceRef] | None = None,
    kind: str = "",
    cluster: str = "",
) -> Shell:
    """The surroundings for this caller: only clusters of which they may see something."""
    visible = scope(identity)
    return Shell(
        nonce=nonce(request.scope),
        here=here,
        identity=identity,
        clusters=[each for each in await clusters.list() if visible.sees_cluster(each.id)],
        categories=categories(available or []),
        kind=kind,
        cluster=cluster,
        may_register=identity.may(Permission.CLUSTERS_REGISTER),
    )


def page(template: str, surroundings: Shell, *, status: int = 200, **context: Any) -> Response[str]:
    """A whole page inside the layout."""
    return Response(render(template, shell=surroundings, **context), media_type=MediaType.HTML, status_code=status)
