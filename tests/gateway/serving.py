"""The whole application behind a real uvicorn on a free port, in the test's own loop."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx2
import msgspec
import uvicorn

from app import tasks
from app.asgi import Services, create_app
from app.authn import routes as authn
from app.authn.passwords import Passwords
from app.authn.service import AccountService
from app.authn.sessions import Sessions
from app.authz.identity import Binding
from app.authz.roles import Role
from app.clusters import routes as clusters
from app.clusters.service import ClusterService
from app.gateway import health
from app.gateway.protocol import HeadDeadline
from app.settings import Settings
from app.storage.encryption import Keyring
from app.stream.hub import Hub

OWN = [*health.ROUTES, *authn.ROUTES, *clusters.ROUTES]  # other features have their own tests
PASSWORD = "correct horse battery staple"


class Served(msgspec.Struct):
    """url: of the server. services: what it runs on."""

    url: str
    services: Services

    @contextlib.asynccontextmanager
    async def client(self, **headers: str) -> AsyncIterator[httpx2.AsyncClient]:
        """A client that keeps cookies and follows nothing; it says where it comes from, as a browser does."""
        said = {"origin": self.url, **headers}
        async with httpx2.AsyncClient(base_url=self.url, headers=said, trust_env=False) as client:
            yield client

    @contextlib.asynccontextmanager
    async def signed_in(self, role: Role = Role.ADMINISTRATOR, **where: Any) -> AsyncIterator[httpx2.AsyncClient]:
        """A client in the session of a user of its own with that role."""
        name = f"{role.value}-{len(where)}"
        with contextlib.suppress(Exception):
            await self.services.accounts.create(name, PASSWORD, Binding(role=role, **where), expired=False)
        async with self.client() as client:
            answer = await client.post("/api/v1/session", json={"name": name, "password": PASSWORD})
            assert answer.status_code == 201, answer.text
            yield client


@contextlib.asynccontextmanager
async def serving(
    engine: Any, redis: Any, hub: Hub, passwords: Passwords, extra: Sequence[Any] = (), **settings: Any
) -> AsyncIterator[Served]:
    """Serve until the end of the block; `extra` are more routes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with _serving(listener, engine, redis, hub, passwords, extra, settings) as served:
            yield served


@contextlib.asynccontextmanager
async def _serving(
    listener: socket.socket,
    engine: Any,
    redis: Any,
    hub: Hub,
    passwords: Passwords,
    extra: Sequence[Any],
    settings: Any,
) -> AsyncIterator[Served]:
    port = listener.getsockname()[1]
    chosen = Settings(host="127.0.0.1", port=port, allow_loopback_clusters=True, **settings)
    sessions = Sessions(redis, idle_s=1800, absolute_s=43200)
    services = Services(
        settings=chosen,
        engine=engine,
        redis=redis,
        hub=hub,
        accounts=AccountService(engine, redis, sessions, passwords),
        sessions=sessions,
        clusters=ClusterService(chosen, engine, Keyring([b"k" * 32])),
        fleet=None,
        views=None,
        resources=None,
    )
    config = uvicorn.Config(
        create_app(services, [*OWN, *extra]),
        http=HeadDeadline,
        log_config=None,
        lifespan="on",
        proxy_headers=False,
        ws_per_message_deflate=False,
    )
    server = uvicorn.Server(config)
    async with tasks.running("uvicorn", server.serve(sockets=[listener])) as running:
        while not server.started and not running.done():
            await asyncio.sleep(0.01)
        try:
            yield Served(url=f"http://127.0.0.1:{port}", services=services)
        finally:
            server.should_exit = True
            await asyncio.wait({running}, timeout=10)
