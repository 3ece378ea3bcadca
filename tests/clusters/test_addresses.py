"""Where a cluster's address may lead: nowhere but to an API server (security.md S05, S06)."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from app.clusters.schemas import Connection
from app.clusters.service import ClusterService
from app.kube.client import ApiServer, Endpoint
from app.kube.errors import KubeError
from app.problems import InvalidInput
from app.settings import Secret, Settings
from app.storage.encryption import Keyring

FORBIDDEN = [
    # loopback, in all its spellings
    "https://127.0.0.1",
    "https://127.0.0.1:5432",
    "https://127.0.0.1:6379",
    "https://127.1",
    "https://127.0.1",
    "https://127.255.255.254",
    "https://2130706433",
    "https://0x7f000001",
    "https://0x7f.0.0.1",
    "https://0177.0.0.1",
    "https://017700000001",
    "https://localhost",
    "https://LOCALHOST:6443",
    "https://localhost.",
    "https://[::1]",
    "https://[0:0:0:0:0:0:0:1]:6443",
    "https://[::ffff:127.0.0.1]",
    "https://[::ffff:7f00:1]",
    "https://[64:ff9b::7f00:1]",
    "https://[2002:7f00:1::]",
    # nowhere, and everybody
    "https://0.0.0.0",
    "https://0",
    "https://[::]",
    "https://224.0.0.1",
    "https://255.255.255.255",
    "https://[ff02::1]",
    "https://240.0.0.1",
    # link-local and metadata services
    "https://169.254.169.254",
    "https://169.254.1.1:6443",
    "https://2852039166",
    "https://0xa9fea9fe",
    "https://[::ffff:169.254.169.254]",
    "https://[fe80::1]",
    "https://[fe80::1%25eth0]",
    "https://[fd00:ec2::254]",
    "https://100.100.100.200",
    "https://168.63.129.16",
    "https://192.0.0.192",
    # what is no https address
    "http://203.0.113.5",
    "ftp://203.0.113.5",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_FLUSHALL",
    "unix:///var/run/docker.sock",
    "https://user:pw@203.0.113.5",
    "https://203.0.113.5@127.0.0.1",
    "https://203.0.113.5#@127.0.0.1/",
    "https://203.0.113.5?@127.0.0.1",
    "https://203.0.113.5\\@127.0.0.1",
    "https://203.0.113.5:99999",
    "//127.0.0.1",
    "https:127.0.0.1",
    "https://",
]

_dialled: list[Any] | None = None


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    # A tuple is an address of the network; PostgreSQL and Valkey of the tests are on unix sockets.
    if _dialled is not None and event == "socket.connect" and isinstance(arguments[1], tuple):
        _dialled.append(arguments[1])


@pytest.fixture
def dialled() -> Iterator[Callable[[], list[Any]]]:
    """The addresses that were connected to."""
    global _dialled  # noqa: PLW0603 - an audit hook cannot be removed, so it is there once and switched
    if not getattr(sys, "_kubenexus_dialled", False):
        sys.addaudithook(_audit)
        sys._kubenexus_dialled = True  # type: ignore[attr-defined]
    _dialled = []
    yield lambda: list(_dialled or ())
    _dialled = None


@pytest.mark.case("S05")
async def test_none_of_these_addresses_is_dialled(engine, dialled) -> None:
    careful = ClusterService(Settings(), engine, Keyring([b"k" * 32]))
    verdicts = {}
    for server in FORBIDDEN:
        try:
            steps = [step async for step in careful.validate(Connection(server=server, token="x"))]
            verdicts[server] = next((step.name for step in steps if step.state == "failed"), "nothing failed")
        except InvalidInput:
            verdicts[server] = "refused as text"

    assert len(FORBIDDEN) >= 40
    assert dialled() == []
    assert set(verdicts.values()) <= {"address", "reachable", "refused as text"}, verdicts


async def dial(answers: Callable[[], list[str]]) -> list[str]:
    """Try a named API server whose name resolves so; the look-ups that were made."""
    asked = []

    async def resolve(host: str, _port: int) -> list[str]:
        asked.append(host)
        return answers()

    endpoint = Endpoint(server="https://api.example:6443", token=Secret("x"))
    with contextlib.suppress(KubeError):
        async with ApiServer(endpoint, resolve=resolve) as api:
            await api.request("GET", "/version", deadline_s=1)
    with contextlib.suppress(KubeError):
        async with ApiServer(endpoint, resolve=resolve) as api:
            await api.open_stream("/api/v1/pods", idle_s=1, head_s=1)
    return asked


@pytest.mark.case("S06")
@pytest.mark.parametrize("bad", ["127.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1", "0.0.0.0", "fe80::1"])
async def test_one_bad_answer_among_good_ones_refuses_all(dialled, bad) -> None:
    await dial(lambda: ["203.0.113.5", bad])
    await dial(lambda: [bad, "203.0.113.5"])

    assert dialled() == []


@pytest.mark.case("S06")
async def test_a_name_that_changes_its_answer_is_never_looked_up_twice_for_one_connection(dialled) -> None:
    flips = iter(["203.0.113.5", "127.0.0.1"] * 50)

    asked = await dial(lambda: [next(flips)])

    assert len(asked) == 2, "one look-up for each of the two connections"
    assert not [address for address in dialled() if address[0].startswith("127.")]
