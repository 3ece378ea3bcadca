"""Rows of pods straight into the stream, as a watcher would write them, at a steady rate. Runs as its own process.

`python -m bench.publish CLUSTER ROWS CHANGES` reads the Redis URL from its input and prints, when the rows are there,
what their restart counts are counted from (seconds since 1970): they say in tenths of a millisecond when each was
written. Runs for ever.
"""

import asyncio
import random
import sys
import time

import msgspec
import uvloop

from app.storage.redis import connect
from app.stream.publisher import Publisher
from app.watch.kinds.pods import COLUMNS
from app.watch.schemas import COLUMNS_META, Batch, Row, rows_channel

TICK_S = 0.03
encode = msgspec.msgpack.Encoder().encode


def row(number: int, restarts: int) -> Row:
    cells = ("1/1", "Running", restarts, None, f"worker-{number % 97}", f"10.0.{number >> 8 & 255}.{number & 255}")
    sizes = (100, 128 << 20, 500, 256 << 20, "Burstable", "registry.example.com/shop:1.4.2", 1_790_000_000)
    name = f"service-{number % 211}-7d46fb6584-{number:05d}"
    return Row(f"{number:036d}", f"team-{number % 50}", name, 1_790_000_000, 1, (*cells, *sizes), "app=shop")


async def main(cluster: str, rows: int, changes: float) -> None:
    url = sys.stdin.readline().strip()
    rng, base = random.Random(7), time.time()
    keys = [f"{number:036d}".encode() for number in range(rows)]
    async with connect(url) as redis:
        publisher = Publisher(redis, rows_channel(cluster, "pods"), token=1, identity="bench")
        entries = {key: encode(row(number, 0)) for number, key in enumerate(keys)}
        await publisher.replace(entries, {COLUMNS_META: encode(list(COLUMNS))})
        print(base, flush=True)
        began, done = time.monotonic(), 0
        while True:
            now, due = time.time(), int((time.monotonic() - began) * changes)
            chosen = {rng.randrange(rows) for _ in range(due - done)}
            done = due
            if chosen:
                stamp = int((now - base) * 10_000)
                sets = {keys[number]: encode(row(number, stamp)) for number in chosen}
                batch = Batch(now, [msgspec.Raw(value) for value in sets.values()], [])
                await publisher.publish(encode(batch), sets=sets, removes=[])
            await asyncio.sleep(TICK_S)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
