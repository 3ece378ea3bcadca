"""Which kind of connection an ASGI scope is: servers send plain strings, Litestar's types say enum members."""

from typing import TypeGuard

from litestar.types import HTTPScope, Scope, WebSocketScope


def is_http(scope: Scope) -> TypeGuard[HTTPScope]:
    return scope["type"].lower() == "http"


def is_websocket(scope: Scope) -> TypeGuard[WebSocketScope]:
    return scope["type"].lower() == "websocket"


def is_lifespan(scope: Scope) -> bool:
    """Whether it is no connection but the server's start and stop."""
    return scope["type"].lower() == "lifespan"
