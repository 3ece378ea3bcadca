"""Sign in, sign out, sessions and passwords: as forms for the pages, as JSON for programs."""

from datetime import UTC, datetime
from typing import Any, Final

from litestar import Request, Response, Router, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, URLEncodedBody
from litestar.response import Redirect
from litestar.types import ControllerRouterHandler

from app.authn.cookies import local_path
from app.authn.middleware import caller_of, session_cookie
from app.authn.schemas import ENTERED, LinkSignIn, Me, PasswordChange, SessionView, SignIn
from app.authn.service import AccountService
from app.authn.sessions import Handle, Session, Sessions
from app.authz.guards import PUBLIC, signed_in
from app.authz.identity import Identity
from app.authz.permissions import Permission
from app.problems import InvalidInput, NotFound

AnyRequest = Request[Any, Any, Any]
Accounts = NamedDependency[AccountService]
Who = NamedDependency[Identity]
AllSessions = NamedDependency[Sessions]
_SIGN_IN: Final = {PUBLIC: "Whoever signs in has no session yet; tries are limited by account and address."}


@post("/sign-in", opt=_SIGN_IN, include_in_schema=False)
async def sign_in_form(request: AnyRequest, data: URLEncodedBody[SignIn], accounts: Accounts) -> Redirect:
    request.scope["state"][ENTERED] = {"name": data.name, "next": local_path(data.next)}
    secret = await accounts.sign_in(data.name, data.password, caller_of(request.scope))
    return _enter(request, secret, local_path(data.next))


@post("/sign-in/link", opt=_SIGN_IN, include_in_schema=False)
async def link_form(request: AnyRequest, data: URLEncodedBody[LinkSignIn], accounts: Accounts) -> Redirect:
    secret = await accounts.sign_in_by_link(data.token, caller_of(request.scope))
    return _enter(request, secret, "/")


@post("/sign-out", guards=[signed_in()], include_in_schema=False)
async def sign_out_form(request: AnyRequest, identity: Who, accounts: Accounts) -> Redirect:
    await accounts.sign_out(identity)
    return _enter(request, "", "/sign-in")


@post("/account/password", guards=[signed_in()], include_in_schema=False)
async def password_form(
    request: AnyRequest,
    data: URLEncodedBody[PasswordChange],
    identity: Who,
    accounts: Accounts,
) -> Redirect:
    secret = await _change(request, data, identity, accounts)
    return _enter(request, secret, "/")


@post("/session", opt=_SIGN_IN, operation_id="sign_in", tags=["account"])
async def sign_in(request: AnyRequest, data: JSONBody[SignIn], accounts: Accounts) -> Response[Me]:
    """Begin a session; the answer sets its cookie."""
    secret = await accounts.sign_in(data.name, data.password, caller_of(request.scope))
    identity = await accounts.identify(secret)
    if identity is None:
        raise NotFound("The session ended at once. Sign in again.")
    return Response(_me(identity), cookies=[session_cookie(request.scope, secret)])


@get("/session", guards=[signed_in()], operation_id="who_am_i", tags=["account"])
async def who_am_i(identity: Who) -> Me:
    """Who is calling, and what they may do somewhere."""
    return _me(identity)


@delete("/session", guards=[signed_in()], operation_id="sign_out", tags=["account"], status_code=204)
async def sign_out(request: AnyRequest, identity: Who, accounts: Accounts) -> Response[None]:
    """End this session and every stream in it."""
    await accounts.sign_out(identity)
    return Response(None, status_code=204, cookies=[session_cookie(request.scope, "")])


@get("/sessions", guards=[signed_in()], operation_id="list_sessions", tags=["account"])
async def list_sessions(identity: Who, sessions: AllSessions) -> list[SessionView]:
    """The caller's sessions, newest first."""
    found = await sessions.of(identity.user_id)
    return [_view(handle, session, identity) for handle, session in found.items()]


@delete("/sessions", guards=[signed_in()], operation_id="end_other_sessions", tags=["account"])
async def end_other_sessions(identity: Who, sessions: AllSessions) -> None:
    """End all of the caller's sessions but this one."""
    await sessions.revoke_all(identity.user_id, but=identity.session)


@delete("/sessions/{handle:str}", guards=[signed_in()], operation_id="end_session", tags=["account"])
async def end_session(handle: FromPath[str], identity: Who, sessions: AllSessions) -> None:
    """End one of the caller's sessions."""
    if not await sessions.revoke(identity.user_id, handle):
        raise NotFound("You have no such session. It may have ended already.")


@put("/account/password", guards=[signed_in()], operation_id="change_password", tags=["account"], status_code=204)
async def change_password(
    request: AnyRequest, data: JSONBody[PasswordChange], identity: Who, accounts: Accounts
) -> Response[None]:
    """Choose a new password; every other session ends and this one goes on under a new cookie."""
    secret = await _change(request, data, identity, accounts)
    return Response(None, status_code=204, cookies=[session_cookie(request.scope, secret)])


async def _change(request: AnyRequest, data: PasswordChange, identity: Identity, accounts: AccountService) -> str:
    if data.new != data.repeated:
        differ = "The two new passwords differ."
        raise InvalidInput(differ, errors={"repeated": differ})
    return await accounts.change_password(identity, data.current, data.new, caller_of(request.scope))


def _enter(request: AnyRequest, secret: str, place: str) -> Redirect:
    return Redirect(place, status_code=303, cookies=[session_cookie(request.scope, secret)])


def _me(identity: Identity) -> Me:
    return Me(
        name=identity.name,
        roles=sorted(identity.roles),
        permissions=[p.value for p in Permission if identity.may_somewhere(p)],
        password_expired=identity.password_expired,
    )


def _view(handle: Handle, session: Session, identity: Identity) -> SessionView:
    return SessionView(
        handle=handle,
        created_at=_iso(session.created),
        used_at=_iso(session.used),
        expires_at=_iso(session.ends),
        address=session.address,
        agent=session.agent,
        current=handle == identity.session,
    )


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


ROUTES: Final[list[ControllerRouterHandler]] = [
    sign_in_form,
    link_form,
    sign_out_form,
    password_form,
    Router(
        "/api/v1",
        route_handlers=[
            sign_in,
            who_am_i,
            sign_out,
            list_sessions,
            end_other_sessions,
            end_session,
            change_password,
        ],
    ),
]
