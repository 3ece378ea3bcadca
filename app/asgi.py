"""`create_app()`: the one place where routes, pages and the gateway meet. Starts nothing itself: `app.roles` does."""

import dataclasses
import importlib
import importlib.util
from collections.abc import Sequence
from typing import Any, Final

from litestar import Litestar
from litestar.di import Provide
from litestar.types import ControllerRouterHandler

from app.authz.guards import deny_unguarded
from app.settings import Settings

FEATURES: Final = (
    "app.gateway.health",
    "app.authn.routes",
    "app.clusters.routes",
    "app.views.routes",
    "app.resources.routes",
    "ui.routes",
)
"""Modules with a list `ROUTES` of handlers, controllers and routers."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Services:
    """What handlers may ask for by these names; all are started and stopped by the role that makes them."""

    settings: Settings
    engine: Any
    redis: Any
    hub: Any
    accounts: Any
    sessions: Any
    clusters: Any
    fleet: Any
    views: Any
    resources: Any


def create_litestar(services: Services, extra: Sequence[ControllerRouterHandler] = ()) -> Litestar:
    """The routes of all features with their dependencies, without the gateway around them."""
    return Litestar(
        route_handlers=[*feature_routes(), *extra],
        dependencies={field.name: _provide(getattr(services, field.name)) for field in dataclasses.fields(services)},
        guards=[deny_unguarded],
    )


def feature_routes() -> list[ControllerRouterHandler]:
    """Every feature's `ROUTES`."""
    found: list[ControllerRouterHandler] = []
    for name in FEATURES:
        if importlib.util.find_spec(name) is not None:
            found.extend(importlib.import_module(name).ROUTES)
    return found


def _provide(service: object) -> Provide:
    return Provide(lambda: service, sync_to_thread=False)
