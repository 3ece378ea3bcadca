"""Every error as one RFC 9457 problem document, or as a page where a browser asked for one.

Never shows an exception's text unless it is a `Problem`, which is written for people, or Litestar's own refusal of a
request; the rest is logged once with its traceback and answered by a sentence and the request's id.
"""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

import msgspec
import structlog
from litestar import Request, Response
from litestar.datastructures import Headers
from litestar.exceptions import HTTPException, ValidationException
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from app.authn.schemas import ENTERED
from app.gateway.request_log import request_id
from app.gateway.scopes import is_http, is_lifespan
from app.gateway.security_headers import nonce
from app.problems import PasswordExpired, Problem, TooManyRequests, Unauthenticated, Unavailable
from app.storage.redis import RedisError

log = structlog.get_logger()
JSON: Final = "application/problem+json"
PASSWORD_PAGE: Final = "/account/password"  # noqa: S105 - a path
SIGN_IN_PAGE: Final = "/sign-in"


class ProblemDocument(msgspec.Struct, frozen=True):
    """An error, as RFC 9457 says.

    type: "/problems/<kind>", which names the kind for programs. errors: sentences by field of the request.
    request_id: names this request in the server's log.
    """

    type: str
    title: str
    status: int
    detail: str
    request_id: str
    errors: dict[str, str] = {}


class ErrorPage(msgspec.Struct, frozen=True):
    """What an error page shows.

    fragment: a script asked, so a piece of a page is wanted and not a whole one. path: of the request; a form's page
    is shown again from it. entered: what the form held, less its secrets, as its handler left it in the state.
    """

    problem: ProblemDocument
    nonce: str
    fragment: bool
    path: str
    entered: dict[str, str]


Render = Callable[[ErrorPage], str]


class ProblemDocuments:
    """Turns what the layers and handlers inside it raise into responses; all of them use `respond`."""

    def __init__(self, app: ASGIApp, *, render: Render) -> None:
        self._app = app
        self._render = render

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if is_lifespan(scope):
            await self._app(scope, receive, send)
            return
        begun = False

        async def note(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, note)
        except Exception as error:
            if begun:
                raise
            if not is_http(scope):
                problem = _problem(error)
                await send({"type": "websocket.close", "code": 4000 + problem.status, "reason": problem.detail[:120]})
                return
            await _send(respond(scope, error, self._render), send)


def handler(render: Render) -> Callable[[Request[Any, Any, Any], Exception], Response[bytes]]:
    """The exception handler for Litestar's own routes."""

    def handle(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
        return respond(request.scope, error, render)

    return handle


def respond(scope: HTTPScope, error: Exception, render: Render) -> Response[bytes]:
    """The answer to a request that ended in `error`, in the form that the client accepts."""
    problem, headers = _problem(error), Headers.from_scope(scope)
    document = ProblemDocument(
        type=f"/problems/{problem.kind}",
        title=problem.title,
        status=problem.status,
        detail=problem.detail,
        request_id=request_id(scope),
        errors=problem.errors,
    )
    extra = _headers(problem, error)
    if not _wants_page(headers):
        return Response(msgspec.json.encode(document), status_code=problem.status, headers=extra, media_type=JSON)
    fragment = headers.get("hx-request") == "true"
    if (place := _elsewhere(scope, problem)) and not fragment:
        return Response(b"", status_code=303, headers={"location": place})
    if place:
        extra["hx-redirect"] = place
    page = ErrorPage(
        problem=document,
        nonce=nonce(scope),
        fragment=fragment,
        path=scope["path"],
        entered=dict(scope["state"].get(ENTERED, {})),
    )
    return Response(render(page).encode(), status_code=problem.status, headers=extra, media_type="text/html")


class _Refused(Problem):
    """A refusal by Litestar itself: no such route, wrong method, input of the wrong form."""

    def __init__(self, error: HTTPException) -> None:
        super().__init__(_sentence(error), errors=_fields(error))
        phrase = HTTPStatus(error.status_code).phrase
        self.status = 422 if isinstance(error, ValidationException) else error.status_code  # type: ignore[misc]
        self.kind = "invalid-input" if self.status == 422 else phrase.lower().replace(" ", "-")  # type: ignore[misc]
        self.title = "The input cannot be used" if self.status in {400, 422} else phrase  # type: ignore[misc]


def _problem(error: Exception) -> Problem:
    if isinstance(error, Problem):
        return error
    if isinstance(error, HTTPException) and error.status_code < 500:
        return _Refused(error)
    if isinstance(error, RedisError):
        log.warning("http.redis_away", error=repr(error))
        return Unavailable("The message store (Redis) does not answer. It is tried again at the next request.")
    log.error("http.failed", exc_info=error)
    return Problem("This is a fault of KubeNexus. The server's log has its cause, under the id of this request.")


def _sentence(error: HTTPException) -> str:
    match error.status_code:
        case 404:
            return "There is nothing at this address."
        case 405:
            return "This address does not take that method."
    return f"{error.detail.rstrip('.')}."


def _fields(error: HTTPException) -> dict[str, str]:
    if not isinstance(error.extra, list):
        return {}
    return {
        str(fault.get("key") or fault.get("source", "body")): str(fault["message"])
        for fault in error.extra
        if isinstance(fault, dict) and "message" in fault
    }


def _headers(problem: Problem, error: Exception) -> dict[str, str]:
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    if isinstance(problem, TooManyRequests) and problem.retry_after_s:
        headers["retry-after"] = str(round(problem.retry_after_s) + 1)
    if problem.status == 401:
        headers["www-authenticate"] = 'Session realm="KubeNexus"'
    return headers


def _wants_page(headers: Headers) -> bool:
    accept = headers.get("accept", "")
    return "text/html" in accept and "application/json" not in accept.partition("text/html")[0]


def _elsewhere(scope: HTTPScope, problem: Problem) -> str:
    """The page to go to instead of an error page, if any."""
    if isinstance(problem, PasswordExpired):
        return PASSWORD_PAGE
    if not isinstance(problem, Unauthenticated) or scope["method"] not in {"GET", "HEAD"}:
        return ""
    query = scope["query_string"].decode("latin-1")
    return f"{SIGN_IN_PAGE}?next={quote(scope['path'] + (f'?{query}' if query else ''), safe='/')}"


async def _send(response: Response[bytes], send: Send) -> None:
    kind = "text/html; charset=utf-8" if response.media_type == "text/html" else JSON
    headers = [
        (b"content-type", kind.encode()),
        (b"content-length", b"%d" % len(response.content)),
    ]
    headers += [(name.lower().encode(), value.encode("latin-1")) for name, value in response.headers.items()]
    await send({"type": "http.response.start", "status": response.status_code or 500, "headers": headers})
    await send({"type": "http.response.body", "body": response.content, "more_body": False})
