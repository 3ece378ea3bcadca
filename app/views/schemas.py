"""What islands say on the live socket, and pages of rows for API clients. Strict: an unknown field is an error."""

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from app.watch.schemas import Cell

MESSAGE_BYTES: Final = 64 << 10
Text = Annotated[str, Meta(max_length=500)]
Number = Annotated[int, Meta(ge=0, le=2**31)]


class Subscribe(msgspec.Struct, tag_field="op", tag="sub", forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Begin a view. id: chosen by the client, unique on its socket. have: "<e>-<seq>" of what it still holds."""

    id: Number
    kind: Annotated[str, Meta(max_length=300)]
    sort: Text = ""
    filter: Text = ""
    clusters: Annotated[list[Text], Meta(max_length=500)] = []
    namespaces: Annotated[list[Text], Meta(max_length=500)] = []
    start: Number = msgspec.field(default=0, name="from")
    stop: Number = msgspec.field(default=160, name="to")
    have: Text = ""


class Move(msgspec.Struct, tag_field="op", tag="view", forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Look at another part of the list."""

    id: Number
    start: Number = msgspec.field(name="from")
    stop: Number = msgspec.field(name="to")


class Acknowledge(msgspec.Struct, tag_field="op", tag="ack", forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The frame `seq` was drawn."""

    id: Number
    seq: Number


class Unsubscribe(msgspec.Struct, tag_field="op", tag="unsub", forbid_unknown_fields=True, frozen=True, kw_only=True):
    id: Number


class Ping(msgspec.Struct, tag_field="op", tag="ping", forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Asks for a `pong`, so that the page knows the connection to be alive."""


Message = Subscribe | Move | Acknowledge | Unsubscribe | Ping


class RowView(msgspec.Struct, frozen=True, kw_only=True):
    """One row. values: in the order of the page's columns; null is unknown. level: a word of `LEVELS`."""

    cluster: str
    level: str
    labels: str
    owner: str
    values: list[Cell]


class RowPage(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a sorted and filtered list. total: rows that the filter finds among those that the caller may see."""

    total: int
    start: int = msgspec.field(name="from")
    columns: list[dict[str, Any]]
    rows: list[RowView]
    clusters: dict[str, dict[str, Any]]
