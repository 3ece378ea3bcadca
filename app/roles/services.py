"""The services of a process, opened in order and closed in the reverse one: the composition root of the roles."""

import contextlib
from collections.abc import AsyncIterator

import msgspec
import structlog

from app.authn.passwords import Passwords
from app.authn.service import AccountService
from app.authn.sessions import Sessions
from app.clusters.schemas import Connection, Registration
from app.clusters.service import ClusterService
from app.problems import Problem
from app.settings import Settings
from app.storage import postgres, redis
from app.storage.encryption import Keyring

log = structlog.get_logger()


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """What every role needs: the two stores, the accounts and the registry of clusters."""

    engine: postgres.Engine
    redis: redis.Redis
    sessions: Sessions
    accounts: AccountService
    clusters: ClusterService


@contextlib.asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Opened]:
    """Connections to PostgreSQL and Redis, and the services on them, for the length of a block."""
    async with contextlib.AsyncExitStack() as stack:
        engine = await stack.enter_async_context(postgres.lifespan(postgres.engine(settings)))
        client = redis.connect(settings.redis_url.reveal())
        stack.push_async_callback(client.aclose)
        passwords = stack.enter_context(Passwords())
        sessions = Sessions(client, idle_s=settings.session_idle_s, absolute_s=settings.session_absolute_s)
        yield Opened(
            engine=engine,
            redis=client,
            sessions=sessions,
            accounts=AccountService(engine, client, sessions, passwords),
            clusters=ClusterService(settings, engine, Keyring.from_settings(settings)),
        )


async def register_all(opened: Opened, kubeconfig: str) -> list[str]:
    """Register every usable context of a kubeconfig, as a person would on the page; the names of those kept."""
    kept: list[str] = []
    for context in await opened.clusters.contexts(kubeconfig):
        connection = Connection(kubeconfig=kubeconfig, context=context.name)
        try:
            cluster = await opened.clusters.register(Registration(connection))
        except Problem as problem:
            log.warning("cluster.not_registered", context=context.name, reason=problem.detail)
        else:
            kept.append(cluster.name)
    return kept
