"""The hot path in one function: lines of a watch into a store and out as batches. Pure.

`batch_bytes` is what the reflector publishes. `ingest` is the whole path without a network, for measuring it.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeVar

import msgspec

from app.kube.events import Codec, Event
from app.watch.schemas import Batch
from app.watch.store import Change, Store

T = TypeVar("T")

BATCH_ROWS: Final = 1_000  # rows of one publication: about 350 kB
_encode: Final = msgspec.msgpack.Encoder().encode


def batch_bytes(changes: Sequence[Change], time: float) -> bytes:
    """An encoded `Batch`; `time` is when its newest event arrived, seconds since 1970."""
    upserts = [msgspec.Raw(change.row) for change in changes if change.row is not None]
    return _encode(Batch(time, upserts, [change.uid for change in changes if change.row is None]))


def ingest(lines: Iterable[bytes], codec: Codec[T], store: Store[T], *, now: float, per_tick: int = 50) -> int:
    """Put the lines of a watch stream into `store`, a batch each `per_tick` lines; bytes of all batches together."""
    published, waiting = 0, list[Event[Any]]()
    for line in lines:
        decoded = codec.line(line)
        if isinstance(decoded, Event):
            waiting.append(decoded)
        elif isinstance(decoded, list):
            waiting += decoded
        if len(waiting) >= per_tick:
            published += _tick(store, waiting, now)
            waiting = []
    return published + _tick(store, waiting, now)


def _tick(store: Store[T], events: list[Event[T]], now: float) -> int:
    store.apply(events)
    store.absorb(now)
    size = len(batch_bytes(store.changes(BATCH_ROWS), now))
    store.settle(len(events))
    return size
