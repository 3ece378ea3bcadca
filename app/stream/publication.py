"""What travels on a channel, and where in it: the words of Centrifugo."""

import msgspec


class Position(msgspec.Struct, frozen=True, order=False):
    """A place in a channel.

    epoch: names the stream; another epoch means that offsets began again at 1 and that nothing known
        before holds. It is "<fencing token>.<cluster identity>".
    offset: 1, 2, 3 … without gaps; 0 is the place before the first publication.
    """

    epoch: str
    offset: int


class Publication(msgspec.Struct, frozen=True):
    """One message of a channel, next after `position.offset - 1`."""

    position: Position
    payload: bytes


class Resync(msgspec.Struct, frozen=True):
    """Nothing before this holds: read a snapshot, then go on. `reason` is for logs and the page."""

    reason: str


class Snapshot(msgspec.Struct, frozen=True):
    """A channel's whole state and the position to go on from.

    entries may be newer than `position`, never older: entries are states, so applying a publication that
    a value already holds changes nothing.
    meta: whatever the publisher set beside the entries (e.g. the columns of a kind), by key.
    """

    position: Position
    entries: dict[bytes, bytes]
    meta: dict[bytes, bytes]


class Stale(msgspec.Struct, frozen=True):
    """What was given before may be out of date: Redis, or the channel's publisher, is out of reach.

    since: the last moment at which it was known to be right, seconds since 1970. reason: a sentence for the page.
    The next Snapshot or list of publications, an empty one too, ends it.
    """

    since: float
    reason: str
