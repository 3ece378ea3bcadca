"""Rows W01-W18 of the watch conformance table: which requests are made, and that the mirror equals the truth."""

import pytest

from .fault_apiserver import FaultServer
from .mirror import watching

SEEDS = pytest.mark.parametrize("seed", [1, 2, 3])


@pytest.mark.case("W01")
@SEEDS
@pytest.mark.parametrize("streaming", [False, True])
async def test_nothing_written_between_list_and_watch_is_missed(seed: int, streaming: bool) -> None:
    server = FaultServer(streaming=streaming)
    server.world.fill(20)

    async def write_then_list(exchange):
        await exchange.normal()
        server.world.fill(1000)  # after the list was made, before the watch is opened

    server.on("list", write_then_list)
    async with watching(server, seed=seed, streaming=streaming) as rig:
        if streaming:
            server.world.fill(1000)
        await rig.caught_up()
        rig.world.delete("object-00003")
        await rig.caught_up()

    assert len(rig.mirror.versions) == 999
    assert len(server.of("list")) == (0 if streaming else 1)
