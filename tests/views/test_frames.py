"""Frames bring a viewer from what it holds to what is, whatever it missed, and tell it of nothing out of its scope."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.authz.identity import Binding
from app.authz.roles import Role
from app.authz.visibility import Scope
from app.views import frames
from app.views.frames import Picture, Window
from app.views.query import Query, Sort, Term
from app.views.table import Table
from app.watch.schemas import Column, Row

EVERYTHING = Scope(all=True, bindings=(), key="all")
SOME = Scope(all=False, bindings=(Binding(Role.VIEWER, frozenset({"c1"}), frozenset({"a"})),), key="some")
COLUMNS = [Column("status", "Status", "status"), Column("restarts", "Restarts", "number")]
MORE = [*COLUMNS, Column("gates", "Gates")]


class Viewer:
    """A client of ui.md section 7: it applies what it is sent and nothing else."""

    def __init__(self):
        self.rows, self.order, self.total, self.mode, self.start, self.seq = {}, [], 0, None, 0, 0
        self.columns = []
        self.heard = ""

    def take(self, frame):
        if frame is None:
            return
        self.heard += repr(frame)
        self.seq, self.epoch = frame["seq"], frame["e"]
        if frame.get("full"):
            self.rows, self.mode, self.columns = {}, frame["mode"], [column["key"] for column in frame["cols"]]
        for line in frame.get("a", ()):
            self.rows[line[0]] = list(line)
        for key, level, cells in frame.get("u", ()):
            self.rows[key][2] = level
            for place, value in cells.items():
                self.rows[key][5 + int(place)] = value
        for key in frame.get("x", ()):
            self.rows.pop(key, None)  # it may have come and gone between two frames
        self.order = frame.get("o", self.order)
        self.total = frame.get("n", self.total)
        self.start = frame.get("from", self.start)


def line(row):
    return [row.id, row.cluster, row.level, row.labels, row.owner, *row.values]


@st.composite
def changes(draw):
    cluster = draw(st.sampled_from(["c1", "c2"]))
    uids = st.sampled_from([f"u{n}" for n in range(8)])
    made = st.builds(
        Row,
        uids,
        st.sampled_from(["a", "b"]),
        st.sampled_from(["x", "y", "z"]),
        st.just(1),
        st.integers(0, 4),
        st.tuples(st.sampled_from(["Running", "Pending", None]), st.integers(0, 3)),
        st.sampled_from(["", "app=web"]),
    )
    what = draw(st.sampled_from(["apply", "apply", "apply", "apply", "columns", "drop", "rename"]))
    return what, cluster, draw(st.lists(made, max_size=3)), draw(st.lists(uids, max_size=3))


def play(table, what, cluster, made, deletes):
    if what == "columns":
        table.adopt(cluster, MORE)
    elif what == "drop":
        table.drop_cluster(cluster)
        table.adopt(cluster, COLUMNS)
    elif what == "rename":
        table.names[cluster] = f"{cluster}-{table.seq}"
        table.rename(cluster, table.names[cluster])
    else:
        table.apply(cluster, made, deletes)


def begin():
    table = Table(COLUMNS)
    for cluster in ("c1", "c2"):
        table.adopt(cluster, COLUMNS)
    return table


queries = st.builds(
    Query,
    terms=st.sampled_from([(), (Term("", "has", "run"),), (Term("restarts", ">", 1.0),)]),
    sort=st.builds(Sort, st.sampled_from(["name", "restarts"]), st.booleans()),
    clusters=st.sampled_from([frozenset(), frozenset({"c1"})]),
)
scopes = st.sampled_from([EVERYTHING, SOME])
steps = st.lists(
    st.one_of(
        changes().map(lambda change: ("change", change)),
        st.tuples(st.just("look"), st.tuples(st.integers(0, 6), st.integers(0, 6))),
        st.just(("frame", None)),
        st.just(("resume", None)),
    ),
    max_size=25,
)


@pytest.fixture(autouse=True, params=[10_000, 3], ids=["whole", "window beyond three rows"])
def limit(request):
    patched = pytest.MonkeyPatch()
    patched.setattr(frames, "WHOLE", request.param)
    yield request.param
    patched.undo()


def agree(viewer, table, scope, query, window):
    """What the viewer holds is the table as its scope shows it."""
    scoped = Query(clusters=query.clusters, namespaces=query.namespaces)
    assert viewer.columns == [column.key for column in table.columns]
    if viewer.mode == "whole":
        assert viewer.rows == {row.id: line(row) for row in table.everything(scope, scoped)}
        return
    shown = table.window(scope, query, window.start, window.stop)
    assert viewer.order == [row.id for row in shown]
    assert viewer.rows == {row.id: line(row) for row in shown}
    assert viewer.total == table.count(scope, query)
    assert viewer.start == window.start


@given(steps, scopes, queries)
@settings(max_examples=80, deadline=None)
def test_a_viewer_that_gets_some_of_the_frames_holds_what_the_table_shows(history, scope, query) -> None:
    table, viewer, window = begin(), Viewer(), Window(0, 4)
    picture = Picture(1, table, "e", scope, query, window)
    for what, detail in [*history, ("frame", None)]:
        if what == "change":
            play(table, *detail)
        elif what == "look":
            window = Window(detail[0], detail[0] + detail[1])
            picture.move(window)
        elif what == "resume" and viewer.mode == "whole":
            picture = Picture(1, table, "e", scope, query, window)
            picture.resume(f"{viewer.epoch}-{viewer.seq}")
        else:
            viewer.take(picture.frame())
            agree(viewer, table, scope, query, window)
    assert picture.frame() is None, "nothing has changed since"


@given(st.lists(changes(), max_size=20), queries)
@settings(max_examples=60, deadline=None)
def test_nobody_learns_of_rows_out_of_scope(history, query) -> None:
    table, viewer = begin(), Viewer()
    table.names["c2"] = "hidden-cluster"
    picture = Picture(1, table, "e", SOME, query, Window(0, 4))
    viewer.take(picture.frame())
    for change in history:
        play(table, *change)
        frame = picture.frame()
        viewer.take(frame)
        if change[0] == "apply" and (change[1] == "c2" or all(r.namespace == "b" for r in change[2])):
            mine = set(change[3])
            assert frame is None or mine or change[2], "no frame where nothing of the scope changed"
    assert "hidden-cluster" not in viewer.heard
    ours = {row.id for row in table.everything(SOME, Query())}
    assert set(viewer.rows) <= ours


@pytest.mark.case("F10")
def test_a_viewer_that_was_away_goes_on_from_what_it_holds() -> None:
    table, viewer = begin(), Viewer()
    table.apply("c1", [Row(f"u{n}", "a", f"x{n}", 1, 1, ("Running", 0)) for n in range(3)], ())
    viewer.take(Picture(1, table, "e", EVERYTHING, Query(), Window()).frame())
    have = f"{viewer.epoch}-{viewer.seq}"
    table.apply("c1", [Row("u1", "a", "x1", 1, 4, ("Failed", 0))], ["u2"])

    again = Picture(1, table, "e", EVERYTHING, Query(), Window())
    resumed = again.resume(have)
    frame = again.frame()
    viewer.take(frame)

    if viewer.mode == "whole":
        assert resumed
        assert "full" not in frame
        assert len(frame["u"]) == 1
    assert viewer.rows == {row.id: line(row) for row in table.everything(EVERYTHING, Query())}


@pytest.mark.case("F10")
@pytest.mark.parametrize("have", ["", "e", "e-", "other-2", "e-99", "e--1", "e-²", "e-1x"])
def test_what_is_not_known_any_more_is_sent_whole(have) -> None:
    table = begin()
    table.apply("c1", [Row("u", "a", "x", 1, 1, ("Running", 0))], ())
    picture = Picture(1, table, "e", EVERYTHING, Query(), Window())
    assert not picture.resume(have)
    assert picture.frame()["full"]


@pytest.mark.case("F10")
def test_a_viewer_that_was_away_too_long_is_sent_everything(limit) -> None:
    table = begin()
    for n in range(frames.WHOLE + 2 if limit < 10 else 1):
        table.apply("c1", [Row(f"u{n}", "a", "x", 1, 1, ("Running", 0))], ())
    old = table.seq
    table.steps.clear()
    table.apply("c1", [Row("v", "a", "x", 1, 1, ("Running", 0))], ())
    table.apply("c1", [Row("w", "a", "x", 1, 1, ("Running", 0))], ())
    table.steps.popleft()
    picture = Picture(1, table, "e", EVERYTHING, Query(), Window())
    assert not picture.resume(f"e-{old}")
    assert picture.frame()["full"]
