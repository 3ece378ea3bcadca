"""Lists of objects of one kind over any number of clusters: the page around the table, which fills itself."""

from typing import Final

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from app.authz.guards import requires
from app.authz.identity import Identity
from app.authz.visibility import scope
from app.clusters.service import ClusterService
from app.problems import NotFound
from app.views.fleet import Fleet
from ui.pages import fleet as fleet_pages
from ui.shell import TITLES, AnyRequest, page, shell

LONGEST: Final = 200
FIELDS: Final = ("cluster", "ns", "q", "sort", "cols")


@get("/resources/{key:str}", guards=[requires("rows:read")], include_in_schema=False)
async def resources_page(
    request: AnyRequest,
    key: FromPath[str],
    identity: NamedDependency[Identity],
    clusters: NamedDependency[ClusterService],
    fleet: NamedDependency[Fleet],
) -> Response[str]:
    """The whole view is in the address: cluster, namespace, filter, sort and columns."""
    visible = scope(identity)
    available = fleet_pages.available(fleet, visible)
    title = TITLES.get(key) or next((ref.kind for ref in available if ref.key == key), "")
    if not title:
        raise NotFound(
            f'No cluster that you may see serves "{key[:LONGEST]}". Choose a kind from the list at the left.'
        )
    wanted = {name: request.query_params.get(name, "")[:LONGEST] for name in FIELDS}
    surroundings = await shell(
        request, identity, clusters, here="resources", available=available, kind=key, cluster=wanted["cluster"]
    )
    namespaced = next((ref.namespaced for ref in available if ref.key == key), key not in {"nodes", "namespaces"})
    return page("resources/index.html", surroundings, key=key, title=title, wanted=wanted, namespaced=namespaced)
