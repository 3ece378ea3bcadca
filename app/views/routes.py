"""`WS /live/data`, the same over SSE and POST, and pages of rows as JSON. Thin: views are `service.Desk`'s.

The cookie's session is the authority, looked up again every minute and at once when it is revoked; the gateway has
checked the Origin. A message is decoded strictly, however it came.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

import msgspec
import structlog
from litestar import Request, WebSocket, get, post, websocket
from litestar.di import NamedDependency
from litestar.exceptions import WebSocketDisconnect
from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.response import Stream
from litestar.types import ControllerRouterHandler

from app import tasks
from app.authn.cookies import cookie_name
from app.authn.middleware import own_origin
from app.authn.service import AccountService
from app.authn.sessions import Sessions
from app.authz.guards import requires
from app.authz.identity import Identity
from app.problems import InvalidInput, NotFound, TooManyRequests
from app.views.schemas import MESSAGE_BYTES, Message, RowPage, Subscribe
from app.views.service import Desk, SlowViewer, ViewService, encode

log = structlog.get_logger()

LOOK_AGAIN_S: Final = 30.0  # how often rights are looked up for an open socket
SEND_S: Final = 12.0  # a browser that takes no bytes for so long is gone
MOST_DESKS: Final = 5_000  # sockets of one process
PING_S: Final = 15.0
CLOSE_SLOW, CLOSE_ENDED, CLOSE_BAD, CLOSE_STOPPING = 4008, 4401, 4400, 1012

_decoder: Final = msgspec.json.Decoder(Message)


@websocket("/live/data", guards=[requires("rows:read")])
async def live_data(
    socket: WebSocket[Any, Any, Any],
    identity: NamedDependency[Identity],
    views: NamedDependency[ViewService],
    accounts: NamedDependency[AccountService],
    sessions: NamedDependency[Sessions],
) -> None:
    """The live socket of one page."""
    await socket.accept()
    if views.desks >= MOST_DESKS:
        await socket.close(code=1013, reason="This server has as many viewers as it can serve. Try again.")
        return
    desk = Desk(views, identity)
    views.desks += 1
    try:
        with sessions.held(identity.session) as ended:
            code = await _serve(socket, desk, ended, accounts)
        if code:
            with contextlib.suppress(RuntimeError, WebSocketDisconnect):
                await socket.close(code=code)
    finally:
        views.desks -= 1
        desk.close()


async def _serve(socket: WebSocket[Any, Any, Any], desk: Desk, ended: asyncio.Event, accounts: AccountService) -> int:
    """Pump both ways until one end is over; the close code, 0 when the browser has gone."""
    async with (
        tasks.running("live socket: in", _read(socket, desk)) as reading,
        tasks.running("live socket: out", _write(socket, desk)) as writing,
        tasks.running("live socket: rights", _watch_rights(socket, desk, ended, accounts)) as rights,
    ):
        done, _ = await asyncio.wait({reading, writing, rights}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            try:
                task.result()
            except (SlowViewer, TimeoutError):
                return CLOSE_SLOW
            except msgspec.MsgspecError as error:
                log.info("live.bad_message", reason=str(error)[:200])
                return CLOSE_BAD
        return CLOSE_ENDED if rights in done else 0


async def _read(socket: WebSocket[Any, Any, Any], desk: Desk) -> None:
    while True:
        try:
            text = await socket.receive_data(mode="text")
        except WebSocketDisconnect:
            return
        if len(text) > MESSAGE_BYTES:
            raise msgspec.ValidationError("the message is too large")
        await desk.take(_decoder.decode(text))


async def _write(socket: WebSocket[Any, Any, Any], desk: Desk) -> None:
    async for frames in desk.frames():
        try:
            async with asyncio.timeout(SEND_S):
                await socket.send_text(encode(frames).decode())
        except TimeoutError:
            raise
        except (WebSocketDisconnect, OSError):  # the browser has gone while we wrote: no fault of anybody's
            return


async def _watch_rights(
    socket: WebSocket[Any, Any, Any], desk: Desk, ended: asyncio.Event, accounts: AccountService
) -> None:
    """Return when the session is over; tell the desk of changed rights."""
    secret = socket.cookies.get(cookie_name(own_origin(socket.scope)), "")
    while not ended.is_set():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_AGAIN_S):
                await ended.wait()
                return
        identity = await accounts.identify(secret)
        if identity is None:
            return
        desk.identify(identity)


# -- the same where WebSockets are blocked ---------------------------------------------------------------------------


class Lines:
    """Desks whose frames go out over SSE and whose messages come in by POST, by their random ids."""

    def __init__(self) -> None:
        self._desks: dict[str, tuple[str, Desk]] = {}

    @contextlib.contextmanager
    def opened(self, session: str, desk: Desk) -> Any:
        line = secrets.token_urlsafe(16)
        self._desks[line] = (session, desk)
        try:
            yield line
        finally:
            del self._desks[line]

    def of(self, line: str, session: str) -> Desk:
        """The desk, for the session that opened it only."""
        found = self._desks.get(line)
        if found is None or found[0] != session:
            raise NotFound("This live connection has ended. Open a new one.")
        return found[1]


@get("/live/data/stream", guards=[requires("rows:read")], include_in_schema=False)
async def live_stream(
    request: Request[Any, Any, Any],
    identity: NamedDependency[Identity],
    views: NamedDependency[ViewService],
    sessions: NamedDependency[Sessions],
) -> Stream:
    """Frames as server-sent events; the first says where to POST messages."""
    if views.desks >= MOST_DESKS:
        raise TooManyRequests("This server has as many viewers as it can serve. Try again.")
    lines: Lines = request.app.state.setdefault("live_lines", Lines())
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    body = _events(Desk(views, identity), lines, views, sessions, identity.session)
    return Stream(body, media_type="text/event-stream", headers=headers)


async def _events(
    desk: Desk, lines: Lines, views: ViewService, sessions: Sessions, session: str
) -> AsyncIterator[bytes]:
    views.desks += 1
    queue: asyncio.Queue[bytes | None] = asyncio.Queue(2)  # full: the desk waits, so frames merge

    async def pump() -> None:
        with contextlib.suppress(SlowViewer):
            async for frames in desk.frames():
                await queue.put(b"data: " + encode(frames) + b"\n\n")
        await queue.put(None)

    async def until(ended: asyncio.Event) -> None:
        await ended.wait()
        await queue.put(None)

    try:
        with lines.opened(session, desk) as line, sessions.held(session) as ended:
            yield b'event: line\ndata: {"line":"%s"}\n\n' % line.encode()
            async with tasks.running("live stream", pump()), tasks.running("live stream: session", until(ended)):
                while True:
                    try:
                        async with asyncio.timeout(PING_S):
                            item = await queue.get()
                    except TimeoutError:
                        item = b": ping\n\n"
                    if item is None:
                        return
                    yield item
    finally:
        views.desks -= 1
        desk.close()


@post("/live/data/{line:str}", guards=[requires("rows:read")], include_in_schema=False, status_code=204)
async def live_message(
    request: Request[Any, Any, Any], line: FromPath[str], identity: NamedDependency[Identity]
) -> None:
    """One message for a stream that the same session opened."""
    lines: Lines = request.app.state.setdefault("live_lines", Lines())
    desk = lines.of(line, identity.session)
    body = await request.body()
    try:
        message = _decoder.decode(body[:MESSAGE_BYTES])
    except msgspec.MsgspecError as error:
        raise InvalidInput(f"This is no message of the live protocol: {error}") from error
    await desk.take(message)


# -- pages of rows ---------------------------------------------------------------------------------------------------


@get("/api/v1/rows/{kind:str}", guards=[requires("rows:read")], operation_id="listRows", tags=["rows"])
async def rows(  # noqa: PLR0913, PLR0917 - one parameter a query field
    kind: FromPath[str],
    identity: NamedDependency[Identity],
    views: NamedDependency[ViewService],
    filter: FromQuery[str] = "",  # noqa: A002 - the query's own word
    sort: FromQuery[str] = "",
    cluster: FromQuery[list[str] | None] = None,
    namespace: FromQuery[list[str] | None] = None,
    start: Annotated[int, QueryParameter(name="from", ge=0, le=10_000_000)] = 0,
    limit: Annotated[int, QueryParameter(ge=1, le=1000)] = 100,
) -> RowPage:
    """A page of the objects of one kind ("pods", "deployments.apps") over all clusters that the caller may see."""
    asked = Subscribe(
        id=0,
        kind=kind,
        sort=sort,
        filter=filter,
        clusters=cluster or [],
        namespaces=namespace or [],
        start=start,
        stop=start + limit,
    )
    return await views.page(identity, kind, asked)


ROUTES: Final[list[ControllerRouterHandler]] = [live_data, live_stream, live_message, rows]
