"""Recorded traffic of a real API server, played to the machine byte for byte, as it was or in other pieces."""

import asyncio
import json
from typing import Any

import pytest

from app.kube.codec import MetadataCodec
from app.kube.events import Event

from .fault_apiserver import Exchange, FaultServer
from .mirror import until, watching
from .recorded import read

STREAMS = ["pods", "deployments", "replicasets", "jobs", "events", "nodes", "label-selector-leave-and-return"]


def truth(lines: list[bytes]) -> dict[str, str]:
    """uid -> version after all of a recording's events."""
    found: dict[str, str] = {}
    for line in lines:
        event = json.loads(line)
        metadata = event["object"]["metadata"]
        if event["type"] in {"ADDED", "MODIFIED"}:
            found[metadata["uid"]] = metadata["resourceVersion"]
        elif event["type"] == "DELETED":
            found.pop(metadata["uid"], None)
    return found


def empty_list(version: str) -> Any:
    async def play(exchange: Exchange) -> None:
        await exchange.answer(200, {"kind": "XList", "metadata": {"resourceVersion": version}, "items": []})

    return play


def bytes_of(raw: bytes, size: int) -> Any:
    """Answer with raw bytes in writes of `size`, then stay silent."""

    async def play(exchange: Exchange) -> None:
        for at in range(0, len(raw), size):
            await exchange.send(raw[at : at + size])
            await asyncio.sleep(0)
        await exchange.mute()

    return play


def response(body: bytes, chunk: int) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    pieces = [body[at : at + chunk] for at in range(0, len(body), chunk)]
    return head + b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize(("chunk", "write"), [(2048, 1 << 20), (1 << 20, 1460), (777, 4096)])
async def test_a_recorded_watch_ends_at_its_truth(name: str, chunk: int, write: int) -> None:
    body = read(f"watch/{name}.jsonl")
    lines = body.splitlines()
    server = FaultServer()
    server.on("list", empty_list("324"))
    server.on("watch", bytes_of(response(body, chunk), write))
    marks = sum(json.loads(line)["type"] == "BOOKMARK" for line in lines)
    async with watching(server, codec=MetadataCodec()) as rig:
        await until(lambda: rig.machine.counters.events + rig.machine.counters.bookmarks == len(lines))

        assert rig.mirror.versions == truth(lines)
        assert rig.machine.counters.bookmarks == marks
        last = json.loads(lines[-1])["object"]["metadata"]["resourceVersion"]
        assert rig.machine.version == last
        assert len(server.of("list")) == 1


@pytest.mark.parametrize("name", ["namespaces", "pods", "empty"])
async def test_a_recorded_streaming_list_is_swapped_in_at_its_bookmark(name: str) -> None:
    body = read(f"watch/streaming-list-{name}.jsonl")
    lines = body.splitlines()
    server = FaultServer()
    server.on("streaming", bytes_of(response(body, 2048), 1 << 20))
    async with watching(server, codec=MetadataCodec(), streaming=True) as rig:
        await until(lambda: rig.mirror.synced)

        assert rig.mirror.versions == truth(lines)
        assert rig.machine.version == json.loads(lines[-1])["object"]["metadata"]["resourceVersion"]
        assert [kind for kind, _ in rig.mirror.told] == ["begin", "complete"]
    assert server.of("list") == []


@pytest.mark.case("W11")
@pytest.mark.parametrize("fault", ["422", "no-bookmarks"])
async def test_recorded_refusals_of_streaming_lists_fall_back(fault: str) -> None:
    server = FaultServer()
    server.world.fill(3)

    async def refused(exchange: Exchange) -> None:
        await exchange.answer(422, read("watch/streaming-list-without-match-422.jsonl"))

    silent = bytes_of(response(read("watch/streaming-list-no-bookmarks.jsonl"), 2048), 1 << 20)
    server.always("streaming", refused if fault == "422" else silent)
    async with watching(server, codec=MetadataCodec(), streaming=True) as rig:
        await rig.caught_up()

    assert len(server.of("streaming")) == 1


async def test_the_recorded_bytes_of_a_watch_are_understood() -> None:
    raw = read("watch/raw-http1-response.bin")
    server = FaultServer()

    async def list_without_version(exchange: Exchange) -> None:
        await exchange.answer(200, {"kind": "XList", "metadata": {}, "items": []})

    server.on("list", list_without_version)
    server.on("watch", bytes_of(raw, 100))
    async with watching(server, codec=MetadataCodec()) as rig:
        await until(lambda: rig.machine.counters.events == 8)

        assert len(rig.mirror.versions) == 8
        assert rig.machine.version == ""  # synthetic events: none of their versions is the list's


@pytest.mark.case("W04")
async def test_the_recorded_410_lists_again() -> None:
    server = FaultServer()
    server.world.fill(3)
    server.on("watch", bytes_of(response(read("watch/410-watch-too-old.jsonl"), 2048), 1 << 20))
    async with watching(server) as rig:
        await until(lambda: len(server.of("list")) == 2)
        await rig.caught_up()


async def test_a_server_that_is_told_to_stop_ends_the_watch_cleanly_and_is_resumed() -> None:
    """Recorded: end of file after the last chunk, long before the time asked for."""
    recorded = json.loads(read("failures/watch-when-server-stops.json"))
    server = FaultServer()
    server.world.fill(3)

    async def stop(exchange: Exchange) -> None:
        await exchange.watch(most=1)
        await exchange.send(recorded["tail_of_body"].encode())
        exchange.writer.close()

    server.on("watch", stop)
    async with watching(server) as rig:
        await rig.caught_up()
        rig.world.put("seen")
        await until(lambda: len(server.of("watch")) == 2)
        rig.world.put("later")
        await rig.caught_up()

    assert len(server.of("list")) == 1


@pytest.mark.case("W33")
async def test_a_recorded_watch_from_the_future_brings_nothing() -> None:
    assert read("watch/future-version.jsonl") == b""


async def test_recorded_pages_make_the_recorded_whole() -> None:
    pages = [read(f"lists/pods-chunk-{number}.json") for number in (1, 2, 3)]
    server = FaultServer()

    async def page(exchange: Exchange) -> None:
        await exchange.answer(200, pages[len(server.of("list")) - 1])

    server.always("list", page)
    async with watching(server, codec=MetadataCodec()) as rig:
        await until(lambda: rig.mirror.synced)

    whole = MetadataCodec().page(read("lists/pods.json"))
    assert rig.mirror.versions == {event.uid: event.version for event in whole.events}


def test_a_deletion_carries_the_last_state() -> None:
    lines = read("watch/object-life-with-finalizer.jsonl").splitlines()
    events = [MetadataCodec("ConfigMap", "v1").line(line) for line in lines]

    assert [e.type for e in events if isinstance(e, Event)] == ["apply", "apply", "apply", "apply", "delete"]
    assert events[-1].object.name == "life"
