"""The objects of one kind in one cluster (or one namespace of it), and what changed since it was last told. Pure.

No I/O, no clock, no tasks: the reflector feeds it events and the time, and takes changes from it. Terms: reflector
and store are client-go's. An object is one bytes value (header, then row and JSON packed together): a hundred thousand
decoded pods would cost 4.6 GB and stop the loop for 5 s at each full garbage collection; these cost 85 MB and nothing.

What is told is state, not a log: `changes` names the keys that differ from what was told before, with their present
rows. So a relist tells only what differs, a burst of changes of one object is one change, and what could not be
delivered is told again with whatever has happened since: the backlog is bounded by the store itself.
"""

import heapq
import itertools
import re
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Generic, TypeVar

import msgspec
from msgspec.structs import replace

from app.kube.events import Event
from app.kube.versions import newer
from app.watch.packing import Packer
from app.watch.projection import ERROR
from app.watch.schemas import Row, Trouble

T = TypeVar("T")

FRESH: Final = 500  # objects kept unpacked until `settle`; more are packed at once (4 MB of pods)
GRAVES: Final = 4_096  # deleted uids remembered, so that a late event does not raise a ghost (W24)
TROUBLES: Final = 1_000  # listed by name; the counters count them all
WORDS: Final = 255  # distinct status words counted by name; cluster text must not grow our memory
WORD: Final = 64  # characters of a word that is counted by name
ROW_BYTES: Final = 32_768  # a row is some 300 bytes; a server that sends more is ill, and our readers must not be
CELL: Final = 1_000  # characters of a text in a row that was too large
OTHER_WORD: Final = "other"

_UID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_HEADER: Final = struct.Struct("<BBBB")  # level, status word, generation of the packer, length of the version
_BYTE: Final = [bytes((number,)) for number in range(256)]
_LENGTH: Final = struct.Struct("<I")  # of the row, before row and JSON
_encode_row: Final = msgspec.msgpack.Encoder().encode
_decode_row: Final = msgspec.msgpack.Decoder(Row).decode


def key_of(uid: str) -> bytes:
    """16 bytes for a UUID as Kubernetes writes it, another length for anything else."""
    if _UID.fullmatch(uid):
        return bytes.fromhex(uid.replace("-", ""))
    text = uid.encode()
    return text + (b"\0\0" if len(text) == 15 else b"\0")


def uid_of(key: bytes) -> str:
    """The uid that `key_of` was given."""
    if len(key) != 16:
        return key.rstrip(b"\0").decode()
    text = key.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


class Change(msgspec.Struct, frozen=True, gc=False):
    """One key that differs from what was told; row None means that the object is gone."""

    key: bytes
    uid: str
    row: bytes | None


class Kind(msgspec.Struct, Generic[T], frozen=True):
    """How the objects of a resource become rows.

    project: object and time to row. status: index of the cell with the status word; since: with the time since when.
    lists_troubles: whether rows at level error are kept by name. expires: see `Projection`; needs `reread`, which
    makes an object of its JSON again.
    """

    key: str
    project: Callable[[T, float], Row]
    status: int = -1
    since: int = -1
    lists_troubles: bool = False
    expires: Callable[[T, float], float | None] | None = None
    reread: Callable[[bytes], T] | None = None


class _Content(msgspec.Struct, frozen=True, gc=False):
    row: bytes
    raw: bytes


class _Listing:
    """A list that is not whole yet: nothing of it is visible."""

    def __init__(self) -> None:
        self.entries: dict[bytes, bytes] = {}  # b"" for what has not changed
        self.troubles: dict[bytes, Trouble] = {}
        self.counts: dict[tuple[int, int], int] = {}  # of the entries made anew


class Store(Generic[T]):
    """The last known objects of one resource."""

    def __init__(self, kind: Kind[T], packer: Packer) -> None:
        self.listed_once = False
        self.troubles: dict[bytes, Trouble] = {}
        self._kind = kind
        self._packer = packer
        self._entries: dict[bytes, bytes] = {}
        self._fresh: dict[bytes, _Content] = {}  # row and JSON of entries that end after their header
        self._pending: dict[bytes, Event[T]] = {}
        self._dirty: dict[bytes, None] = {}  # in the order in which they changed
        self._graves: dict[bytes, str] = {}
        self._words: dict[str, int] = {OTHER_WORD: 0}
        self._counts: dict[tuple[int, int], int] = {}
        self._due: list[tuple[float, bytes]] = []
        self._deadlines: dict[bytes, float] = {}
        self._listing: _Listing | None = None
        self._stale: Iterator[bytes] | None = None  # keys still packed with an older dictionary
        self._generation = packer.generation

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, uid: str) -> bool:
        return key_of(uid) in self._entries

    # -- events in ---------------------------------------------------------------------------------------------------

    def apply(self, events: Iterable[Event[T]]) -> None:
        """Take in watch events, newest last. Of each object only the newest is kept until `absorb`."""
        pending = self._pending
        for event in events:
            key = key_of(event.uid)
            known = self._known_version(key)
            if event.type == "delete" or known is None or _replaces(event.version, known):
                pending[key] = event

    def absorb(self, now: float) -> None:
        """Make rows of what `apply` took in, and look again at levels that have expired."""
        if self._pending:
            pending, self._pending = self._pending, {}
            for key, event in pending.items():
                if event.type == "delete":
                    self._bury(key, event.version)
                elif event.object is not None:
                    self._put(key, event, now)
        if self._due and self._due[0][0] <= now:
            self._look_again(now)

    def begin(self) -> None:
        """A list begins; an unfinished one before it is dropped."""
        self._listing = _Listing()

    def listed(self, events: Iterable[Event[T]], now: float) -> None:
        """Part of the list. What has not changed since is not made again."""
        listing = self._listing
        if listing is None:
            return
        for event in events:
            key = key_of(event.uid)
            entry = self._entries.get(key)
            if entry is not None and event.version and _version(entry) == event.version:
                listing.entries[key] = b""
            elif event.object is not None:
                row, content = self._content(event, now)
                self._expire(key, event.object, now)
                made = self._pack(_header(row.level, self._word(row), event.version), content)
                if before := listing.entries.get(key):
                    _count(listing.counts, before, -1)
                _count(listing.counts, made, 1)
                listing.entries[key] = made
                self._note_trouble(listing.troubles, key, row)

    def complete(self) -> None:
        """Swap the list in. What it does not name is gone, whatever its version: a list is the truth."""
        listing, self._listing = self._listing, None
        if listing is None:
            return
        self._pending.clear()
        if self._entries:
            self._merge(listing)
        else:  # the first list: 150,000 objects must not hold the loop up
            self._entries, self.troubles, self._counts = listing.entries, listing.troubles, listing.counts
            self._dirty |= dict.fromkeys(listing.entries)
            for key in self._graves.keys() & listing.entries.keys():
                del self._graves[key]
        self.listed_once = True
        self._stale = iter(list(self._entries))

    def _merge(self, listing: _Listing) -> None:
        for key in self._entries.keys() - listing.entries.keys():
            self._bury(key, _version(self._entries[key]))
        for key, entry in listing.entries.items():
            if not entry:
                continue
            self._fresh.pop(key, None)
            self._graves.pop(key, None)
            self._swap(key, entry)
            self._dirty[key] = None
            if (trouble := listing.troubles.get(key)) is not None:
                self.troubles[key] = trouble
            else:
                self.troubles.pop(key, None)

    def clear(self) -> None:
        """Forget all: the resource is gone or may no longer be read. Readers are told."""
        self.begin()
        self.complete()
        self.listed_once = False

    # -- changes out -------------------------------------------------------------------------------------------------

    @property
    def dirty(self) -> int:
        """How many keys differ from what was told."""
        return len(self._dirty)

    @property
    def pending(self) -> int:
        """How many objects wait for `absorb`."""
        return len(self._pending)

    @property
    def waiting(self) -> bool:
        """Whether `absorb` or `changes` would give something."""
        return bool(self._pending or self._dirty)

    def due_at(self) -> float | None:
        """When the next level expires, None for never."""
        return self._due[0][0] if self._due else None

    def changes(self, limit: int) -> list[Change]:
        """Take up to `limit` changes, the oldest first. Give them to `untold` when they cannot be delivered."""
        found = []
        for key in list(itertools.islice(self._dirty, limit)):
            del self._dirty[key]
            found.append(Change(key, uid_of(key), self._row(key)))
        return found

    def untold(self, changes: Iterable[Change]) -> None:
        """These did not reach the readers: tell of them again, as they are then."""
        for change in changes:
            self._dirty[change.key] = None

    def rows(self) -> Iterator[tuple[str, bytes]]:
        """Every object's uid and row, for a whole snapshot; changes meanwhile are told as changes."""
        for key in list(self._entries):
            row = self._row(key)
            if row is not None:
                yield uid_of(key), row

    def told_all(self) -> None:
        """A snapshot of everything is about to be told: nothing differs from it."""
        self._dirty.clear()

    def object(self, uid: str) -> bytes | None:
        """The object's JSON as the server sent it (contents of secrets cut out), None when there is none."""
        content = self._unpacked(key_of(uid))
        return None if content is None else content.raw

    def versions(self) -> dict[str, str]:
        """The version of each object by uid, with what waits to be absorbed. 1.5 us an object."""
        known = {uid_of(key): _version(entry) for key, entry in self._entries.items()}
        for event in self._pending.values():
            if event.type == "delete":
                known.pop(event.uid, None)
            else:
                known[event.uid] = event.version
        return known

    def counters(self) -> dict[tuple[int, str], int]:
        """How many objects there are by (level, status word)."""
        words = {number: word for word, number in self._words.items()}
        return {(level, words[word]): count for (level, word), count in self._counts.items() if count}

    # -- upkeep ------------------------------------------------------------------------------------------------------

    def settle(self, limit: int) -> bool:
        """Pack up to `limit` objects that are still unpacked or packed with an old dictionary; whether any is left."""
        fresh = self._fresh
        while fresh and limit > 0:
            key = next(iter(fresh))
            content = fresh.pop(key)
            entry = self._entries.get(key)
            if entry is not None:
                self._entries[key] = self._pack(_bare(entry), content)
            limit -= 1
        return bool(fresh) or self._repack(limit)

    def _repack(self, limit: int) -> bool:
        if self._generation != self._packer.generation:
            self._generation = self._packer.generation
            self._stale = iter(list(self._entries))
        if self._stale is None:
            return False
        for key in self._stale:
            entry = self._entries.get(key)
            if entry is not None and entry[2] != self._generation and key not in self._fresh:
                content = self._unpacked(key)
                if content is not None:
                    self._entries[key] = self._pack(_bare(entry), content)
                limit -= 1
            if limit <= 0:
                return True
        self._stale = None
        return False

    # -- entries -----------------------------------------------------------------------------------------------------

    def _known_version(self, key: bytes) -> str | None:
        waiting = self._pending.get(key)
        if waiting is not None and (waiting.version or waiting.type == "delete"):
            return waiting.version
        entry = self._entries.get(key)
        return _version(entry) if entry is not None else self._graves.get(key)

    def _content(self, event: Event[T], now: float) -> tuple[Row, _Content]:
        row = self._kind.project(event.object, now)  # type: ignore[arg-type]
        encoded = _encode_row(row)
        if len(encoded) > ROW_BYTES:
            row = _shortened(row)
            encoded = _encode_row(row)
        return row, _Content(encoded, event.raw)

    def _put(self, key: bytes, event: Event[T], now: float) -> None:
        row, content = self._content(event, now)
        self._graves.pop(key, None)
        self._enter(key, row, event.version, content)
        if event.object is not None:
            self._expire(key, event.object, now)

    def _enter(self, key: bytes, row: Row, version: str, content: _Content) -> None:
        header = _header(row.level, self._word(row), version)
        if len(self._fresh) < FRESH or key in self._fresh:
            self._fresh[key] = content
            self._swap(key, header)
        else:
            self._swap(key, self._pack(header, content))
        self._dirty[key] = None
        self._note_trouble(self.troubles, key, row)

    def _swap(self, key: bytes, entry: bytes) -> None:
        old = self._entries.get(key)
        if old is not None:
            _count(self._counts, old, -1)
        self._entries[key] = entry
        _count(self._counts, entry, 1)

    def _bury(self, key: bytes, version: str) -> None:
        old = self._entries.pop(key, None)
        self._grave(key, version)
        if old is None:
            return
        _count(self._counts, old, -1)
        self._fresh.pop(key, None)
        self.troubles.pop(key, None)
        self._deadlines.pop(key, None)
        self._dirty[key] = None

    def _grave(self, key: bytes, version: str) -> None:
        self._graves[key] = version
        if len(self._graves) > GRAVES:
            del self._graves[next(iter(self._graves))]

    def _pack(self, header: bytes, content: _Content) -> bytes:
        packer = self._packer
        frame = packer.pack(b"".join((_LENGTH.pack(len(content.row)), content.row, content.raw)))
        return b"".join((header[:2], _BYTE[packer.generation], header[3:], frame))

    def _unpacked(self, key: bytes) -> _Content | None:
        content = self._fresh.get(key)
        if content is not None:
            return content
        entry = self._entries.get(key)
        if entry is None:
            return None
        packed = self._packer.unpack(entry[_HEADER.size + entry[3] :], entry[2])
        end = _LENGTH.size + _LENGTH.unpack_from(packed)[0]
        return _Content(packed[_LENGTH.size : end], packed[end:])

    def _row(self, key: bytes) -> bytes | None:
        content = self._unpacked(key)
        return None if content is None else content.row

    # -- counters, troubles, expiry ----------------------------------------------------------------------------------

    def _word(self, row: Row) -> int:
        word = row.cells[self._kind.status] if 0 <= self._kind.status < len(row.cells) else ""
        number = self._words.get(word) if isinstance(word, str) and len(word) <= WORD else 0
        if number is None:
            number = len(self._words) if len(self._words) <= WORDS else 0
            if number and isinstance(word, str):
                self._words[word] = number
        return number

    def _note_trouble(self, troubles: dict[bytes, Trouble], key: bytes, row: Row) -> None:
        if not self._kind.lists_troubles or row.level != ERROR:
            troubles.pop(key, None)
            return
        if key not in troubles and len(troubles) >= TROUBLES:
            return
        reason = row.cells[self._kind.status] if self._kind.status >= 0 else ""
        since = row.cells[self._kind.since] if self._kind.since >= 0 else None
        start = float(since) if isinstance(since, int) else float(row.created)
        troubles[key] = Trouble(self._kind.key, row.uid, row.namespace, row.name, str(reason), start)

    def _expire(self, key: bytes, found: Any, now: float) -> None:
        if self._kind.expires is None:
            return
        at = self._kind.expires(found, now)
        if at is None:
            self._deadlines.pop(key, None)
        elif self._deadlines.get(key) != at:
            self._deadlines[key] = at
            heapq.heappush(self._due, (at, key))
            if len(self._due) > 2 * len(self._deadlines) + 64:  # mostly deadlines that were moved since
                self._due = [(time, name) for name, time in self._deadlines.items()]
                heapq.heapify(self._due)

    def _look_again(self, now: float) -> None:
        while self._due and self._due[0][0] <= now:
            at, key = heapq.heappop(self._due)
            if self._deadlines.get(key) != at:
                continue
            del self._deadlines[key]
            entry = self._entries.get(key)
            if entry is None or self._kind.reread is None:
                continue
            raw = self.object(uid_of(key))
            if not raw:
                continue
            found = self._kind.reread(raw)
            version = _version(entry)
            row, content = self._content(Event("apply", uid_of(key), version, found, raw), now)
            if self._row(key) != _encode_row(row):
                self._enter(key, row, version, content)
            self._expire(key, found, now)


def _replaces(version: str, known: str) -> bool:
    """Whether an event at `version` tells more than what is known: newer, or another where there is no order."""
    order = newer(version, known)
    return version != known if order is None else order


def decode_row(encoded: bytes) -> Row:
    return _decode_row(encoded)


def _count(counts: dict[tuple[int, int], int], entry: bytes, by: int) -> None:
    place = (entry[0], entry[1])
    counts[place] = counts.get(place, 0) + by


def _shortened(row: Row) -> Row:
    """The row with its texts cut."""
    cells = tuple(cell[:CELL] if isinstance(cell, str) else cell for cell in row.cells[:64])
    return replace(row, cells=cells, labels=row.labels[:CELL], owner=row.owner[:CELL])


def _header(level: int, word: int, version: str) -> bytes:
    text = version.encode()[:255]
    return _HEADER.pack(level, word, 0, len(text)) + text


def _bare(entry: bytes) -> bytes:
    return entry[: _HEADER.size + entry[3]]


def _version(entry: bytes) -> str:
    return entry[_HEADER.size : _HEADER.size + entry[3]].decode()
