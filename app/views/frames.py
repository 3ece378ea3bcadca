"""What one view of one viewer is sent: the frames of ui.md section 7. Pure but for the table it reads.

Frames are state, not events: each brings the viewer from what it holds to what is, however much lies between, so a
slow viewer gets fewer frames and never older ones. Up to `WHOLE` rows in scope the viewer is sent all of them and sorts
and filters by itself; above that a window, which the server filters and sorts.
"""

from typing import Any, Final

import msgspec

from app.authz.visibility import Scope
from app.views.query import Query
from app.views.table import Shown, Step, Table
from app.watch.schemas import Column

WHOLE: Final = 10_000  # rows in scope that are sent whole
WIDEST: Final = 1_000  # rows of a window
Frame = dict[str, Any]


class Window(msgspec.Struct, frozen=True):
    start: int = 0
    stop: int = 160


class Picture:
    """What one viewer holds of one view. `epoch` names the copy that its row ids and numbers belong to."""

    def __init__(self, number: int, table: Table, epoch: str, scope: Scope, query: Query, window: Window) -> None:
        self.number = number
        self.window = window
        self.seq = 0  # of the table, as of the last frame
        self._table = table
        self._epoch = epoch
        self._scope = scope
        self._query = query
        self._whole = True
        self._columns = 0
        self._held: dict[int, Shown] = {}  # of a window
        self._order: list[int] = []
        self._total = -1
        self._begun = False
        self._moved = False
        self._scoped: tuple[int, int] | None = None

    def resume(self, have: str) -> bool:
        """Go on from what the viewer says it holds ("<epoch>-<seq>"); False when that is not known any more."""
        epoch, _, seq = have.rpartition("-")
        if epoch != self._epoch or not seq.isascii() or not seq.isdigit() or self._in_scope() > WHOLE:
            return False
        if self._table.since(int(seq)) is None:
            return False
        self.seq, self._begun, self._columns = int(seq), True, len(self._table.columns)
        return True

    def move(self, window: Window) -> None:
        """Look at another part of the list."""
        self.window = window
        self._moved = True

    def frame(self) -> Frame | None:
        """What brings the viewer up to date, None when nothing differs."""
        if self._begun and self.seq == self._table.seq and not self._moved:
            return None
        whole = self._in_scope() <= WHOLE
        if not self._begun or whole is not self._whole or self._columns != len(self._table.columns):
            self._whole = whole
            return self._full()
        return self._changes() if whole else self._slide()

    # -- whole lists -------------------------------------------------------------------------------------------------

    def _full(self) -> Frame:
        table = self._table
        self._begun, self._moved, self._columns = True, False, len(table.columns)
        self.seq = table.seq
        frame = self._head() | {"full": True, "cols": [_column(c) for c in table.columns]}
        if self._whole:
            self._held.clear()
            lines = [_line(row) for row in table.everything(self._scope, self._unfiltered)]
            return frame | {"mode": "whole", "n": len(lines), "a": lines}
        rows = table.window(self._scope, self._query, self.window.start, self._stop)
        self._held = {row.id: row for row in rows}
        self._order = [row.id for row in rows]
        self._total = table.count(self._scope, self._query)
        found = {"mode": "window", "n": self._total, "from": self.window.start, "o": self._order}
        return frame | found | {"a": [_line(row) for row in rows]}

    def _changes(self) -> Frame | None:
        """What differs since `seq`, for a viewer that holds the whole list."""
        steps = self._table.since(self.seq)
        if steps is None:
            return self._full()
        self.seq, self._moved = self._table.seq, False
        touched = merge(step for step in steps if self._shows(step))
        rows = self._table.find([key for key, change in touched.items() if change != "gone"])
        fresh, cells, gone = [], [], []
        for key, change in touched.items():
            row = rows.get(key)
            if row is None:
                if change != "new":
                    gone.append(key)
            elif isinstance(change, set):
                cells.append([key, row.level, {str(n): row.values[n] for n in sorted(change)}])
            elif change == "new":
                fresh.append(_line(row))
        return self._parts(fresh, cells, gone)

    def _shows(self, step: Step) -> bool:
        if not self._scope.all and not self._scope.sees(step.cluster, "", step.namespace):
            return False
        query = self._query
        return not (
            (query.clusters and step.cluster not in query.clusters)
            or (query.namespaces and step.namespace not in query.namespaces)
        )

    # -- windows -----------------------------------------------------------------------------------------------------

    def _slide(self) -> Frame | None:
        """What differs in the window."""
        table = self._table
        self.seq, self._moved = table.seq, False
        rows = table.window(self._scope, self._query, self.window.start, self._stop)
        fresh, cells = [], []
        for row in rows:
            old = self._held.get(row.id)
            if old is None:
                fresh.append(_line(row))
            elif old != row:
                differs = {str(n): v for n, v in enumerate(row.values) if v != old.values[n]}
                cells.append([row.id, row.level, differs])
        order = [row.id for row in rows]
        gone = [key for key in self._held if key not in set(order)]
        total = table.count(self._scope, self._query)
        frame = self._parts(fresh, cells, gone) or self._head()
        if order != self._order:
            frame |= {"o": order, "from": self.window.start}
        if total != self._total:
            frame["n"] = total
        self._held = {row.id: row for row in rows}
        self._order, self._total = order, total
        return frame if len(frame) > len(self._head()) else None

    # -- pieces ------------------------------------------------------------------------------------------------------

    @property
    def _stop(self) -> int:
        return min(self.window.stop, self.window.start + WIDEST)

    @property
    def _unfiltered(self) -> Query:
        return Query(clusters=self._query.clusters, namespaces=self._query.namespaces)

    def _in_scope(self) -> int:
        """About how many rows are in scope: counted again after every thousand changes, for counting is a scan."""
        if len(self._table) <= WHOLE:
            return 0
        if self._scope.all and not (self._query.clusters or self._query.namespaces):
            return len(self._table)
        if self._scoped is None or self._table.seq - self._scoped[0] > 1_000:
            self._scoped = (self._table.seq, self._table.count(self._scope, self._unfiltered))
        return self._scoped[1]

    def _head(self) -> Frame:
        return {"id": self.number, "seq": self.seq, "e": self._epoch}

    def _parts(self, fresh: list[Any], cells: list[Any], gone: list[int]) -> Frame | None:
        parts = {"a": fresh, "u": cells, "x": gone}
        found = {name: part for name, part in parts.items() if part}
        return self._head() | found if found else None


def merge(steps: Any) -> dict[int, Any]:
    """By row: "new", "gone", or the set of places that changed. A row that came and went is gone."""
    touched: dict[int, Any] = {}
    for step in steps:
        known = touched.get(step.id)
        if step.gone:
            touched[step.id] = "gone"
        elif step.places is None:
            touched[step.id] = "new"
        elif isinstance(known, set):
            known.update(step.places)
        elif known is None:
            touched[step.id] = set(step.places)
    return touched


def _line(row: Shown) -> list[Any]:
    """A whole row: id, cluster's id, level, labels, owner, then the values in the order of the columns."""
    return [row.id, row.cluster, row.level, row.labels, row.owner, *row.values]


def _column(column: Column) -> Frame:
    found: Frame = {"key": column.key, "title": column.title, "type": column.type}
    if column.wide:
        found["wide"] = True
    if column.help:
        found["help"] = column.help
    return found
