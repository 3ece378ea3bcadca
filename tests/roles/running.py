"""A running `kubenexus run` for the tests: started, listened to, signed in to, and searched for what it leaves."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp

START_S = 90


class Run:
    """One running `kubenexus run`: its process and what it said."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, directory: Path) -> None:
        self.process = process
        self.port = port
        self.directory = directory
        self.said = ""

    async def until(self, words: str) -> str:
        """Read on until it says `words`; all that it has said."""
        assert self.process.stdout is not None
        async with asyncio.timeout(START_S):
            while words not in self.said:
                line = await self.process.stdout.readline()
                assert line, f"it ended before it said {words!r}:\n{self.said}"
                self.said += line.decode()
        return self.said

    async def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        async with asyncio.timeout(30):
            assert self.process.stdout is not None
            self.said += (await self.process.stdout.read()).decode()
            return await self.process.wait()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


@contextlib.asynccontextmanager
async def running(directory: Path, port: int | None = None, *options: str) -> AsyncIterator[Run]:
    port = port or free_port()
    env = {k: v for k, v in os.environ.items() if not k.startswith("KUBENEXUS_")}
    env |= {"KUBENEXUS_DATA_DIR": str(directory), "KUBENEXUS_PORT": str(port)}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "app.cli",
        "run",
        "--no-browser",
        *(options or ("--clusters=1", "--pods=40")),
        env=env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    run = Run(process, port, directory)
    try:
        yield run
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        process._transport.close()  # its pipe, which orphans of a kill may hold open


def processes_of(directory: Path) -> list[str]:
    """Command lines and environments that name `directory`: whatever a run has started."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            if str(directory).encode() in words and state != "Z":
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:120])
    return found


async def gone(directory: Path) -> list[str]:
    """What is left of a run after at most 20 s."""
    left = processes_of(directory)
    for _ in range(200):
        if not left:
            break
        await asyncio.sleep(0.1)
        left = processes_of(directory)
    return left


async def signed_in(session: aiohttp.ClientSession, run: Run, password: str, fresh: str) -> None:
    origin = f"http://127.0.0.1:{run.port}"
    headers = {"Origin": origin}
    answer = await session.post(
        f"{origin}/sign-in", data={"name": "admin", "password": password}, headers=headers, allow_redirects=False
    )
    assert answer.status == 303
    answer = await session.post(
        f"{origin}/account/password",
        data={"current": password, "new": fresh, "repeated": fresh},
        headers=headers,
        allow_redirects=False,
    )
    assert answer.status == 303, await answer.text()


async def rows(session: aiohttp.ClientSession, run: Run, kind: str) -> dict:
    async with asyncio.timeout(30):
        while True:
            answer = await session.get(f"http://127.0.0.1:{run.port}/api/v1/rows/{kind}?limit=500")
            assert answer.status == 200, await answer.text()
            page = json.loads(await answer.read())
            if page["total"]:
                return page
            await asyncio.sleep(0.2)
