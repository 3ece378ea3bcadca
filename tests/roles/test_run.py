"""`kubenexus run`, as a newcomer starts it: everything up, live clusters, everything down again, whatever kills it."""

import asyncio
import json
import os
import re
import signal
import socket
import sys
from pathlib import Path

import aiohttp
import pytest

from tests.roles.running import START_S, gone, rows, running, signed_in


async def test_one_command_shows_live_clusters_and_leaves_nothing_behind(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    async with running(directory) as run:
        said = await run.until("KubeNexus is at")
        password = re.search(r"one-time password (\S+)", said)
        assert password, said
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
            refused = await session.get(f"http://127.0.0.1:{run.port}/api/v1/rows/pods")
            assert refused.status == 401
            await signed_in(session, run, password[1], "a long enough new one")
            page = await rows(session, run, "pods")
        names = [column["key"] for column in page["columns"]]
        statuses = {row["values"][names.index("status")] for row in page["rows"]}
        assert page["total"] >= 40
        assert "Running" in statuses
        assert await run.end(signal.SIGINT) == 0
    assert "stopped" in run.said
    assert await gone(directory) == []

    async with running(directory) as again:
        said = await again.until("KubeNexus is at")
        assert "one-time password" not in said
        assert "registering" not in said
        again.process.kill()  # kill -9: its children must not outlive it
        await again.process.wait()
    assert await gone(directory) == []


async def test_a_taken_port_and_a_used_directory_are_said_in_a_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        async with running(tmp_path / "a", taken.getsockname()[1]) as run:
            async with asyncio.timeout(START_S):
                assert run.process.stdout is not None
                said = (await run.process.stdout.read()).decode()
                code = await run.process.wait()
    assert code == 1
    assert "KUBENEXUS_PORT" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("arguments", [["config"], ["openapi"], ["--help"]])
async def test_commands_answer_without_a_server(arguments: list[str], tmp_path: Path) -> None:
    env = {**os.environ, "KUBENEXUS_DATABASE_URL": "postgresql://u:hunter2@db/x", "KUBENEXUS_DATA_DIR": str(tmp_path)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "app.cli", *arguments, env=env, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()

    assert process.returncode == 0
    assert output
    assert b"hunter2" not in output
    if arguments == ["openapi"]:
        assert "/api/v1/rows/{kind}" in json.loads(output)["paths"]


async def test_a_cluster_that_came_back_as_another_is_shown_so_until_it_is_approved(tmp_path: Path) -> None:
    directory, fresh = tmp_path / "d", "a long enough new one"
    async with running(directory, None, "--clusters=1", "--pods=40", "--seed=7") as run:
        said = await run.until("KubeNexus is at")
        password = re.search(r"one-time password (\S+)", said)
        assert password
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
            await signed_in(session, run, password[1], fresh)
            await rows(session, run, "pods")
        await run.end(signal.SIGINT)

    # Another seed is another company on the same address: its kube-system is another one.
    async with running(directory, None, "--clusters=1", "--pods=40", "--seed=8") as run:
        await run.until("KubeNexus is at")
        origin = f"http://127.0.0.1:{run.port}"
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
            form = {"name": "admin", "password": fresh}
            answer = await session.post(f"{origin}/sign-in", data=form, headers={"Origin": origin})
            assert answer.status == 200
            cluster = (await (await session.get(f"{origin}/api/v1/clusters")).json())[0]
            page = f"{origin}/clusters/{cluster['id']}"
            async with asyncio.timeout(30):
                while "Another cluster answers here" not in await (await session.get(page)).text():
                    await asyncio.sleep(0.2)
            answer = await session.post(f"{page}/approve", headers={"Origin": origin})
            assert answer.status == 200
            async with asyncio.timeout(30):
                while True:
                    shown = await rows(session, run, "pods")
                    if {found["state"] for found in shown["clusters"].values()} == {"live"}:
                        break
                    await asyncio.sleep(0.2)
        assert shown["total"] >= 40
