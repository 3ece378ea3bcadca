"""What the codecs make of recorded lines, and of lines that no server should send."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.kube.events import Bookmark, ErrorEvent, Event, Page, Unreadable
from app.watch.catalogue import PROJECTIONS, projection_of
from app.watch.codec import ObjectCodec
from app.watch.schemas import ResourceRef
from app.watch.table import TableCodec
from tests.watch import recordings

POD_REF = ResourceRef("", "v1", "pods", "Pod", namespaced=True)


def pods() -> ObjectCodec:
    return ObjectCodec(PROJECTIONS["", "pods"], "v1")


def tables() -> TableCodec:
    return TableCodec(POD_REF)


def test_the_kept_object_is_the_servers_byte_for_byte() -> None:
    codec = pods()
    for line in recordings.lines("watch/pods.jsonl"):
        event = codec.line(line)
        if isinstance(event, Event) and event.type == "apply":
            start = line.index(b'"object":') + len(b'"object":')
            assert event.raw == line[start:-1]


def test_a_listed_object_is_kept_as_a_watch_would_send_it() -> None:
    page = pods().page(recordings.read("lists/pods.json"))
    assert isinstance(page, Page)
    first = msgspec.json.decode(page.events[0].raw)

    assert (first["kind"], first["apiVersion"]) == ("Pod", "v1")
    assert first["metadata"] == recordings.document("lists/pods.json")["items"][0]["metadata"]


def test_spaces_and_another_order_of_fields_make_no_difference() -> None:
    line = next(line for line in recordings.lines("watch/pods.jsonl") if line.startswith(b'{"type":"MODIFIED"'))
    document = msgspec.json.decode(line)
    turned = msgspec.json.encode({"object": document["object"], "type": document["type"]})
    plain, spaced, other = pods().line(line), pods().line(line + b" \r\n"), pods().line(turned)

    assert isinstance(other, Event)
    assert plain == spaced
    assert (other.uid, other.version, other.type) == (plain.uid, plain.version, plain.type)


def test_recorded_bookmarks_and_errors() -> None:
    ends = [pods().line(line) for line in recordings.lines("watch/streaming-list-pods.jsonl")]
    marks = [event for event in ends if isinstance(event, Bookmark)]

    assert marks[0].initial_events_end
    assert not any(mark.initial_events_end for mark in marks[1:])
    error = pods().line(recordings.lines("watch/410-watch-too-old.jsonl")[0])
    assert isinstance(error, ErrorEvent)
    assert (error.code, error.reason) == (410, "Expired")


@pytest.mark.case("W23")
@pytest.mark.parametrize("codec", [pods(), tables()], ids=["objects", "tables"])
@pytest.mark.parametrize(
    "line",
    [
        b'{"type":"WHATEVER","object":{"kind":"Pod","apiVersion":"v1","metadata":{"uid":"u"}}}',
        b'{"type":"ADDED","object":{"kind":"Secret","apiVersion":"v1","metadata":{"uid":"u"}}}',
        b'{"type":"ADDED","object":{"kind":"Status","apiVersion":"v1","code":200}}',
        b'{"type":"ADDED","object":{"kind":"Table","apiVersion":"example.com/v1","rows":[]}}',
        b'{"type":"ADDED","object":{"kind":"Pod","apiVersion":"v1","metadata":{"name":"no-uid"},"spec":{},"status":{}}}',
        b'{"type":"ADDED","object":{"kind":"Pod","apiVersion":"v1","metadata":{"uid":"'
        + b"u" * 10_000
        + b'"},"spec":{}}}',
        b"null",
        b"[]",
        b"{}",
        b'{"type":"ADDED","object":null}',
        b'{"type":"ADDED","object":[]}',
    ],
)
def test_what_is_no_event_is_skipped_and_the_stream_goes_on(codec, line: bytes) -> None:
    decoded = codec.line(line)

    assert isinstance(decoded, Unreadable)
    assert not decoded.fatal
    assert decoded.reason


@pytest.mark.case("W19")
@pytest.mark.parametrize("codec", [pods(), tables()], ids=["objects", "tables"])
@pytest.mark.parametrize(
    "line",
    [
        b'{"type":"ADDED","object":{"kind":"Pod","apiVersion":"v1","meta',
        b"not json",
        b"\xff\xfe\x00",
        b'{"type":"ADDED","object":' + b"[" * 100_000,
        b'{"type":"ADDED","object":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"type":"ADDED","object":' + b'{"a":' * 100_000,
    ],
    ids=["cut", "words", "binary", "deep", "deep and whole", "deep objects"],
)
def test_a_line_that_is_not_json_ends_the_trust_in_the_stream(codec, line: bytes) -> None:
    decoded = codec.line(line)

    assert isinstance(decoded, Unreadable)


@pytest.mark.case("W19")
@pytest.mark.parametrize("codec", [pods(), tables()], ids=["objects", "tables"])
@settings(max_examples=500, deadline=None)
@given(cut=st.data())
def test_mangled_recordings_never_raise(codec, cut: st.DataObject) -> None:
    line = cut.draw(st.sampled_from(recordings.lines("watch/pods-table.jsonl") + recordings.lines("watch/pods.jsonl")))
    at = cut.draw(st.integers(0, len(line)))
    piece = cut.draw(st.binary(max_size=8))
    mangled = line[:at] + piece + line[at + cut.draw(st.integers(0, 50)) :]

    codec.line(mangled)
    codec.page(mangled)


@pytest.mark.parametrize("path", ["watch/pods-table.jsonl", "watch/streaming-list-table.jsonl"])
def test_recorded_tables_give_rows_with_uid_version_and_the_servers_words(path: str) -> None:
    codec, events, marks = tables(), [], []
    for line in recordings.lines(path):
        decoded = codec.line(line)
        if isinstance(decoded, list):
            events += decoded
        elif isinstance(decoded, Bookmark):
            marks.append(decoded)

    assert [column.title for column in codec.columns[:4]] == ["Ready", "Status", "Restarts", "IP"]
    assert codec.generation == 1
    assert codec.refused == 0
    assert all(event.uid and event.version for event in events)
    assert events[-1].object.cells[0] == ("0/1" if path == "watch/pods-table.jsonl" else "1/1")
    assert (marks[0].initial_events_end, bool(marks[0].version)) == (path != "watch/pods-table.jsonl", True)


@pytest.mark.parametrize("name", ["pods", "deployments", "jobs", "nodes", "events"])
def test_recorded_table_lists_are_pages(name: str) -> None:
    codec = TableCodec(ResourceRef("", "v1", name, name, namespaced=True))
    page = codec.page(recordings.read(f"tables/{name}.json"))

    assert isinstance(page, Page)
    assert len(page.events) == len(recordings.document(f"tables/{name}.json")["rows"])
    assert all(len(event.object.cells) == len(codec.columns) for event in page.events)
    assert "Age" not in [column.title for column in codec.columns]


def test_rows_without_an_object_are_refused_not_shown_without_an_identity() -> None:
    codec = tables()
    page = codec.page(recordings.read("tables/pods-include-none.json"))

    assert isinstance(page, Page)
    assert page.events == []
    assert codec.refused == 17


def test_a_server_that_cannot_print_is_shown_by_name() -> None:
    codec = tables()
    page = codec.page(recordings.read("lists/pods.json"))

    assert isinstance(page, Page)
    assert len(page.events) == 17
    assert codec.columns == ()
    line = next(line for line in recordings.lines("watch/pods.jsonl") if line.startswith(b'{"type":"ADDED"'))
    decoded = codec.line(line)
    assert isinstance(decoded, list)
    assert decoded[0].object.metadata.name == "web-7d46fb6584-hrgfg"


def test_another_lists_kind_is_refused() -> None:
    assert isinstance(pods().page(recordings.read("lists/nodes.json")), Unreadable)
    assert isinstance(tables().page(recordings.read("lists/nodes.json")), Unreadable)
    assert isinstance(pods().page(b'{"kind":"PodList","metadata":{"resourceVersion":"1"},"items":[7]}'), Page)


SECRET = {
    "kind": "Secret", "apiVersion": "v1", "type": "Opaque",
    "metadata": {
        "name": "s", "namespace": "n", "uid": "0b9b5b06-3c2a-4b36-8d51-6f8f1e9a0001", "resourceVersion": "7",
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": '{"data":{"p":"aHVudGVyMg=="}}', "a": "b"},
        "managedFields": [{"fieldsV1": {"f:data": {"f:hunter2": {}}}}],
    },
    "data": {"p": "aHVudGVyMg==", "q": "aHVudGVyMg=="}, "stringData": {"r": "hunter2"},
}  # fmt: skip


@pytest.mark.case("S53")
@pytest.mark.parametrize("resource", ["secrets", "configmaps"])
def test_no_value_of_a_secret_or_config_map_is_kept(resource: str) -> None:
    projection = PROJECTIONS["", resource]
    document = {**SECRET, "kind": projection.kind}
    if resource == "configmaps":
        del document["stringData"]
    codec = ObjectCodec(projection, "v1")
    listed = codec.page(msgspec.json.encode({"kind": f"{projection.kind}List", "metadata": {}, "items": [document]}))
    watched = codec.line(msgspec.json.encode({"type": "ADDED", "object": document}))

    assert isinstance(listed, Page)
    assert isinstance(watched, Event)
    for event in (listed.events[0], watched):
        row = projection.project(event.object, 0.0)
        kept = event.raw + msgspec.msgpack.encode(row)
        assert b"aHVudGVyMg" not in kept
        assert b"hunter2" not in kept
        assert b'"a":"b"' in event.raw
        assert 2 in row.cells


@pytest.mark.case("S53")
def test_secrets_are_always_read_by_their_projection_never_printed() -> None:
    assert projection_of(ResourceRef("", "v1", "secrets", "Secret", namespaced=True)) is not None
