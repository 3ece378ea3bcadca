"""The PostgreSQL engine of this process: Piccolo's, with transactions that end as they should, and migration.

Knows no table. Piccolo finds the engine through `piccolo_conf.DB`, so there is one a process: `ENGINE`.
"""

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Any, Final, Self

import asyncpg
import structlog
from piccolo.engine.exceptions import TransactionError
from piccolo.engine.postgres import PostgresEngine, PostgresTransaction
from piccolo.querystring import QueryString

from app.problems import Unavailable
from app.settings import Settings, SettingsError

log = structlog.get_logger()
CONNECT_DEADLINE_S: Final = 5.0
ACQUIRE_DEADLINE_S: Final = 10.0  # waiting for a free connection longer than this is an overload to be told
COMMAND_DEADLINE_S: Final = 30.0
MIGRATE_DEADLINE_S: Final = 600.0
POOL_SIZE: Final = 10  # a process; PostgreSQL's default allows 100 in all
MIGRATION_LOCK: Final = 0x6B6E_6D69_6772  # "knmigr"
NO_ANSWER: Final = "The database does not answer. It is tried again at the next request."
OUT_OF_REACH: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InternalClientError,  # what a query gets that is sent in the moment in which the server dies
)


class Transaction(PostgresTransaction):
    """Piccolo's transaction without four of its faults: each of them lost writes or connections without an error.

    A COMMIT or ROLLBACK that fails gives the connection back and leaves no dead transaction behind; a nested one is a
    savepoint, and what it undoes is undone; a connection that cannot begin is given back; a task that was started
    inside and outlives the transaction queries outside of it.
    """

    ended = False

    async def __aenter__(self) -> Self:
        if self._parent is not None:
            self.connection = self._parent.connection
        else:
            self.connection = await self.get_connection()
        self.transaction = self.connection.transaction()
        try:
            await self.transaction.start()
        except BaseException:
            await self._release(broken=True)
            raise
        self.engine.current_transaction.set(self)
        return self

    async def get_connection(self) -> Any:
        with reachable():
            if self.engine.pool:
                return await self.engine.pool.acquire(timeout=ACQUIRE_DEADLINE_S)
            return await self.engine.get_new_connection()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        broken = True
        try:
            await self._end(error)
            broken = False
        finally:
            self.ended = True
            self.engine.current_transaction.set(self._parent)
            await self._release(broken=broken)
        return False

    async def _end(self, error: BaseException | None) -> None:
        if self._rolled_back or self._committed:
            return
        if error is None:
            with reachable():
                await self.transaction.commit()
            return
        try:
            await self.transaction.rollback()
        except (*OUT_OF_REACH, asyncpg.PostgresError, asyncpg.InterfaceError) as failure:
            # What made it roll back is what the caller must see.
            self._cut()
            log.warning("database.rollback_failed", reason=str(failure))

    async def _release(self, *, broken: bool) -> None:
        """Give the connection back; a broken one is cut, so that the pool opens another. asyncpg shields this."""
        if self._parent is not None:
            return
        if broken:
            self._cut()
        if self.engine.pool:
            await self.engine.pool.release(self.connection)
        elif not broken:
            await self.connection.close()

    def _cut(self) -> None:
        """Close the connection without a word to the server; the pool may have taken a dead one away already."""
        with contextlib.suppress(asyncpg.InterfaceError):
            self.connection.terminate()


class Engine(PostgresEngine):
    """Piccolo's engine with deadlines and with `Transaction`.

    Queries raise `problems.Unavailable` when PostgreSQL does not answer; it holds again by itself.
    """

    async def check_version(self) -> None:
        """Nothing: Piccolo would connect here, in the constructor, and block the loop that constructs it."""

    async def prep_database(self) -> None:
        """Nothing: we need no extension."""

    def transaction(self, allow_nested: bool = True) -> Transaction:  # noqa: FBT001, FBT002 - Piccolo's signature
        self._forget_ended()
        return Transaction(engine=self, allow_nested=allow_nested)

    def transaction_exists(self) -> bool:
        self._forget_ended()
        return self.current_transaction.get() is not None

    async def run_querystring(self, querystring: QueryString, in_pool: bool = True) -> Any:  # noqa: FBT001, FBT002
        self._forget_ended()
        with reachable():
            return await super().run_querystring(querystring, in_pool)

    async def run_ddl(self, ddl: str, in_pool: bool = True) -> Any:  # noqa: FBT001, FBT002
        self._forget_ended()
        with reachable():
            return await super().run_ddl(ddl, in_pool)

    async def _run_in_pool(self, query: str, args: Any = None) -> Any:
        if self.pool is None:
            raise TransactionError("the pool is not started: use `lifespan`")
        async with self.pool.acquire(timeout=ACQUIRE_DEADLINE_S) as connection:
            return await connection.fetch(query, *(args or []))

    def _forget_ended(self) -> None:
        """A task inherits the transaction that it was started in, and may outlive it."""
        current: Any = self.current_transaction.get()
        if current is not None and current.ended:
            self.current_transaction.set(None)


ENGINE: Final = Engine({})


def engine(settings: Settings) -> Engine:
    """The engine of this process, for the database of `settings`. Raises SettingsError when there is none."""
    if not settings.database_url:
        raise SettingsError(
            "database_url is empty: set KUBENEXUS_DATABASE_URL, or use `kubenexus run`, which brings a database"
        )
    config = {"dsn": settings.database_url.reveal(), "timeout": CONNECT_DEADLINE_S}
    if ENGINE.pool is not None and config != ENGINE.config:
        raise SettingsError("this process is connected to another database")
    ENGINE.config = config
    return ENGINE


@contextlib.asynccontextmanager
async def lifespan(engine: Engine) -> AsyncIterator[Engine]:
    """The pool, for the length of a block. Without it each query opens a connection, which nothing would tell."""
    with reachable():
        # No minimum: asyncpg would log a traceback for each try to keep one while the server is down.
        await engine.start_connection_pool(min_size=0, max_size=POOL_SIZE, command_timeout=COMMAND_DEADLINE_S)
    try:
        await engine.run_ddl("SELECT 1")
        yield engine
    finally:
        pool: Any = engine.pool
        engine.pool = None
        try:
            await asyncio.wait_for(pool.close(), CONNECT_DEADLINE_S)
        except TimeoutError:
            pool.terminate()


@contextlib.contextmanager
def reachable() -> Iterator[None]:
    """Turn the errors of a database that does not answer into `Unavailable`."""
    try:
        yield
    except OUT_OF_REACH as error:
        raise Unavailable(NO_ANSWER) from error
    except asyncpg.InterfaceError as error:
        if "closed" not in str(error):  # asyncpg has one class for misuse and for a connection that was lost
            raise
        raise Unavailable(NO_ANSWER) from error


async def migrate(settings: Settings) -> None:
    """Bring the database to this version's tables; any number of processes may do so at once.

    One transaction holds all migrations and the rows that note them, so one that fails or is killed leaves nothing.
    Raises what the failing migration raised, or `Unavailable`.
    """
    from piccolo.apps.migrations.commands.forwards import run_forwards  # noqa: PLC0415 - costs 0.2 s, used once

    target = engine(settings)
    said = io.StringIO()
    async with asyncio.timeout(MIGRATE_DEADLINE_S), target.transaction() as transaction:
        await transaction.connection.execute("SELECT pg_advisory_xact_lock($1)", MIGRATION_LOCK)
        with contextlib.redirect_stdout(said):
            result = await run_forwards("all")
        if not result.success:
            raise TransactionError(result.message or "a migration failed")
    log.info("database.migrated", report=" ".join(said.getvalue().split()))
