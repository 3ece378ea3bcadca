"""Child processes of the supervisor: start, restart when they die, end them in order, leave no orphan.

A child is its own session (Ctrl-C in a terminal reaches the supervisor only) and dies with the supervisor
even when that is killed with -9 (PR_SET_PDEATHSIG), so it must be started from the main thread.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Final

import structlog

from app import tasks

log = structlog.get_logger()
PR_SET_PDEATHSIG: Final = 1
STEADY_S: Final = 60.0  # a process that lived so long is not in a crash loop
STOP_DEADLINE_S: Final = 10.0  # a role ends its streams and leases in well under this; then it is killed
LIBC: Final = ctypes.CDLL(None, use_errno=True)


class Child:
    """One supervised process: `pid` is None while it is down; `restarts` counts how often it was started again."""

    def __init__(self, name: str, argv: Sequence[str], env: Mapping[str, str], *, stdout: int | None = None) -> None:
        self.name = name
        self.pid: int | None = None
        self.restarts = -1
        self._argv = list(argv)
        self._env = {**os.environ, **env}
        self._stdout = stdout

    async def keep(self, delays: Callable[[], Iterator[float]]) -> None:
        """Run it for ever: whenever it ends, wait and start it again. Ends by cancellation, and the process with it."""
        waits = delays()
        while True:
            started = asyncio.get_running_loop().time()
            code = await self._run()
            if asyncio.get_running_loop().time() - started > STEADY_S:
                waits = delays()
            wait = next(waits)
            log.warning("child.ended", name=self.name, exit_code=code, again_in_s=wait)
            await asyncio.sleep(wait)

    async def _run(self) -> int:
        """One life of the process; its exit code, negative for a signal."""
        process = await asyncio.create_subprocess_exec(
            *self._argv, env=self._env, stdout=self._stdout, start_new_session=True, preexec_fn=_die_with_parent
        )
        self.pid = process.pid
        self.restarts += 1
        try:
            return await process.wait()
        finally:
            self.pid = None
            if process.returncode is None:
                await _end(process)


@contextlib.asynccontextmanager
async def running(child: Child, delays: Callable[[], Iterator[float]]) -> AsyncIterator[Child]:
    """Keep `child` running for the length of a `with` block; it has ended when the block is left."""
    async with tasks.running(child.name, child.keep(delays)):
        yield child


def role(name: str, env: Mapping[str, str]) -> Child:
    """A child that runs one role of this program."""
    return Child(name, [sys.executable, "-m", "app.cli", name], env)


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_DEADLINE_S)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _die_with_parent() -> None:
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
