"""Who connects and says little or nothing: bounded in number of bytes held, and closed."""

import asyncio
import re
from pathlib import Path

import pytest

from app.gateway.protocol import HeadDeadline
from tests.gateway.serving import Served, serving

IDLE = 400  # each is two file descriptors here, of the 1,024 that a process may have


@pytest.fixture
async def impatient(engine, redis, hub, passwords, monkeypatch):
    monkeypatch.setattr(HeadDeadline, "head_s", 0.5)
    async with serving(engine, redis, hub, passwords) as server:
        yield server


async def connect(served: Served) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = served.url.removeprefix("http://").split(":")
    return await asyncio.open_connection(host, int(port))


async def closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """What came until the other side closed."""
    async with asyncio.timeout(10):
        rest = await reader.read()
    writer.close()
    return rest


def resident_kib() -> int:
    found = re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found
    return int(found[1])


@pytest.mark.case("S63")
async def test_hundreds_of_idle_connections_cost_little_and_are_closed(impatient: Served) -> None:
    before = resident_kib()
    opened = [await connect(impatient) for _ in range(IDLE)]
    async with impatient.client() as client:
        assert (await client.get("/livez")).status_code == 200
    assert resident_kib() - before < 30 * 1024

    for pair in opened:
        assert await closed(*pair) == b""


@pytest.mark.case("S63")
async def test_a_head_that_comes_byte_by_byte_is_not_waited_for(impatient: Served) -> None:
    reader, writer = await connect(impatient)

    async def trickle() -> None:
        for byte in b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"X-A: b\r\n" * 100:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.05)

    async with asyncio.TaskGroup() as tasks:
        slow = tasks.create_task(trickle())
        assert b"200" not in await closed(reader, writer)
        slow.cancel()


async def test_a_second_request_on_a_connection_is_answered(impatient: Served) -> None:
    reader, writer = await connect(impatient)
    for _ in range(3):
        writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
        await reader.readuntil(b"ok")
        await asyncio.sleep(0.3)
    writer.close()
