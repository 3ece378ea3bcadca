"""Find out who is calling, before guards ask. A public route is answered without looking, unless it wants to know."""

from typing import Any, Final

from litestar.connection import ASGIConnection
from litestar.datastructures import Cookie
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from app.authn.cookies import cookie_name
from app.authn.service import AccountService, Caller
from app.authz.guards import PUBLIC
from app.authz.identity import Identity

IDENTIFY: Final = "identify"
"""Key in a public handler's `opt`: True when it differs for who is signed in. It is then anonymous in an outage."""


def own_origin(scope: Scope) -> str:
    """The origin that this request was sent to, as the gateway found it, e.g. "http://127.0.0.1:8420"."""
    return str(scope["state"]["origin"])


def caller_of(scope: Scope) -> Caller:
    """The peer's address, never a forwarded one, and its User-Agent."""
    client = scope.get("client")
    agent = next((value for name, value in scope["headers"] if name == b"user-agent"), b"")
    return Caller(address=client[0] if client else "", agent=agent.decode("latin-1"))


def session_cookie(scope: Scope, secret: str) -> Cookie:
    """The cookie for a new session; with secret "" the one that removes it."""
    origin = own_origin(scope)
    return Cookie(
        key=cookie_name(origin),
        value=secret,
        path="/",
        httponly=True,
        samesite="lax",
        secure=origin.startswith("https://"),
        max_age=None if secret else 0,
    )


class Authentication(ASGIMiddleware):
    """Sets `scope["user"]` to an `Identity`, or to None."""

    scopes = (ScopeType.HTTP, ScopeType.WEBSOCKET)

    def __init__(self, accounts: AccountService) -> None:
        self._accounts = accounts

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        opt = scope["route_handler"].opt
        scope["user"] = None
        if not opt.get(PUBLIC):
            scope["user"] = await self._identify(scope)
        elif opt.get(IDENTIFY):
            scope["user"] = await self._identify_or_none(scope)
        await next_app(scope, receive, send)

    async def _identify(self, scope: Scope) -> Identity | None:
        connection = ASGIConnection[Any, Any, Any, Any](scope)
        secret = connection.cookies.get(cookie_name(own_origin(scope)), "")
        # 43 characters are 256 bits in base64; anything else was not made by us.
        return await self._accounts.identify(secret) if len(secret) == 43 else None

    async def _identify_or_none(self, scope: Scope) -> Identity | None:
        try:
            return await self._identify(scope)
        except Exception:  # noqa: BLE001 - a sign-in page must come up in an outage, whatever it is
            return None
