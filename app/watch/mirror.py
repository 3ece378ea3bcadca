"""What a list and watch of one scope tells goes into a store: the `Handler` of `app.kube.watch`. Sync, no tasks.

A scope is a whole resource, or one namespace of it where the credential may not read all.
"""

from collections.abc import Callable, Mapping
from typing import Final, Generic, TypeVar

from app.clock import Clock
from app.kube.events import Event
from app.watch.schemas import ResourceState
from app.watch.store import Store

T = TypeVar("T")

PENDING: Final = 1_000  # objects that may wait as they came: 8 MB of pods, and 8 ms to make rows of them


class Mirror(Generic[T]):
    """One scope's store and how it stands.

    oldest: arrival of the oldest event that nobody has been told of, None when there is none; newest: of the newest
    event or bookmark (both seconds since 1970). woken: called when there is something to tell or the state changed.
    """

    def __init__(self, namespace: str, store: Store[T], clock: Clock, woken: Callable[[], None]) -> None:
        self.namespace = namespace
        self.store = store
        self.current: ResourceState = "listing"
        self.message = ""
        self.since = clock.now().timestamp()
        self.oldest: float | None = None
        self.newest: float | None = None
        self._clock = clock
        self._woken = woken

    def begin(self) -> None:
        self.store.begin()

    def listed(self, events: list[Event[T]]) -> None:
        self.store.listed(events, self._arrived())
        self._woken()

    def complete(self, _version: str) -> None:
        self.store.complete()
        self._changed(self._arrived())

    def changed(self, events: list[Event[T]]) -> None:
        now = self._arrived()
        self.store.apply(events)
        if self.store.pending > PENDING:
            self.store.absorb(now)
        self._changed(now)

    def progressed(self, _version: str) -> None:
        self._arrived()

    def state(self, state: ResourceState, message: str) -> None:
        if state in {"forbidden", "gone"}:  # what may no longer be read, or is no more, is not shown any more
            self.store.clear()
        self.current, self.message = state, message
        self.since = self._clock.now().timestamp()
        self._woken()

    def versions(self) -> Mapping[str, str]:
        """The version of each object held, by uid."""
        return self.store.versions()

    def told(self, taken: float) -> None:
        """What there was to tell at `taken` has been told."""
        self.oldest = taken if self.store.waiting else None

    def _arrived(self) -> float:
        self.newest = self._clock.now().timestamp()
        return self.newest

    def _changed(self, now: float) -> None:
        if self.oldest is None:
            self.oldest = now
        self._woken()
