"""The web role: pages, API and live views, from this process's own copies of the streams.

On SIGTERM live streams end first, then the server, then what it stands on: a page that is served elsewhere next
reconnects at once.
"""

import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from types import FrameType
from typing import Final

import structlog
import uvicorn
from litestar.types import ASGIApp

from app import tasks
from app.asgi import Services, create_app, openapi_document
from app.gateway.protocol import HeadDeadline
from app.resources.service import ObjectService
from app.roles import services
from app.roles.collector import spare_collector
from app.settings import Settings
from app.stream.hub import Hub
from app.views.fleet import Fleet
from app.views.service import ViewService

__all__ = ["openapi_document", "opened", "serve", "spare_collector"]

log = structlog.get_logger()
BACKLOG: Final = 2048
GRACE_S: Final = 2.0  # for requests in flight; live streams are ended at once


@contextlib.asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Services]:
    """All services of the role, with their loops running."""
    async with contextlib.AsyncExitStack() as stack:
        common = await stack.enter_async_context(services.opened(settings))
        hub = await stack.enter_async_context(Hub(settings.redis_url.reveal()))
        fleet = Fleet(hub, common.clusters)
        views = ViewService(hub, common.redis, fleet, tick_s=settings.view_tick_s)
        resources = await stack.enter_async_context(ObjectService(common.clusters))
        await stack.enter_async_context(tasks.running("fleet", fleet.run()))
        await stack.enter_async_context(tasks.running("views", views.run()))
        yield Services(
            settings=settings,
            engine=common.engine,
            redis=common.redis,
            hub=hub,
            accounts=common.accounts,
            sessions=common.sessions,
            clusters=common.clusters,
            fleet=fleet,
            views=views,
            resources=resources,
        )


class Server(uvicorn.Server):
    """uvicorn, which would wait for open streams for ever: they end as soon as the signal comes."""

    def __init__(self, config: uvicorn.Config, release_streams: Callable[[], None]) -> None:
        super().__init__(config)
        self._release_streams = release_streams

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._release_streams()
        super().handle_exit(sig, frame)


def configuration(app: ASGIApp, settings: Settings) -> uvicorn.Config:
    """How uvicorn serves the application; measured so in bench/push.py."""
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=HeadDeadline,
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        ws_max_size=1 << 16,
        backlog=BACKLOG,
        access_log=False,
        log_level="warning",
        proxy_headers=False,
        server_header=False,
        date_header=True,
        timeout_graceful_shutdown=int(GRACE_S),
    )


async def serve(settings: Settings, listener: socket.socket | None = None) -> None:
    """Run the role until SIGTERM or SIGINT. listener: a bound socket to serve on instead of host and port."""
    async with opened(settings) as found:
        spare_collector()
        server = Server(configuration(create_app(found), settings), found.sessions.release_streams)
        log.info("web.serving", host=settings.host, port=settings.port)
        await server.serve(sockets=[listener] if listener is not None else None)
        log.info("web.ended")
