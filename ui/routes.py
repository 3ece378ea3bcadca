"""All pages, the static files and the page streams, as `app.asgi` takes them."""

from typing import Final

from litestar.types import ControllerRouterHandler

from ui.assets import static_file
from ui.live.streams import page_stream
from ui.pages import clusters, fleet, objects, resources, sign_in
from ui.problem_pages import render_error

ROUTES: Final[list[ControllerRouterHandler]] = [
    static_file,
    page_stream,
    sign_in.sign_in_page,
    sign_in.link_page,
    sign_in.password_page,
    fleet.fleet_page,
    clusters.list_page,
    clusters.new_page,
    clusters.contexts_fragment,
    clusters.validate_fragment,
    clusters.register_form,
    clusters.local_form,
    clusters.cluster_page,
    clusters.change_form,
    clusters.pause_form,
    clusters.approve_form,
    clusters.credential_form,
    clusters.remove_form,
    resources.resources_page,
    objects.object_page,
]

__all__ = ["ROUTES", "render_error"]
