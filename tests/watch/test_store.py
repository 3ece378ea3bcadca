"""The store: any snapshot and what is told after it make the store; late, doubled and lost events change nothing."""

import itertools
import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.kube.events import Event
from app.watch.catalogue import PROJECTIONS, kind_of
from app.watch.codec import ObjectCodec
from app.watch.ingest import batch_bytes, ingest
from app.watch.packing import SAMPLES, Packer, train
from app.watch.schemas import Batch, Row
from app.watch.store import FRESH, GRAVES, Change, Kind, Store, decode_row, key_of, uid_of
from tests.watch import recordings

UIDS = ["0b9b5b06-3c2a-4b36-8d51-6f8f1e9a0001", "0b9b5b06-3c2a-4b36-8d51-6f8f1e9a0002", "odd", "sixteen-letters!"]


def project(word: str, _now: float) -> Row:
    return Row("", "ns", "name", 0, 4 if word == "bad" else 1, (word,))


def store(**more) -> Store[str]:
    kind = Kind("things", project, 0, lists_troubles=True, **more)
    return Store(kind, Packer())


def event(uid: str, version: int | str, word: str = "fine", kind: str = "apply") -> Event[str]:
    return Event(
        kind, uid, str(version), None if kind == "delete" else word, b"" if kind == "delete" else word.encode()
    )


def state(of: Store) -> dict[str, str]:
    return {uid: decode_row(row).cells[0] for uid, row in of.rows()}


EVENTS = st.builds(
    event,
    st.sampled_from(UIDS),
    st.integers(1, 30),
    st.sampled_from(["fine", "bad"]),
    st.sampled_from(["apply", "delete"]),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("changed"), st.lists(EVENTS, max_size=5)),
        st.tuples(st.just("relist"), st.dictionaries(st.sampled_from(UIDS), st.integers(1, 30))),
        st.tuples(st.just("broken list"), st.dictionaries(st.sampled_from(UIDS), st.integers(1, 30))),
        st.tuples(st.just("tell"), st.none()),
        st.tuples(st.just("lose"), st.none()),
        st.tuples(st.just("settle"), st.integers(1, 3)),
        st.tuples(st.just("train"), st.none()),
    ),
    max_size=25,
)


def step(of: Store, action: str, detail: object) -> None:
    match action, detail:
        case "changed", events:
            of.apply(events)
            of.absorb(0.0)
        case (("relist" | "broken list"), versions):
            of.begin()
            for uid, version in versions.items():
                of.listed([event(uid, version, "bad"), event(uid, version + 1, "listed")], 0.0)
            if action == "relist":
                of.complete()
        case "lose", _:
            of.untold(of.changes(2))
        case "settle", limit:
            of.settle(limit)
        case "train", _:
            of._packer.adopt(DICTIONARY)


DICTIONARY = train([recordings.read("lists/pods.json")[n * 300 : n * 300 + 3000] for n in range(300)])


def tell(changes: list[Change], mirrors: list[dict[str, str]]) -> None:
    for change, mirror in itertools.product(changes, mirrors):
        if change.row is None:
            mirror.pop(change.uid, None)
        else:
            mirror[change.uid] = decode_row(change.row).cells[0]


@settings(max_examples=400, deadline=None)
@given(STEPS, st.integers(0, 25))
def test_any_snapshot_and_the_changes_after_it_make_the_store(steps, joins: int) -> None:
    """One reader follows from the start, another joins at any moment: both end with what the store holds."""
    of = store()
    readers: list[dict[str, str]] = [{}]
    for number, (action, detail) in enumerate(steps):
        if number == joins:
            readers.append(state(of))
        if action == "tell":
            tell(of.changes(10_000), readers)
        else:
            step(of, action, detail)
    tell(of.changes(10_000), readers)

    assert all(reader == state(of) for reader in readers)
    assert sum(of.counters().values()) == len(of)
    assert set(map(uid_of, of.troubles)) == {uid for uid, word in state(of).items() if word == "bad"}
    assert all(of.object(uid) == word.encode() for uid, word in state(of).items())


def history(rng: random.Random) -> list[Event[str]]:
    """A true history: versions rise, an object is made, changed, perhaps deleted; a new one has a new uid."""
    events, version, alive = [], 10, {}
    for number in range(60):
        version += rng.randint(1, 3)
        if alive and rng.random() < 0.25:
            uid = rng.choice(sorted(alive))
            del alive[uid]
            events.append(event(uid, version, kind="delete"))
        elif alive and rng.random() < 0.6:
            uid = rng.choice(sorted(alive))
            events.append(event(uid, version, f"v{version}"))
        else:
            uid = f"0b9b5b06-3c2a-4b36-8d51-{number:012d}"
            alive[uid] = True
            events.append(event(uid, version, f"v{version}"))
    return events


@pytest.mark.case("W24")
@settings(max_examples=200, deadline=None)
@given(st.integers(), st.data())
def test_late_and_doubled_events_change_nothing(seed: int, data: st.DataObject) -> None:
    events = history(random.Random(seed))
    shuffled = data.draw(st.permutations(events + data.draw(st.lists(st.sampled_from(events), max_size=30))))
    sizes = data.draw(st.lists(st.integers(1, 10), min_size=len(shuffled), max_size=len(shuffled)))
    plain, mixed = store(), store()
    plain.apply(events)
    plain.absorb(0.0)
    rest = iter(shuffled)
    for size in sizes:
        mixed.apply(list(itertools.islice(rest, size)))
        mixed.absorb(0.0)

    assert state(mixed) == state(plain)


@pytest.mark.case("W24")
def test_versions_without_an_order_replace_each_other_unless_equal() -> None:
    of = store()
    for version, word in (("b", "one"), ("a", "two"), ("a", "three")):
        of.apply([event("odd", version, word)])
        of.absorb(0.0)

    assert state(of) == {"odd": "two"}


@pytest.mark.case("W26")
def test_an_object_made_again_in_a_gap_is_a_delete_of_the_old_and_a_new_one() -> None:
    of = store()
    of.apply([event(UIDS[0], 5)])
    of.absorb(0.0)
    of.changes(10)
    of.begin()
    of.listed([event(UIDS[1], 9)], 0.0)
    of.complete()

    assert {(change.uid, change.row is None) for change in of.changes(10)} == {(UIDS[0], True), (UIDS[1], False)}


@pytest.mark.case("W27")
def test_a_delete_in_a_gap_is_told_once_and_a_late_event_raises_no_ghost() -> None:
    of = store()
    of.apply([event(UIDS[0], 5), event(UIDS[1], 6)])
    of.absorb(0.0)
    of.changes(10)
    for _ in range(2):
        of.begin()
        of.listed([event(UIDS[1], 6)], 0.0)
        of.complete()
        of.apply([event(UIDS[0], 5)])
        of.absorb(0.0)

    assert [(change.uid, change.row) for change in of.changes(10)] == [(UIDS[0], None)]
    assert state(of).keys() == {UIDS[1]}


@pytest.mark.case("W33")
def test_a_list_with_older_versions_is_believed() -> None:
    of = store()
    of.apply([event(UIDS[0], 500, "new")])
    of.absorb(0.0)
    of.begin()
    of.listed([event(UIDS[0], 20, "restored")], 0.0)
    of.complete()

    assert state(of) == {UIDS[0]: "restored"}


def test_what_was_heard_before_a_list_does_not_undo_it() -> None:
    of = store()
    of.apply([event(UIDS[0], 5, "old"), event(UIDS[1], 5, "gone since")])
    of.begin()
    of.listed([event(UIDS[0], 9, "listed")], 0.0)
    of.complete()
    of.absorb(0.0)

    assert state(of) == {UIDS[0]: "listed"}


def test_versions_name_what_is_held_and_what_waits() -> None:
    of = store()
    of.apply([event(UIDS[0], 5), event(UIDS[1], 6)])
    of.absorb(0.0)
    of.apply([event(UIDS[0], 7), event(UIDS[1], 8, kind="delete"), event("odd", 9)])

    assert of.versions() == {UIDS[0]: "7", "odd": "9"}


def test_a_relist_that_finds_nothing_new_tells_nothing() -> None:
    of = store()
    of.begin()
    of.listed([event(uid, 3) for uid in UIDS], 0.0)
    of.complete()
    assert len(of.changes(10)) == 4
    of.begin()
    of.listed([event(uid, 3) for uid in UIDS], 0.0)
    of.complete()

    assert of.changes(10) == []


@pytest.mark.case("W10", "W29")
def test_a_list_that_is_not_whole_is_not_seen() -> None:
    of = store()
    of.begin()
    of.listed([event(UIDS[0], 3)], 0.0)
    assert (len(of), of.listed_once, of.changes(10)) == (0, False, [])
    of.begin()
    of.listed([event(UIDS[1], 3)], 0.0)
    of.complete()

    assert (state(of).keys(), of.listed_once) == ({UIDS[1]}, True)


@pytest.mark.case("W38")
def test_a_burst_of_changes_of_one_object_is_one_change() -> None:
    of = store()
    made = []

    def counted(word: str, now: float) -> Row:
        made.append(word)
        return project(word, now)

    of = Store(Kind("things", counted, 0), Packer())
    of.apply([event(UIDS[0], version, f"v{version}") for version in range(1, 500)])
    of.absorb(0.0)

    assert made == ["v499"]
    assert len(of.changes(10)) == 1


def test_what_was_not_delivered_is_told_as_it_is_now() -> None:
    of = store()
    of.apply([event(UIDS[0], 1, "old"), event(UIDS[1], 1, "old")])
    of.absorb(0.0)
    taken = of.changes(10)
    of.apply([event(UIDS[0], 2, "new"), event(UIDS[1], 2, kind="delete")])
    of.absorb(0.0)
    of.untold(taken)
    again = {change.uid: change.row for change in of.changes(10)}

    assert decode_row(again[UIDS[0]]).cells == ("new",)
    assert again[UIDS[1]] is None


def test_memory_of_hostile_words_graves_and_troubles_is_bounded() -> None:
    of = store()
    of.apply([event(f"u{n}", 1, f"word {n}") for n in range(2 * FRESH)])
    of.absorb(0.0)
    assert len(of.counters()) <= 256
    assert sum(of.counters().values()) == 2 * FRESH
    assert len(of._fresh) <= FRESH
    for n in range(2 * GRAVES):
        of.apply([event(f"u{n}", 2, kind="delete")])
        of.absorb(0.0)
    assert len(of._graves) <= GRAVES
    assert not of.counters()
    of.apply([event(f"b{n}", 1, "bad") for n in range(1500)])
    of.absorb(0.0)
    assert len(of.troubles) == 1000


def test_a_row_of_absurd_size_is_cut_and_a_long_word_is_not_counted_by_name() -> None:
    of = store()
    of.apply([event(UIDS[0], 1, "x" * 1_000_000)])
    of.absorb(0.0)

    assert len(of.changes(10)[0].row) < 2_000
    assert of.counters() == {(1, "other"): 1}


def test_a_level_is_looked_at_again_when_its_time_has_come() -> None:
    kind = Kind(
        "things",
        lambda word, now: Row("", "ns", word, 0, 4 if now >= 50 else 2, (word,)),
        0,
        expires=lambda _word, now: 50.0 if now < 50 else None,
        reread=bytes.decode,
    )
    of = Store(kind, Packer())
    of.apply([event(UIDS[0], 1, "waiting")])
    of.absorb(10.0)
    assert decode_row(of.changes(10)[0].row).level == 2
    of.settle(10)
    of.absorb(49.0)
    assert of.changes(10) == []
    assert of.due_at() == 50.0
    of.absorb(50.0)

    assert decode_row(of.changes(10)[0].row).level == 4
    assert of.due_at() is None


@given(st.text(max_size=40))
def test_keys_give_their_uid_back(uid: str) -> None:
    uid = uid.replace("\0", "")
    assert uid_of(key_of(uid)) == uid
    assert (len(key_of(uid)) == 16) == (uid in UIDS[:2])


def recorded_pods(copies: int) -> list[bytes]:
    """Watch lines of pods that differ as real ones do: names, uids, addresses, ids."""
    rng = random.Random(1)
    page = ObjectCodec(PROJECTIONS["", "pods"], "v1").page(recordings.read("lists/pods.json"))
    lines = []
    for number in range(copies):
        pod = page.events[number % len(page.events)]
        name, uid = (
            pod.object.metadata.name.encode(),
            f"{rng.getrandbits(32):08x}-0000-4000-8000-{rng.getrandbits(48):012x}",
        )
        raw = pod.raw.replace(pod.uid.encode(), uid.encode()).replace(name, b"pod-%012x" % rng.getrandbits(48))
        raw = raw.replace(b"10.244.1.", b"10.%d.%d." % (rng.randrange(250), rng.randrange(250)))
        lines.append(b'{"type":"ADDED","object":' + raw + b"}")
    return lines


def test_pods_are_recovered_byte_for_byte_and_packed_small() -> None:
    """Goal G4: at most 1,000 bytes a pod with the entry's own overhead, the whole object recoverable."""
    packer, codec = Packer(), ObjectCodec(PROJECTIONS["", "pods"], "v1")
    of = Store(kind_of(PROJECTIONS["", "pods"]), packer)
    lines = recorded_pods(1200)
    ingest(lines[:SAMPLES], codec, of, now=recordings.TAKEN)
    assert packer.ready()
    dictionary = train(packer.take_samples())
    assert dictionary is not None
    packer.adopt(dictionary)
    ingest(lines[SAMPLES:], codec, of, now=recordings.TAKEN)
    while of.settle(100):
        pass

    assert len(of) == 1200
    for line in lines:
        sent = codec.line(line)
        assert of.object(sent.uid) == sent.raw
    assert sum(map(len, of._entries.values())) / 1200 < 700
    assert {entry[2] for entry in of._entries.values()} == {1}


def test_ingest_gives_the_bytes_that_readers_decode() -> None:
    of = Store(kind_of(PROJECTIONS["", "pods"]), Packer())
    of.apply([ObjectCodec(PROJECTIONS["", "pods"], "v1").line(line) for line in recorded_pods(3)])
    of.absorb(recordings.TAKEN)
    batch = msgspec.msgpack.decode(batch_bytes(of.changes(10), 7.0), type=Batch)
    rows = [msgspec.msgpack.decode(raw, type=Row) for raw in batch.upserts]

    assert (batch.time, len(rows), batch.deletes) == (7.0, 3, [])
    assert all(of.object(row.uid) for row in rows)
