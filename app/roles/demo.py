"""The demo fleet as a child process: started when nobody has registered a cluster, and found again later.

The product knows it only as a kubeconfig file, registered through the same door as any other.
"""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import msgspec
import structlog

from app import tasks
from app.roles.children import Child

log = structlog.get_logger()
START_DEADLINE_S: Final = 60.0


class DemoFleetError(Exception):
    """The demo fleet did not start; the message says what to look at."""


class DemoCluster(msgspec.Struct, frozen=True):
    name: str
    server: str


class DemoFleet(msgspec.Struct, frozen=True):
    """What `python -m kubesim` prints as one line of JSON when it serves."""

    kubeconfig: str
    clusters: list[DemoCluster]


def arguments(directory: Path, *, clusters: int, pods: int, changes: float, seed: int) -> list[str]:
    """The command line of the fleet; the same directory gives the same addresses, certificates and tokens again."""
    options = {"clusters": clusters, "pods": pods, "changes": changes, "seed": seed, "state-dir": directory}
    return [
        sys.executable,
        "-m",
        "kubesim",
        *(f"--{name}={value}" for name, value in options.items()),
        f"--output={directory / 'kubeconfig.yaml'}",
        f"--ready-file={directory / 'fleet.json'}",
    ]


def recall(directory: Path) -> DemoFleet | None:
    """The fleet that this directory served before, or None."""
    try:
        return msgspec.json.decode((directory / "fleet.json").read_bytes(), type=DemoFleet)
    except (OSError, msgspec.MsgspecError):
        return None


@contextlib.asynccontextmanager
async def running(directory: Path, *, clusters: int, pods: int, changes: float, seed: int) -> AsyncIterator[DemoFleet]:
    """Serve the demo fleet for the length of a `with` block; restarted when it dies."""
    _prepare(directory)
    command = arguments(directory, clusters=clusters, pods=pods, changes=changes, seed=seed)
    child = Child("demo", command, {}, stdout=asyncio.subprocess.DEVNULL)
    async with tasks.running("demo", child.keep(tasks.backoff)):
        yield await _ready(directory)


def _prepare(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    (directory / "fleet.json").unlink(missing_ok=True)


async def _ready(directory: Path) -> DemoFleet:
    try:
        async with asyncio.timeout(START_DEADLINE_S):
            while (fleet := recall(directory)) is None:  # noqa: ASYNC110 - another process writes the file
                await asyncio.sleep(0.1)
    except TimeoutError as error:
        raise DemoFleetError(f"the demo fleet did not serve within {START_DEADLINE_S:.0f} s") from error
    log.debug("demo.ready", clusters=[c.name for c in fleet.clusters])
    return fleet
