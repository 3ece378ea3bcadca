"""Fan-out: CPU of one change from a watcher through Redis to a web process, all three processes together.

`python -m bench.fanout ROLE URL CHANGES` is one of its processes. Rows are encoded before the clock starts, as the
watcher's store keeps them encoded; batches are packed, and decoded by the reader, within it.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import uvloop

from app.embedded import valkey
from app.storage.redis import Messages, connect
from app.stream.hub import Hub
from app.stream.publisher import Publisher
from app.watch.schemas import Batch, Row
from bench.peers import used
from bench.process import ROOT, cpu_s
from bench.report import Result, at_most

CHANNELS = 20
BATCH = 50
KEYS = 1000  # rows a channel
PATIENCE_S = 300


def measure(*, quick: bool = False) -> list[Result]:
    """CPU microseconds a change: ours in batches of 50, and the naive way beside it."""
    ours = asyncio.run(chain("ours", 50_000 if quick else 200_000))
    naive = asyncio.run(chain("naive", 5_000 if quick else 20_000))
    result = at_most(
        "one change through Redis, batches of 50, three processes",
        sum(ours),
        "us CPU",
        goal=10,
        gate=15,
        note=f"publisher {ours[0]:.1f}, Redis {ours[1]:.1f}, reader with decoding {ours[2]:.1f}",
    )
    return [
        msgspec.structs.replace(
            result,
            beside="one publish of JSON a change",
            beside_value=round(sum(naive), 1),
            ratio=round(sum(naive) / sum(ours), 1),
        )
    ]


async def chain(way: str, changes: int) -> tuple[float, float, float]:
    """Microseconds of CPU a change of publisher, Redis and reader; every change has arrived."""
    with tempfile.TemporaryDirectory(prefix="kn-bench-") as directory:
        async with valkey.running(Path(directory), options={"appendonly": "no"}) as server:
            publisher = start(f"{way}-publisher", server.url, changes)
            answer(publisher)
            reader = start(f"{way}-reader", server.url, changes)
            answer(reader)
            before = cpu_s(server.pid or 0)
            assert publisher.stdin is not None
            publisher.stdin.write("go\n")
            publisher.stdin.flush()
            sent = float(await asyncio.to_thread(answer, publisher))
            heard = float(await asyncio.to_thread(answer, reader))
            spent = (cpu_s(server.pid or 0) - before) * 1e6
            publisher.wait(PATIENCE_S)
            reader.wait(PATIENCE_S)
    return sent / changes, spent / changes, heard / changes


def start(role: str, url: str, changes: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "bench.fanout", role, url, str(changes)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    if not line:
        raise RuntimeError("a process of the fan-out ended before it answered")
    return line


def go() -> None:
    print("ready", flush=True)
    sys.stdin.readline()


def row(number: int) -> Row:
    cells = (f"pod-{number}", "Running", "1/1", number % 7, 1763880000, "10.1.2.3", f"node-{number % 9}")
    return Row(f"{number:036d}", "default", f"pod-{number}", 1763880000, 1, cells, "app=web,tier=front")


async def our_publisher(url: str, changes: int) -> None:
    encode = msgspec.msgpack.Encoder().encode
    rows = {str(number).encode(): encode(row(number)) for number in range(KEYS)}
    keys = list(rows)
    async with connect(url) as redis:
        publishers = [Publisher(redis, f"rows/{number}/pods", token=1, identity="u") for number in range(CHANNELS)]
        for publisher in publishers:
            await publisher.replace(rows, {})
        go()
        before = used()
        for turn in range(changes // (CHANNELS * BATCH)):
            chosen = [keys[(turn * BATCH + number) % KEYS] for number in range(BATCH)]
            sets = {key: rows[key] for key in chosen}
            for publisher in publishers:
                batch = Batch(0.0, [msgspec.Raw(value) for value in sets.values()], [])
                await publisher.publish(encode(batch), sets=sets, removes=[])
        print(used()[0] - before[0], flush=True)


async def our_reader(url: str, changes: int) -> None:
    decode, decode_row = msgspec.msgpack.Decoder(Batch).decode, msgspec.msgpack.Decoder(Row).decode
    left, loaded = changes, 0
    before = (0, 0)

    async def follow(channel: str) -> None:
        nonlocal left, loaded
        held: dict[str, Row] = {}
        async for item in hub.follow(channel):
            if not isinstance(item, list):
                loaded += 1
                continue
            for publication in item:
                for raw in decode(publication.payload).upserts:
                    value = decode_row(raw)
                    held[value.uid] = value
                    left -= 1
            if left == 0:
                print(used()[0] - before[0], flush=True)

    async with Hub(url) as hub, asyncio.TaskGroup() as group:
        tasks = [group.create_task(follow(f"rows/{number}/pods")) for number in range(CHANNELS)]
        while loaded < CHANNELS:  # noqa: ASYNC110 - beside the measurement
            await asyncio.sleep(0.01)
        before = used()
        print("ready", flush=True)
        while left:  # noqa: ASYNC110 - a wake-up a change would be measured too
            await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()


async def naive_publisher(url: str, changes: int) -> None:
    rows = [msgspec.to_builtins(row(number)) for number in range(KEYS)]
    async with connect(url) as redis:
        go()
        before = used()
        for number in range(changes):
            await redis.publish(f"pods/{number % CHANNELS}", json.dumps({"type": "upsert", "row": rows[number % KEYS]}))
        print(used()[0] - before[0], flush=True)


async def naive_reader(url: str, changes: int) -> None:
    async with Messages(url) as messages:
        await messages.send("SUBSCRIBE", *(f"pods/{number}" for number in range(CHANNELS)))
        for _ in range(CHANNELS):
            await messages.receive()
        before = used()
        print("ready", flush=True)
        for _ in range(changes):
            json.loads((await messages.receive())[2])
        print(used()[0] - before[0], flush=True)


ROLES: dict[str, Callable[[str, int], Awaitable[None]]] = {
    "ours-publisher": our_publisher,
    "ours-reader": our_reader,
    "naive-publisher": naive_publisher,
    "naive-reader": naive_reader,
}


async def main(name: str, url: str, changes: int) -> None:
    await ROLES[name](url, changes)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
