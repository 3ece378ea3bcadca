"""`create_app()`: the one place where routes, pages and the gateway meet. Starts nothing itself: `app.roles` does."""

import contextlib
import dataclasses
import importlib
import importlib.util
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from litestar import Litestar
from litestar.di import Provide
from litestar.types import ASGIApp, ControllerRouterHandler, Scope

from app import tasks
from app.authn.middleware import Authentication
from app.authn.service import AccountService
from app.authn.sessions import Sessions
from app.authz.guards import deny_unguarded, identity_of
from app.authz.identity import Identity
from app.clusters.service import ClusterService
from app.gateway import error_page, openapi
from app.gateway.problem_documents import Render, handler
from app.gateway.stack import wrap
from app.settings import Settings
from app.storage.postgres import Engine
from app.storage.redis import Redis
from app.stream.hub import Hub

FEATURES: Final = (
    "app.gateway.health",
    "app.authn.routes",
    "app.clusters.routes",
    "app.views.routes",
    "app.resources.routes",
    "ui.routes",
)
"""Modules with a list `ROUTES` of handlers, controllers and routers."""

PAGES: Final = "ui.routes"
"""Has `render_error(page: ErrorPage) -> str` besides."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Services:
    """What handlers may ask for by these names; all are started and stopped by the role that makes them."""

    settings: Settings
    engine: Engine
    redis: Redis
    hub: Hub
    accounts: AccountService
    sessions: Sessions
    clusters: ClusterService
    fleet: Any
    views: Any
    resources: Any


def create_app(services: Services, routes: Sequence[ControllerRouterHandler] | None = None) -> ASGIApp:
    """The application, gateway included, for a server to run. routes: None means those of all features.

    For uvicorn: `http=HeadDeadline` (app.gateway.protocol), and `proxy_headers=False`: its own belief in forwarded
    addresses from loopback would let whoever sits behind a local proxy choose the address that limits count by.
    """
    return wrap(create_litestar(services, routes), services.settings, _render())


def create_litestar(services: Services, routes: Sequence[ControllerRouterHandler] | None = None) -> Litestar:
    """The routes with their dependencies, without the gateway around them."""
    provided = {field.name: _provide(getattr(services, field.name)) for field in dataclasses.fields(services)}

    @contextlib.asynccontextmanager
    async def ended_sessions(_app: Litestar) -> AsyncIterator[None]:
        async with tasks.running("ended sessions", tasks.supervise("ended sessions", services.sessions.end_streams)):
            yield

    return Litestar(
        route_handlers=feature_routes() if routes is None else list(routes),
        dependencies={**provided, "identity": Provide(_identity, sync_to_thread=False)},
        guards=[deny_unguarded],
        middleware=[Authentication(services.accounts)],
        exception_handlers={Exception: handler(_render())},
        openapi_config=openapi.config(),
        lifespan=[ended_sessions],
        logging_config=None,
        request_max_body_size=None,  # the gateway's BoundedBody has refused it by then
    )


def feature_routes() -> list[ControllerRouterHandler]:
    """Every feature's `ROUTES`."""
    found: list[ControllerRouterHandler] = []
    for name in FEATURES:
        if importlib.util.find_spec(name) is not None:
            found.extend(importlib.import_module(name).ROUTES)
    return found


def openapi_document() -> bytes:
    """The OpenAPI document, as JSON, without anything started."""
    nothing = {field.name: None for field in dataclasses.fields(Services)}
    app = create_litestar(Services(**nothing))  # type: ignore[arg-type]
    return openapi.document(app.openapi_schema.to_schema())


def _render() -> Render:
    if importlib.util.find_spec(PAGES) is None:
        return error_page.render
    render: Render = importlib.import_module(PAGES).render_error
    return render


def _provide(service: object) -> Provide:
    return Provide(lambda: service, sync_to_thread=False)


def _identity(scope: Scope) -> Identity:
    return identity_of(scope)
