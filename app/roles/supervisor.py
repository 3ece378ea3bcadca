"""`kubenexus run`: the embedded servers, the migration, the roles and the demo fleet, owned by one process.

Starts in this order and ends in the reverse one. Whatever dies is started again; what cannot be started is said in
one sentence. Its children die with it, even when it is killed with -9.
"""

import asyncio
import contextlib
import itertools
import os
import signal
import socket
import webbrowser
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Literal

import msgspec
import structlog

from app import tasks
from app.clusters import kubeconfig, local
from app.embedded import postgres as embedded_postgres
from app.embedded import valkey as embedded_valkey
from app.problems import Problem
from app.roles import children, demo, services
from app.settings import Secret, Settings
from app.storage.postgres import migrate

log = structlog.get_logger()
READY_DEADLINE_S: Final = 60.0
Say = Callable[[str], None]


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the start command may choose, beside the settings.

    demo: "auto" starts the fleet when no cluster is registered, or when one of those registered is served by it.
    """

    demo: Literal["auto", "never"] = "auto"
    clusters: int = 3
    pods: int = 60
    changes: float = 3.0
    seed: int = 7
    browser: bool = True


class StartError(Exception):
    """Something could not be started; the message says what, and what to do."""


async def run(settings: Settings, options: Options, say: Say) -> None:
    """Run everything until SIGINT or SIGTERM; `say` gets one line of progress at a time."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    _claim_port(settings)
    async with contextlib.AsyncExitStack() as stack:
        async with (
            tasks.running("stop signal", _wait(stopping)) as stopped,
            tasks.running("start", _start(settings, options, say, stack)) as started,
        ):
            await asyncio.wait({started, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if started.done():
                started.result()
                await stopped
        say("stopping")
    say("stopped")


async def _wait(event: asyncio.Event) -> None:
    await event.wait()


async def _start(settings: Settings, options: Options, say: Say, stack: contextlib.AsyncExitStack) -> None:
    settings = await _servers(settings, say, stack)
    say("migrating the database")
    await migrate(settings)
    async with services.opened(settings) as opened:
        if password := await opened.accounts.ensure_administrator():
            # At once: whatever fails after this, the password exists and cannot be had again.
            say(f'sign in as "admin" with the one-time password {password} (shown once; you choose your own next)')
        await _demo(settings, opened, options, say, stack)
    env = environment(settings)
    for name in ("watcher", "web"):
        say(f"starting the {name}")
        await stack.enter_async_context(children.running(children.role(name, env), short_waits))
    await _answers(settings)
    await _greet(settings, options, say)


async def _servers(settings: Settings, say: Say, stack: contextlib.AsyncExitStack) -> Settings:
    """Start those embedded servers that no URL replaces; the settings with both URLs filled in."""
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    data_dir = settings.data_dir.resolve()
    settings = msgspec.structs.replace(settings, data_dir=data_dir)
    if not settings.database_url:
        say("starting the embedded PostgreSQL")
        postgres = await stack.enter_async_context(embedded_postgres.running(data_dir / "postgres"))
        settings = msgspec.structs.replace(settings, database_url=Secret(postgres.url))
    if not settings.redis_url:
        say("starting the embedded Valkey")
        valkey = await stack.enter_async_context(embedded_valkey.running(data_dir / "valkey"))
        settings = msgspec.structs.replace(settings, redis_url=Secret(valkey.url))
    return settings


async def _demo(
    settings: Settings, opened: "services.Opened", options: Options, say: Say, stack: contextlib.AsyncExitStack
) -> None:
    """Serve the demo fleet where nobody has registered anything else, and register its clusters once."""
    directory = settings.data_dir / "demo"
    registered = {cluster.server for cluster in await opened.clusters.list()}
    before = demo.recall(directory)
    ours = {cluster.server for cluster in before.clusters} if before else set()
    if options.demo == "never" or (registered and not registered & ours):
        return
    say(f"starting the demo fleet: {options.clusters} clusters of {options.pods} pods")
    fleet = await stack.enter_async_context(
        demo.running(
            directory, clusters=options.clusters, pods=options.pods, changes=options.changes, seed=options.seed
        )
    )
    if not registered:
        say("registering its clusters")
        await services.register_all(opened, await asyncio.to_thread(Path(fleet.kubeconfig).read_text))


def environment(settings: Settings) -> dict[str, str]:
    """The settings as the roles read them. In the environment of our own children only, never in an argument list."""
    values = {
        "DATA_DIR": str(settings.data_dir),
        "DATABASE_URL": settings.database_url.reveal(),
        "REDIS_URL": settings.redis_url.reveal(),
        "HOST": settings.host,
        "PORT": str(settings.port),
        "PUBLIC_URL": settings.public_url,
        "LOG_LEVEL": settings.log_level,
        "LOG_FORMAT": settings.log_format,
        "ALLOW_LOOPBACK_CLUSTERS": str(settings.allow_loopback_clusters).lower(),
    }
    return {f"KUBENEXUS_{name}": value for name, value in values.items()}


def short_waits() -> Iterator[float]:
    """Seconds before a dead role is started again: at once, then up to 5 s apart."""
    return itertools.chain([0.1, 0.5, 1.0, 2.0], itertools.repeat(5.0))


def url(settings: Settings) -> str:
    """Where a browser on this machine reaches the web role."""
    host = "127.0.0.1" if settings.host in {"0.0.0.0", "::"} else settings.host  # noqa: S104 - compared, not bound
    return settings.public_url or f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


def _claim_port(settings: Settings) -> None:
    """Say at once, and not after the servers have started, that the port is taken."""
    try:
        with socket.create_server((settings.host, settings.port)):
            pass
    except OSError as error:
        raise StartError(
            f"{settings.host}:{settings.port} cannot be used ({os.strerror(error.errno or 0)}). "
            "Stop what listens there, or choose another with KUBENEXUS_PORT"
        ) from error


async def _answers(settings: Settings) -> None:
    """Wait until the web role accepts connections."""
    host = url(settings).rpartition(":")[0].partition("//")[2].strip("[]")
    try:
        async with asyncio.timeout(READY_DEADLINE_S):
            while True:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection(host, settings.port)
                    writer.close()
                    return
                await asyncio.sleep(0.1)
    except TimeoutError as error:
        raise StartError(f"the web role did not answer within {READY_DEADLINE_S:.0f} s; its log is above") from error


async def _greet(settings: Settings, options: Options, say: Say) -> None:
    where = url(settings)
    if options.browser and _has_display():
        async with services.opened(settings) as opened:
            link = await opened.accounts.create_sign_in_link(where)
        # In a thread: some browsers' launchers wait.
        await asyncio.to_thread(webbrowser.open, link)
    if found := await _local_contexts():
        say(f"{local.path_of()} has {found}; nothing was imported: choose under Clusters, Register")
    say(f"KubeNexus is at {where} (Ctrl-C stops it)")


async def _local_contexts() -> str:
    """The contexts of this machine's kubeconfig in words; "" when there are none, or it cannot be read."""
    try:
        contexts = kubeconfig.parse(await asyncio.to_thread(local.read, local.path_of()))
    except Problem:
        return ""
    names = [context.name for context in contexts]
    if not names:
        return ""
    shown = ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
    return f"{len(names)} context{'s' * (len(names) > 1)} ({shown})"


def _has_display() -> bool:
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")) or os.uname().sysname == "Darwin"
