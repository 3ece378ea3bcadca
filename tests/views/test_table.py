"""The table of one kind's rows against a plain dict: whatever happened to it, it finds, counts and sorts the same."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.authz.identity import Binding
from app.authz.roles import Role
from app.authz.visibility import Scope
from app.views.query import COMMON, Query, Sort, Term
from app.views.table import CHANGES, Table
from app.watch.schemas import Column, Row

EVERYTHING = Scope(all=True, bindings=(), key="all")
OLD = [Column("status", "Status", "status"), Column("restarts", "Restarts", "number")]
NEW = [Column("restarts", "Restarts", "number"), Column("gates", "Gates"), Column("status", "Status", "status")]
COLUMNS = {"c1": OLD, "c2": NEW, "c3": OLD}

clusters = st.sampled_from(list(COLUMNS))
uids = st.sampled_from([f"u{n}" for n in range(6)])
words = st.sampled_from(["Running", "Pending", "crash loop", "é", None])
numbers = st.sampled_from([0, 1, 2.5, 10, None])


@st.composite
def rows(draw, cluster):
    found = {"status": draw(words), "restarts": draw(numbers), "gates": draw(words)}
    cells = tuple(found[column.key] for column in COLUMNS[cluster])
    uid, namespace = draw(uids), draw(st.sampled_from(["a", "b", "c"]))
    name = draw(st.sampled_from(["x", "y", "Z"])) + uid  # no two of a cluster have the same, as in a real one
    return Row(uid, namespace, name, draw(st.integers(0, 3)), draw(st.integers(0, 4)), cells, "app=web")


@st.composite
def changes(draw):
    cluster = draw(clusters)
    what = draw(st.sampled_from(["apply", "apply", "apply", "snapshot", "drop", "rename"]))
    made = draw(st.lists(rows(cluster), max_size=4, unique_by=lambda row: row.uid))
    return what, cluster, made, draw(st.lists(uids, max_size=2)), draw(st.sampled_from(["eu", "us"])) + cluster


scopes = st.one_of(
    st.just(EVERYTHING),
    st.builds(
        lambda bindings: Scope(all=False, bindings=tuple(bindings), key="some"),
        st.lists(
            st.builds(
                Binding,
                role=st.just(Role.VIEWER),
                clusters=st.one_of(st.none(), st.frozensets(clusters, max_size=2)),
                namespaces=st.one_of(st.none(), st.frozensets(st.sampled_from(["a", "b"]), max_size=2)),
            ),
            max_size=2,
        ),
    ),
)
terms = st.sampled_from(
    [
        (),
        (Term("", "has", "run"),),
        (Term("restarts", ">", 1.0),),
        (Term("restarts", "<", 1.0),),
        (Term("status", "!=", "running"),),
        (Term("status", ":", "é"), Term("name", "=", "zu1")),
        (Term("label", "=", "web", "app"),),
        (Term("cluster", "=", "euc1"),),
    ]
)
queries = st.builds(
    Query,
    terms=terms,
    sort=st.builds(Sort, st.sampled_from(["name", "restarts", "status", "age", "cluster"]), st.booleans()),
    clusters=st.frozensets(clusters, max_size=1),
    namespaces=st.frozensets(st.sampled_from(["a", "b"]), max_size=1),
)


class Model:
    """A dict of dicts, read by loops."""

    def __init__(self):
        self.rows = {}
        self.names = {}

    def apply(self, what, cluster, made, deletes, name):
        if what in {"drop", "snapshot"}:
            self.rows = {key: row for key, row in self.rows.items() if key[0] != cluster}
        if what in {"apply", "snapshot"}:
            self.rows |= {(cluster, row.uid): row for row in made}
        if what == "apply":
            for uid in deletes:
                self.rows.pop((cluster, uid), None)
        if what == "rename":
            self.names[cluster] = name

    def values(self, key):
        row = self.rows[key]
        own = dict(zip((column.key for column in COLUMNS[key[0]]), row.cells, strict=True))
        common = {"cluster": self.names.get(key[0], key[0]), "namespace": row.namespace, "name": row.name}
        return {**common, "age": row.created, "gates": None, **own}

    def found(self, scope, query):
        keys = [key for key, row in self.rows.items() if scope.sees(key[0], "pods", row.namespace)]
        keys = [key for key in keys if not query.clusters or key[0] in query.clusters]
        keys = [key for key in keys if not query.namespaces or self.rows[key].namespace in query.namespaces]
        found = [values for values in map(self.values, keys) if all(holds(term, values) for term in query.terms)]
        found.sort(key=lambda v: (v["name"], v["cluster"], v["namespace"]))
        present = [v for v in found if v[query.sort.key] is not None]
        present.sort(key=lambda v: v[query.sort.key], reverse=query.sort.descending)
        return present + [v for v in found if v[query.sort.key] is None]


def holds(term, values):
    if term.key == "label":
        return True  # all rows have it
    if term.key == "":
        return any(term.value in value.lower() for value in values.values() if isinstance(value, str))
    value = values[term.key]
    if term.operator in {">", "<"}:
        return value is not None and (value > term.value if term.operator == ">" else value < term.value)
    text = "" if value is None else str(value).lower()
    return {"=": text == term.value, "!=": text != term.value, ":": term.value in text}[term.operator]


def play(table, model, what, cluster, made, deletes, name):
    model.apply(what, cluster, made, deletes, name)
    if what in {"apply", "snapshot"}:
        table.adopt(cluster, COLUMNS[cluster])
        table.apply(cluster, made, deletes if what == "apply" else ())
    if what == "snapshot":
        table.keep(cluster, {row.uid for row in made})
    if what == "drop":
        table.drop_cluster(cluster)
    if what == "rename":
        table.names[cluster] = name
        table.rename(cluster, name)


def shown(table, row):
    keys = [column.key for column in table.columns]
    return {"gates": None, **dict(zip(keys, row.values, strict=True))}


@given(st.lists(changes(), max_size=12), scopes, queries, st.integers(0, 8), st.integers(0, 8))
@settings(max_examples=150, deadline=None)
def test_whatever_happened_a_table_finds_what_a_dict_finds(history, scope, query, start, length) -> None:
    table, model = Table(OLD), Model()
    for change in history:
        table.window(scope, query, 0, 3)  # readers in between change nothing
        play(table, model, *change)

    expected = model.found(scope, query)
    plain = [{key: v for key, v in values.items() if v is not None} for values in expected]
    found = [
        {key: v for key, v in shown(table, row).items() if v is not None}
        for row in table.window(scope, query, start, start + length)
    ]
    assert found == plain[start : start + length]
    assert table.count(scope, query) == len(expected)
    assert len(list(table.everything(scope, query))) == len(expected)
    assert len(table) == len(model.rows)


@given(st.lists(changes(), max_size=12), st.integers(0, 12))
@settings(max_examples=100, deadline=None)
def test_the_steps_since_any_moment_name_every_row_that_differs(history, moment) -> None:
    table, model = Table(OLD), Model()
    before, seq = {}, 0
    for number, change in enumerate(history):
        if number == moment:
            before, seq = {row.id: row for row in table.everything(EVERYTHING, Query())}, table.seq
        play(table, model, *change)
    if moment >= len(history):
        before, seq = {row.id: row for row in table.everything(EVERYTHING, Query())}, table.seq
    after = {row.id: row for row in table.everything(EVERYTHING, Query())}

    steps = table.since(seq)
    if steps is None:  # columns were added: everybody is sent everything
        assert len(table.columns) > len(COMMON) + len(OLD)
        return
    touched = {step.id for step in steps}
    width = len(COMMON) + len(OLD)
    differs = {
        key
        for key in before.keys() | after.keys()
        if key not in before
        or key not in after
        or before[key].values[:width] != after[key].values[:width]
        or before[key].level != after[key].level
    }
    assert differs <= touched


def row(uid, namespace="a", name="x", cells=("Running", 0)):
    return Row(uid, namespace, name, 1, 1, cells)


def test_a_row_that_is_sent_again_unchanged_is_no_change() -> None:
    table = Table(OLD)
    table.adopt("c1", OLD)
    table.apply("c1", [row("u")], ())
    seq = table.seq
    table.apply("c1", [row("u")], ())
    assert table.seq == seq


def test_a_change_names_only_the_cells_that_differ() -> None:
    table = Table(OLD)
    table.adopt("c1", OLD)
    table.apply("c1", [row("u")], ())
    seq = table.seq
    table.apply("c1", [row("u", cells=("Running", 1))], ())
    assert [step.places for step in table.since(seq)] == [(5,)]


def test_steps_that_are_forgotten_are_said_to_be() -> None:
    table = Table(OLD)
    table.adopt("c1", OLD)
    table.apply("c1", [row("u", cells=("Running", n)) for n in range(CHANGES + 2)], ())
    assert table.since(1) is None
    assert len(table.since(2)) == CHANGES
    assert table.since(table.seq) == []
    assert table.since(table.seq + 5) is None, "a number of another life"


def test_more_sort_columns_than_indexes_still_sort() -> None:
    many = [Column(f"k{n}", f"K{n}", "number") for n in range(20)]
    table = Table(many)
    table.adopt("c1", many)
    table.apply(
        "c1", [row(f"u{n}", name=f"x{n}", cells=tuple((n * 7 + k) % 5 for k in range(20))) for n in range(5)], ()
    )
    for k in range(20):
        found = table.window(EVERYTHING, Query((), Sort(f"k{k}")), 0, 9)
        assert [r.values[4 + k] for r in found] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("hostile", ["'; DROP TABLE rows; --", '" OR 1=1', "\x00", "%", "💥\u202e"])
def test_text_is_never_sql(hostile) -> None:
    table = Table(OLD)
    table.adopt("c1", OLD)
    table.apply("c1", [row("u", name=hostile), row("v")], ())
    query = Query((Term("name", "=", hostile.lower()),))
    assert [r.values[2] for r in table.window(EVERYTHING, query, 0, 9)] == [hostile]
    assert table.count(EVERYTHING, Query((Term("", "has", hostile.lower()),))) == 1
