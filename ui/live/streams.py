"""The address of the page streams."""

from collections.abc import Mapping

from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.types import ASGIApp

from app.authn.sessions import Sessions
from app.authz.guards import requires
from app.authz.identity import Identity
from app.clusters.service import ClusterService
from app.problems import NotFound
from app.resources.service import ObjectService
from app.views.fleet import Fleet
from ui.live.session import Feeds, PageStream, View
from ui.pages import fleet as fleet_pages
from ui.pages import objects
from ui.shell import AnyRequest


@get("/live/page/{view:str}", guards=[requires("rows:read")], include_in_schema=False)
async def page_stream(
    request: AnyRequest,
    view: FromPath[str],
    identity: NamedDependency[Identity],
    sessions: NamedDependency[Sessions],
    clusters: NamedDependency[ClusterService],
    fleet: NamedDependency[Fleet],
    resources: NamedDependency[ObjectService],
) -> ASGIApp:
    """Patches of a page from the viewer's last id on: `Last-Event-ID`, or `?since=` for a new connection."""
    if view == "fleet":
        shown = fleet_pages.view(fleet, identity, fleet_pages.read_filter(request))
    elif view == "object":
        shown = await _object(request.query_params, identity, clusters, resources)
    else:
        raise NotFound("There is no such live page.")
    feeds: Feeds = request.app.state.setdefault("page_feeds", Feeds())
    since: str = request.headers.get("last-event-id") or request.query_params.get("since") or ""
    return PageStream(feeds.of(shown), sessions, identity.session, since)


async def _object(
    query: Mapping[str, str], identity: Identity, clusters: ClusterService, resources: ObjectService
) -> View:
    place = objects.place_of(
        query.get("cluster", ""), query.get("key", ""), query.get("ns", "") or "-", query.get("name", "")
    )
    return await objects.live_view(identity, place, resources, clusters)
