"""What a list and watch tells, in kube-rs's words, and the codec that turns bytes into it. Pure.

The machine in `app.kube.watch` knows neither pods nor rows: a `Codec` decodes, a `Handler` is told.
"""

from typing import Generic, Literal, Protocol, TypeVar

import msgspec

T = TypeVar("T")


class Event(msgspec.Struct, Generic[T], frozen=True, gc=False):
    """One change of one object.

    type: "apply" is ADDED or MODIFIED; "delete" carries the last known state in `object`, or None where
        the deletion was seen only by a relist (client-go's DeletedFinalStateUnknown).
    raw: the object's JSON as received, a copy that may be kept; b"" where the codec does not keep it.
    """

    type: Literal["apply", "delete"]
    uid: str
    version: str
    object: T | None
    raw: bytes = b""


class Bookmark(msgspec.Struct, frozen=True, gc=False):
    """Advances the version and gives no data; `initial_events_end` ends a streaming list (KEP-3157)."""

    version: str
    initial_events_end: bool = False


class ErrorEvent(msgspec.Struct, frozen=True, gc=False):
    """An ERROR line: a Status inside a 200 stream."""

    code: int
    reason: str
    message: str
    retry_after_s: float | None = None


class Unreadable(msgspec.Struct, frozen=True, gc=False):
    """A line that is not an event: garbage, null, an array, a foreign kind, an unknown type.

    fatal: the stream cannot be trusted any more (not JSON): relist. Otherwise skip it and count it.
    """

    fatal: bool
    reason: str


Decoded = Event[T] | Bookmark | ErrorEvent | Unreadable


class Page(msgspec.Struct, Generic[T], frozen=True):
    """One page of a list: its objects as "apply" events, the list's version, and where to go on ("" at the end)."""

    events: list[Event[T]]
    version: str
    continue_: str


class Codec(Protocol[T]):
    """How the bytes of one resource become objects. Sync, no I/O, never raises on bad input."""

    accept: str
    """The Accept header that both list and watch are asked with."""

    def line(self, line: bytes) -> "Decoded[T] | list[Event[T]]":
        """One line of a watch stream. A Table line may hold several rows, hence a list."""

    def page(self, body: bytes) -> Page[T] | Unreadable:
        """One body of a list."""


class Handler(Protocol[T]):
    """Who is told. Every call is sync and must not wait; the machine calls them in order, from one task."""

    def begin(self) -> None:
        """A list or streaming list begins; what is told until `complete` belongs to it, swap in nothing yet."""

    def listed(self, events: list[Event[T]]) -> None:
        """Part of the list that `begin` opened."""

    def complete(self, version: str) -> None:
        """The list is whole at `version`: swap it in; what it does not name was deleted."""

    def changed(self, events: list[Event[T]]) -> None:
        """Changes after the list, newest last; one call per read of the socket, so batches grow under load."""

    def progressed(self, version: str) -> None:
        """A bookmark: nothing changed up to `version`."""

    def state(self, state: Literal["listing", "live", "stale", "forbidden", "degraded", "gone"], message: str) -> None:
        """How the mirror stands, told on change only; `message` says what happened and what is being done."""
