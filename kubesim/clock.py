"""The simulated cluster's time: the wall clock, or one that a test turns by hand. Seconds since 1970 as float."""

import datetime as dt
import time
from typing import Protocol


class Clock(Protocol):
    def now(self) -> float: ...


class WallClock:
    def now(self) -> float:
        return time.time()


class HandClock:
    """Stands still until it is told otherwise."""

    def __init__(self, start: float = 1_790_000_000.0) -> None:
        self._now = start

    def now(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += seconds


class Past:
    """Another clock some time ago."""

    def __init__(self, clock: Clock, ago_s: float) -> None:
        self._clock = clock
        self._ago_s = ago_s

    def now(self) -> float:
        return self._clock.now() - self._ago_s


def stamp(at: float) -> str:
    """metav1.Time: whole seconds, UTC."""
    return dt.datetime.fromtimestamp(int(at), dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_stamp(at: float) -> str:
    """metav1.MicroTime."""
    return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def seconds(text: str) -> float:
    """What `stamp` or `micro_stamp` was given."""
    return dt.datetime.fromisoformat(text).timestamp()
