"""A whole installation for a measurement: embedded servers, migrated, one signed-in administrator, roles as processes.

Data lies under a temporary directory; every process ends with the block. Times are the monotonic clock's.
"""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec

from app import log
from app.authn.cookies import PLAIN_COOKIE
from app.authz.identity import Binding
from app.authz.roles import Role
from app.embedded import postgres, valkey
from app.roles import services, supervisor
from app.settings import Secret, Settings
from app.storage.postgres import migrate
from bench.process import ROOT

READY_S = 60


class Installation(msgspec.Struct):
    """cookie: a session's, as a request header's value. valkey_pid: for its CPU."""

    settings: Settings
    opened: services.Opened
    cookie: str
    valkey_pid: int

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.settings.port}"

    @contextlib.contextmanager
    def role(self, name: str, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
        """One role as `kubenexus <name>` runs it."""
        extra = {f"KUBENEXUS_{key.upper()}": value for key, value in settings.items()}
        env = {**os.environ, **supervisor.environment(self.settings), **extra}
        with child([sys.executable, "-m", "app.cli", name], env) as process:
            yield process

    async def register(self, kubeconfig: str) -> list[str]:
        """Ids of the clusters of a kubeconfig, registered."""
        await services.register_all(self.opened, kubeconfig)
        return [cluster.id for cluster in await self.opened.clusters.list()]

    def ready(self, path: str = "/livez") -> float:
        """Seconds until the web role answers `path`."""
        began = time.monotonic()
        while time.monotonic() - began < READY_S:
            try:
                with urllib.request.urlopen(self.origin + path, timeout=2):
                    return time.monotonic() - began
            except (urllib.error.URLError, OSError):
                time.sleep(0.02)
        raise RuntimeError(f"the web role did not answer {path} within {READY_S} s")


@contextlib.asynccontextmanager
async def installed() -> AsyncIterator[Installation]:
    """Servers, tables and an administrator; roles are started by the caller."""
    async with contextlib.AsyncExitStack() as stack:
        directory = stack.enter_context(scratch())
        database = await stack.enter_async_context(postgres.running(directory / "postgres"))
        cache = await stack.enter_async_context(valkey.running(directory / "valkey"))
        settings = Settings(
            data_dir=directory,
            database_url=Secret(database.url),
            redis_url=Secret(cache.url),
            port=free_port(),
            log_level="error",
            allow_loopback_clusters=True,
        )
        log.configure("error", "console")
        await migrate(settings)
        opened = await stack.enter_async_context(services.opened(settings))
        binding = Binding(role=Role.ADMINISTRATOR)
        user = await opened.accounts.create("bench", "correct horse battery staple", binding, expired=False)
        secret = await opened.sessions.create(user, method="password", address="127.0.0.1", agent="bench")
        yield Installation(settings, opened, f"{PLAIN_COOKIE}={secret}", cache.pid or 0)


class Cluster(msgspec.Struct, frozen=True):
    """A simulated cluster of `bench.load`. base: what its pods' restart counts are counted from."""

    kubeconfig: str
    base: float


@contextlib.asynccontextmanager
async def cluster(*, pods: int, changes: float) -> AsyncIterator[Cluster]:
    """One simulated cluster as a process."""
    with scratch() as directory:
        argv = [sys.executable, "-m", "bench.load", str(directory), str(pods), str(changes)]
        with child(argv, dict(os.environ), stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            line = await asyncio.to_thread(process.stdout.readline)
            yield msgspec.json.decode(line, type=Cluster)


@contextlib.contextmanager
def child(
    argv: list[str], env: dict[str, str], *, stdin: int | None = None, stdout: int | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends with the block; its pipes are binary."""
    process = subprocess.Popen(argv, env=env, stdin=stdin, stdout=stdout, cwd=ROOT)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="kn-bench-", ignore_cleanup_errors=True) as directory:
        Path(directory).chmod(0o755)  # PostgreSQL runs as another user where we are root
        yield Path(directory)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])
