"""Own, name, restart and await long-lived tasks. The only module that may call `asyncio.create_task`."""

import asyncio
import contextlib
import contextvars
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from typing import Any

import structlog

log = structlog.get_logger()


def backoff(first_s: float = 0.8, cap_s: float = 30.0, rng: random.Random | None = None) -> Iterator[float]:
    """Seconds to wait after the first, second … failure: doubled, jittered by up to +100 %, never ending.

    The numbers are client-go's reflector's.
    """
    rng = rng or random.SystemRandom()
    delay_s = first_s
    while True:
        yield delay_s * (1 + rng.random())
        delay_s = min(delay_s * 2, cap_s)


async def supervise(
    name: str, run: Callable[[], Awaitable[None]], delays: Callable[[], Iterator[float]] = backoff
) -> None:
    """Run `run` for ever; after it ends or fails wait, then run it again.

    delays: seconds to wait after the first, second … failure in a row. Must not end.
    Ends only by cancellation, so that a caller's TaskGroup owns it. Errors are logged here, once,
    with the traceback: nobody awaits the result.
    """
    waits = delays()
    while True:
        try:
            await run()
            waits = delays()
        except Exception:
            log.exception("task.failed", task=name)
        await asyncio.sleep(next(waits))


@contextlib.asynccontextmanager
async def running(name: str, work: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    """Own one task for the length of a `with` block; cancelled and awaited at its end.

    It starts in a fresh context, so that it cannot inherit a database transaction.
    """
    task = asyncio.get_running_loop().create_task(work, name=name, context=contextvars.Context())
    try:
        yield task
    finally:
        await stop(task)


async def stop(task: asyncio.Task[Any]) -> None:
    """Cancel `task` and wait for its end; its own error, if any, is logged and not raised."""
    task.cancel()
    # Not `await task`: its CancelledError could not be told from our own, and an owner that is being cancelled itself
    # would leave the rest of its tasks behind.
    await asyncio.wait({task})
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("task.failed", task=task.get_name(), exc_info=error)
