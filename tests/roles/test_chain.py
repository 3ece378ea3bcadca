"""The whole chain under faults: whatever is killed, stopped or emptied, what is shown becomes what the servers list.

Fast: one fault of each of a few kinds. Slow (F11): a fault every few seconds of all kinds, for as long as CHAIN_MINUTES
says (30 by default), over three clusters.
"""

import asyncio
import os
import random
import re
import signal
import ssl
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
import yaml

from app.storage import redis as redis_storage
from tests.roles.running import Run, rows, running, signed_in

CONVERGE_S = 60.0
Fault = Callable[["Chain"], Awaitable[None]]


class Chain:
    """A run with a demo fleet, seen from both ends."""

    def __init__(self, run: Run, session: aiohttp.ClientSession) -> None:
        self.run = run
        self.session = session
        config = yaml.safe_load((run.directory / "demo/kubeconfig.yaml").read_text())
        tokens = {user["name"]: user["user"]["token"] for user in config["users"]}
        self.clusters = {c["name"]: (c["cluster"]["server"], tokens[c["name"]]) for c in config["clusters"]}
        self.tls = ssl.create_default_context(cafile=str(run.directory / "demo/ca.crt"))

    def pid(self, *words: str) -> int:
        """The process of this run whose command line holds all of these words; the oldest."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                environ = (entry / "environ").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if str(self.run.directory) in line + environ and all(word in line for word in words):
                found.append(int(entry.name))
        return min(found)

    async def listed(self) -> set[tuple[str, str, str]]:
        """Cluster, namespace and name of every pod, as the API servers list them."""
        found = set()
        for name, (server, token) in self.clusters.items():
            headers = {"Authorization": f"Bearer {token}"}
            async with self.session.get(f"{server}/api/v1/pods", headers=headers, ssl=self.tls) as answer:
                for pod in (await answer.json())["items"]:
                    found.add((name, pod["metadata"]["namespace"], pod["metadata"]["name"]))
        return found

    async def shown(self) -> set[tuple[str, str, str]]:
        """The same, as the product shows it."""
        page = await rows(self.session, self.run, "pods")
        keys = [column["key"] for column in page["columns"]]
        places = [keys.index(key) for key in ("cluster", "namespace", "name")]
        return {tuple(row["values"][place] for place in places) for row in page["rows"]}

    async def converge(self) -> float:
        """Wait until both ends agree at one moment; seconds that it took."""
        started = time.monotonic()
        difference: object = "nothing was compared"
        while time.monotonic() - started < CONVERGE_S:
            try:
                before, shown, after = await self.listed(), await self.shown(), await self.listed()
            except (aiohttp.ClientError, AssertionError, TimeoutError, KeyError, OSError) as error:
                difference = error
            else:
                if shown in (before, after):
                    return time.monotonic() - started
                difference = (sorted(shown - after)[:5], sorted(after - shown)[:5])
            await asyncio.sleep(0.2)
        raise AssertionError(f"after {CONVERGE_S:.0f} s they still differ: {difference}")


def kill(*words: str) -> Fault:
    async def fault(chain: Chain) -> None:
        os.kill(chain.pid(*words), signal.SIGKILL)

    return fault


def freeze(seconds: float, *words: str) -> Fault:
    async def fault(chain: Chain) -> None:
        pid = chain.pid(*words)
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            os.kill(pid, signal.SIGCONT)

    return fault


async def flush(chain: Chain) -> None:
    """Empty Valkey of all but the sessions, which the test itself needs."""
    client = redis_storage.connect(f"unix://{chain.run.directory}/valkey/valkey.sock")
    try:
        doomed = [key async for key in client.scan_iter(b"kn:*") if b"session" not in key]
        for first in range(0, len(doomed), 500):
            await client.delete(*doomed[first : first + 500])
    finally:
        await client.aclose()


async def cut_clients(chain: Chain) -> None:
    """Cut every connection to Valkey."""
    client = redis_storage.connect(f"unix://{chain.run.directory}/valkey/valkey.sock")
    try:
        await client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        await client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    finally:
        await client.aclose()


FAULTS: dict[str, Fault] = {
    "valkey killed": kill("valkey-server"),
    "valkey frozen 2 s": freeze(2, "valkey-server"),
    "valkey frozen 8 s": freeze(8, "valkey-server"),
    "valkey emptied": flush,
    "valkey's clients cut": cut_clients,
    "postgres killed": kill("postgres", "-D"),
    "postgres frozen 2 s": freeze(2, "postgres", "-D"),
    "postgres frozen 8 s": freeze(8, "postgres", "-D"),
    "watcher killed": kill("app.cli", "watcher"),
    "watcher frozen 2 s": freeze(2, "app.cli", "watcher"),
    "watcher frozen 8 s": freeze(8, "app.cli", "watcher"),
    "web killed": kill("app.cli", "web"),
    "web frozen 2 s": freeze(2, "app.cli", "web"),
    "API servers killed": kill("kubesim"),
    "API servers frozen 2 s": freeze(2, "kubesim"),
    "API servers frozen 8 s": freeze(8, "kubesim"),
}


async def opened(run: Run, session: aiohttp.ClientSession) -> Chain:
    said = await run.until("KubeNexus is at")
    password = re.search(r"one-time password (\S+)", said)
    assert password, said
    await signed_in(session, run, password[1], "a long enough new one")
    return Chain(run, session)


@pytest.mark.parametrize(
    "names",
    [["valkey killed", "watcher killed", "web killed"], ["valkey emptied", "postgres killed", "valkey's clients cut"]],
)
async def test_after_a_fault_what_is_shown_is_what_the_api_servers_list(names: list[str], tmp_path: Path) -> None:
    async with (
        running(tmp_path / "d", None, "--clusters=2", "--pods=60") as run,
        aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True), timeout=aiohttp.ClientTimeout(15)) as session,
    ):
        chain = await opened(run, session)
        await chain.converge()
        for name in names:
            await FAULTS[name](chain)
            await chain.converge()


@pytest.mark.slow
@pytest.mark.case("F11")
async def test_a_long_run_of_faults_of_all_kinds_loses_nothing(tmp_path: Path) -> None:
    minutes = float(os.environ.get("CHAIN_MINUTES", "30"))
    rng = random.Random(11)
    took: list[float] = []
    kinds: set[str] = set()
    async with (
        running(tmp_path / "d", None, "--clusters=3", "--pods=60") as run,
        aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True), timeout=aiohttp.ClientTimeout(15)) as session,
    ):
        chain = await opened(run, session)
        await chain.converge()
        end = time.monotonic() + 60 * minutes
        order: list[str] = []
        while time.monotonic() < end:
            order = order or rng.sample(sorted(FAULTS), len(FAULTS))  # each kind once before any comes again
            name = order.pop()
            kinds.add(name)
            await FAULTS[name](chain)
            took.append(await chain.converge())
            print(f"{name}: right again after {took[-1]:.1f} s")
            await asyncio.sleep(rng.uniform(0, 3))
    took.sort()
    print(f"{len(took)} faults of {len(kinds)} kinds; p50 {took[len(took) // 2]:.1f} s, worst {took[-1]:.1f} s")
    assert len(kinds) == len(FAULTS), "it was too short to try every kind"
