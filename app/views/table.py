"""The rows of one kind over any number of clusters, filtered, sorted and cut by SQLite in memory. No network.

Why SQLite, and how fast: docs/decisions/0002-view-index.md. Row ids are random, so that gaps tell nothing about rows
that a reader may not see.
"""

import secrets
import sqlite3
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec

from app.authz.visibility import Scope
from app.views.query import COMMON, Query, Term
from app.watch.schemas import Cell, Column, Row

CHANGES: Final = 50_000  # changes that a reader may lag behind before it is sent everything
SORTED_COLUMNS: Final = 12  # indexes that are made at the most: each costs some microseconds a change


class Shown(msgspec.Struct, frozen=True, gc=False):
    """One row as readers get it. values: in the order of `Table.columns`; cluster, namespace and name among them."""

    id: int
    cluster: str
    level: int
    values: tuple[Cell, ...]
    labels: str
    owner: str


class Step(msgspec.Struct, frozen=True, gc=False):
    """One change, for readers that follow. places: indexes of the values that differ; None is a new row."""

    seq: int
    id: int
    cluster: str
    namespace: str
    places: tuple[int, ...] | None
    gone: bool = False


class Table:
    """Rows by cluster and uid. `seq` rises with each change; `steps` holds the newest of them."""

    def __init__(self, columns: Sequence[Column] = ()) -> None:
        self.columns: tuple[Column, ...] = (*COMMON, *columns)
        self.seq = 0
        self.steps: deque[Step] = deque(maxlen=CHANGES)
        self.names: dict[str, str] = {}  # of clusters, by id
        self._ids: dict[tuple[str, str], int] = {}
        self._db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._db.create_function("fold", 1, str.lower, deterministic=True)
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute("PRAGMA synchronous = OFF")
        self._indexed: list[str] = []
        self._places: dict[str, tuple[int, ...]] = {}  # cluster to the places of its own columns
        self._create()

    def __len__(self) -> int:
        return len(self._ids)

    # -- writing -----------------------------------------------------------------------------------------------------

    def adopt(self, cluster: str, columns: Sequence[Column]) -> bool:
        """Take in the columns of one cluster's rows; True when the table has more columns than before.

        Clusters of different versions may print different columns: the table has the union.
        """
        known = {column.key: place for place, column in enumerate(self.columns)}
        fresh = [column for column in columns if column.key not in known]
        if fresh:
            first = len(self.columns)
            self.columns = (*self.columns, *fresh)
            for place in range(first, len(self.columns)):
                self._db.execute(f"ALTER TABLE rows ADD COLUMN v{place}")
            self.seq += 1
            self.steps.clear()  # nobody holds rows of this width: everybody is sent everything
            known = {column.key: place for place, column in enumerate(self.columns)}
        self._places[cluster] = tuple(known[column.key] for column in columns)
        return bool(fresh)

    def keep(self, cluster: str, uids: set[str]) -> None:
        """Drop what a whole snapshot of the cluster did not name."""
        self.apply(cluster, (), [uid for (owner, uid) in self._ids if owner == cluster and uid not in uids])

    def apply(self, cluster: str, upserts: Iterable[Row], deletes: Iterable[str]) -> None:
        """Take in changes of one cluster."""
        self._db.execute("BEGIN")
        try:
            for row in upserts:
                self._put(cluster, row)
            for uid in deletes:
                self._drop(cluster, uid)
        finally:
            self._db.execute("COMMIT")

    def drop_cluster(self, cluster: str) -> None:
        """Forget a cluster's rows."""
        self.apply(cluster, (), [uid for (owner, uid) in self._ids if owner == cluster])
        self._places.pop(cluster, None)

    def rename(self, cluster: str, name: str) -> None:
        """Set the name that a cluster's rows show."""
        for (owner, _uid), key in list(self._ids.items()):
            if owner != cluster:
                continue
            row = self._db.execute(f"SELECT ns, {self._names} FROM rows WHERE id = ?", (key,)).fetchone()
            if row[1] != name:
                self.seq += 1
                text = _text([name, *row[2:]])
                self._db.execute("UPDATE rows SET v0 = ?, text = ?, seq = ? WHERE id = ?", (name, text, self.seq, key))
                self.steps.append(Step(self.seq, key, cluster, row[0], (0,)))

    def _put(self, cluster: str, row: Row) -> None:
        values = self._values(cluster, row)
        key = self._ids.get((cluster, row.uid))
        places: tuple[int, ...] | None = None
        if key is not None:
            chosen = f"level, labels, owner, {self._names}"
            old = self._db.execute(f"SELECT {chosen} FROM rows WHERE id = ?", (key,)).fetchone()
            places = tuple(n for n, value in enumerate(values) if value != old[n + 3])
            whole = old[1:3] != (row.labels, row.owner)  # they are no columns: the row is sent whole
            if not places and not whole and old[0] == row.level:
                return
            if 1 in places:
                # Namespaces never change, and rights depend on them: to readers that would be another row.
                self._drop(cluster, row.uid)
                key = None
            if whole or key is None:
                places = None
        if key is None:
            key = secrets.randbits(46)
            self._ids[cluster, row.uid] = key
        self.seq += 1
        fixed = (key, self.seq, cluster, row.uid, row.namespace, row.level, row.labels, row.owner, _text(values))
        self._db.execute(self._insert, (*fixed, *values))
        self.steps.append(Step(self.seq, key, cluster, row.namespace, places))

    def _values(self, cluster: str, row: Row) -> list[Cell]:
        values: list[Cell] = [None] * len(self.columns)
        values[0], values[1], values[2], values[3] = self._cluster_name(cluster), row.namespace, row.name, row.created
        for place, cell in zip(self._places.get(cluster, ()), row.cells, strict=False):
            values[place] = known(cell)
        return values

    def _cluster_name(self, cluster: str) -> str:
        return self.names.get(cluster, cluster)

    def _drop(self, cluster: str, uid: str) -> None:
        key = self._ids.pop((cluster, uid), None)
        if key is None:
            return
        row = self._db.execute("DELETE FROM rows WHERE id = ? RETURNING ns", (key,)).fetchone()
        self.seq += 1
        self.steps.append(Step(self.seq, key, cluster, row[0], None, gone=True))

    # -- reading -----------------------------------------------------------------------------------------------------

    def count(self, scope: Scope, query: Query) -> int:
        """How many rows the query finds in the scope."""
        where, values = self._where(scope, query)
        return int(self._db.execute(f"SELECT count(*) FROM rows{where}", values).fetchone()[0])

    def window(self, scope: Scope, query: Query, start: int, stop: int) -> list[Shown]:
        """Rows `start` to `stop` of the query's order; ties by name, cluster, namespace; unknown values last."""
        where, values = self._where(scope, query)
        place = self.place(query.sort.key)
        rank = _rank(place, descending=query.sort.descending)
        self._index(f"{place}{'d' if query.sort.descending else 'a'}", rank)
        text = f"SELECT {self._selected} FROM rows{where} ORDER BY {rank} LIMIT ? OFFSET ?"
        return [self._shown(row) for row in self._db.execute(text, (*values, stop - start, start))]

    def everything(self, scope: Scope, query: Query) -> Iterator[Shown]:
        """All rows of the query, in no order."""
        where, values = self._where(scope, query)
        return map(self._shown, self._db.execute(f"SELECT {self._selected} FROM rows{where}", values))

    def find(self, ids: Sequence[int]) -> dict[int, Shown]:
        """Rows by id; those that are gone are missing."""
        found: dict[int, Shown] = {}
        for first in range(0, len(ids), 500):
            part = ids[first : first + 500]
            marks = ",".join("?" * len(part))
            for row in self._db.execute(f"SELECT {self._selected} FROM rows WHERE id IN ({marks})", list(part)):
                found[row[0]] = self._shown(row)
        return found

    def since(self, seq: int) -> list[Step] | None:
        """The steps after `seq`, oldest first; None when they are not all known any more."""
        if seq == self.seq:
            return []
        if not self.steps or seq + 1 < self.steps[0].seq or seq > self.seq:
            return None
        return [step for step in self._newest(self.seq - seq) if step.seq > seq]

    def _newest(self, most: int) -> list[Step]:
        taken: list[Step] = []
        for step in reversed(self.steps):
            if len(taken) >= most:
                break
            taken.append(step)
        return taken[::-1]

    def place(self, key: str) -> int:
        """The place of a column; that of the name for one that is not there."""
        return next((n for n, column in enumerate(self.columns) if column.key == key), 2)

    # -- SQL ---------------------------------------------------------------------------------------------------------

    def _create(self) -> None:
        cells = ", ".join(f"v{place}" for place in range(len(self.columns)))
        self._db.execute(
            "CREATE TABLE rows (id INTEGER PRIMARY KEY, seq INTEGER, cluster TEXT, uid TEXT, ns TEXT, level INTEGER,"
            f" labels TEXT, owner TEXT, text TEXT, {cells})"
        )
        self._db.execute("CREATE INDEX by_place ON rows (cluster, ns)")

    @property
    def _names(self) -> str:
        return ", ".join(f"v{place}" for place in range(len(self.columns)))

    @property
    def _selected(self) -> str:
        return f"id, cluster, level, labels, owner, {self._names}"

    @property
    def _insert(self) -> str:
        marks = ",".join("?" * (9 + len(self.columns)))
        fixed = "id, seq, cluster, uid, ns, level, labels, owner, text"
        return f"INSERT OR REPLACE INTO rows ({fixed}, {self._names}) VALUES ({marks})"

    @staticmethod
    def _shown(row: tuple[Any, ...]) -> Shown:
        return Shown(row[0], row[1], row[2], row[5:], row[3], row[4])

    def _index(self, name: str, rank: str) -> None:
        """Keep an index in just this order, so that a page is read from its beginning and nothing is sorted."""
        if name in self._indexed:
            return
        if len(self._indexed) >= SORTED_COLUMNS:
            self._db.execute(f"DROP INDEX by_{self._indexed.pop(0)}")
        self._db.execute(f"CREATE INDEX by_{name} ON rows ({rank})")
        self._indexed.append(name)

    def _where(self, scope: Scope, query: Query) -> tuple[str, list[Any]]:
        """The condition for what is in scope and asked for. Rights come first: nothing else is ever counted."""
        parts: list[str] = []
        values: list[Any] = []
        if not scope.all:
            parts.append(_visible(scope, values))
        for column, wanted in (("cluster", query.clusters), ("ns", query.namespaces)):
            if wanted:
                parts.append(f"{column} IN ({','.join('?' * len(wanted))})")
                values += sorted(wanted)
        parts += [self._condition(term, values) for term in query.terms]
        return (" WHERE " + " AND ".join(parts) if parts else ""), values

    def _condition(self, term: Term, values: list[Any]) -> str:
        if term.key == "":
            values.append(term.value)
            return "instr(text, ?) > 0"
        if term.key == "label":
            wanted = f",{term.label}={term.value}" + ("," if term.operator == "=" else "")
            values.append(wanted)
            return "instr(',' || lower(labels) || ',', ?) > 0"
        column = f"v{self.place(term.key)}"
        if term.operator in {">", "<"}:
            return self._compare(column, term, values)
        values.append(term.value)
        # SQLite's own lower() is several times as fast, and knows ASCII only.
        fold = "lower" if str(term.value).isascii() else "fold"
        text = f"{fold}(CAST(coalesce({column}, '') AS TEXT))"
        return {"=": f"{text} = ?", "!=": f"{text} != ?", ":": f"instr({text}, ?) > 0"}[term.operator]

    def _compare(self, column: str, term: Term, values: list[Any]) -> str:
        if self.columns[self.place(term.key)].type == "time":
            # "age>5m" asks for what is older: its time is smaller.
            values.append(term.value)
            turned = "<" if term.operator == ">" else ">"
            return f"{column} {turned} unixepoch() - ?"
        values.append(term.value)
        return f"CAST({column} AS REAL) {term.operator} ?"


def _text(values: Iterable[Cell]) -> str:
    """What free words are looked for in."""
    return "\n".join(value.lower() for value in values if isinstance(value, str))


def known(cell: Cell) -> Cell:
    """A cell as the table keeps it: SQLite has no booleans, and an empty text says no more than an unknown one."""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return None if cell == "" else cell


def _rank(place: int, *, descending: bool) -> str:
    """The order of rows by a column: unknown values last, ties by name, cluster, namespace."""
    ties = "v0, v1" if place == 2 else "v2, v0, v1"
    return f"v{place} IS NULL, v{place} {'DESC' if descending else 'ASC'}, {ties}"


def _visible(scope: Scope, values: list[Any]) -> str:
    """What the bindings of a scope show, as SQL."""
    choices: list[str] = []
    for binding in scope.bindings:
        parts: list[str] = []
        for column, names in (("cluster", binding.clusters), ("ns", binding.namespaces)):
            if names is not None:
                parts.append(f"{column} IN ({','.join('?' * len(names))})")
                values += sorted(names)
        choices.append("(" + (" AND ".join(parts) or "1") + ")")
    return "(" + " OR ".join(choices) + ")" if choices else "0"
