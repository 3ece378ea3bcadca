"""An id for every request, and one log line when it is over. Never logs a query, a header or a body."""

import secrets
import time
from typing import Final, cast

import structlog
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from app.gateway.scopes import is_lifespan

log = structlog.get_logger()
QUIET: Final = ("/static/", "/livez", "/readyz")  # asked for often and of no interest: debug


class RequestLog:
    """The outermost layer: the id is ours, never the client's, and goes out as `X-Request-Id`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if is_lifespan(scope):
            await self._app(scope, receive, send)
            return
        name = secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = name
        started, status, sent = time.perf_counter(), 0, 0

        async def note(message: Message) -> None:
            nonlocal status, sent
            match message["type"]:
                case "http.response.start":
                    status = message["status"]
                    message["headers"] = [*message["headers"], (b"x-request-id", name.encode())]
                case "http.response.body":
                    sent += len(message["body"])
                case "websocket.accept":
                    status = 101
                case "websocket.close":
                    status = message["code"]
            await send(message)

        with structlog.contextvars.bound_contextvars(request=name):
            try:
                await self._app(scope, receive, note)
            finally:
                write = log.debug if scope["path"].startswith(QUIET) else log.info
                write(
                    "http.request",
                    method=scope.get("method", "WEBSOCKET"),
                    path=_path(scope),
                    status=status,
                    bytes=sent,
                    ms=round((time.perf_counter() - started) * 1000, 1),
                    user=getattr(scope.get("user"), "user_id", ""),
                )


def request_id(scope: Scope) -> str:
    """The id of this request; "" outside the gateway."""
    return cast("str", scope.get("state", {}).get("request_id", ""))


def _path(scope: Scope) -> str:
    """The path as it was sent, still percent-encoded, so that no control character can be in it."""
    raw = scope.get("raw_path") or scope["path"].encode()
    return raw.partition(b"?")[0].decode("ascii", "backslashreplace")[:512]
