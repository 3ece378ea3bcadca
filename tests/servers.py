"""Real servers for all tests: one PostgreSQL and one Valkey a session, emptied between tests; tasks must not leak."""

import asyncio
import importlib.util
import inspect
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from app.embedded import postgres, valkey

UNSAFE_AND_FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "autovacuum": "off"}
IN_MEMORY = {"appendonly": "no"}


class ManualClock:
    """A clock that stands until it is told to advance; those who sleep on it wake in order."""

    def __init__(self) -> None:
        self._elapsed_s = 1000.0
        self._start = datetime(2026, 1, 1, tzinfo=UTC)
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def monotonic(self) -> float:
        return self._elapsed_s

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._elapsed_s)

    async def sleep(self, delay_s: float) -> None:
        if delay_s <= 0:
            await asyncio.sleep(0)
            return
        waiting = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._elapsed_s + delay_s, waiting))
        await waiting

    @property
    def sleepers(self) -> int:
        """How many wait on this clock."""
        return sum(not waiting.done() for _, waiting in self._sleepers)

    async def advance(self, by_s: float) -> None:
        """Let `by_s` seconds pass; each sleeper wakes at its own time and runs until it waits again."""
        end = self._elapsed_s + by_s
        while due := [sleeper for sleeper in self._sleepers if sleeper[0] <= end and not sleeper[1].done()]:
            at, waiting = min(due, key=lambda sleeper: sleeper[0])
            self._elapsed_s = max(self._elapsed_s, at)
            waiting.set_result(None)
            self._sleepers = [sleeper for sleeper in self._sleepers if not sleeper[1].done()]
            await settle()
        self._elapsed_s = end
        await settle()


async def settle(turns: int = 20) -> None:
    """Let everything that can run without I/O or time run."""
    for _ in range(turns):
        await asyncio.sleep(0)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(scope="session")
def server_directory() -> Iterator[Path]:
    """A short private directory: a unix socket's path has about 100 bytes."""
    directory = Path(tempfile.mkdtemp(prefix="kn-"))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest_asyncio.fixture(scope="session")
async def postgres_url(server_directory: Path) -> AsyncIterator[str]:
    async with postgres.running(server_directory / "postgres", options=UNSAFE_AND_FAST) as server:
        yield server.url


@pytest_asyncio.fixture(scope="session")
async def redis_url(server_directory: Path) -> AsyncIterator[str]:
    async with valkey.running(server_directory / "valkey", options=IN_MEMORY) as server:
        yield server.url


@pytest_asyncio.fixture
async def redis(redis_url: str):
    """An app.storage.redis client on an empty server."""
    from app.storage.redis import connect

    async with connect(redis_url) as client:
        await client.flushdb()
        yield client


@pytest_asyncio.fixture(scope="session")
async def _migrated(postgres_url: str, server_directory: Path):
    """The pool on a migrated database, with the names of the tables to empty."""
    from app.settings import Secret, Settings
    from app.storage import postgres as storage

    settings = Settings(database_url=Secret(postgres_url), data_dir=server_directory)
    if importlib.util.find_spec("piccolo_app") is not None:
        await storage.migrate(settings)
    engine = storage.engine(settings)
    async with storage.lifespan(engine):
        rows = await engine.pool.fetch(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'migration'"
        )
        yield engine, [row["tablename"] for row in rows]


@pytest_asyncio.fixture
async def engine(_migrated):
    """The engine of the project's tables, migrated and empty; the tables' own queries use it too."""
    engine, tables = _migrated
    async with engine.pool.acquire() as connection, connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica")  # no order of foreign keys
        for table in tables:
            await connection.execute(f'DELETE FROM "{table}"')
    return engine


@pytest.fixture(autouse=True)
def _leaves_nothing_behind(request: pytest.FixtureRequest) -> None:
    if inspect.iscoroutinefunction(getattr(request, "function", None)):
        request.getfixturevalue("_no_leaked_tasks")


@pytest_asyncio.fixture
async def _no_leaked_tasks() -> AsyncIterator[None]:
    """Fail a test that leaves a task behind."""
    before = asyncio.all_tasks()
    yield
    for _ in range(3):  # a task that was cancelled, and the closing of transports, take a turn
        await asyncio.sleep(0)
    left = [task for task in asyncio.all_tasks() - before - {asyncio.current_task()} if not task.done()]
    assert not left, f"tasks left behind: {[task.get_name() for task in left]}"
