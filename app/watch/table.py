"""Every kind that has no projection: rows as the API server prints them (`as=Table`). Pure, never raises.

The server's columns come with each list page and with the first Table of a watch; later ones carry null. Name and
age are left out of the cells: a `Row` has them, and a printed age would stand still. A server that cannot print
(an old aggregated API) answers with plain JSON; then name, namespace and age are what there is.
"""

from typing import Any, Final, Literal

import msgspec

from app.kube.events import Bookmark, Decoded, Event, Page, Unreadable
from app.watch.codec import REFUSED, bookmark, error_event, is_named, split
from app.watch.projection import OK, PROGRESS, UNKNOWN, WARNING, Meta, row
from app.watch.schemas import Cell, CellType, Column, ResourceRef, Row

ACCEPT: Final = "application/json;as=Table;g=meta.k8s.io;v=v1,application/json"
PARAMS: Final = {"includeObject": "Metadata"}  # rows without an object have no uid
MOST_COLUMNS: Final = 64
MOST_CELL: Final = 4_096  # characters of one cell; a custom printer column may be any text

_CHANGES: Final[dict[str, Literal["apply", "delete"]]] = {"ADDED": "apply", "MODIFIED": "apply", "DELETED": "delete"}
_AGES: Final = frozenset({"age", "created at"})
_CONDITIONS: Final = frozenset({"ready", "available", "synced", "healthy", "established"})
_LEVELS: Final = {"True": OK, "False": WARNING, "Unknown": PROGRESS}


class _ColumnDefinition(msgspec.Struct, gc=False):
    name: str
    type: str = ""
    format: str = ""
    priority: int = 0
    description: str = ""


class _Partial(msgspec.Struct, gc=False):
    metadata: Meta


class _TableRow(msgspec.Struct, gc=False):
    cells: list[Any]
    object: msgspec.Raw


class _TableMeta(msgspec.Struct, gc=False):
    resource_version: str = msgspec.field(default="", name="resourceVersion")
    continue_: str = msgspec.field(default="", name="continue")


class _Table(msgspec.Struct, gc=False):
    kind: str
    api_version: str = msgspec.field(name="apiVersion")
    metadata: _TableMeta = msgspec.field(default_factory=_TableMeta)
    column_definitions: list[_ColumnDefinition] | None = msgspec.field(default=None, name="columnDefinitions")
    rows: list[_TableRow] | None = None


class _Plain(msgspec.Struct, gc=False):
    """Any object of a server that does not print Tables."""

    metadata: Meta
    kind: str = ""


class _PlainList(msgspec.Struct, gc=False):
    kind: str
    metadata: _TableMeta
    items: list[_Plain] | None


class Printed(msgspec.Struct, frozen=True, gc=False):
    """One row of a Table: what the server printed, without name and age."""

    metadata: Meta
    cells: tuple[Cell, ...]
    level: int


_TABLE: Final = msgspec.json.Decoder(_Table)
_PARTIAL: Final = msgspec.json.Decoder(_Partial)
_PLAIN: Final = msgspec.json.Decoder(_Plain)
_PLAIN_LIST: Final = msgspec.json.Decoder(_PlainList)


def project_printed(printed: Printed, _now: float) -> Row:
    """The row of one printed object."""
    return row(printed.metadata, printed.level, printed.cells)


class TableCodec:
    """Decodes one resource as Tables.

    columns: those of the last Table that named them, None before. generation: counts how often they changed.
    """

    accept = ACCEPT

    def __init__(self, ref: ResourceRef) -> None:
        self._kind = ref.kind
        self._shown: list[int] = []  # places of the cells that are kept
        self._judged: int | None = None  # place of the cell that a level can be told by
        self._width = 0
        self.columns: tuple[Column, ...] | None = None
        self.generation = 0
        self.refused = 0

    def line(self, line: bytes) -> Decoded[Printed] | list[Event[Printed]]:
        """One line of a watch stream: a Table usually has one row, but need not."""
        parts = split(line)
        if isinstance(parts, Unreadable):
            return parts
        kind, raw = parts
        if kind == "ERROR":
            return error_event(raw)
        if kind == "BOOKMARK":
            return self._bookmark(raw)
        change = _CHANGES.get(kind)
        if change is None:
            return Unreadable(fatal=False, reason=f"unknown event type {kind[:40]!r}")
        table = self._table(raw)
        if isinstance(table, Unreadable):
            plain = self._plain(change, raw)
            return table if plain is None else [plain]
        return self._rows(change, table)

    def page(self, body: bytes) -> Page[Printed] | Unreadable:
        """One page of a list."""
        table = self._table(body)
        if isinstance(table, Unreadable):
            return self._plain_page(body) or table
        return Page(self._rows("apply", table), table.metadata.resource_version, table.metadata.continue_)

    def _table(self, raw: bytes | msgspec.Raw) -> _Table | Unreadable:
        try:
            table = _TABLE.decode(raw)
        except msgspec.ValidationError as error:
            return Unreadable(fatal=False, reason=f"not a Table: {error}")
        except REFUSED as error:
            return Unreadable(fatal=True, reason=f"not JSON: {error}")
        if table.kind != "Table" or not table.api_version.startswith("meta.k8s.io/"):
            return Unreadable(fatal=False, reason=f"a {table.kind[:60]} where a Table was asked for")
        if table.column_definitions:
            self._learn(table.column_definitions)
        if self.columns is None and table.rows:
            return Unreadable(fatal=False, reason="a Table that never named its columns")
        return table

    def _learn(self, definitions: list[_ColumnDefinition]) -> None:
        definitions = definitions[:MOST_COLUMNS]
        shown = [
            place
            for place, each in enumerate(definitions)
            if each.name.lower() not in _AGES and each.format != "name" and not (place == 0 and each.name == "Name")
        ]
        columns = tuple(_column(definitions[place], place) for place in shown)
        if columns == self.columns and shown == self._shown:
            return
        self.columns, self._shown, self._width = columns, shown, len(definitions)
        self._judged = next((place for place in shown if definitions[place].name.lower() in _CONDITIONS), None)
        self.generation += 1

    def _rows(self, change: Literal["apply", "delete"], table: _Table) -> list[Event[Printed]]:
        events = []
        for each in table.rows or ():
            try:
                meta = _PARTIAL.decode(each.object).metadata
            except REFUSED:
                self.refused += 1
                continue
            if not is_named(meta) or len(each.cells) < self._width:
                self.refused += 1
                continue
            cells = tuple(_cell(each.cells[place]) for place in self._shown)
            judged = None if self._judged is None else each.cells[self._judged]
            level = _LEVELS.get(str(judged), UNKNOWN)
            events.append(Event(change, meta.uid, meta.resource_version, Printed(meta, cells, level)))
        return events

    def _bookmark(self, raw: msgspec.Raw) -> Bookmark | Unreadable:
        """In a Table stream the stub object is that of the only row."""
        try:
            table = _TABLE.decode(raw)
        except REFUSED:
            return bookmark(raw)
        if table.kind == "Table" and table.rows:
            return bookmark(table.rows[0].object)
        return bookmark(raw)

    def _plain(self, change: Literal["apply", "delete"], raw: msgspec.Raw) -> Event[Printed] | None:
        try:
            found = _PLAIN.decode(raw)
        except REFUSED:
            return None
        if found.kind != self._kind or not is_named(found.metadata):
            return None
        self._plain_columns()
        meta = found.metadata
        return Event(change, meta.uid, meta.resource_version, Printed(meta, (), UNKNOWN))

    def _plain_page(self, body: bytes) -> Page[Printed] | None:
        try:
            found = _PLAIN_LIST.decode(body)
        except REFUSED:
            return None
        if found.kind != f"{self._kind}List":
            return None
        self._plain_columns()
        metas = [item.metadata for item in found.items or () if is_named(item.metadata)]
        events = [Event("apply", meta.uid, meta.resource_version, Printed(meta, (), UNKNOWN)) for meta in metas]
        return Page(events, found.metadata.resource_version, found.metadata.continue_)

    def _plain_columns(self) -> None:
        if self.columns != ():
            self.columns, self._shown, self._width, self._judged = (), [], 0, None
            self.generation += 1


def _column(definition: _ColumnDefinition, place: int) -> Column:
    kind: CellType = "number" if definition.type in {"integer", "number"} else "text"
    if definition.name.lower() in {"status", "state", "phase"}:
        kind = "status"
    key = "".join(letter if letter.isalnum() else "_" for letter in definition.name.lower()) or f"column_{place}"
    return Column(f"{key}_{place}", definition.name, kind, definition.priority > 0, definition.description[:200])


def _cell(value: Any) -> Cell:
    """A printed cell; kubectl's words for nothing become None."""
    if value is None or value in ("<none>", "<unknown>", "<unset>"):
        return None
    if isinstance(value, bool | int | float):
        return value
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text[:MOST_CELL]
