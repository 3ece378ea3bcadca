"""Tasks: restarted after a failure with rising waits, ended by cancellation only, never left behind."""

import asyncio
import itertools
import random

import pytest

from app.tasks import backoff, running, stop, supervise


def test_backoff_doubles_to_its_cap_with_up_to_double_jitter() -> None:
    waits = list(itertools.islice(backoff(0.8, 30.0, random.Random(1)), 9))

    bases = [0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0, 30.0]
    assert all(base <= wait <= 2 * base for base, wait in zip(bases, waits, strict=True))


async def test_a_failing_task_is_run_again_and_its_wait_starts_over_after_a_success() -> None:
    runs, asked = [], []

    def delays():
        asked.append(0)
        return itertools.repeat(0.0)

    async def work() -> None:
        runs.append(1)
        if len(runs) == 1:
            raise ValueError("first")
        if len(runs) == 4:
            await asyncio.Event().wait()

    async with running("supervised", supervise("work", work, delays)):
        while len(runs) < 4:
            await asyncio.sleep(0)

    assert len(asked) == 3  # at the start, and after each of the two runs that ended well


async def test_running_cancels_and_awaits_its_task() -> None:
    ended = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async with running("work", work()):
        await asyncio.sleep(0)

    assert ended == [True]


async def test_cancelling_the_owner_while_it_stops_a_task_is_not_swallowed() -> None:
    release = asyncio.Event()

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await release.wait()
            raise

    async def owner() -> None:
        async with running("stubborn", stubborn()):
            await asyncio.sleep(0)

    task = asyncio.get_running_loop().create_task(owner())
    for _ in range(5):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    release.set()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_owner_that_is_being_cancelled_still_stops_all_its_tasks() -> None:
    ended = []

    async def work(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(name)

    async def owner() -> None:
        loop = asyncio.get_running_loop()
        mine = [loop.create_task(work(name)) for name in "ab"]
        try:
            await asyncio.Event().wait()
        finally:
            for each in mine:
                await stop(each)

    task = asyncio.get_running_loop().create_task(owner())
    for _ in range(3):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert ended == ["a", "b"]
