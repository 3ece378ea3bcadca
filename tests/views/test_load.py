"""Many sockets on many streams at once: each shows in the end what was published, and each stream is read once (F12).

How late frames are is measured in bench/end_to_end.py, never here.
"""

import contextlib
import json

import pytest

from tests.views.test_frames import Viewer
from tests.views.test_routes import live, passwords, read_until, socket  # noqa: F401 - fixtures
from tests.views.world import Source, row

CHANGES = 20


@pytest.mark.case("F12")
@pytest.mark.parametrize(
    ("sockets", "streams"), [(100, 5), pytest.param(2_000, 50, marks=pytest.mark.slow)], ids=["100x5", "2000x50"]
)
async def test_every_socket_gets_every_stream_whole(live, redis, sockets, streams) -> None:  # noqa: F811
    served, made = live
    await made.cluster("eu", [row(1)])
    kinds = [f"kind{n}" for n in range(streams)]
    sources = {kind: Source(redis, "eu", kind) for kind in kinds}
    for source in sources.values():
        await source.begin([row(n) for n in range(10)])
    read_before = made.hub.snapshots_read

    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(served.signed_in())
        opened = []
        for number in range(sockets):
            each = await stack.enter_async_context(socket(served, client))
            await each.send(json.dumps({"op": "sub", "id": 1, "kind": kinds[number % streams]}))
            opened.append((each, Viewer()))
        for step in range(1, CHANGES + 1):
            for source in sources.values():
                await source.change(*(row(n, restarts=step) for n in range(10)))
        for each, viewer in opened:
            await read_until(each, viewer, lambda viewer=viewer: _restarts(viewer) == {CHANGES})

    # The cluster's own list and its status are streams too.
    assert made.hub.snapshots_read - read_before <= streams + 2


def _restarts(viewer: Viewer) -> set[object]:
    if len(viewer.rows) != 10:
        return set()
    return {values[-1] for values in (list(found)[-1:] for found in viewer.rows.values())}
