"""`/livez` and `/readyz`, for whatever keeps the process running: in Kubernetes' words and status codes.

Live says that the process answers. Ready says that each part it needs answers too, each asked with a deadline.
"""

import asyncio
from collections.abc import Awaitable
from typing import Final

import msgspec
import structlog
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.types import ControllerRouterHandler

from app.authz.guards import PUBLIC
from app.storage.postgres import Engine
from app.storage.redis import Redis, RedisConnectionError
from app.stream.hub import Hub

log = structlog.get_logger()
DEADLINE_S: Final = 2.0
NOT_CACHED: Final = {"cache-control": "no-store"}


class Readiness(msgspec.Struct, frozen=True):
    """parts: "ok", or what is wrong, by part."""

    ready: bool
    parts: dict[str, str]


@get(
    "/livez",
    opt={PUBLIC: "Says only that the process answers; kubelets have no session."},
    media_type="text/plain",
    operation_id="livez",
    tags=["health"],
)
async def livez() -> str:
    """Whether the process answers."""
    return "ok"


@get(
    "/readyz",
    opt={PUBLIC: "Names parts and no content; kubelets and load balancers have no session."},
    operation_id="readyz",
    tags=["health"],
)
async def readyz(
    engine: NamedDependency[Engine], redis: NamedDependency[Redis], hub: NamedDependency[Hub]
) -> Response[Readiness]:
    """Whether all parts answer: 200, or 503 with the part that does not."""
    checks: dict[str, Awaitable[object]] = {
        "postgresql": engine.run_ddl("SELECT 1"),
        "redis": redis.ping(),
        "hub": _hearing(hub),
    }
    verdicts = await asyncio.gather(*(_verdict(name, check) for name, check in checks.items()))
    parts = dict(zip(checks, verdicts, strict=True))
    ready = all(verdict == "ok" for verdict in parts.values())
    return Response(Readiness(ready=ready, parts=parts), status_code=200 if ready else 503)


async def _hearing(hub: Hub) -> None:
    if not hub.is_hearing:
        raise RedisConnectionError("the hub hears no messages")


async def _verdict(name: str, check: Awaitable[object]) -> str:
    try:
        async with asyncio.timeout(DEADLINE_S):
            await check
    except TimeoutError:
        return f"does not answer within {DEADLINE_S:g} s"
    except Exception as error:  # noqa: BLE001 - whatever it is, the part is not ready; the text stays in the log
        log.warning("health.part_failed", part=name, error=repr(error))
        return "does not answer"
    return "ok"


ROUTES: Final[list[ControllerRouterHandler]] = [livez, readyz]
