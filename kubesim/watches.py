"""One watch: the lines that a client is sent, from a version on, through its selectors and in its shape.

Never waits for a slow client: what it has not taken is bounded; past the bound the watch ends, as a real one does.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec

from kubesim import errors, table
from kubesim.kinds import Kind
from kubesim.lists import Query, state
from kubesim.store import Change, Entry, Resource, Store

Object = dict[str, Any]
BACKLOG: Final = 50_000  # changes that a client may lag behind
BOOKMARK_S: Final = 60.0
_encode: Final = msgspec.json.Encoder().encode


class Watch:
    """`lines()` gives lists of lines, each list what has come since the one before."""

    def __init__(self, store: Store, resource: Resource, asked: Query, *, bookmarks: bool, initial: bool) -> None:
        self._store = store
        self._resource = resource
        self._asked = asked
        self._bookmarks = bookmarks
        self._initial = initial
        self._waiting: list[Change] = []
        self._ready = asyncio.Event()
        self._overflowed = False
        self._sent = 0  # the newest revision that the client knows of

    async def lines(self, timeout_s: float) -> AsyncIterator[list[bytes]]:
        """Ends after `timeout_s`, or when the resource is gone or the client too slow."""
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_s
        self._resource.watchers.add(self._push)
        try:
            yield self._begin()
            due = loop.time() + BOOKMARK_S
            while not self._overflowed and (left := end - loop.time()) > 0:
                if await self._wait(min(left, max(0.0, due - loop.time()))):
                    self._ready.clear()
                    waiting, self._waiting = self._waiting, []
                    if lines := [line for change in waiting if (line := self._line(change))]:
                        yield lines
                    if self._resource.gone:
                        return
                elif loop.time() >= due:
                    due += BOOKMARK_S
                    if self._bookmarks:
                        yield [self._bookmark(self._store.revision, initial=False)]
        finally:
            self._resource.watchers.discard(self._push)

    async def _wait(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._ready.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def _push(self, change: Change) -> None:
        if len(self._waiting) >= BACKLOG:
            self._overflowed = True
        else:
            self._waiting.append(change)
        self._ready.set()

    def _begin(self) -> list[bytes]:
        """What is known at once: the missed changes, or the present state as ADDED."""
        revision = self._asked.revision
        if revision and not self._initial:
            try:
                return [line for change in self._resource.after(revision) if (line := self._line(change))]
            except errors.ApiError as gone:
                self._overflowed = True
                return [_encode({"type": "ERROR", "object": gone.body}) + b"\n"]
        entries = state(self._store, self._resource, self._store.revision)
        lines = [
            self._render("ADDED", entry)
            for place, entry in sorted(entries.items())
            if (self._asked.namespace in {None, place[0]}) and self._selects(entry)
        ]
        self._sent = self._store.revision
        if self._initial and self._bookmarks:
            lines.append(self._bookmark(self._store.revision, initial=True))
        return lines

    def _line(self, change: Change) -> bytes | None:
        """A change as this watch sees it: through a selector an object may come or go while it lives on."""
        if change.entry.revision <= self._sent:
            return None
        meta = change.entry.object["metadata"]
        if self._asked.namespace is not None and meta.get("namespace", "") != self._asked.namespace:
            return None
        if self._asked.predicate is None:
            if self._asked.shape != "object":
                return self._render(change.type, change.entry)
            if change.line is None:
                change.line = self._render(change.type, change.entry)
            return change.line
        was = change.before is not None and self._selects(change.before)
        is_now = change.type != "DELETED" and self._selects(change.entry)
        if was:
            return self._render("MODIFIED" if is_now else "DELETED", change.entry)
        return self._render("ADDED", change.entry) if is_now else None

    def _selects(self, entry: Entry) -> bool:
        return self._asked.predicate is None or self._asked.predicate(entry.object)

    def _render(self, kind: str, entry: Entry) -> bytes:
        if self._asked.shape == "object":
            return b'{"type":"%s","object":%s}\n' % (kind.encode(), entry.json)
        if self._asked.shape == "PartialObjectMetadata":
            return _encode({"type": kind, "object": table.partial(entry.object)}) + b"\n"
        shown = self._resource.kind
        columns, _ = table.printer(shown)
        row = table.row(shown, entry.object, self._store.clock.now(), self._asked.include)
        meta = {"resourceVersion": str(entry.revision)}
        found = {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": meta}
        return _encode({"type": kind, "object": found | {"columnDefinitions": columns, "rows": [row]}}) + b"\n"

    def _bookmark(self, revision: int, *, initial: bool) -> bytes:
        meta: Object = {"resourceVersion": str(revision)}
        if initial:
            meta["annotations"] = {"k8s.io/initial-events-end": "true"}
        return _encode({"type": "BOOKMARK", "object": stub(self._resource.kind, meta, self._asked.shape)}) + b"\n"


def stub(kind: Kind, meta: Object, shape: str) -> Object:
    """The nearly empty object of a bookmark."""
    if shape == "Table":
        return {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": meta, "columnDefinitions": [], "rows": []}
    if shape == "PartialObjectMetadata":
        return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": meta}
    found: Object = {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": meta}
    if kind.kind == "Pod":
        found |= {"spec": {"containers": None}, "status": {}}
    return found
