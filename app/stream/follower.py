"""One reader's place in a channel and its bounded backlog. Pure: it waits for nothing and talks to nobody.

A reader is never shown a gap: when its backlog overflows, what was queued is dropped, and it gets a new snapshot
as soon as it comes back for more.
"""

import asyncio
from typing import Final

from app.stream.publication import Position, Publication, Snapshot, Stale

BACKLOG: Final = 256  # publications; 8 s of a busy channel at a tick of 30 ms

Item = Snapshot | list[Publication] | Stale


class Follower:
    """What one reader has been given, and what waits for it.

    position: that of the last item given or queued; None while it needs a snapshot.
    """

    def __init__(self, backlog: int = BACKLOG) -> None:
        self.position: Position | None = None
        self.ready = asyncio.Event()
        self._backlog = backlog
        self._snapshot: Snapshot | None = None
        self._publications: list[Publication] = []
        self._stale: Stale | None = None
        self._is_stale = False
        self._fresh = False
        self.closed = False

    def load(self, snapshot: Snapshot) -> None:
        """Begin again from `snapshot`; what waits is older and is dropped."""
        self._drop()
        self._snapshot, self.position = snapshot, snapshot.position
        self._is_stale, self._stale = False, None
        self.ready.set()

    def offer(self, publication: Publication) -> None:
        """Queue the publication if it is the next one, ignore it if it is known, ask for a snapshot otherwise."""
        if self.position is None:
            return
        known, new = self.position, publication.position
        if known.epoch == new.epoch and new.offset <= known.offset:
            return
        if known.epoch != new.epoch or new.offset != known.offset + 1 or len(self._publications) >= self._backlog:
            self.reset()
            return
        self._publications.append(publication)
        self.position = new
        self._is_stale, self._stale = False, None
        self.ready.set()

    def reset(self) -> None:
        """Forget what waits; only a snapshot can follow."""
        self._drop()
        self.position = None
        self.ready.set()

    def grow_stale(self, stale: Stale) -> None:
        """Tell the reader once that what it has may be out of date."""
        if not self._is_stale:
            self._is_stale, self._stale, self._fresh = True, stale, False
            self.ready.set()

    def freshen(self) -> None:
        """End a staleness that the reader was told of, although nothing was missed."""
        if self._is_stale and self.position is not None:
            self._is_stale = False
            if self._stale is not None:
                self._stale = None  # not told yet: nothing to take back
            else:
                self._fresh = True
                self.ready.set()

    def close(self) -> None:
        self.closed = True
        self.ready.set()

    def take(self) -> list[Item]:
        """All that waits, oldest first."""
        items: list[Item] = []
        if self._snapshot is not None:
            items.append(self._snapshot)
        if self._publications or (self._fresh and not items):
            items.append(self._publications)
        if self._stale is not None:
            items.append(self._stale)
        self._drop()
        self._stale = None
        self.ready.clear()
        return items

    def _drop(self) -> None:
        self._snapshot, self._publications, self._fresh = None, [], False
