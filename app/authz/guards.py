"""Litestar guards. Every route has one of these, or says in its `opt` why it is public; all else is refused."""

from typing import Any, Final

from litestar.connection import ASGIConnection
from litestar.enums import ScopeType
from litestar.exceptions import WebSocketException
from litestar.handlers.base import BaseRouteHandler
from litestar.types import Scope

from app.authz.identity import Identity
from app.authz.permissions import Permission, permission
from app.problems import Forbidden, PasswordExpired, Problem, Unauthenticated

PUBLIC: Final = "public"
"""Key in a handler's or router's `opt`; the value is the reason why anybody may call it."""

Connection = ASGIConnection[Any, Any, Any, Any]


class requires:  # noqa: N801 - reads as a clause: guards=[requires("rows:read")]
    """Lets an identity pass that holds the permission somewhere; the handler cuts its answer by the scope.

    With `cluster="<path parameter>"` it must hold it in that cluster; with `everywhere=True`, on the platform.
    """

    def __init__(self, name: str, *, cluster: str = "", everywhere: bool = False) -> None:
        self._permission: Permission = permission(name)
        self.cluster = cluster
        self.everywhere = everywhere
        self.permission = name

    def __call__(self, connection: Connection, _handler: BaseRouteHandler) -> None:
        identity = _signed_in(connection)
        if identity.password_expired:
            _refuse(connection, PasswordExpired("Choose a new password first: the one you have is for one use."))
        if not self._is_met(identity, connection):
            detail = (
                f'This needs the permission "{self.permission}", which none of your roles grants here. '
                "Ask an administrator of this platform."
            )
            _refuse(connection, Forbidden(detail))

    def _is_met(self, identity: Identity, connection: Connection) -> bool:
        if self.cluster:
            return identity.may(self._permission, str(connection.path_params[self.cluster]))
        if self.everywhere:
            return identity.may(self._permission)
        return identity.may_somewhere(self._permission)


class signed_in:  # noqa: N801 - as above
    """Lets every identity pass, also one that must change its password; for what concerns nobody but the caller."""

    permission = "signed in"

    def __call__(self, connection: Connection, _handler: BaseRouteHandler) -> None:
        _signed_in(connection)


def caller(connection: Connection) -> Identity:
    """Who is calling; raises `Unauthenticated` when that is nobody."""
    return identity_of(connection.scope)


def identity_of(scope: Scope) -> Identity:
    """Who is calling, by the ASGI scope; raises `Unauthenticated` when that is nobody."""
    identity = scope.get("user")
    if not isinstance(identity, Identity):
        raise Unauthenticated("Sign in to go on.")
    return identity


def deny_unguarded(connection: Connection, handler: BaseRouteHandler) -> None:
    """The application's own guard: refuses a route that has no guard of ours and does not say why it is public."""
    if guard_of(handler) is None and not handler.opt.get(PUBLIC):
        _refuse(connection, Forbidden("This route declares no permission, so nobody may use it: a fault of ours."))


def guard_of(handler: BaseRouteHandler) -> requires | signed_in | None:
    """The innermost of our guards on the handler or on what contains it."""
    for layer in reversed(handler.ownership_layers):
        for guard in layer.guards or ():
            if isinstance(guard, requires | signed_in):
                return guard
    return None


def _signed_in(connection: Connection) -> Identity:
    try:
        return caller(connection)
    except Unauthenticated as problem:
        _refuse(connection, problem)
        raise


def _refuse(connection: Connection, problem: Problem) -> None:
    # A refused WebSocket has no problem document: its close code is 4000 + the status.
    if connection.scope["type"].lower() == ScopeType.WEBSOCKET.value:
        raise WebSocketException(detail=problem.detail[:120], code=4000 + problem.status)
    raise problem
