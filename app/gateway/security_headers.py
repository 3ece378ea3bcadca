"""The headers that confine a page: a strict Content-Security-Policy with a nonce a request, and its companions."""

import secrets
from typing import Final, cast

from litestar.types import ASGIApp, Message, Receive, Scope, Send

from app.gateway.scopes import is_http

_STATE: Final = "csp_nonce"
_LOOSE: Final = "csp_without_trusted_types"
_FIXED: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
)
_STRICT_TRANSPORT: Final = (b"strict-transport-security", b"max-age=31536000")


class SecurityHeaders:
    """Sets them on every response; a handler's own `Cache-Control` is kept, all else is not for storing."""

    def __init__(self, app: ASGIApp, *, tls: bool) -> None:
        self._app = app
        self._fixed = (*_FIXED, _STRICT_TRANSPORT) if tls else _FIXED

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not is_http(scope):
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})[_STATE] = secrets.token_urlsafe(16)

        async def confine(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [*message["headers"], *self._fixed, (b"content-security-policy", _policy(scope))]
                if not any(name.lower() == b"cache-control" for name, _ in headers):
                    headers.append((b"cache-control", b"no-store"))
                message["headers"] = headers
            await send(message)

        await self._app(scope, receive, confine)


def nonce(scope: Scope) -> str:
    """The request's nonce, for `<script nonce=…>` and `<style nonce=…>` in its page."""
    return cast("str", scope["state"][_STATE])


def drop_trusted_types(scope: Scope) -> None:
    """For a page of somebody else's scripts that write HTML by strings; its content must be our own alone."""
    scope["state"][_LOOSE] = True


def _policy(scope: Scope) -> bytes:
    value = nonce(scope)
    types = "" if scope["state"].get(_LOOSE) else "; require-trusted-types-for 'script'; trusted-types htmx kubenexus"
    return (
        "default-src 'none'; "
        f"script-src 'self' 'nonce-{value}'; style-src 'self' 'nonce-{value}'; "
        "img-src 'self' data:; connect-src 'self'; font-src 'self'; worker-src 'self'; "
        f"base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'{types}"
    ).encode()
