"""Work that is due later, in order of time; ties in the order they were set. Pure."""

import heapq
import itertools
from collections.abc import Callable

Work = Callable[[], None]


class Timers:
    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Work]] = []
        self._order = itertools.count()

    def at(self, when: float, work: Work) -> None:
        heapq.heappush(self._heap, (when, next(self._order), work))

    def due(self, now: float, limit: int) -> list[Work]:
        """Take up to `limit` pieces of work that are due."""
        found: list[Work] = []
        while self._heap and self._heap[0][0] <= now and len(found) < limit:
            found.append(heapq.heappop(self._heap)[2])
        return found
