"""Our ingest, each variant as a process of its own: `python -m bench.ours VARIANT PORT [CA]`.

Prints events, bytes, CPU microseconds and peak RSS in kB, like `bench.peers`.
"""

import asyncio
import sys
import time
from pathlib import Path

import uvloop

from app.kube.client import ApiServer, Endpoint
from app.kube.events import Event
from app.kube.lines import LINE_BYTES
from app.kube.stream import Receiver, SharedBuffer, Sink, Stream, request_head, started
from app.roles.collector import spare_collector
from app.watch.catalogue import kind_of, projection_of
from app.watch.codec import ObjectCodec
from app.watch.ingest import batch_bytes
from app.watch.packing import Packer, train
from app.watch.schemas import ResourceRef
from app.watch.store import Store
from bench.peers import say, used

PODS = ResourceRef("", "v1", "pods", "Pod", namespaced=True)
PATH = "/api/v1/pods"
PER_TICK = 200  # events a tick: about 6,000 changes/s at the watcher's 30 ms


async def plain(port: int) -> Stream:
    """A stream over plain HTTP, which the product itself never speaks."""
    receiver = Receiver(SharedBuffer(), LINE_BYTES)
    await asyncio.get_running_loop().create_connection(lambda: receiver, "127.0.0.1", port)
    return await started(receiver, request_head("GET", PATH, {"Host": "127.0.0.1"}), idle_s=30)


async def drain(stream: Stream, take: Sink) -> tuple[int, int]:
    """Pump the stream to its end as `ListWatch` does: lines and bytes."""
    events = 0

    def counted(lines: list[bytes]) -> None:
        nonlocal events
        events += len(lines)
        take(lines)

    async with stream:
        await stream.pump(counted)
        return events, stream.received


async def receive(port: int, _ca: Path | None) -> None:
    """Receive and cut into lines, nothing more."""
    stream = await plain(port)
    before = used()
    events, size = await drain(stream, lambda _lines: None)
    say(events, size, before)


async def decode(port: int, _ca: Path | None) -> None:
    """Receive and decode each line into the slim pod."""
    projection = projection_of(PODS)
    assert projection is not None
    codec = ObjectCodec(projection, "v1", keep=False)
    stream = await plain(port)
    before = used()

    def take(lines: list[bytes]) -> None:
        for line in lines:
            codec.line(line)

    events, size = await drain(stream, take)
    say(events, size, before)


async def whole(port: int, ca: Path | None, *, keep: bool) -> None:
    """Over TLS: receive, decode, row, cache, batch; with `keep` the whole object is packed and kept too."""
    projection = projection_of(PODS)
    assert projection is not None
    assert ca is not None
    codec = ObjectCodec(projection, "v1", keep=keep)
    packer = Packer()
    store = Store(kind_of(projection), packer)
    endpoint = Endpoint(server=f"https://127.0.0.1:{port}", ca_pem=ca.read_text(), allow_loopback=True)  # noqa: ASYNC240
    async with ApiServer(endpoint) as api:
        stream = await api.open_stream(PATH, idle_s=30)
        before = used()
        waiting = 0

        def take(lines: list[bytes]) -> None:
            nonlocal waiting
            store.apply([event for event in map(codec.line, lines) if isinstance(event, Event)])
            waiting += len(lines)
            if waiting >= PER_TICK:
                tick()

        def tick() -> None:
            nonlocal waiting
            store.absorb(time.time())
            batch_bytes(store.changes(100_000), time.time())
            store.settle(waiting)
            waiting = 0
            if packer.ready() and (dictionary := train(packer.take_samples())):
                packer.adopt(dictionary)

        events, size = await drain(stream, take)
        tick()
        say(events, size, before)


VARIANTS = {
    "receive": receive,
    "decode": decode,
    "ingest": lambda port, ca: whole(port, ca, keep=False),
    "ingest_blob": lambda port, ca: whole(port, ca, keep=True),
}


def main() -> None:
    name, port, *rest = sys.argv[1:]
    spare_collector()  # as the watcher's process does
    uvloop.run(VARIANTS[name](int(port), Path(rest[0]) if rest else None))


if __name__ == "__main__":
    main()
