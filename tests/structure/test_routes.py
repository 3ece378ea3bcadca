"""Every route has a guard, or is on the list of public routes below, with its reason."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
from litestar import Litestar
from litestar.handlers.base import BaseRouteHandler

from app.asgi import Services, create_litestar
from app.authz.guards import PUBLIC, guard_of, requires
from app.authz.permissions import Permission

PUBLIC_ROUTES = {
    "/livez": "a kubelet has no session",
    "/readyz": "nor has a load balancer",
    "/sign-in": "who signs in has no session yet",
    "/sign-in/link": "the one-time link of the local browser",
    "/api/v1/session": "POST: who signs in has no session yet",
    "/static": "files of the sign-in page; the same for everybody",
}
SIGNED_IN_ONLY = {
    "/sign-out": "one's own session",
    "/account/password": "one's own password, also an expired one",
    "/api/v1/account/password": "the same",
    "/api/v1/session": "one's own session",
    "/api/v1/sessions": "one's own sessions",
    "/api/v1/sessions/{handle:str}": "one's own sessions",
    "/docs": "what the API is, no content",
    "/docs/openapi.json": "what the API is, no content",
    "/docs/{path:str}": "what the API is, no content",
}


# Which permission each route takes, and where: "somewhere", in the cluster of its path, or on the whole platform.
TAKES = {
    "GET /": "rows:read somewhere",
    "GET /resources/{key:str}": "rows:read somewhere",
    "GET /live/page/{view:str}": "rows:read somewhere",
    "GET /live/data/stream": "rows:read somewhere",
    "POST /live/data/{line:str}": "rows:read somewhere",
    "WS /live/data": "rows:read somewhere",
    "GET /api/v1/rows/{kind:str}": "rows:read somewhere",
    "GET /clusters/{cluster_id:str}/{key:str}/{namespace:str}/{name:str}": "objects:read somewhere",
    "GET /api/v1/clusters/{cluster_id:str}/objects/{key:str}/{namespace:str}/{name:str}": "objects:read somewhere",
    "GET /api/v1/clusters/{cluster_id:str}/objects/{key:str}/{namespace:str}/{name:str}/yaml": "objects:read somewhere",
    "GET /clusters": "clusters:read somewhere",
    "GET /clusters/{cluster_id:str}": "clusters:read somewhere",
    "GET /api/v1/clusters": "clusters:read somewhere",
    "GET /api/v1/clusters/{cluster_id:str}": "clusters:read somewhere",
    "GET /clusters/new": "clusters:register on the platform",
    "POST /clusters/new": "clusters:register on the platform",
    "POST /clusters/contexts": "clusters:register on the platform",
    "POST /clusters/validate": "clusters:register on the platform",
    "POST /clusters/local": "clusters:register on the platform",
    "POST /api/v1/clusters": "clusters:register on the platform",
    "POST /api/v1/clusters/validate": "clusters:register on the platform",
    "POST /api/v1/clusters/contexts": "clusters:register on the platform",
    "GET /api/v1/clusters/local": "clusters:register on the platform",
    "POST /api/v1/clusters/local": "clusters:register on the platform",
    "POST /clusters/{cluster_id:str}": "clusters:edit in the cluster",
    "POST /clusters/{cluster_id:str}/pause": "clusters:edit in the cluster",
    "POST /clusters/{cluster_id:str}/approve": "clusters:rotate in the cluster",
    "POST /clusters/{cluster_id:str}/credential": "clusters:rotate in the cluster",
    "PATCH /api/v1/clusters/{cluster_id:str}": "clusters:edit in the cluster",
    "PUT /api/v1/clusters/{cluster_id:str}/credential": "clusters:rotate in the cluster",
    "POST /api/v1/clusters/{cluster_id:str}/approve": "clusters:rotate in the cluster",
    "POST /clusters/{cluster_id:str}/remove": "clusters:remove in the cluster",
    "DELETE /api/v1/clusters/{cluster_id:str}": "clusters:remove in the cluster",
}


@pytest.fixture(scope="module")
def app() -> Litestar:
    nothing: dict[str, Any] = {field.name: None for field in dataclasses.fields(Services)}
    return create_litestar(Services(**nothing))


def handlers(app: Litestar) -> Iterator[tuple[str, BaseRouteHandler]]:
    for route in app.routes:
        for handler in getattr(route, "route_handlers", None) or [route.route_handler]:
            if getattr(handler, "http_methods", None) != {"OPTIONS"}:
                yield route.path, handler


def is_listed(path: str, listed: dict[str, str]) -> bool:
    return path in listed or any(path.startswith(prefix + "/") for prefix in listed if prefix == "/static")


@pytest.mark.case("S17")
def test_every_route_declares_who_may_use_it(app: Litestar) -> None:
    found = list(handlers(app))
    naked = [path for path, handler in found if guard_of(handler) is None and not handler.opt.get(PUBLIC)]

    assert len(found) > 20, "the routes were not found: this test would prove nothing"
    assert naked == []


@pytest.mark.case("S17")
def test_every_public_route_is_on_the_list(app: Litestar) -> None:
    public = {path for path, handler in handlers(app) if handler.opt.get(PUBLIC)}

    assert [path for path in public if not is_listed(path, PUBLIC_ROUTES)] == []


@pytest.mark.case("S17")
def test_every_route_without_a_permission_is_on_the_list(app: Litestar) -> None:
    own = {path for path, handler in handlers(app) if getattr(guard_of(handler), "permission", "") == "signed in"}

    assert sorted(path for path in own if not is_listed(path, SIGNED_IN_ONLY)) == []


@pytest.mark.case("S17")
def test_every_other_route_takes_the_permission_that_the_table_says(app: Litestar) -> None:
    found = {}
    for path, handler in handlers(app):
        guard = guard_of(handler)
        if isinstance(guard, requires):
            where = "in the cluster" if guard.cluster else "on the platform" if guard.everywhere else "somewhere"
            for method in getattr(handler, "http_methods", {"WS"}):
                found[f"{method} {path}"] = f"{guard.permission} {where}"

    assert found == TAKES


def test_every_permission_that_a_guard_names_exists(app: Litestar) -> None:
    named = {guard.permission for _, handler in handlers(app) if (guard := guard_of(handler)) is not None}

    assert named - {"signed in"} <= {permission.value for permission in Permission}


def test_no_get_of_ours_is_given_a_body_to_act_on(app: Litestar) -> None:
    acting = [
        path
        for path, handler in handlers(app)
        if "GET" in getattr(handler, "http_methods", ()) and "data" in handler.parsed_fn_signature.parameters
    ]

    assert acting == []


def test_every_websocket_and_stream_has_a_permission(app: Litestar) -> None:
    live = [
        (path, handler)
        for path, handler in handlers(app)
        if path.startswith("/live/") or type(handler).__name__.lower().startswith("websocket")
    ]

    for path, handler in live:
        guard = guard_of(handler)
        assert guard is not None, path
        assert guard.permission != "signed in", path
