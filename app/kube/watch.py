"""Lists one resource and watches it for ever, by client-go's rules (tools/cache/reflector.go).

Knows neither kinds nor stores: a `Codec` decodes, a `Handler` is told. It holds one number, the resourceVersion that
was seen last, and decides from each failure whether to watch on from it, to list again, or to wait.
"""

import asyncio
import random
from collections.abc import Iterator, Sequence
from typing import Final, Generic, Literal, TypeVar

import msgspec
import structlog

from app.clock import SYSTEM_CLOCK, Clock
from app.kube import errors, versions
from app.kube.client import LIST_BYTES, ApiServer
from app.kube.events import Bookmark, Codec, ErrorEvent, Event, Handler, Page, Unreadable
from app.kube.lines import LINE_BYTES
from app.kube.stream import Sink, Stream, StreamCut, StreamMute
from app.tasks import backoff

T = TypeVar("T")
log = structlog.get_logger()

State = Literal["listing", "live", "stale", "forbidden", "degraded", "gone"]


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """All durations, in seconds; the numbers are client-go's where it has them.

    idle_s: longest silence of an open watch; bookmarks come each minute, so 70 s of nothing is a dead or mute peer.
    first_bookmark_s: how long a streaming list may go without a new object or its end before we list instead.
    streaming_again_s: after this a server that did not know streaming lists is asked again: it may be newer now.
    """

    watch_s: tuple[float, float] = (300.0, 600.0)
    idle_s: tuple[float, float] = (70.0, 75.0)
    backoff_first_s: float = 0.8
    backoff_cap_s: float = 30.0
    backoff_reset_s: float = 120.0
    short_watch_s: float = 1.0
    first_bookmark_s: float = 10.0
    streaming_again_s: float = 3600.0
    forbidden_s: float = 60.0
    gone_s: float = 20.0
    list_s: float = 120.0
    page: int = 500
    list_bytes: int = LIST_BYTES
    line_bytes: int = LINE_BYTES


TIMING: Final = Timing()


class Waits:
    """client-go's backoff: 0.8 s doubled to 30 s, jittered by up to +100 %, begun again after two quiet minutes."""

    def __init__(self, clock: Clock, rng: random.Random, timing: Timing) -> None:
        self._clock = clock
        self._rng = rng
        self._timing = timing
        self._delays: Iterator[float] = iter(())
        self._last_s = float("-inf")

    def next_s(self) -> float:
        """Seconds to wait now."""
        now_s = self._clock.monotonic()
        if now_s - self._last_s > self._timing.backoff_reset_s:
            self._delays = backoff(self._timing.backoff_first_s, self._timing.backoff_cap_s, self._rng)
        self._last_s = now_s
        return next(self._delays)


class Counters(msgspec.Struct):
    """What happened since the machine began."""

    lists: int = 0
    streaming_lists: int = 0
    watches: int = 0
    events: int = 0
    bookmarks: int = 0
    skipped: int = 0


class Relist(Exception):  # noqa: N818 - what to do, not what went wrong
    """The stream cannot go on: list again. Its text is shown until then."""


class Abandon(Exception):  # noqa: N818
    """The streaming list did not end as it should: list the ordinary way. remember: do not try it again for a while."""

    def __init__(self, message: str, *, remember: bool) -> None:
        super().__init__(message)
        self.remember = remember


class Rewound(Exception):  # noqa: N818
    """The server's version is older than ours: it was restored from a backup or replaced."""


class ListWatch(Generic[T]):
    """The machine for one path, e.g. "/api/v1/pods"; `run` never ends but by cancellation.

    params: selectors, sent with each request. streaming: whether to ask for a streaming list (KEP-3157) at all.
    """

    def __init__(  # noqa: PLR0913 - options of one object, by keyword
        self,
        api: ApiServer,
        path: str,
        codec: Codec[T],
        handler: Handler[T],
        *,
        params: Sequence[tuple[str, str]] = (),
        clock: Clock = SYSTEM_CLOCK,
        rng: random.Random | None = None,
        timing: Timing = TIMING,
        streaming: bool = True,
    ) -> None:
        self.version = ""
        self.counters = Counters()
        self.api = api
        self.path = path
        self.params = list(params)
        self._codec = codec
        self._handler = handler
        self._clock = clock
        self._rng = rng or random.SystemRandom()
        self._timing = timing
        self._streaming = streaming
        self._streaming_from_s = float("-inf")
        self._waits = Waits(clock, self._rng, timing)
        self._listed = False  # a whole list was given, ever
        self._paged = False  # the server honours limit
        self._state: tuple[State, str] | None = None
        self._stream: Stream | None = None
        self._must_list = True

    async def run(self) -> None:
        """Mirror for ever."""
        while True:
            try:
                if self._must_list:
                    await self._synchronise()
                await self._watch()
            except Relist as relist:
                self._must_list = True
                self._tell("stale", str(relist))
                await self._clock.sleep(self._waits.next_s())
            except Rewound:
                log.warning("watch.rewound", path=self.path, version=self.version)
                self.version, self._must_list = "", True
                self._tell("stale", "The API server's data is older than what it showed before: all is read again.")
            except errors.KubeError as error:
                await self._suffer(error)

    @property
    def is_whole(self) -> bool:
        """Whether the handler was given a whole list and every change up to `version`."""
        return not self._must_list

    def relist(self, message: str) -> None:
        """List again, for a mirror that was found to be wrong; `message` is shown until then."""
        self._must_list = True
        if self._stream is not None:
            self._stream.fail(Relist(message))

    # --- list -----------------------------------------------------------------------------------------------------

    async def _synchronise(self) -> None:
        """Give the handler one whole list. A streaming one is followed to its connection's end."""
        if not self._listed:
            self._tell("listing", "")
        if self._streaming and self._clock.monotonic() >= self._streaming_from_s:
            try:
                await self._list_streaming()
            except Abandon as abandon:
                if abandon.remember:
                    self._streaming_from_s = self._clock.monotonic() + self._timing.streaming_again_s
                log.info("watch.listing_instead", path=self.path, reason=str(abandon))
            else:
                return
        await self._list()

    async def _list(self) -> None:
        version = self.version or ("" if self._listed else "0")
        try:
            listed = await self._list_at(version)
        except errors.KubeError as error:
            if version == "" or not is_version_refused(error):
                raise
            log.info("watch.version_refused", path=self.path, version=version, status=error.status)
            listed = await self._list_at("")
        self._complete(listed)

    async def _list_at(self, version: str) -> str:
        """One list at `version` ("" is the newest, "0" any), page by page; return the version that it is of."""
        # A server reads a limited list at an exact version from its storage; without a limit it may use its cache.
        limit = self._timing.page if version in {"", "0"} or self._paged else 0
        self._handler.begin()
        self.counters.lists += 1
        token = ""
        while True:
            try:
                page = await self._page(version, limit, token)
            except errors.Gone:
                if not token:
                    raise
                log.info("watch.continue_expired", path=self.path)
                self._handler.begin()  # the pages so far are of a version that is gone
                limit = 0
                page = await self._page(version, limit, "")
            self._handler.listed(page.events)
            token = page.continue_
            if not token:
                return page.version
            self._paged = self._paged or version == "0"

    async def _page(self, version: str, limit: int, token: str) -> Page[T]:
        params = [*self.params]
        if limit:
            params.append(("limit", str(limit)))
        if token:
            params.append(("continue", token))
        elif version:
            params.append(("resourceVersion", version))
        answer = await self.api.request(
            "GET",
            self.path,
            params=params,
            headers={"Accept": self._codec.accept, "Accept-Encoding": "gzip"},
            deadline_s=self._timing.list_s,
            most=self._timing.list_bytes,
        )
        page = self._codec.page(answer.body)
        if isinstance(page, Unreadable):
            raise errors.NotKubernetes("The API server's list is not one that we can read.", reason=page.reason)
        return page

    def _complete(self, version: str) -> None:
        if versions.newer(self.version, version):
            log.warning("watch.rewound", path=self.path, version=self.version, listed=version)
        self.version = version
        self._must_list = False
        self._listed = True
        self._handler.complete(version)

    # --- streaming list -------------------------------------------------------------------------------------------

    async def _list_streaming(self) -> None:
        """KEP-3157: list and watch on one connection; what came is swapped in at the bookmark that ends the list."""
        extra = [("sendInitialEvents", "true"), ("resourceVersionMatch", "NotOlderThan")]
        try:
            stream, timeout_s = await self._open(extra)
        except errors.Invalid as error:
            raise Abandon("streaming lists are not known here", remember=True) from error
        except (errors.Gone, errors.ServerFailed) as error:
            raise Abandon("the streaming list was refused", remember=False) from error
        self.counters.streaming_lists += 1
        self._handler.begin()
        async with stream:
            try:
                async with asyncio.timeout(self._timing.first_bookmark_s) as patience:
                    await self._follow(stream, timeout_s, self._initial(patience))
            except TimeoutError as error:
                log.warning("watch.no_bookmark", path=self.path, waited_s=self._timing.first_bookmark_s)
                raise Abandon("the end of the streaming list did not come", remember=True) from error
            except (errors.KubeError, Relist) as error:
                if not self._must_list:
                    raise
                raise Abandon("the streaming list broke", remember=False) from error

    def _initial(self, patience: asyncio.Timeout) -> Sink:
        """What takes the lines of a streaming list to its end, and then those of the watch that it becomes."""
        loop = asyncio.get_running_loop()
        late: list[Event[T]] = []  # a deletion, and all after it, cannot be part of a list

        def take(lines: list[bytes]) -> None:
            if not self._must_list:
                self._take(lines)
                return
            initial: list[Event[T]] = []
            for at, line in enumerate(lines):
                decoded = self._codec.line(line)
                if isinstance(decoded, Bookmark) and decoded.initial_events_end:
                    patience.reschedule(None)
                    self._handler.listed(initial)
                    self._complete(decoded.version)
                    self.counters.bookmarks += 1
                    self._tell("live", "")
                    self._changed(late)
                    self._take(lines[at + 1 :])
                    return
                events = self._events(decoded)
                (late if late or any(e.type == "delete" for e in events) else initial).extend(events)
            self._handler.listed(initial)
            if any(is_added(line) for line in lines):
                patience.reschedule(loop.time() + self._timing.first_bookmark_s)

        return take

    # --- watch ----------------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """One watch from `version`; returns when the next may go on from the then newest version."""
        stream, timeout_s = await self._open([])
        take = self._take if self.version not in {"", "0"} else self._take_synthetic
        async with stream:
            self._tell("live", "")
            await self._follow(stream, timeout_s, take)

    async def _open(self, extra: list[tuple[str, str]]) -> tuple[Stream, int]:
        """Open a watch from `version`; return it with the time after which the server was asked to end it."""
        timeout_s = int(self._rng.uniform(*self._timing.watch_s))
        params = [*self.params, ("watch", "1"), ("allowWatchBookmarks", "true"), ("timeoutSeconds", str(timeout_s))]
        if self.version:
            params.append(("resourceVersion", self.version))
        self.counters.watches += 1
        stream = await self.api.open_stream(
            self.path,
            params=[*params, *extra],
            headers={"Accept": self._codec.accept},
            idle_s=self._rng.uniform(*self._timing.idle_s),
            line_bytes=self._timing.line_bytes,
        )
        return stream, timeout_s

    async def _follow(self, stream: Stream, timeout_s: float, take: Sink) -> None:
        """Tell what the stream brings until it ends; returns when a watch may go on from `version`."""
        opened_s = self._clock.monotonic()
        told = self.counters.events + self.counters.bookmarks
        cut = mute = False
        self._stream = stream
        try:
            await stream.pump(take)
        except StreamMute:
            mute = True
        except StreamCut:
            cut = True
        finally:
            self._stream = None
        if self._must_list:
            raise Relist("The API server ended a list before it was whole.")
        lasted_s = self._clock.monotonic() - opened_s
        empty = told == self.counters.events + self.counters.bookmarks
        if self.version in {"", "0"}:
            raise Relist("The API server gave no version to go on from.")
        if mute and empty:
            await self._check_position()
        elif empty and lasted_s < self._timing.short_watch_s:
            raise Relist("The API server closed the watch at once.")
        elif cut or lasted_s < self._timing.short_watch_s:
            await self._clock.sleep(self._waits.next_s())
        elif lasted_s < timeout_s * 0.9:  # it is going away, and all its watchers come at once: spread them
            await self._clock.sleep(self._rng.uniform(0, self._timing.backoff_first_s))

    async def _check_position(self) -> None:
        """A watch from a version in the server's future is silent for ever: see whether that is why nothing came."""
        page = await self._page("", 1, "")
        if versions.newer(self.version, page.version):
            raise Rewound

    # --- events ---------------------------------------------------------------------------------------------------

    def _take(self, lines: list[bytes]) -> None:
        """Tell the events of one read in one call."""
        decode = self._codec.line
        events: list[Event[T]] = []
        for line in lines:
            decoded = decode(line)
            if isinstance(decoded, Event):
                events.append(decoded)
            elif isinstance(decoded, list):
                events += decoded
            else:
                self._changed(events)
                events = []
                self._events(decoded)
        self._changed(events)

    def _take_synthetic(self, lines: list[bytes]) -> None:
        """The same where the watch began without a version: ADDED comes in no order and must not advance it."""
        for line in lines:
            events = self._events(self._codec.line(line))
            self._changed(events, advance=not is_added(line))

    def _changed(self, events: list[Event[T]], *, advance: bool = True) -> None:
        if events:
            self.counters.events += len(events)
            self._handler.changed(events)
            if advance:
                self._advance(events[-1].version)
                if not is_ordered(events):
                    for event in events:
                        self._advance(event.version)

    def _events(self, decoded: "Event[T] | Bookmark | ErrorEvent | Unreadable | list[Event[T]]") -> list[Event[T]]:
        """The events in what a line said; anything else is acted upon, and may raise."""
        match decoded:
            case Event():
                return [decoded]
            case list():
                return decoded
            case Bookmark():
                self.counters.bookmarks += 1
                self._advance(decoded.version)
                self._handler.progressed(decoded.version)
            case ErrorEvent():
                raise_for(decoded)
            case Unreadable():
                if decoded.fatal:
                    raise Relist("The API server sent an event that cannot be read.")
                self.counters.skipped += 1
        return []

    def _advance(self, version: str) -> None:
        if version and versions.newer(self.version, version) is not True:
            self.version = version

    # --- failures -------------------------------------------------------------------------------------------------

    async def _suffer(self, error: errors.KubeError) -> None:
        """Say what is wrong and wait; only where nothing can have been lost is the version kept without a list."""
        match error:
            case errors.Forbidden():
                self._must_list = True  # a handler may have dropped what may no longer be read
                self._tell("forbidden", str(error))
                await self._clock.sleep(self._timing.forbidden_s)
                return
            case errors.NotFound():
                self._must_list = True
                self._tell("gone", "The API server does not serve this kind any more.")
                await self._clock.sleep(self._timing.gone_s * self._rng.uniform(1, 1.5))
                return
            case errors.Unauthorized():
                self._tell("degraded", str(error))
            case errors.Throttled():
                self._tell("stale", str(error))
            case errors.Unreachable(refused=True):
                self._tell("stale", str(error))
            case errors.Untrusted() | errors.NotKubernetes() | errors.AddressRefused() | errors.TooLarge():
                self._must_list = True
                self._tell("degraded", str(error))
            case _:
                self._must_list = True
                self._tell("stale", str(error))
        log.info("watch.failed", path=self.path, error=str(error), status=error.status, reason=error.reason)
        await self._clock.sleep(max(self._waits.next_s(), error.retry_after_s or 0.0))

    def _tell(self, state: State, message: str) -> None:
        if self._state != (state, message):
            self._state = (state, message)
            self._handler.state(state, message)


def is_version_refused(error: errors.KubeError) -> bool:
    """Whether a list failed for the version it asked for, so that asking for the newest may help."""
    match error:
        case errors.ServerFailed():
            return error.version_too_large or "resourceVersion" in error.detail
        case _:
            return isinstance(error, errors.Gone | errors.TooLarge | errors.Invalid)


def is_ordered(events: "list[Event[T]]") -> bool:
    """Whether the last event has the highest version, as in every stream that does not repeat itself."""
    last = events[-1].version
    length = len(last)
    return not any(event.version > last or len(event.version) > length for event in events)


def is_added(line: bytes) -> bool:
    """Whether a watch line is ADDED: its type comes first in what API servers write."""
    return b'"ADDED"' in line[:32]


def raise_for(event: ErrorEvent) -> None:
    """Act on a Status inside a stream: 429 keeps the version, all else lists again."""
    if event.code == 429:
        raise errors.Throttled(status=429, reason=event.reason, retry_after_s=event.retry_after_s)
    if event.code in {401, 403}:
        raise errors.from_answer(event.code, {}, b"")
    if event.code == 410:
        raise Relist("The API server no longer keeps the changes that we missed: all is read again.")
    raise Relist("The API server reported an error in the watch.")
