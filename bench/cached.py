"""Fill one cache with COUNT pods: `python -m bench.cached VARIANT COUNT` prints bytes a pod, CPU s, full GC ms, whether
every sampled object came back byte for byte. Each variant is a process of its own: RSS does not shrink.
"""

import gc
import json
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.kube.events import Event
from app.watch.catalogue import kind_of, projection_of
from app.watch.codec import ObjectCodec
from app.watch.packing import Packer, train
from app.watch.schemas import ResourceRef
from app.watch.store import Store
from bench import lines

PODS = ResourceRef("", "v1", "pods", "Pod", namespaced=True)
SAMPLE = 97  # every so many an object is kept aside and compared at the end
PAGE = 500


def rss() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def pages(count: int) -> Iterator[list[bytes]]:
    """Objects as compact JSON, a page at a time, so that the source holds no memory."""
    base, rng = lines.template(), random.Random(7)
    for start in range(0, count, PAGE):
        yield [lines.dump(lines.pod(base, n, rng, 1000 + n)) for n in range(start, min(start + PAGE, count))]


def dicts(count: int) -> None:
    """The peer: every object as the dict that json.loads makes."""
    kept: dict[str, Any] = {}
    before, spent = rss(), 0.0
    for page in pages(count):
        started = time.process_time()
        for raw in page:
            pod = json.loads(raw)
            kept[pod["metadata"]["uid"]] = pod
        spent += time.process_time() - started
    report(count, before, spent, exact=True)


def store(count: int) -> None:
    """Ours: row and whole object, packed; as a list would fill it, then settled."""
    projection = projection_of(PODS)
    assert projection is not None
    codec = ObjectCodec(projection, "v1")
    packer = Packer()
    kept = Store(kind_of(projection), packer)
    samples: dict[str, bytes] = {}
    before, spent, seen = rss(), 0.0, 0
    for page in pages(count):
        started = time.process_time()
        # A LIST's body, as the server frames it: items without kind and apiVersion would be smaller, not larger.
        events = [e for raw in page if isinstance(e := codec.line(b'{"type":"ADDED","object":%s}' % raw), Event)]
        kept.apply(events)
        kept.absorb(time.time())
        kept.changes(PAGE)
        kept.settle(PAGE)
        if packer.ready() and (dictionary := train(packer.take_samples())):
            packer.adopt(dictionary)
        spent += time.process_time() - started
        for event in events:
            seen += 1
            if seen % SAMPLE == 0:
                samples[event.uid] = bytes(event.raw)
    started = time.process_time()
    while kept.settle(PAGE):
        pass
    spent += time.process_time() - started
    exact = all(kept.object(uid) == raw for uid, raw in samples.items()) and len(kept) == count
    samples.clear()
    report(count, before, spent, exact=exact)


def report(count: int, before: int, spent_s: float, *, exact: bool) -> None:
    gc.collect()
    held = rss() - before
    started = time.perf_counter()
    gc.collect()
    pause_ms = (time.perf_counter() - started) * 1000
    print(json.dumps({"bytes": held / count, "cpu_s": spent_s, "gc_ms": pause_ms, "exact": exact}))


def main() -> None:
    variant, count = sys.argv[1], int(sys.argv[2])
    {"dicts": dicts, "store": store}[variant](count)


if __name__ == "__main__":
    main()
