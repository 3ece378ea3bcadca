"""The whole application behind a real uvicorn on a free port, with a fleet that the test sets."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import uvicorn

from app import tasks
from app.asgi import Services, create_app
from app.authn.service import AccountService
from app.authn.sessions import Sessions
from app.clusters.service import ClusterService
from app.resources.service import ObjectService
from app.settings import Settings
from app.storage.encryption import Keyring
from tests.gateway.serving import Served


@contextlib.asynccontextmanager
async def serving(engine: Any, redis: Any, passwords: Any, fleet: Any) -> AsyncIterator[Served]:
    """Serve until the end of the block."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        settings = Settings(host="127.0.0.1", port=port, allow_loopback_clusters=True)
        sessions = Sessions(redis, idle_s=1800, absolute_s=43200)
        clusters = ClusterService(settings, engine, Keyring([b"k" * 32]))
        async with ObjectService(clusters) as resources:
            services = Services(
                settings=settings,
                engine=engine,
                redis=redis,
                hub=None,
                accounts=AccountService(engine, redis, sessions, passwords),
                sessions=sessions,
                clusters=clusters,
                fleet=fleet,
                views=None,
                resources=resources,
            )
            config = uvicorn.Config(
                create_app(services), log_config=None, lifespan="on", proxy_headers=False, ws_per_message_deflate=False
            )
            server = uvicorn.Server(config)
            async with tasks.running("uvicorn", server.serve(sockets=[listener])) as running:
                while not server.started and not running.done():
                    await asyncio.sleep(0.01)
                try:
                    yield Served(url=f"http://127.0.0.1:{port}", services=services)
                finally:
                    sessions.release_streams()
                    server.should_exit = True
                    await asyncio.wait({running}, timeout=10)
