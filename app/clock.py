"""Time that a test can hold. Intervals use `monotonic`, records use `now`; nothing else reads a clock."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never jumps with the wall clock."""

    def now(self) -> datetime:
        """The wall clock, aware, in UTC."""

    async def sleep(self, delay_s: float) -> None: ...


class SystemClock:
    """The machine's clock."""

    def monotonic(self) -> float:
        return time.monotonic()

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)


SYSTEM_CLOCK = SystemClock()
