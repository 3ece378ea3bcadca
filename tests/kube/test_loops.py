"""Streams share one receive buffer: on either loop, plain or over TLS, none reads another's bytes and nothing leaks."""

import asyncio
import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from app.kube.client import ApiServer
from app.kube.codec import MetadataCodec
from app.kube.watch import ListWatch
from app.tasks import running

from .certificates import Authority
from .fault_apiserver import FaultServer
from .mirror import PATH, Mirror, endpoint, until


def on_a_loop_of_its_own(factory: Callable[[], asyncio.AbstractEventLoop], work: Callable[[], object]) -> None:
    """Run `work` in a thread, since this one's loop belongs to the test runner."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            with asyncio.Runner(loop_factory=factory) as runner:
                runner.run(work())
        except BaseException as failure:  # noqa: BLE001 - raised again by the thread that waits
            failures.append(failure)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    if failures:
        raise failures[0]


async def many_streams(authority: Authority | None) -> None:
    """Twelve machines on one connection object, under changes large and small."""
    server = FaultServer(tls=authority.server() if authority else None, streaming=True)
    server.world.fill(100)
    fields = {"ca_pem": authority.pem} if authority else {}
    async with server, asyncio.timeout(40), ApiServer(endpoint(server, **fields)) as api:
        mirrors = [Mirror() for _ in range(12)]
        async with asyncio.TaskGroup() as tasks:
            machines = [
                tasks.create_task(ListWatch(api, PATH, MetadataCodec("ConfigMap", "v1"), mirror).run())
                for mirror in mirrors
            ]
            await until(lambda: all(mirror.synced for mirror in mirrors), 20)
            for step in range(300):
                server.world.put(f"object-{step % 100:05}", text=str(step) * (1 + step % 7 * 3_000))
                if step % 20 == 0:
                    await asyncio.sleep(0)
            truth = server.world.versions()
            await until(lambda: all(mirror.versions == truth for mirror in mirrors), 20)
            for machine in machines:
                machine.cancel()


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_streams_that_share_a_buffer_read_only_their_own(loop, tls: bool) -> None:
    on_a_loop_of_its_own(loop, lambda: many_streams(Authority() if tls else None))


async def cancelled_often(authority: Authority) -> None:
    rng = random.Random(5)
    server = FaultServer(tls=authority.server(), streaming=True)
    server.world.fill(20)
    async with server, ApiServer(endpoint(server, ca_pem=authority.pem)) as api:
        grown = []
        for turn in range(3):
            for number in range(60):
                machine = ListWatch(api, PATH, MetadataCodec(), Mirror(), streaming=number % 2 == 0)
                async with running("machine", machine.run()):
                    await asyncio.sleep(rng.random() * 0.006)
            for _ in range(200):  # until the peers have seen the ends
                await asyncio.sleep(0.005)
                grown_to = len([*Path("/proc/self/fd").iterdir()])  # noqa: ASYNC240
                if grown and grown_to <= grown[0]:
                    break
            grown.append(grown_to)
            assert turn == 0 or grown[-1] <= grown[0] + 2


@pytest.mark.case("W35")
@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_cancelling_in_a_handshake_leaks_no_file(loop) -> None:
    authority = Authority()
    on_a_loop_of_its_own(loop, lambda: cancelled_often(authority))
