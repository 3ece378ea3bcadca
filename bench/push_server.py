"""The web role with one page more: a live part of 500 bytes on the wire that changes ten times a second.

`python -m bench.push_server` reads its settings from the environment, as the role does. Everything around the page is
the product's: gateway, session in Valkey, guard, feed, stream, and how uvicorn is configured.
"""

import asyncio
import itertools

import uvloop
from litestar import get
from litestar.di import NamedDependency
from litestar.types import ASGIApp

from app import log, settings
from app.asgi import create_app
from app.authn.sessions import Sessions
from app.authz.guards import requires
from app.authz.identity import Identity
from app.gateway import health
from app.roles import web
from ui.live.patches import Parts
from ui.live.session import Feeds, PageStream, View

FILL = "x" * 400
numbers = itertools.count(1_000_000)
feeds = Feeds()


async def render() -> Parts:
    html = f"{next(numbers)}{FILL}"
    return Parts({"part": html}, {"page": html})


@get("/bench", guards=[requires("rows:read")], include_in_schema=False)
async def stream(identity: NamedDependency[Identity], sessions: NamedDependency[Sessions]) -> ASGIApp:
    """The page stream, as ui.live.streams answers it."""
    feed = feeds.of(View("bench", (), render, period_s=0.1))
    return PageStream(feed, sessions, identity.session, "")


async def main() -> None:
    configured = settings.from_process()
    log.configure(configured.log_level, configured.log_format)
    async with web.opened(configured) as found:
        web.spare_collector()
        app = create_app(found, [*health.ROUTES, stream])
        await web.Server(web.configuration(app, configured), found.sessions.release_streams).serve()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
