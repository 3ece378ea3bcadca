"""A TaskGroup whose failure is one exception, so that callers can tell a lost lease from a broken cluster."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

from app.stream.publisher import Fenced


@contextlib.asynccontextmanager
async def group() -> AsyncIterator[asyncio.TaskGroup]:
    """Own tasks for the length of a block; raises the first failure as it was, `Fenced` before any other."""
    try:
        async with asyncio.TaskGroup() as tasks:
            yield tasks
    except BaseExceptionGroup as failures:
        raise min(_leaves(failures), key=lambda failure: not isinstance(failure, Fenced)) from None


def _leaves(failures: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for failure in failures.exceptions:
        if isinstance(failure, BaseExceptionGroup):
            yield from _leaves(failure)
        else:
            yield failure
