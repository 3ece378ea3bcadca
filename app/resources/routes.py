"""The HTTP API for whole objects."""

from typing import Final

from litestar import Response, Router, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from litestar.types import ControllerRouterHandler

from app.authz.guards import requires
from app.authz.identity import Identity
from app.authz.permissions import Permission
from app.authz.visibility import scope
from app.resources.manifests import as_yaml
from app.resources.schemas import ObjectPlace, ObjectView
from app.resources.service import ObjectService

Who = NamedDependency[Identity]
Objects = NamedDependency[ObjectService]
PLACE: Final = "/{key:str}/{namespace:str}/{name:str}"
READ: Final = [requires("objects:read")]


@get(PLACE, guards=READ, operation_id="get_object")
async def get_object(
    cluster_id: FromPath[str],
    key: FromPath[str],
    namespace: FromPath[str],
    name: FromPath[str],
    identity: Who,
    resources: Objects,
) -> ObjectView:
    """One object with its events, owners and what it owns; namespace "-" is for one without."""
    return await resources.get(scope(identity, Permission.OBJECTS_READ), place_of(cluster_id, key, namespace, name))


@get(PLACE + "/yaml", guards=READ, operation_id="get_object_yaml", media_type="application/yaml")
async def get_object_yaml(
    cluster_id: FromPath[str],
    key: FromPath[str],
    namespace: FromPath[str],
    name: FromPath[str],
    identity: Who,
    resources: Objects,
    managed_fields: FromQuery[bool] = False,  # noqa: FBT002 - a query parameter
) -> Response[str]:
    """Its YAML, secret values masked, managed fields folded unless asked for."""
    place = place_of(cluster_id, key, namespace, name)
    found = await resources.get(scope(identity, Permission.OBJECTS_READ), place)
    return Response(as_yaml(found.manifest, managed_fields=managed_fields), media_type="application/yaml")


def place_of(cluster_id: str, key: str, namespace: str, name: str) -> ObjectPlace:
    return ObjectPlace(cluster_id, key, "" if namespace == "-" else namespace, name)


ROUTES: Final[list[ControllerRouterHandler]] = [
    Router(
        "/api/v1/clusters/{cluster_id:str}/objects",
        tags=["objects"],
        route_handlers=[get_object, get_object_yaml],
    )
]
