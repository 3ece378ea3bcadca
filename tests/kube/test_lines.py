"""Raw HTTP/1.1 bytes and bad lines: any cut gives the same lines, no input crashes (W19, W20, W23)."""

import itertools
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.kube.codec import MetadataCodec
from app.kube.events import Bookmark, ErrorEvent, Event, Unreadable
from app.kube.lines import BadFraming, LineTooLong, Response

from .recorded import read

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
TEXTS = ["{}", '{"name":"café ☕ 😀"}', "x" * 5000, '{"a":"\\n"}']


def chunked(pieces: list[bytes]) -> bytes:
    return HEAD + b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"


def lines_of(pieces: list[bytes], **options) -> list[bytes]:
    response = Response(**options)
    lines = []
    for piece in pieces:
        buffer = bytearray(piece) + bytearray(b"\nrubbish left by another\n")
        lines += response.feed(buffer, len(piece))
        buffer[:] = b"\0" * len(buffer)  # the buffer is shared: nothing given out may point into it
    assert response.ended
    return lines


@pytest.mark.case("W20")
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_response_cut_at_every_offset_gives_the_same_lines(end: bytes) -> None:
    texts = [text.encode() for text in [*TEXTS[:2], "y" * 40]]
    raw = chunked([texts[0] + end, texts[1] + end + texts[2][:7], texts[2][7:] + end])

    for at in range(1, len(raw)):
        found = [line.rstrip(b"\r") for line in lines_of([raw[:at], raw[at:]])]
        assert found == texts, at
    assert [line.rstrip(b"\r") for line in lines_of([raw[n : n + 1] for n in range(len(raw))])] == texts


@pytest.mark.case("W20")
@given(
    texts=st.lists(st.sampled_from([t.encode() for t in TEXTS]), min_size=1, max_size=6),
    chunk_ends=st.lists(st.integers(1, 6000), max_size=8),
    cuts=st.lists(st.integers(1, 12000), max_size=8),
)
@settings(max_examples=300, deadline=None)
def test_neither_chunks_nor_reads_matter(texts: list[bytes], chunk_ends: list[int], cuts: list[int]) -> None:
    body = b"".join(text + b"\n" for text in texts)
    raw = chunked(split(body, chunk_ends))

    assert lines_of(split(raw, cuts)) == texts


def split(content: bytes, ends: list[int]) -> list[bytes]:
    places = [0, *sorted({e for e in ends if e < len(content)}), len(content)]
    return [content[a:b] for a, b in itertools.pairwise(places) if a < b]


def test_a_recorded_response_is_read_whatever_the_reads() -> None:
    raw = read("watch/raw-http1-response.bin")
    whole = lines_of([raw])

    assert [json.loads(line)["type"] for line in whole] == ["ADDED"] * 8
    for size in (1, 7, 100, 2048):
        assert lines_of([raw[n : n + size] for n in range(0, len(raw), size)]) == whole


def test_blank_lines_are_dropped_and_half_a_line_is_never_given() -> None:
    assert lines_of([chunked([b"\n", b"\r\n", b"{}\n", b"\n\n", b'{"ha'])]) == [b"{}"]


def test_bodies_with_a_length_and_bodies_that_end_with_the_connection() -> None:
    sized, open_ended = Response(), Response()

    assert sized.feed(b"HTTP/1.1 404 N\r\nContent-Length: 19\r\n\r\n404 page not found\nXX", 61) == [
        b"404 page not found"
    ]
    assert sized.ended
    assert open_ended.feed(b"HTTP/1.0 200 OK\r\n\r\n{}\n{}", 24) == [b"{}"]
    assert not open_ended.ended
    assert open_ended.eof()
    assert open_ended.rest == b"{}"


def test_an_interim_response_is_passed_over() -> None:
    raw = b"HTTP/1.1 100 Continue\r\n\r\n" + chunked([b"{}\n"])

    assert lines_of([raw]) == [b"{}"]


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01\x02\x00\r\n\r\n",
        b"SSH-2.0-OpenSSH_9\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"x" * 70_000,
        HEAD + b"-5\r\n",
        HEAD + b"zz\r\n",
        HEAD + b"1" * 2000,
    ],
)
def test_what_is_not_http_is_refused(raw: bytes) -> None:
    with pytest.raises(BadFraming):
        Response().feed(raw, len(raw))


@pytest.mark.case("W21")
def test_a_line_over_the_bound_is_refused_and_not_kept() -> None:
    response = Response(line_bytes=1000)
    raw = HEAD + b"%x\r\n" % 5000
    response.feed(raw, len(raw))

    for _ in range(10):
        response.feed(b"z" * 100, 100)
    with pytest.raises(LineTooLong):
        response.feed(b"z" * 100, 100)
    assert response.rest == b""


@pytest.mark.case("W19")
@given(st.binary(max_size=300))
@settings(max_examples=500, deadline=None)
def test_no_bytes_crash_the_cutter(raw: bytes) -> None:
    response = Response()
    try:
        response.feed(raw, len(raw))
        response.feed(raw, len(raw))
    except BadFraming:
        return


CODEC = MetadataCodec("ConfigMap", "v1")


@pytest.mark.case("W19")
@pytest.mark.parametrize(
    "line",
    [
        b"garbage",
        b"null",
        b"[]",
        b'"text"',
        b"17",
        b'{"type":"ADDED","object":' + b"[" * 100_000,
        b'{"type":"ADDED","object":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001,
        b'{"type":"ADDED"',
        b'{"type":"ADDED","object":{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"\xff"}}}',
        b'{"type":17,"object":{}}',
        b'{"object":{}}',
        b'{"type":"ADDED","object":null}',
        b"\x00\x01k8s\x00",
    ],
)
def test_bad_lines_are_unreadable_and_never_raise(line: bytes) -> None:
    assert isinstance(CODEC.line(line), Unreadable)
    assert isinstance(CODEC.page(line), Unreadable)


LINES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "object", "kind", "apiVersion", "metadata", "name", "uid", "code", "annotations", "x"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


def decodes(content: bytes) -> None:
    assert isinstance(CODEC.line(content), Event | Bookmark | ErrorEvent | Unreadable)
    CODEC.page(content)


@pytest.mark.case("W19")
@given(LINES)
@settings(max_examples=500, deadline=None)
def test_no_json_crashes_the_codec(value: object) -> None:
    decodes(json.dumps(value).encode())
    decodes(json.dumps({"type": "ADDED", "object": value}).encode())
    decodes(json.dumps({"type": "BOOKMARK", "object": value}).encode())
    decodes(json.dumps({"type": "ERROR", "object": value}).encode())


@pytest.mark.case("W19")
@pytest.mark.slow
@given(LINES, st.binary(max_size=60), st.integers(0, 200))
@settings(max_examples=50_000, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_mutation_of_a_real_event_crashes_the_codec(value: object, noise: bytes, at: int) -> None:
    real = json.dumps({"type": "MODIFIED", "object": {"kind": "ConfigMap", "metadata": value}}).encode()
    decodes(real[:at] + noise + real[at:])
    decodes(real[:at] + noise)


@pytest.mark.case("W23")
@pytest.mark.parametrize(
    "line",
    [
        {"type": "SURPRISE", "object": {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"uid": "u"}}},
        {"type": "ADDED", "object": {"kind": "Secret", "apiVersion": "v1", "metadata": {"uid": "u"}}},
        {"type": "ADDED", "object": {"kind": "ConfigMap", "apiVersion": "v2", "metadata": {"uid": "u"}}},
        {"type": "ADDED", "object": {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {}, "rows": []}},
    ],
)
def test_foreign_events_are_skipped_not_fatal(line: dict) -> None:
    assert CODEC.line(json.dumps(line).encode()) == Unreadable(
        fatal=False, reason="an event type that we do not know" if line["type"] == "SURPRISE" else "another kind"
    )


def test_real_marks_are_read() -> None:
    end = read("watch/streaming-list-empty.jsonl").splitlines()[0]
    expired = read("watch/410-watch-too-old.jsonl").splitlines()[0]

    assert MetadataCodec().line(end) == Bookmark("2018", initial_events_end=True)
    assert MetadataCodec().line(expired) == ErrorEvent(410, "Expired", "too old resource version: 300 (32404)")
