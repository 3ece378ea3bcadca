"""Servers start on new and kept data, survive kill -9, die with their owner, and never run twice on one directory."""

# ruff: noqa: ASYNC240, PTH115 - small local files; links in /proc
import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import asyncpg
import pytest

from app.embedded import identity, postgres, process, valkey
from app.embedded.identity import Identity
from app.embedded.process import EmbeddedError
from app.storage.redis import connect
from tests.stream.fleet import until

FAST = {"fsync": "off"}
OWNER = """
import asyncio, sys
from pathlib import Path
from app.embedded import postgres, valkey

async def main():
    server = {"postgres": postgres, "valkey": valkey}[sys.argv[1]]
    async with server.running(Path(sys.argv[2])) as running:
        print(running.pid, flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


async def write(server, value):
    if server.url.startswith("unix"):
        async with connect(server.url) as redis:
            await redis.set("kept", value)
            await redis.execute_command("WAITAOF", 1, 0, 5000)
        return
    connection = await asyncpg.connect(server.url)
    await connection.execute("CREATE TABLE IF NOT EXISTS kept (value text)")
    await connection.execute("INSERT INTO kept VALUES ($1)", value)
    await connection.close()


async def read(server):
    if server.url.startswith("unix"):
        async with connect(server.url) as redis:
            return (await redis.get("kept") or b"").decode()
    connection = await asyncpg.connect(server.url)
    value = await connection.fetchval("SELECT value FROM kept")
    await connection.close()
    return value


def alive(pid):
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


both = pytest.mark.parametrize("kind", [postgres, valkey], ids=["postgres", "valkey"])


@both
async def test_data_is_kept_between_runs_and_the_server_ends_with_the_block(kind, tmp_path):
    async with kind.running(tmp_path / "d") as server:
        pid = server.pid
        await write(server, "x")
    assert not alive(pid)
    async with kind.running(tmp_path / "d") as server:
        assert server.starts == 1
        assert await read(server) == "x"


@both
async def test_a_killed_server_is_started_again_with_its_data_at_the_same_address(kind, tmp_path):
    async with kind.running(tmp_path / "d") as server:
        await write(server, "x")
        first = server.pid
        os.kill(first, signal.SIGKILL)
        assert await server.wait() == -signal.SIGKILL
        await until(lambda: server.starts == 2 and server.pid not in {None, first})
        async with asyncio.timeout(20):
            while True:
                with contextlib.suppress(Exception):
                    assert await read(server) == "x"
                    break
                await asyncio.sleep(0.05)


@both
async def test_a_second_owner_is_refused_with_a_sentence_and_harms_nothing(kind, tmp_path):
    async with kind.running(tmp_path / "d") as server:
        await write(server, "x")
        with pytest.raises(EmbeddedError, match=rf"in use by process {os.getpid()}: stop that one"):
            async with kind.running(tmp_path / "d"):
                pass
        assert await read(server) == "x"


@both
async def test_when_its_owner_is_killed_the_server_ends_and_a_successor_has_its_data(kind, tmp_path):
    name = kind.__name__.rpartition(".")[2]
    owner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OWNER, name, str(tmp_path / "d"), stdout=subprocess.PIPE
    )
    pid = int(await owner.stdout.readline())
    assert alive(pid)
    owner.kill()
    await owner.wait()
    async with kind.running(tmp_path / "d") as server:  # at once: it waits for the orphan
        assert not alive(pid)
        await write(server, "x")
        assert await read(server) == "x"


async def test_an_orphan_that_hangs_is_killed_by_its_successor(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "ORPHAN_DEADLINE_S", 0.5)
    owner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OWNER, "valkey", str(tmp_path / "d"), stdout=subprocess.PIPE
    )
    pid = int(await owner.stdout.readline())
    os.kill(pid, signal.SIGSTOP)
    owner.kill()
    await owner.wait()
    async with valkey.running(tmp_path / "d") as server:
        assert not alive(pid)
        await write(server, "x")


async def test_a_foreign_process_that_the_lock_names_is_left_alone(tmp_path):
    async with valkey.running(tmp_path / "d"):
        pass
    bystander = await asyncio.create_subprocess_exec("sleep", "60")
    (tmp_path / "d" / "server.lock").write_text(f"{bystander.pid}\n")
    with (tmp_path / "d" / "server.lock").open() as lock:
        process._kill_orphan(lock, tmp_path / "d")
    assert alive(bystander.pid)
    bystander.kill()
    await bystander.wait()


@both
async def test_a_directory_with_a_long_path_gets_a_short_private_one_for_its_socket(kind, tmp_path):
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    async with kind.running(deep) as server:
        await write(server, "x")
        assert await read(server) == "x"
        sockets = process.socket_directory(deep, "s" * 20)
        assert sockets != deep
        assert sockets.stat().st_mode & 0o777 == 0o700
    shutil.rmtree(sockets)


def test_a_short_socket_directory_that_others_could_enter_is_refused(tmp_path):
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    short = process.socket_directory(deep, "s" * 20)
    short.chmod(0o755)
    with pytest.raises(EmbeddedError, match="not a private directory"):
        process.socket_directory(deep, "s" * 20)
    short.rmdir()


@both
async def test_nothing_listens_on_the_network_and_the_socket_is_for_its_owner(kind, tmp_path):
    async with kind.running(tmp_path / "d") as server:
        sockets = [path for path in (tmp_path / "d").iterdir() if path.is_socket()]
        assert [path.stat().st_mode & 0o077 for path in sockets] == [0]
        inodes = set()
        for link in Path(f"/proc/{server.pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                inodes.add(os.readlink(link))
        table = [
            line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()
        ]
        assert not [row for row in table if len(row) > 9 and f"socket:[{row[9]}]" in inodes]


@both
async def test_a_server_has_none_of_our_settings_in_its_environment(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("KUBENEXUS_ENCRYPTION_KEY", "do-not-inherit")
    async with kind.running(tmp_path / "d") as server:
        assert b"do-not-inherit" not in Path(f"/proc/{server.pid}/environ").read_bytes()


@both
async def test_a_server_that_cannot_start_says_why_and_leaves_nothing_running(kind, tmp_path):
    with pytest.raises(EmbeddedError, match="no_such_setting"):
        async with kind.running(tmp_path / "d", options={"no_such_setting": "x"}):
            pass
    async with kind.running(tmp_path / "d") as server:
        assert server.pid


async def test_a_half_made_data_directory_is_made_again(tmp_path):
    (tmp_path / "d" / "data.new").mkdir(parents=True)
    (tmp_path / "d" / "data.new" / "PG_VERSION").write_text("18\n")
    async with postgres.running(tmp_path / "d", options=FAST) as server:
        await write(server, "x")


async def test_data_of_another_major_version_is_refused_and_not_touched(tmp_path):
    (tmp_path / "d" / "data").mkdir(parents=True)
    (tmp_path / "d" / "data" / "PG_VERSION").write_text("15\n")
    with pytest.raises(EmbeddedError, match="made by PostgreSQL 15"):
        async with postgres.running(tmp_path / "d"):
            pass
    assert [path.name for path in (tmp_path / "d" / "data").iterdir()] == ["PG_VERSION"]


async def test_the_log_stays_within_its_bound_and_keeps_the_part_before(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "LOG_LIMIT", 1000)
    monkeypatch.setattr(process, "LOG_CHECK_S", 0.05)
    async with valkey.running(tmp_path / "d", options={"loglevel": "debug"}) as server:
        older = tmp_path / "d" / "valkey.log.1"
        await until(older.exists)
        await until(lambda: server.log_file.stat().st_size <= 5000)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can run a server as somebody else")
async def test_where_user_namespaces_are_forbidden_root_runs_postgres_as_nobody(monkeypatch):
    monkeypatch.setattr(identity, "namespaces_allowed", lambda: False)
    directory = Path(tempfile.mkdtemp(prefix="kn-nobody-"))
    directory.chmod(0o711)
    try:
        assert identity.not_root() is Identity.NOBODY
        async with postgres.running(directory / "d", options=FAST) as server:
            await write(server, "x")
            assert Path(f"/proc/{server.pid}").stat().st_uid == identity.NOBODY
        async with postgres.running(directory / "d", options=FAST) as server:
            assert await read(server) == "x"
    finally:
        shutil.rmtree(directory)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can run a server as somebody else")
async def test_where_nobody_cannot_reach_the_data_root_is_told_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(identity, "namespaces_allowed", lambda: False)
    tmp_path.chmod(0o700)
    with pytest.raises(EmbeddedError, match="ordinary user"):
        async with postgres.running(tmp_path / "d"):
            pass
    assert tmp_path.stat().st_mode & 0o777 == 0o700


def become_ordinary():
    """Root becomes an ordinary user in its own eyes, who can still reach this interpreter."""
    identity.enter_namespace(12345)


@both
async def test_an_ordinary_user_even_one_without_a_name_can_run_the_servers(kind, tmp_path):
    if os.getuid() == 0 and not identity.namespaces_allowed():
        pytest.skip("root cannot become an ordinary user here")
    name = kind.__name__.rpartition(".")[2]
    owner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "import os; assert os.getuid()\n" + OWNER, name, str(tmp_path / "d"),
        stdout=subprocess.PIPE, preexec_fn=become_ordinary if os.getuid() == 0 else None,
    )  # fmt: skip
    try:
        pid = int(await owner.stdout.readline())
        assert alive(pid)
    finally:
        owner.terminate()
        await owner.wait()
    await until(lambda: not alive(pid))
