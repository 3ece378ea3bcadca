"""A small simulated cluster over TLS whose time stands still, and a client that speaks to it as one of its users."""

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest_asyncio

from kubesim.clock import Clock, HandClock
from kubesim.fleet import Cluster, Fleet, Plan

Object = dict[str, Any]


class Answer:
    """Status, headers and body of one answer."""

    def __init__(self, status: int, headers: Any, body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """Requests to one cluster as one user."""

    def __init__(self, session: aiohttp.ClientSession, cluster: Cluster, user: str) -> None:
        self._session = session
        self._cluster = cluster
        self._headers = {"Authorization": f"Bearer {cluster.tokens[user]}"} if user else {}

    async def __call__(
        self, method: str, path: str, body: object = None, *, headers: dict[str, str] | None = None
    ) -> Answer:
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        extra = {"Content-Type": "application/json"} if data is not None else {}
        all_headers = {**self._headers, **extra, **(headers or {})}
        async with self._session.request(method, self._cluster.url + path, data=data, headers=all_headers) as response:
            return Answer(response.status, response.headers.copy(), await response.read())

    async def get(self, path: str, **headers: str) -> Any:
        found = await self("GET", path, headers=headers)
        assert found.status == 200, found.body
        return found.json

    @contextlib.asynccontextmanager
    async def watch(self, path: str, **headers: str) -> AsyncIterator["Stream"]:
        async with self._session.get(self._cluster.url + path, headers={**self._headers, **headers}) as response:
            assert response.status == 200, await response.read()
            yield Stream(response)


class Stream:
    """The events of one watch."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def next(self) -> Object:
        async with asyncio.timeout(10):
            found: Object = json.loads(await self._response.content.readline())
        return found

    async def until_bookmark(self) -> list[Object]:
        found = [await self.next()]
        while found[-1]["type"] != "BOOKMARK":
            found.append(await self.next())
        return found

    async def rest(self) -> list[Object]:
        async with asyncio.timeout(10):
            return [json.loads(line) async for line in self._response.content]


@pytest_asyncio.fixture
async def _no_leaked_tasks() -> AsyncIterator[None]:
    """As everywhere, but that a connection of the shared client, and its handler in the server, may outlive a test."""
    before = asyncio.all_tasks()
    yield
    for _ in range(200):  # the server ends a watch when it hears that its client has gone
        left = [task for task in asyncio.all_tasks() - before - {asyncio.current_task()} if not task.done()]
        left = [task for task in left if "RequestHandler.start" not in repr(task.get_coro())]
        if not left:
            return
        await asyncio.sleep(0.01)
    assert not left


@contextlib.asynccontextmanager
async def running(directory: Path, clock: Clock) -> AsyncIterator[Fleet]:
    """A cluster of 40 pods without incidents. In its own task: a task group wants to be left by who entered it."""
    started: asyncio.Future[Fleet] = asyncio.get_running_loop().create_future()
    ending = asyncio.Event()

    async def hold() -> None:
        async with Fleet(Plan(clusters=1, pods=40, changes_per_s=0, incidents=False), directory, clock) as fleet:
            started.set_result(fleet)
            await ending.wait()

    async with asyncio.TaskGroup() as group:
        group.create_task(hold())
        yield await started
        ending.set()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def fleet(tmp_path_factory: Any) -> AsyncIterator[Fleet]:
    async with running(tmp_path_factory.mktemp("fleet"), HandClock()) as fleet:
        yield fleet


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def session(fleet: Fleet, tmp_path_factory: Any) -> AsyncIterator[aiohttp.ClientSession]:
    context = ssl.create_default_context(cadata=(fleet._directory / "ca.crt").read_text())
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
        yield session


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def cluster(fleet: Fleet) -> Cluster:
    return fleet.clusters[0]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def admin(session: aiohttp.ClientSession, cluster: Cluster) -> Client:
    return Client(session, cluster, "admin")


def configmap(name: str, **labels: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}, "data": {"a": "1"}}
