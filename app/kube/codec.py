"""Reads only what every object has: uid, name, namespace and version. Pure.

For those who need to know which objects are there and not what they say: the consistency check and the tests. Also
shows how a `Codec` tells a foreign kind and a broken line.
"""

from typing import Final

import msgspec

from app.kube.events import Bookmark, Decoded, ErrorEvent, Event, Page, Unreadable

LIST_ACCEPT: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
"""For a list of metadata only, half of the bytes. A watch would have to ask for another type: it refuses this one."""
INITIAL_EVENTS_END: Final = "k8s.io/initial-events-end"


class Metadata(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """The parts of metadata that tell objects apart."""

    uid: str = ""
    name: str = ""
    namespace: str = ""
    resource_version: str = ""


class _Object(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    kind: str = ""
    api_version: str = ""
    metadata: Metadata = Metadata()


class _Mark(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str = ""
    annotations: dict[str, str] | None = None


class _Marked(msgspec.Struct, frozen=True):
    metadata: _Mark = _Mark()


class _Cause(msgspec.Struct, frozen=True, rename="camel"):
    retry_after_seconds: float | None = None


class _Failure(msgspec.Struct, frozen=True):
    code: int = 0
    reason: str = ""
    message: str = ""
    details: _Cause | None = None


class _Line(msgspec.Struct, frozen=True, gc=False):
    type: str
    object: msgspec.Raw


class _ListMetadata(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class _List(msgspec.Struct, frozen=True, rename="camel"):
    kind: str
    metadata: _ListMetadata = _ListMetadata()
    items: list[_Object] | None = None


_line = msgspec.json.Decoder(_Line)
_object = msgspec.json.Decoder(_Object)
_marked = msgspec.json.Decoder(_Marked)
_failure = msgspec.json.Decoder(_Failure)
_list = msgspec.json.Decoder(_List)

# Nesting beyond the interpreter's limit and text that is not UTF-8 are other errors than DecodeError.
BROKEN: Final = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)


class MetadataCodec:
    """kind, group_version: what objects must be, e.g. "Pod" and "v1"; "" accepts any."""

    accept = "application/json"

    def __init__(self, kind: str = "", group_version: str = "") -> None:
        self._kinds = frozenset({kind}) if kind else frozenset()
        self._versions = frozenset({group_version}) if group_version else frozenset()

    def line(self, line: bytes) -> Decoded[Metadata]:
        try:
            return self._read(_line.decode(line))
        except BROKEN as error:
            return Unreadable(fatal=True, reason=str(error)[:200])

    def page(self, body: bytes) -> Page[Metadata] | Unreadable:
        try:
            listed = _list.decode(body)
        except BROKEN as error:
            return Unreadable(fatal=True, reason=str(error)[:200])
        if not listed.kind.endswith("List"):
            return Unreadable(fatal=True, reason="not a list")
        found = [item.metadata for item in listed.items or ()]
        events = [Event("apply", m.uid, m.resource_version, m) for m in found]
        return Page(events, listed.metadata.resource_version, listed.metadata.continue_)

    def _read(self, line: _Line) -> Decoded[Metadata]:
        match line.type:
            case "ADDED" | "MODIFIED" | "DELETED":
                found = _object.decode(line.object)
                if not self._is_ours(found):
                    return Unreadable(fatal=False, reason="another kind")
                seen = found.metadata
                return Event("delete" if line.type == "DELETED" else "apply", seen.uid, seen.resource_version, seen)
            case "BOOKMARK" | "ERROR":
                return read_mark(line.type, line.object)
            case _:
                return Unreadable(fatal=False, reason="an event type that we do not know")

    def _is_ours(self, found: _Object) -> bool:
        if found.kind in {"Table", "Status"} or not found.metadata.uid:
            return False
        return (not self._kinds or found.kind in self._kinds) and (
            not self._versions or found.api_version in self._versions
        )


def read_mark(type_: str, raw: msgspec.Raw | bytes) -> Bookmark | ErrorEvent:
    """The object of a BOOKMARK or ERROR line, the same for every kind and codec; raises what is in `BROKEN`."""
    if type_ == "BOOKMARK":
        mark = _marked.decode(raw).metadata
        return Bookmark(mark.resource_version, (mark.annotations or {}).get(INITIAL_EVENTS_END) == "true")
    failure = _failure.decode(raw)
    asked = failure.details.retry_after_seconds if failure.details else None
    return ErrorEvent(failure.code, failure.reason, failure.message, asked)
