"""One server process that we own: started, watched, started again when it dies, ended with us.

Never runs two servers on one directory: `owner.lock` is held by the supervisor, `server.lock` by the server itself
(an inherited descriptor), so a successor waits for the orphan of a killed supervisor before it touches the data.

PR_SET_PDEATHSIG ends the server with the *thread* that forked it: start servers from the main thread.
"""

import asyncio
import contextlib
import errno
import fcntl
import importlib.util
import os
import shutil
import signal
import stat
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import IO, Final, Protocol

import structlog

from app import tasks
from app.embedded.identity import NOBODY, Identity

log = structlog.get_logger()
SOCKET_PATH_LIMIT: Final = 100  # bytes; Linux allows 107, PostgreSQL appends nothing after its own name
LOG_LIMIT: Final = 4 << 20  # bytes; one older file of the same size is kept
LOG_CHECK_S: Final = 10.0
POLL_S: Final = 0.01  # between looks at a file or socket that tells that a server is ready
ORPHAN_DEADLINE_S: Final = 15.0  # an orphan got its signal when its owner died; longer means that it hangs


class EmbeddedError(Exception):
    """An embedded server cannot be started; the message says why, and what to do."""


class Recipe(Protocol):
    """What differs between the servers."""

    name: str
    identity: Identity

    @property
    def end_signals(self) -> Sequence[tuple[signal.Signals, float]]:
        """Signals that end it, each with the seconds to wait before the next one."""

    def argv(self) -> list[str]: ...

    async def ready(self, pid: int) -> bool:
        """Whether the process `pid` accepts commands now."""


class Server:
    """A running server. `url` never changes; `pid` is None while it is down; `starts` counts its processes."""

    def __init__(self, url: str, recipe: Recipe, directory: Path) -> None:
        self.url = url
        self.pid: int | None = None
        self.starts = 0
        self._recipe = recipe
        self._directory = directory
        self._process: asyncio.subprocess.Process | None = None

    async def wait(self) -> int:
        """Wait for the end of the present process; its exit code, negative for a signal. At once while it is down."""
        return await self._process.wait() if self._process else 0

    async def start(self, deadline_s: float) -> None:
        """Start a process and wait until it accepts commands. Raises EmbeddedError."""
        with await _unused(self._directory) as lock, rotated(self.log_file) as output:
            self._process = await asyncio.create_subprocess_exec(
                *self._recipe.argv(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self._directory,
                env=environment(),
                start_new_session=True,
                pass_fds=[lock.fileno()],
                **self._recipe.identity.arguments(self._recipe.end_signals[0][0]),
            )
            self.pid = self._process.pid
            self.starts += 1
            lock.seek(0)
            lock.truncate()
            lock.write(f"{self.pid}\n")
            lock.flush()
        try:
            await self._until_ready(deadline_s)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End the process, with ever harder signals."""
        process, self.pid = self._process, None
        if process is None:
            return
        for number, patience_s in (*self._recipe.end_signals, (signal.SIGKILL, 30.0)):
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(number)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), patience_s)

    async def keep(self, deadline_s: float, delays: Callable[[], Iterator[float]]) -> None:
        """Start it again, for ever, whenever it ends."""
        waits = delays()
        while True:
            code = await self.wait()
            self.pid = None
            log.error("embedded.ended", server=self._recipe.name, exit_code=code)
            try:
                await self.start(deadline_s)
                waits = delays()
                log.info("embedded.restarted", server=self._recipe.name, pid=self.pid)
            except (EmbeddedError, OSError) as error:
                log.error("embedded.start_failed", server=self._recipe.name, reason=str(error))  # noqa: TRY400 - a sentence
                await asyncio.sleep(next(waits))

    async def trim(self) -> None:
        """Keep the log file within its bound, for ever."""
        while True:
            await asyncio.sleep(LOG_CHECK_S)
            rotated(self.log_file).close()

    @property
    def log_file(self) -> Path:
        return self._directory / f"{self._recipe.name}.log"

    async def _until_ready(self, deadline_s: float) -> None:
        process = self._process
        assert process is not None  # noqa: S101 - called by `start` only
        try:
            async with asyncio.timeout(deadline_s):
                while not await self._recipe.ready(process.pid):
                    if process.returncode is not None:
                        raise EmbeddedError(f"{self._recipe.name} ended at once; {self._last_words()}")
                    await asyncio.sleep(POLL_S)
        except TimeoutError as error:
            raise EmbeddedError(
                f"{self._recipe.name} was not ready after {deadline_s:.0f} s; {self._last_words()}"
            ) from error

    def _last_words(self) -> str:
        lines = self.log_file.read_text(errors="replace").splitlines()[-5:]
        return f"the end of {self.log_file} says: " + " | ".join(lines)


def packaged(package: str) -> Path | None:
    """The directory of an installed package, None without it; nothing is imported."""
    spec = importlib.util.find_spec(package)
    return Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None


def short_waits() -> Iterator[float]:
    """Seconds between tries to start a server again: the first at once, later ones up to 5 s apart."""
    yield from (0.1, 0.5, 1.0, 2.0)
    while True:
        yield 5.0


@contextlib.asynccontextmanager
async def running(
    server: Server, *, deadline_s: float, delays: Callable[[], Iterator[float]] = short_waits
) -> AsyncIterator[Server]:
    """Start `server`, keep it running for the length of the block, end it after."""
    try:
        await server.start(deadline_s)
        async with (
            tasks.running("embedded server", server.keep(deadline_s, delays)),
            tasks.running("embedded server's log", server.trim()),
        ):
            yield server
    finally:
        await server.stop()


@contextlib.contextmanager
def owned(directory: Path) -> Iterator[None]:
    """Own `directory`, made if needed, for the length of a block. Raises EmbeddedError while another process does."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (directory / "owner.lock").open("a+") as lock:
        if not _locked(lock):
            lock.seek(0)
            raise EmbeddedError(
                f"{directory} is in use by process {lock.read().strip() or 'unknown'}: "
                "stop that one, or set KUBENEXUS_DATA_DIR to another directory"
            )
        lock.seek(0)
        lock.truncate()
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


async def _unused(directory: Path) -> IO[str]:
    """The locked `server.lock`, as soon as no server of an earlier owner holds it. Raises EmbeddedError."""
    with contextlib.ExitStack() as stack:
        lock = stack.enter_context((directory / "server.lock").open("a+"))
        for patience_s in (ORPHAN_DEADLINE_S, 5.0):
            if await _locked_within(lock, patience_s):
                stack.pop_all()
                return lock
            _kill_orphan(lock, directory)
        raise EmbeddedError(f"an earlier server still runs on {directory} and does not end: kill it, then try again")


async def _locked_within(lock: IO[str], patience_s: float) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(patience_s):
            while not _locked(lock):  # noqa: ASYNC110 - the kernel tells nobody when a lock is free
                await asyncio.sleep(POLL_S)
            return True
    return False


def _locked(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in {errno.EWOULDBLOCK, errno.EACCES}:
            return False
        raise
    return True


def _kill_orphan(lock: IO[str], directory: Path) -> None:
    """Kill the server that is written in the lock, provided that the process works below `directory`."""
    lock.seek(0)
    with contextlib.suppress(ValueError, OSError):
        pid = int(lock.read())
        if Path(f"/proc/{pid}/cwd").resolve(strict=True).is_relative_to(directory.resolve()):
            log.warning("embedded.orphan_killed", pid=pid, directory=str(directory))
            os.kill(pid, signal.SIGKILL)


def rotated(path: Path) -> IO[bytes]:
    """`path` opened for appending; what exceeds the bound has moved to `<path>.1`.

    By copying, because a running server keeps writing to the file that it has open.
    """
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > LOG_LIMIT:
            shutil.copyfile(path, path.with_suffix(path.suffix + ".1"))
            os.truncate(path, 0)
    return path.open("ab")


def socket_directory(directory: Path, longest_name: str) -> Path:
    """Where a server's unix socket goes: `directory`, or a private short one when that path is too long.

    The short one is the same at each start with the same `directory`.
    """
    if len(os.fsencode(directory / longest_name)) <= SOCKET_PATH_LIMIT:
        return directory
    digest = sha256(os.fsencode(directory)).hexdigest()[:16]
    short = Path(tempfile.gettempdir()) / f"kubenexus-{os.getuid()}-{digest}"
    with contextlib.suppress(FileExistsError):
        short.mkdir(mode=0o700)
    status = short.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid not in {os.getuid(), NOBODY} or status.st_mode & 0o077:
        raise EmbeddedError(f"{short} exists and is not a private directory of ours: remove it")
    return short


def environment() -> dict[str, str]:
    """The environment of a server: none of our settings, so none of our secrets."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


async def call(argv: Sequence[str], *, identity: Identity, deadline_s: float) -> tuple[int, str]:
    """Run a server's tool under the server's identity; exit code and output."""
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment(),
        start_new_session=True,
        **identity.arguments(signal.SIGKILL),
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), deadline_s)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, output.decode(errors="replace")
