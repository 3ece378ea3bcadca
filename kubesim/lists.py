"""Lists: pages, versions, selectors and the three shapes, by the rules of an API server. Reads the store, no more."""

import base64
import json
from typing import Any, Literal

import msgspec

from kubesim import errors, selectors, table
from kubesim.kinds import BUILT_IN, Kind
from kubesim.selectors import Predicate
from kubesim.store import Entry, Resource, Store

Object = dict[str, Any]
Shape = Literal["object", "Table", "PartialObjectMetadata"]
_encode = msgspec.json.Encoder().encode


class Query(msgspec.Struct, frozen=True):
    """What a list or watch asks for. revision: None where none was given."""

    namespace: str | None
    predicate: Predicate | None
    revision: int | None
    match: str
    limit: int
    token: str
    shape: Shape
    include: str


def query(kind: Kind, namespace: str | None, name: str, params: dict[str, str], shape: Shape) -> Query:
    """Read the parameters; raises `ApiError` as recorded."""
    tests: list[Predicate] = []
    if params.get("labelSelector"):
        tests.append(selectors.labels(params["labelSelector"]))
    if params.get("fieldSelector"):
        tests.append(selectors.fields(params["fieldSelector"], kind.key))
    if name:
        tests.append(lambda obj: obj["metadata"]["name"] == name)
    return Query(
        namespace=namespace,
        predicate=(lambda obj: all(test(obj) for test in tests)) if tests else None,
        revision=_revision(params.get("resourceVersion", "")),
        match=params.get("resourceVersionMatch", ""),
        limit=_limit(params.get("limit", "")),
        token=params.get("continue", ""),
        shape=shape,
        include=params.get("includeObject", "Metadata"),
    )


def _limit(text: str) -> int:
    try:
        return int(text or 0)
    except ValueError as error:
        raise errors.bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from error


def _revision(text: str) -> int | None:
    if not text:
        return None
    if not text.isascii() or not text.isdigit():
        message = f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
        body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message}
        raise errors.ApiError(500, body | {"code": 500})
    return int(text)


def page(store: Store, resource: Resource, asked: Query) -> bytes:
    """The body of one list answer."""
    revision, start = _where(store, resource, asked)
    entries = state(store, resource, revision)
    found: list[Entry] = []
    rest = 0
    for place in sorted(entries):
        if place < start or not _selected(asked, place, entries[place]):
            continue
        if asked.limit and len(found) >= asked.limit:
            rest += 1
        else:
            found.append(entries[place])
    meta: Object = {"resourceVersion": str(revision)}
    if rest:
        last = found[-1].object["metadata"]
        meta["continue"] = _token(revision, _start(asked, last))
        if asked.predicate is None:
            meta["remainingItemCount"] = rest
    return body(store, resource.kind, found, meta, asked)


def _where(store: Store, resource: Resource, asked: Query) -> tuple[int, tuple[str, str]]:
    """The revision to list at, and the first place."""
    if asked.token:
        return _continue(store, resource, asked)
    if asked.revision and asked.revision > store.revision:
        raise errors.too_large_version(asked.revision, store.revision)
    if asked.revision and asked.match == "Exact":
        if asked.revision < resource.compacted:
            raise errors.expired("The resourceVersion for the provided list is too old.")
        return asked.revision, ("", "")
    return store.revision, ("", "")


def _selected(asked: Query, place: tuple[str, str], entry: Entry) -> bool:
    if asked.namespace is not None and place[0] != asked.namespace:
        return False
    return asked.predicate is None or asked.predicate(entry.object)


def state(store: Store, resource: Resource, revision: int) -> dict[tuple[str, str], Entry]:
    """The objects as they were at `revision`: the present ones, with later changes undone."""
    if revision >= store.revision or not resource.history or resource.history[-1].entry.revision <= revision:
        return resource.objects
    entries = dict(resource.objects)
    for change in reversed(resource.history):
        if change.entry.revision <= revision:
            break
        meta = change.entry.object["metadata"]
        place = (meta.get("namespace", ""), meta["name"])
        if change.before is None:
            entries.pop(place, None)
        else:
            entries[place] = change.before
    return entries


def body(store: Store, kind: Kind, entries: list[Entry], meta: Object, asked: Query) -> bytes:
    """A list of `entries` in the shape that was asked for."""
    if asked.shape == "Table":
        now = store.clock.now()
        columns, _ = table.printer(kind)
        rows = [table.row(kind, entry.object, now, asked.include) for entry in entries]
        head = {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": meta}
        return _encode(head | {"columnDefinitions": columns, "rows": rows})
    if asked.shape == "PartialObjectMetadata":
        head = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": meta}
        return _encode(head | {"items": [table.partial(entry.object) for entry in entries]})
    lead = _encode({"kind": kind.list_kind, "apiVersion": kind.api_version, "metadata": meta})
    # Items of a list carry neither kind nor apiVersion, but for custom resources.
    cut = len(_head(kind)) if kind.key in BUILT_IN else 0
    items = b",".join(b"{" + entry.json[cut:] if cut else entry.json for entry in entries)
    return lead[:-1] + b',"items":[' + items + b"]}"


def _head(kind: Kind) -> bytes:
    return b'{"kind":"%s","apiVersion":"%s",' % (kind.kind.encode(), kind.api_version.encode())


def _token(revision: int, start: str) -> str:
    found = {"v": "meta.k8s.io/v1", "rv": revision, "start": start}
    return base64.urlsafe_b64encode(json.dumps(found, separators=(",", ":")).encode()).rstrip(b"=").decode()


def _start(asked: Query, last: Object) -> str:
    """Where the next page begins, relative to the list's path, as recorded."""
    inside = asked.namespace is not None or "namespace" not in last
    return f"/{last['name']}\0" if inside else f"/{last['namespace']}/{last['name']}\0"


def _continue(store: Store, resource: Resource, asked: Query) -> tuple[int, tuple[str, str]]:
    """Where a continue token goes on: the revision and the first place after the last page."""
    token = asked.token
    try:
        found = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        revision, start = int(found["rv"]), str(found["start"])
    except (ValueError, KeyError, TypeError) as error:
        message = "continue key is not valid: invalid character 'i' looking for beginning of value"
        raise errors.bad_request(f"invalid continue token: {message}") from error
    namespace, _, name = start.removeprefix("/").rpartition("/")
    namespace = asked.namespace or namespace
    if revision == -1:
        return store.revision, (namespace, name)
    if revision < resource.compacted:
        message = " ".join(  # noqa: FLY002 - one sentence a line
            (
                "The provided continue parameter is too old to display a consistent list result.",
                "You can start a new list without the continue parameter, or use the continue token in this response",
                "to retrieve the remainder of the results. Continuing with the provided token results in an",
                "inconsistent list - objects that were created, modified, or deleted between the time the first",
                "chunk was returned and now may show up in the list.",
            )
        )
        gone = errors.expired(message)
        assert isinstance(gone.body, dict)  # noqa: S101 - `expired` makes a Status
        gone.body["metadata"] = {"continue": _token(-1, start)}
        raise gone
    return revision, (namespace, name)
