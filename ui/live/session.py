"""`GET /live/page/{view}`: one rendering of a view for all who may see the same, sent to each from its own place.

Nobody renders while nobody looks, and no task runs for a view: whichever viewer waits first drives it. A viewer costs
a position in the ring. A stream ends with its session, when the server stops, and after about a minute, so that the
browser comes back and rights are looked up again.
"""

import asyncio
import random
import secrets
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
import structlog
from litestar.types import Receive, Scope, Send

from app import tasks
from app.authn.sessions import Sessions
from app.clock import SYSTEM_CLOCK, Clock
from app.gateway.protocol import Direct, direct_of
from app.problems import Unavailable
from ui.live.patches import PING, Parts, Ring, changes, message, whole

log = structlog.get_logger()

PING_S: Final = 15.0
LIFETIME_S: Final = 60.0
KEPT_S: Final = 30.0  # a view that nobody looks at keeps its ring so long, for those who come back
MOST_VIEWS: Final = 2000
RETRY_MS: Final = (500, 1500)

HEADERS: Final = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


class View(msgspec.Struct, frozen=True):
    """What a stream shows. key: equal keys show equal pages, so it holds the scope's key and all parameters.

    period_s: seconds between two renderings, at least 0.25. revision: a value that stays while nothing changed, so
    that nothing is rendered; None renders each time.
    """

    name: str
    key: tuple[str, ...]
    render: Callable[[], Awaitable[Parts]]
    period_s: float = 0.5
    revision: Callable[[], object] | None = None


class Feed:
    """The patches of one view."""

    def __init__(self, view: View, clock: Clock = SYSTEM_CLOCK) -> None:
        self.ring = Ring(secrets.token_hex(6))
        self.viewers = 0
        self.left = clock.monotonic()
        self._view = view
        self._clock = clock
        self._turn = asyncio.Lock()
        self._parts: Parts | None = None
        self._revision: object = None
        self._due = clock.monotonic()
        self._driven = False
        self._waiters: list[asyncio.Future[None]] = []
        self._beat = 0  # rises when viewers were told nothing for `PING_S`
        self._beaten = clock.monotonic()

    async def advance(self, seen: int) -> bool:
        """Wait until the ring is past `seen`; of those who wait one renders for all. False: time for a sign of life."""
        beat = self._beat
        while self.ring.newest == seen and self._beat == beat:
            if self._driven:
                await self._told()
            else:
                await self._drive()
        return self.ring.newest != seen

    async def _told(self) -> None:
        """Wait for whoever drives. A future a viewer: cancelling a shared one would end the wait of all."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter

    async def _drive(self) -> None:
        """Render until there is something to tell, then wake the others; they go on when this one is cancelled."""
        self._driven = True
        newest, beat = self.ring.newest, self._beat
        try:
            while self.ring.newest == newest and self._beat == beat:
                await self._clock.sleep(self._due - self._clock.monotonic())
                self._due = self._clock.monotonic() + self._view.period_s
                async with self._turn:
                    await self._render()
                if self._clock.monotonic() - self._beaten >= PING_S:
                    self._beat += 1
                    self._beaten = self._clock.monotonic()
        finally:
            self._driven = False
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    async def whole(self) -> bytes:
        """The page's parts as they are now, for a viewer whose place is not known."""
        async with self._turn:
            if self._parts is None or self._clock.monotonic() >= self._due + self._view.period_s:
                await self._render()
        assert self._parts is not None  # noqa: S101 - `_render` set it or raised
        return message(self.ring.identifier(), whole(self._view.name, self._parts))

    async def _render(self) -> None:
        revision = self._view.revision() if self._view.revision is not None else None
        if self._parts is not None and revision is not None and revision == self._revision:
            return
        parts = await self._view.render()
        html = changes(self._view.name, self._parts, parts)
        # Nothing awaits between these lines: whoever reads the ring sees both or neither.
        if html and self._parts is not None:
            self.ring.add(html)
            self._beaten = self._clock.monotonic()
        self._parts, self._revision = parts, revision


class Feeds:
    """The feeds of a process by view key."""

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._feeds: dict[tuple[str, ...], Feed] = {}

    def of(self, view: View) -> Feed:
        """The feed of a view; raises `Unavailable` when too many different ones are looked at."""
        now = self._clock.monotonic()
        key = (view.name, *view.key)
        for old in [k for k, f in self._feeds.items() if not f.viewers and now - f.left > KEPT_S and k != key]:
            del self._feeds[old]
        if key not in self._feeds:
            if len(self._feeds) >= MOST_VIEWS:
                raise Unavailable("This server shows too many different live pages already. Try again in a minute.")
            self._feeds[key] = Feed(view, self._clock)
        feed = self._feeds[key]
        feed.left = now
        return feed


class PageStream:
    """One viewer's stream, as an ASGI application."""

    def __init__(self, feed: Feed, sessions: Sessions, session: str, since: str, clock: Clock = SYSTEM_CLOCK) -> None:
        self._feed = feed
        self._sessions = sessions
        self._session = session
        self._since = since
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._feed.viewers += 1
        try:
            with self._sessions.held(self._session) as ended:
                async with (
                    tasks.running("page stream", self._pump(send, direct_of(scope))) as pump,
                    tasks.running("page stream: session", _until(ended)) as over,
                    tasks.running("page stream: client", _until_gone(receive)) as gone,
                ):
                    await asyncio.wait({pump, over, gone}, return_when=asyncio.FIRST_COMPLETED)
                    if gone.done():
                        return
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._feed.viewers -= 1
            self._feed.left = self._clock.monotonic()

    async def _pump(self, send: Send, direct: Direct) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [*HEADERS]})
        feed, seen = self._feed, self._feed.ring.position(self._since)
        retry = b"retry: %d\n\n" % random.randint(*RETRY_MS)  # noqa: S311 - spreads clients, is no secret
        ends = self._clock.monotonic() + LIFETIME_S * random.uniform(0.8, 1.2)  # noqa: S311 - as above
        await _write(send, retry)
        while self._clock.monotonic() < ends:
            messages = None if seen is None else feed.ring.after(seen)
            if messages is None:
                body = await feed.whole()
            else:
                body = messages[0] if len(messages) == 1 else b"".join(messages)
            seen = feed.ring.newest
            if body and not direct(body):
                await _write(send, body)
            if not await feed.advance(seen):
                await _write(send, PING)


async def _write(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def _until(event: asyncio.Event) -> None:
    await event.wait()


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
