"""The live socket, its fall-back and pages of rows on a real server: who is let in, what is said, and what ends it."""

import asyncio
import contextlib
import dataclasses
import json

import httpx2
import pytest
import websockets
from websockets.exceptions import ConnectionClosed, InvalidStatus

from app.asgi import create_app
from app.authn.passwords import Passwords
from app.authz.roles import Role
from app.views import routes
from tests.gateway import serving as gateway
from tests.views.test_frames import Viewer
from tests.views.world import row, until, world

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="session")
def passwords():
    with Passwords() as opened:
        yield opened


@contextlib.asynccontextmanager
async def serving_views(engine, redis, redis_url, passwords, monkeypatch):
    """The gateway with our routes, on a world of streams."""
    async with world(redis, redis_url) as made:

        def create(services, chosen):
            return create_app(dataclasses.replace(services, fleet=made.fleet, views=made.views), chosen)

        monkeypatch.setattr(gateway, "create_app", create)
        async with gateway.serving(engine, redis, made.hub, passwords, routes.ROUTES) as served:
            yield served, made


@pytest.fixture
async def live(engine, redis, redis_url, passwords, monkeypatch):
    async with serving_views(engine, redis, redis_url, passwords, monkeypatch) as pair:
        yield pair


@contextlib.asynccontextmanager
async def socket(served, client, **headers):
    """A live socket in the client's session, as a browser of this origin opens it."""
    cookie = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
    said = {"Origin": served.url, "Cookie": cookie, **headers}
    said = {name: value for name, value in said.items() if value}
    url = served.url.replace("http", "ws", 1) + "/live/data"
    async with websockets.connect(url, additional_headers=said, proxy=None) as opened:
        yield opened


async def read_until(opened, viewer, condition):
    """Apply frames, and acknowledge them, until the condition holds."""
    async with asyncio.timeout(20):
        while not condition():
            said = json.loads(await opened.recv())
            for frame in said if isinstance(said, list) else [said]:
                viewer.take(frame if "e" in frame else None)
                await opened.send(json.dumps({"op": "ack", "id": frame["id"], "seq": frame["seq"]}))


async def closed(opened):
    """Read to the end; the close code."""
    with contextlib.suppress(ConnectionClosed):
        async with asyncio.timeout(10):  # a look at the session comes only after 30 s
            while True:
                await opened.recv()
    return opened.close_code


async def test_a_socket_shows_rows_and_their_changes(live) -> None:
    served, made = live
    eu = await made.cluster("eu", [row(1)])
    viewer = Viewer()
    async with served.signed_in() as client, socket(served, client) as opened:
        await opened.send('{"op":"sub","id":1,"kind":"pods"}')
        await read_until(opened, viewer, lambda: len(viewer.rows) == 1)
        await eu.change(row(2))
        await read_until(opened, viewer, lambda: len(viewer.rows) == 2)


async def test_another_origin_gets_no_socket(live) -> None:
    served, _ = live
    async with served.signed_in() as client:
        for origin in ("https://evil.example", ""):
            with pytest.raises(InvalidStatus) as caught:
                async with socket(served, client, Origin=origin):
                    pass
            assert caught.value.response.status_code in {401, 403}


async def test_without_a_session_there_is_no_socket_and_no_rows(live) -> None:
    served, _ = live
    async with served.client() as client:
        with pytest.raises(InvalidStatus) as caught:
            async with socket(served, client):
                pass
        assert caught.value.response.status_code in {401, 403}
        for path in ("/api/v1/rows/pods", "/live/data/stream"):
            assert (await client.get(path)).status_code == 401


@pytest.mark.parametrize(
    "message",
    [
        "no json",
        "[]",
        '{"op":"rm"}',
        '{"op":"sub","id":1,"kind":"pods","more":1}',
        '{"op":"sub","id":-1,"kind":"pods"}',
        '{"op":"sub","id":1,"kind":"pods","to":99999999999}',
        "x" * 70_000,
    ],
)
async def test_what_is_no_message_ends_the_socket(live, message) -> None:
    served, _ = live
    async with served.signed_in() as client, socket(served, client) as opened:
        await opened.send(message)
        assert await closed(opened) == 4400


async def test_the_socket_ends_with_its_session(live) -> None:
    served, made = live
    await made.cluster("eu", [row(1)])
    async with served.signed_in() as client, socket(served, client) as opened:
        await opened.send('{"op":"sub","id":1,"kind":"pods"}')
        await opened.recv()
        await client.delete("/api/v1/session")
        assert await closed(opened) == 4401
    await until(lambda: made.views.desks == 0)


async def test_rows_come_as_pages_filtered_and_sorted(live) -> None:
    served, made = live
    await made.cluster("eu", [row(n, restarts=n % 7) for n in range(30)], name="europe")
    async with served.signed_in() as client:
        asked = {"filter": "restarts>3", "sort": "-restarts", "from": 2, "limit": 5}
        answer = await client.get("/api/v1/rows/pods", params=asked)
        assert answer.status_code == 200
        page = answer.json()
        assert (page["total"], page["from"], len(page["rows"])) == (12, 2, 5)
        assert [column["key"] for column in page["columns"]][-2:] == ["status", "restarts"]
        assert page["rows"][0]["values"][0] == "europe"
        assert [each["values"][-1] for each in page["rows"]] == [6, 6, 5, 5, 5]

        refused = await client.get("/api/v1/rows/pods", params={"filter": "nobody=1"})
        assert refused.status_code == 422
        assert "position 1" in refused.text


async def test_pages_show_only_what_the_caller_may_see(live) -> None:
    served, made = live
    await made.cluster("eu", [row(1, namespace="a"), row(2, namespace="b")])
    await made.cluster("us", [row(3)])
    async with served.signed_in(Role.VIEWER, clusters=frozenset({"eu"}), namespaces=frozenset({"a"})) as client:
        page = (await client.get("/api/v1/rows/pods")).json()
        assert page["total"] == 1
        assert set(page["clusters"]) == {"eu"}


async def test_where_sockets_are_blocked_the_same_goes_over_a_stream_and_posts(live) -> None:
    served, made = live
    eu = await made.cluster("eu", [row(1)])
    viewer = Viewer()
    async with served.signed_in() as client, served.signed_in(Role.VIEWER) as other:
        async with client.stream("GET", "/live/data/stream") as stream:
            lines = stream.aiter_lines()
            async with asyncio.timeout(20):
                assert await anext(lines) == "event: line"
                line = json.loads((await anext(lines)).removeprefix("data: "))["line"]
                path = f"/live/data/{line}"
                assert (await other.post(path, headers=JSON, content=b'{"op":"ping"}')).status_code == 404, (
                    "another's line"
                )
                assert (await client.post(path, headers=JSON, content=b"no json")).status_code == 422
                subscribe = b'{"op":"sub","id":1,"kind":"pods"}'
                assert (await client.post(path, headers=JSON, content=subscribe)).status_code == 204
                await eu.change(row(2))
                async for text in lines:
                    if text.startswith("data: "):
                        said = json.loads(text.removeprefix("data: "))
                        for frame in said if isinstance(said, list) else [said]:
                            viewer.take(frame if "e" in frame else None)
                            ack = json.dumps({"op": "ack", "id": 1, "seq": frame["seq"]})
                            await client.post(path, headers=JSON, content=ack.encode())
                    if len(viewer.rows) == 2:
                        break
        with contextlib.suppress(httpx2.HTTPError):
            await until(lambda: made.views.desks == 0)


@pytest.mark.case("F09")
@pytest.mark.parametrize("viewers", [100, pytest.param(400, marks=pytest.mark.slow)])
async def test_when_the_server_restarts_all_viewers_come_back_and_each_stream_is_read_once(
    engine, redis, redis_url, passwords, monkeypatch, viewers
) -> None:
    """400 is what the files of one process allow, for both ends of each socket are in it."""
    for _life in range(2):
        async with serving_views(engine, redis, redis_url, passwords, monkeypatch) as (served, made):
            await made.cluster("eu", [row(n) for n in range(20)])
            reads = 0
            load = made.views.replica("pods")._load

            async def counted(cluster, snapshot, load=load):
                nonlocal reads
                reads += 1
                await load(cluster, snapshot)

            made.views.replica("pods")._load = counted
            async with served.signed_in() as client, contextlib.AsyncExitStack() as stack:

                async def one(client=client, stack=stack, served=served):
                    opened = await stack.enter_async_context(socket(served, client))
                    viewer = Viewer()
                    await opened.send('{"op":"sub","id":1,"kind":"pods","have":"0123abcdall-7"}')
                    await read_until(opened, viewer, lambda: len(viewer.rows) == 20)

                async with asyncio.timeout(60):
                    for first in range(0, viewers, 20):
                        await asyncio.gather(*(one() for _ in range(first, min(first + 20, viewers))))
                assert made.views.desks == viewers
                assert reads == 1
