"""The bytes of a projected kind become its slim objects: a `Codec` for `app.kube.watch`. Pure, never raises.

One pass over a line: what the server writes before the object is matched byte for byte, and what is left is decoded
as the object. Anything else goes the slow, general way.
"""

from typing import Any, Final, Generic, Literal, TypeVar

import msgspec

from app.kube.events import Bookmark, Decoded, ErrorEvent, Event, Page, Unreadable
from app.watch.projection import Meta, Object, Projection

T = TypeVar("T")

JSON: Final = "application/json"
NAME: Final = 512  # characters; Kubernetes allows 253
REFUSED: Final = (msgspec.MsgspecError, RecursionError, ValueError)
"""What decoding raises on bad input: not JSON, another shape, nested too deep, text that is not UTF-8."""

_STARTS: Final[tuple[tuple[bytes, Literal["apply", "delete"]], ...]] = (
    (b'{"type":"MODIFIED","object":', "apply"),
    (b'{"type":"ADDED","object":', "apply"),
    (b'{"type":"DELETED","object":', "delete"),
)
_TYPES: Final[dict[str, Literal["apply", "delete"]]] = {"ADDED": "apply", "MODIFIED": "apply", "DELETED": "delete"}
_INITIAL_END: Final = "k8s.io/initial-events-end"
_LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"


class _Line(msgspec.Struct, gc=False):
    type: str
    object: msgspec.Raw


class _BookmarkMeta(msgspec.Struct, gc=False):
    resource_version: str = msgspec.field(name="resourceVersion")
    annotations: dict[str, str] | None = None


class _BookmarkObject(msgspec.Struct, gc=False):
    metadata: _BookmarkMeta


class _Details(msgspec.Struct, gc=False):
    retry_after_seconds: float | None = msgspec.field(default=None, name="retryAfterSeconds")


class _Status(msgspec.Struct, gc=False):
    kind: str = ""
    code: int = 0
    reason: str = ""
    message: str = ""
    details: _Details | None = None


class _ListMeta(msgspec.Struct, gc=False):
    resource_version: str = msgspec.field(default="", name="resourceVersion")
    continue_: str = msgspec.field(default="", name="continue")


class _List(msgspec.Struct, gc=False):
    kind: str
    metadata: _ListMeta
    items: list[msgspec.Raw] | None


_LINE: Final = msgspec.json.Decoder(_Line)
_BOOKMARK: Final = msgspec.json.Decoder(_BookmarkObject)
_STATUS: Final = msgspec.json.Decoder(_Status)
_LIST: Final = msgspec.json.Decoder(_List)
_FIELDS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def is_named(meta: Meta) -> bool:
    """Whether it has a uid, and names no longer than Kubernetes allows by far."""
    return 0 < len(meta.uid) <= NAME and len(meta.name) <= NAME and len(meta.namespace) <= NAME


def split(line: bytes) -> tuple[str, msgspec.Raw] | Unreadable:
    """The type and the object of a watch line, the general way."""
    try:
        parts = _LINE.decode(line)
    except msgspec.ValidationError as error:
        return Unreadable(fatal=False, reason=f"not a watch event: {error}")
    except REFUSED as error:
        return Unreadable(fatal=True, reason=f"not JSON: {error}")
    return parts.type, parts.object


def bookmark(raw: bytes | msgspec.Raw) -> Bookmark | Unreadable:
    """A BOOKMARK's stub object: a version, and whether the streaming list ends here."""
    try:
        meta = _BOOKMARK.decode(raw).metadata
    except REFUSED as error:
        return Unreadable(fatal=False, reason=f"a bookmark without a version: {error}")
    return Bookmark(meta.resource_version, (meta.annotations or {}).get(_INITIAL_END) == "true")


def error_event(raw: bytes | msgspec.Raw) -> ErrorEvent:
    """An ERROR's Status; what cannot be read counts as an internal error."""
    try:
        status = _STATUS.decode(raw)
    except REFUSED:
        return ErrorEvent(500, "InternalError", "the server sent an error that is not a Status")
    wait = status.details.retry_after_seconds if status.details is not None else None
    return ErrorEvent(status.code or 500, status.reason, status.message, wait)


def conceal(raw: bytes, hidden: tuple[str, ...]) -> bytes:
    """The object without its contents: hidden fields, last-applied and managedFields, which could repeat them."""
    fields = _FIELDS.decode(raw)
    for name in hidden:
        fields.pop(name, None)
    meta = _FIELDS.decode(fields["metadata"])
    meta.pop("managedFields", None)
    if "annotations" in meta and bytes(meta["annotations"]) != b"null":
        annotations = _FIELDS.decode(meta["annotations"])
        annotations.pop(_LAST_APPLIED, None)
        meta["annotations"] = msgspec.Raw(msgspec.json.encode(annotations))
    fields["metadata"] = msgspec.Raw(msgspec.json.encode(meta))
    return msgspec.json.encode(fields)


class ObjectCodec(Generic[T]):
    """Decodes one projected kind at one version.

    keep: whether `Event.raw` carries the object (contents of hidden fields cut out).
    refused: objects of lists that could not be read, since the start; such an object is not shown.
    """

    accept = JSON

    def __init__(self, projection: Projection[T], version: str, *, keep: bool = True) -> None:
        self._kind = projection.kind
        self._api_version = f"{projection.group}/{version}" if projection.group else version
        self._head = f'{{"kind":"{projection.kind}","apiVersion":"{self._api_version}",'.encode()
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(projection.type)
        self._hidden = projection.hidden
        self._keep = keep
        self.refused = 0

    def line(self, line: bytes) -> Decoded[T] | list[Event[T]]:
        """One line of a watch stream."""
        for start, kind in _STARTS:
            if line.startswith(start):
                end = len(line) - 1
                while end > 0 and line[end] in b" \t\r\n":
                    end -= 1
                raw = line[len(start) : end]
                try:
                    return self._event(kind, raw, self._decoder.decode(raw))
                except REFUSED:
                    break  # the slow way tells what is wrong, and whether the stream can be trusted
        return self._slowly(line)

    def _slowly(self, line: bytes) -> Decoded[T]:
        parts = split(line)
        if isinstance(parts, Unreadable):
            return parts
        kind, raw = parts
        if kind == "BOOKMARK":
            return bookmark(raw)
        if kind == "ERROR":
            return error_event(raw)
        change = _TYPES.get(kind)
        if change is None:
            return Unreadable(fatal=False, reason=f"unknown event type {kind[:40]!r}")
        try:
            return self._event(change, bytes(raw), self._decoder.decode(raw))
        except REFUSED as error:
            return Unreadable(fatal=False, reason=f"not a {self._kind}: {error}")

    def _event(self, change: Literal["apply", "delete"], raw: bytes, found: Object) -> Event[T] | Unreadable:
        meta = found.metadata
        if found.kind != self._kind or found.api_version != self._api_version:
            reason = (
                f"a {found.api_version[:60]} {found.kind[:60]} where {self._api_version} {self._kind} was asked for"
            )
            return Unreadable(fatal=False, reason=reason)
        if not is_named(meta):
            return Unreadable(fatal=False, reason=f"a {self._kind} without a uid or with a name too long")
        if change == "delete" or not self._keep:
            raw = b""
        elif self._hidden:
            raw = conceal(raw, self._hidden)
        return Event(change, meta.uid, meta.resource_version, found, raw)  # type: ignore[arg-type]

    def page(self, body: bytes) -> Page[T] | Unreadable:
        """One body of a list. Its items carry no kind: it is put back, as a watch would send it."""
        try:
            found = _LIST.decode(body)
        except REFUSED as error:
            return Unreadable(fatal=True, reason=f"not a list: {error}")
        if found.kind != f"{self._kind}List":
            return Unreadable(fatal=True, reason=f"a {found.kind[:60]} where a {self._kind}List was asked for")
        events = []
        for item in found.items or ():
            event = self._item(bytes(item))
            if isinstance(event, Event):
                events.append(event)
            else:
                self.refused += 1
        return Page(events, found.metadata.resource_version, found.metadata.continue_)

    def _item(self, item: bytes) -> Event[T] | Unreadable:
        raw = item if item.startswith(b'{"kind"') else self._head + item[1:]
        try:
            return self._event("apply", raw, self._decoder.decode(raw))
        except REFUSED as error:
            return Unreadable(fatal=False, reason=f"not a {self._kind}: {error}")
