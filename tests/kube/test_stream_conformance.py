"""Rows about an open stream: broken and big lines, silence, foreign answers (W19, W21-W23, W36, W37)."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from typing import Any

import pytest

from app.kube import errors
from app.kube.client import ApiServer
from app.kube.dialer import KEEPALIVE
from app.kube.stream import LineRefused
from app.kube.watch import TIMING, Timing

from .fault_apiserver import Exchange, FaultServer, half_a_line, raw_lines, refuse
from .mirror import PATH, endpoint, until, watching

SEEDS = pytest.mark.parametrize("seed", [1, 2, 3])


@pytest.mark.case("W19")
@SEEDS
@pytest.mark.parametrize("how", [Exchange.reset, Exchange.end, Exchange.close])
async def test_half_a_line_is_never_an_event(seed: int, how: Any) -> None:
    server = FaultServer()
    server.world.fill(4)
    server.on("watch", half_a_line(how))
    async with watching(server, seed=seed) as rig:
        await rig.caught_up()
        rig.world.put("café ☕")
        await rig.caught_up()

    assert rig.machine.counters.skipped == 0


@pytest.mark.case("W19")
@SEEDS
@pytest.mark.parametrize("line", [b"garbage {", b"null", b"[]", b'{"type":"ADDED","object":' + b"[" * 100_000])
async def test_a_line_that_is_no_event_is_a_relist(seed: int, line: bytes) -> None:
    server = FaultServer()
    server.world.fill(4)
    server.on("watch", raw_lines(line))
    async with watching(server, seed=seed) as rig:
        await until(lambda: len(server.of("list")) == 2)
        rig.world.put("later")
        await rig.caught_up()


@pytest.mark.case("W20")
async def test_events_cut_in_the_middle_of_a_character_arrive_whole() -> None:
    server = FaultServer()
    made = server.world.put("name", text="☕ ünïcødé 😀")
    line = json.dumps({"type": "MODIFIED", "object": made}, ensure_ascii=False).encode() + b"\r\n"

    async def byte_by_byte(exchange: Exchange) -> None:
        await exchange.start()
        for at in range(len(line)):
            await exchange.chunk(line[at : at + 1])
            await asyncio.sleep(0)
        await exchange.live(server.world.version)

    server.on("watch", byte_by_byte)
    async with watching(server) as rig:
        await until(lambda: rig.machine.counters.events == 1)
        await rig.caught_up()

    assert len(server.of("list")) == 1


@pytest.mark.case("W21")
async def test_five_mebibytes_in_a_line_are_fine() -> None:
    server = FaultServer()
    server.world.fill(2)
    async with watching(server) as rig:
        await rig.caught_up()
        await until(lambda: len(server.of("watch")) == 1)
        rig.world.put("big", text="x" * (5 << 20))
        await rig.caught_up()

    assert rig.machine.counters.events == 1


@pytest.mark.case("W21")
async def test_a_line_over_the_bound_is_said_and_survived() -> None:
    server = FaultServer()
    server.world.fill(2)
    async with watching(server, timing=Timing(line_bytes=1 << 20, idle_s=(5, 5))) as rig:
        await rig.caught_up()
        await until(lambda: len(server.of("watch")) == 1)
        rig.world.put("big", text="x" * (2 << 20))
        await until(lambda: ("degraded", LineRefused.sentence) in rig.mirror.states)
        await rig.caught_up()
        rig.world.put("later")
        await rig.caught_up()


@pytest.mark.case("W21")
@pytest.mark.slow
async def test_a_line_of_more_than_64_mebibytes_costs_no_more_memory_than_three_of_the_bound() -> None:
    code = """
import asyncio, resource, sys
from app.kube.client import ApiServer, Endpoint
from app.kube.stream import LineRefused

async def main() -> None:
    api = ApiServer(Endpoint(server=sys.argv[1], allow_loopback=True, allow_plaintext=True))
    async with api:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        async with await api.open_stream("/x", params=[("watch", "1")], idle_s=60) as stream:
            try:
                await stream.pump(lambda lines: None)
            except LineRefused:
                print("refused", (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)

asyncio.run(main())
"""
    server = FaultServer()

    async def endless(exchange: Exchange) -> None:
        await exchange.start()
        for _ in range(100):
            await exchange.chunk(b"x" * (1 << 20))
        await exchange.end()

    server.always("watch", endless)
    async with server:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, server.url, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": "."}
        )
        printed, _ = await child.communicate()

    word, grown_mib = printed.decode().split()
    assert word == "refused"
    assert int(grown_mib) <= 3 * 64


@pytest.mark.case("W22")
@SEEDS
async def test_a_peer_that_stays_mute_or_never_ends_a_line_is_left(seed: int) -> None:
    server = FaultServer()
    server.world.fill(3)

    async def mute(exchange: Exchange) -> None:
        await exchange.start()
        await exchange.mute()

    async def trickle(exchange: Exchange) -> None:
        await exchange.start()
        while True:
            await exchange.chunk(b"{")
            await asyncio.sleep(0.02)

    server.on("watch", mute if seed == 1 else trickle)
    async with watching(server, seed=seed, timing=Timing(idle_s=(0.2, 0.3))) as rig:
        await rig.caught_up()
        rig.world.put("later")
        await rig.caught_up()

    assert len(server.of("watch")) >= 2


@pytest.mark.case("W22")
async def test_connections_probe_an_idle_peer() -> None:
    """A peer that vanished is found after idle + probes * interval = 30 s by the kernel."""
    idle_s, between_s, probes = KEEPALIVE
    server = FaultServer()
    async with server, ApiServer(endpoint(server)) as api:
        stream = await api.open_stream(PATH, params=[("watch", "1")], idle_s=5)
        sock = stream._receiver._transport.get_extra_info("socket")
        names = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT")
        seen = tuple(sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in names)
        alive = sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        stream.close()

    assert seen == (idle_s, between_s, probes)
    assert alive == 1
    assert idle_s + between_s * probes <= 30


@pytest.mark.case("W22")
@pytest.mark.slow
async def test_a_stopped_peer_is_left_within_eighty_real_seconds() -> None:
    """SIGSTOP: the kernel still acknowledges, so only the read deadline can find it."""
    code = """
import asyncio
from tests.kube.fault_apiserver import FaultServer
async def main():
    async with FaultServer() as server:
        server.world.fill(3)
        print(server.port, flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=subprocess.PIPE)
    assert child.stdout is not None
    server = FaultServer()
    server.port = int(await child.stdout.readline())
    from app.clock import SYSTEM_CLOCK

    try:
        async with watching(server, timing=TIMING, clock=SYSTEM_CLOCK) as rig:  # type: ignore[arg-type]
            await until(lambda: rig.mirror.synced and rig.mirror.states[-1][0] == "live")
            os.kill(child.pid, signal.SIGSTOP)
            await until(lambda: rig.mirror.states[-1][0] == "stale", 160)
    finally:
        child.kill()
        await child.wait()


@pytest.mark.case("W23")
@SEEDS
@pytest.mark.parametrize(
    "event",
    [
        {
            "type": "SURPRISE",
            "object": {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"resourceVersion": "9999"}},
        },
        {
            "type": "ADDED",
            "object": {"kind": "Secret", "apiVersion": "v1", "metadata": {"uid": "s", "resourceVersion": "9999"}},
        },
        {
            "type": "ADDED",
            "object": {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": "9999"}},
        },
    ],
    ids=["type", "kind", "table"],
)
async def test_foreign_events_are_skipped_and_counted_and_do_not_advance(seed: int, event: dict[str, Any]) -> None:
    server = FaultServer()
    server.world.fill(3)
    server.on("watch", raw_lines(json.dumps(event).encode(), b""))
    async with watching(server, seed=seed) as rig:
        await until(lambda: rig.machine.counters.skipped == 1)
        version = rig.machine.version
        rig.world.put("later")
        await rig.caught_up()

    assert version != "9999"
    assert len(server.of("list")) == 1


@pytest.mark.case("W36")
@SEEDS
@pytest.mark.parametrize("code", [301, 302, 307, 308])
@pytest.mark.parametrize("kind", ["list", "watch"])
async def test_redirects_are_never_followed(seed: int, code: int, kind: str) -> None:
    elsewhere = FaultServer()
    server = FaultServer()
    server.world.fill(2)
    async with elsewhere:
        server.on(kind, refuse(code, b"", Location=elsewhere.url + PATH))
        async with watching(server, seed=seed) as rig:
            await until(lambda: any(state == "degraded" for state, _ in rig.mirror.states))
            await rig.caught_up()

    assert elsewhere.connections == 0


@pytest.mark.case("W36")
@pytest.mark.parametrize("kind", ["list", "watch"])
@pytest.mark.parametrize("type_", ["text/html", "application/vnd.kubernetes.protobuf;stream=watch"])
async def test_an_answer_in_another_form_is_an_error_state(kind: str, type_: str) -> None:
    server = FaultServer()
    server.world.fill(2)

    async def foreign(exchange: Exchange) -> None:
        await exchange.answer(200, b"<html>sign in, password=hunter2</html>", type_=type_)

    server.on(kind, foreign)
    async with watching(server) as rig:
        await until(lambda: any(state == "degraded" for state, _ in rig.mirror.states))
        await rig.caught_up()

    assert not any("hunter2" in message for _, message in rig.mirror.states)


@pytest.mark.case("W37")
@SEEDS
async def test_a_server_that_trickles_does_not_hold_up_the_others(seed: int) -> None:
    """One of twelve answers a byte at a time; the other eleven follow every change meanwhile, in any order of turns."""
    from contextlib import AsyncExitStack

    slow = FaultServer()
    slow.world.fill(200)

    async def trickle(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            await exchange.chunk(b"{")
            await asyncio.sleep(0.01)

    slow.always("any", trickle)
    async with AsyncExitStack() as stack:
        bad = await stack.enter_async_context(watching(slow, seed=seed))
        rigs = []
        for number in range(11):
            server = FaultServer()
            server.world.fill(20)
            rigs.append(await stack.enter_async_context(watching(server, seed=number)))
        for rig in rigs:
            await rig.caught_up()
        for step in range(20):
            for rig in rigs:
                rig.world.put("object-00001", step=str(step))
            for rig in rigs:
                await rig.caught_up()
        assert not bad.mirror.synced

    assert all(len(rig.server.of("list")) == 1 for rig in rigs)


@pytest.mark.case("W37")
async def test_a_trickled_list_ends_at_its_deadline() -> None:
    server = FaultServer()

    async def trickle(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n")
        while True:
            await exchange.send(b" ")
            await asyncio.sleep(0.01)

    server.always("any", trickle)
    async with server, ApiServer(endpoint(server)) as api:
        with pytest.raises(errors.Unreachable, match=r"did not answer within"):
            await api.request("GET", PATH, deadline_s=0.1)
