"""Transactions end as they should, whatever happens in them; migrations run once; a lost server is told."""

# ruff: noqa: PT012 - what fails is the end of a block
import asyncio
import os
import signal
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from app.embedded import postgres as embedded
from app.problems import Unavailable
from app.settings import Secret, Settings, SettingsError
from app.storage import postgres
from app.storage.postgres import Engine, lifespan

POOL = 2
MIGRATIONS = list(Path("piccolo_migrations").glob("*_*.py"))


@pytest_asyncio.fixture
async def accounts(postgres_url):
    """An engine of its own with a pool of two, on a table whose constraint is checked at COMMIT."""
    engine = Engine({"dsn": postgres_url})
    await engine.start_connection_pool(min_size=0, max_size=POOL)
    await engine.run_ddl("CREATE TABLE owner (id int PRIMARY KEY)")
    await engine.run_ddl(
        "CREATE TABLE account (id int PRIMARY KEY, owner int REFERENCES owner DEFERRABLE INITIALLY DEFERRED)"
    )
    await engine.run_ddl("INSERT INTO owner VALUES (1)")
    yield engine
    await engine.run_ddl("DROP TABLE account, owner")
    await engine.close_connection_pool()


async def ids(engine):
    return [row["id"] for row in await engine._run_in_pool("SELECT id FROM account ORDER BY id")]


async def insert(engine, number, owner=1):
    await engine.run_ddl(f"INSERT INTO account VALUES ({number}, {owner})")


async def test_a_commit_that_fails_gives_its_connection_back_and_leaves_no_dead_transaction(accounts):
    for number in range(POOL + 2):
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            async with accounts.transaction():
                await insert(accounts, number, owner=404)
        assert not accounts.transaction_exists()

    async with accounts.transaction():
        await insert(accounts, 7)
    assert await ids(accounts) == [7]


async def test_queries_at_the_same_time_inside_a_transaction_fail_as_such_and_cost_no_connection(accounts):
    for number in range(POOL + 2):
        with pytest.raises(asyncpg.InterfaceError):
            async with accounts.transaction():
                await insert(accounts, number)
                await asyncio.gather(*(accounts.run_ddl("SELECT pg_sleep(0.01)") for _ in range(3)))

    await insert(accounts, 8)
    assert await ids(accounts) == [8]


async def test_a_task_that_outlives_the_transaction_it_started_in_queries_outside_of_it(accounts):
    release = asyncio.Event()

    async def later():
        await release.wait()
        await insert(accounts, 2)

    async with asyncio.TaskGroup() as group:
        with pytest.raises(ZeroDivisionError):
            async with accounts.transaction():
                await insert(accounts, 1)
                group.create_task(later())
                raise ZeroDivisionError
        release.set()

    assert await ids(accounts) == [2]


async def test_what_a_nested_transaction_undoes_is_undone_and_the_rest_kept(accounts):
    async with accounts.transaction():
        await insert(accounts, 1)
        with pytest.raises(ZeroDivisionError):
            async with accounts.transaction():
                await insert(accounts, 2)
                raise ZeroDivisionError
        async with accounts.transaction():
            await insert(accounts, 3)

    assert await ids(accounts) == [1, 3]


async def test_a_cancelled_transaction_is_undone_and_gives_its_connection_back(accounts):
    for number in range(POOL + 2):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05), accounts.transaction():
                await insert(accounts, number)
                await accounts.run_ddl("SELECT pg_sleep(30)")

    assert await ids(accounts) == []


async def test_a_killed_server_is_told_as_unavailable_and_used_again_when_it_is_back(tmp_path):
    async with embedded.running(tmp_path / "p", options={"fsync": "off"}) as server:
        engine = Engine({"dsn": server.url, "timeout": 2.0})
        async with lifespan(engine):
            await engine.run_ddl("CREATE TABLE kept (id int)")
            with pytest.raises(Unavailable):
                async with engine.transaction():
                    await engine.run_ddl("INSERT INTO kept VALUES (1)")
                    os.kill(server.pid, signal.SIGKILL)
                    await engine.run_ddl("SELECT pg_sleep(30)")
            async with asyncio.timeout(30):
                while True:
                    try:
                        rows = await engine.run_ddl("SELECT id FROM kept")
                        break
                    except Unavailable:
                        await asyncio.sleep(0.05)
            assert rows == []
            await engine.run_ddl("INSERT INTO kept VALUES (2)")


def test_without_an_address_there_is_no_engine():
    with pytest.raises(SettingsError, match="KUBENEXUS_DATABASE_URL"):
        postgres.engine(Settings())


async def test_processes_that_migrate_at_the_same_time_all_succeed_and_the_tables_are_made_once(tmp_path):
    pytest.importorskip("piccolo_app")
    async with embedded.running(tmp_path / "p", options={"fsync": "off"}) as server:
        environment = {**os.environ, "KUBENEXUS_DATABASE_URL": server.url, "KUBENEXUS_DATA_DIR": str(tmp_path)}
        async with asyncio.TaskGroup() as group:
            runs = [group.create_task(_migrate(environment)) for _ in range(3)]
        assert [run.result() for run in runs] == [0, 0, 0]
        connection = await asyncpg.connect(server.url)
        doubled = await connection.fetch("SELECT name FROM migration GROUP BY name HAVING count(*) > 1")
        noted = await connection.fetchval("SELECT count(*) FROM migration")
        await connection.close()
        assert not doubled
        assert noted == len(MIGRATIONS)


async def _migrate(environment):
    import sys

    code = (
        "import asyncio; from app.settings import from_process; from app.storage.postgres import migrate;"
        "asyncio.run(migrate(from_process()))"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, env=environment)
    return await asyncio.wait_for(process.wait(), 120)


async def test_the_settings_name_the_database_of_the_process(postgres_url, engine):
    assert postgres.engine(Settings(database_url=Secret(postgres_url))) is engine
    with pytest.raises(SettingsError, match="another database"):
        postgres.engine(Settings(database_url=Secret("postgresql://elsewhere/x")))
