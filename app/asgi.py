"""`create_app()`: the one place where routes, pages and the gateway meet. Starts nothing itself: `app.roles` does."""

import contextlib
import dataclasses
from collections.abc import AsyncIterator, Sequence
from typing import Final

from litestar import Litestar
from litestar.di import Provide
from litestar.types import ASGIApp, ControllerRouterHandler, Scope

from app import tasks
from app.authn import routes as authn
from app.authn.middleware import Authentication
from app.authn.service import AccountService
from app.authn.sessions import Sessions
from app.authz.guards import deny_unguarded, identity_of
from app.authz.identity import Identity
from app.clusters import routes as clusters
from app.clusters.service import ClusterService
from app.gateway import health, openapi
from app.gateway.problem_documents import handler
from app.gateway.stack import wrap
from app.resources import routes as resources
from app.resources.service import ObjectService
from app.settings import Settings
from app.storage.postgres import Engine
from app.storage.redis import Redis
from app.stream.hub import Hub
from app.views import routes as views
from app.views.fleet import Fleet
from app.views.service import ViewService
from ui import routes as pages
from ui.problem_pages import render_error

ROUTES: Final[list[ControllerRouterHandler]] = [
    *health.ROUTES,
    *authn.ROUTES,
    *clusters.ROUTES,
    *views.ROUTES,
    *resources.ROUTES,
    *pages.ROUTES,
]


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
    fleet: Fleet
    views: ViewService
    resources: ObjectService


def create_app(services: Services, routes: Sequence[ControllerRouterHandler] | None = None) -> ASGIApp:
    """The application, gateway included, for a server to run. routes: None means those of all features.

    For uvicorn: `http=HeadDeadline` (app.gateway.protocol), and `proxy_headers=False`: its own belief in forwarded
    addresses from loopback would let whoever sits behind a local proxy choose the address that limits count by.
    """
    return wrap(create_litestar(services, routes), services.settings, render_error)


def create_litestar(services: Services, routes: Sequence[ControllerRouterHandler] | None = None) -> Litestar:
    """The routes with their dependencies, without the gateway around them."""
    provided = {field.name: _provide(getattr(services, field.name)) for field in dataclasses.fields(services)}

    @contextlib.asynccontextmanager
    async def ended_sessions(_app: Litestar) -> AsyncIterator[None]:
        async with tasks.running("ended sessions", tasks.supervise("ended sessions", services.sessions.end_streams)):
            yield

    return Litestar(
        route_handlers=ROUTES if routes is None else list(routes),
        dependencies={**provided, "identity": Provide(_identity, sync_to_thread=False)},
        guards=[deny_unguarded],
        middleware=[Authentication(services.accounts)],
        exception_handlers={Exception: handler(render_error)},
        openapi_config=openapi.config(),
        lifespan=[ended_sessions],
        logging_config=None,
        request_max_body_size=None,  # the gateway's BoundedBody has refused it by then
    )


def openapi_document() -> bytes:
    """The OpenAPI document, as JSON, without anything started."""
    nothing = {field.name: None for field in dataclasses.fields(Services)}
    app = create_litestar(Services(**nothing))  # type: ignore[arg-type]
    return openapi.document(app.openapi_schema.to_schema())


def _provide(service: object) -> Provide:
    return Provide(lambda: service, sync_to_thread=False)


def _identity(scope: Scope) -> Identity:
    return identity_of(scope)
