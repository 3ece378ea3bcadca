"""A real browser on the whole application: real PostgreSQL and Valkey, a watcher, and simulated clusters over TLS.

Every page that a test opens reports what it must never have: CSP violations, dialogs, console errors, script errors.
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
import uvicorn
from playwright.async_api import Browser, Page, async_playwright

from app import tasks
from app.asgi import Services, create_app
from app.authn.passwords import Passwords
from app.authn.service import AccountService
from app.authn.sessions import Sessions
from app.authz.identity import Binding
from app.authz.roles import Role
from app.clusters.schemas import Connection, Details, Registration
from app.clusters.service import ClusterService
from app.resources.service import ObjectService
from app.settings import Secret, Settings
from app.storage.encryption import Keyring
from app.stream.hub import Hub
from app.views.fleet import Fleet
from app.views.service import ViewService
from app.watch.watcher import Watcher

PASSWORD = "correct horse battery staple"
BROWSER = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SPY = """
addEventListener("securitypolicyviolation", (event) =>
  console.error("CSP " + event.violatedDirective + " " + event.blockedURI + " " + event.sample));
"""


@pytest_asyncio.fixture(scope="session")
async def kubeconfig(server_directory: Path) -> AsyncIterator[str]:
    """Two simulated clusters in a process of their own, "prod-eu" and "prod-us"."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "kubesim",
        *("--clusters", "2", "--pods", "60", "--changes", "2", "--state-dir", str(server_directory / "kubesim")),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        ready = json.loads(await asyncio.wait_for(process.stdout.readline(), 60))
        assert ready
        yield (server_directory / "kubesim/kubeconfig.yaml").read_text()
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


class Running(msgspec.Struct):
    """url: of the server. services: what it runs on."""

    url: str
    services: Services

    async def register(self, kubeconfig: str, context: str, **details) -> str:
        """Register one context; the cluster's id."""
        connection = Connection(kubeconfig=kubeconfig, context=context)
        return (await self.services.clusters.register(Registration(connection, Details(**details)))).id


@pytest.fixture(scope="session")
def passwords():
    with Passwords() as opened:
        yield opened


@pytest_asyncio.fixture
async def running(engine, redis, redis_url, passwords, unused_port) -> AsyncIterator[Running]:
    """The application with an administrator "ada", and a watcher beside it."""
    settings = Settings(host="127.0.0.1", port=unused_port, allow_loopback_clusters=True, redis_url=Secret(redis_url))
    clusters = ClusterService(settings, engine, Keyring([b"k" * 32]))
    sessions = Sessions(redis, idle_s=1800, absolute_s=43200)
    accounts = AccountService(engine, redis, sessions, passwords)
    await accounts.create("ada", PASSWORD, Binding(role=Role.ADMINISTRATOR), expired=False)
    async with contextlib.AsyncExitStack() as stack:
        hub = await stack.enter_async_context(Hub(redis_url))
        fleet = Fleet(hub, clusters)
        views = ViewService(hub, redis, fleet)
        resources = await stack.enter_async_context(ObjectService(clusters))
        services = Services(
            settings=settings,
            engine=engine,
            redis=redis,
            hub=hub,
            accounts=accounts,
            sessions=sessions,
            clusters=clusters,
            fleet=fleet,
            views=views,
            resources=resources,
        )
        await stack.enter_async_context(tasks.running("fleet", fleet.run()))
        await stack.enter_async_context(tasks.running("views", views.run()))
        watcher = Watcher(settings, engine, redis, clusters)
        await stack.enter_async_context(tasks.running("watcher", watcher.run()))
        await stack.enter_async_context(_served(create_app(services), unused_port, sessions))
        yield Running(f"http://127.0.0.1:{unused_port}", services)


@contextlib.asynccontextmanager
async def _served(app, port: int, sessions: Sessions) -> AsyncIterator[None]:
    config = uvicorn.Config(
        app, port=port, log_config=None, lifespan="on", proxy_headers=False, ws_per_message_deflate=False
    )
    server = uvicorn.Server(config)
    async with tasks.running("uvicorn", server.serve()) as serving:
        while not server.started and not serving.done():
            await asyncio.sleep(0.01)
        try:
            yield
        finally:
            sessions.release_streams()
            server.should_exit = True
            await asyncio.wait({serving}, timeout=10)


@pytest.fixture
def unused_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest_asyncio.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        opened = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=BROWSER)
        yield opened
        await opened.close()


@pytest_asyncio.fixture
async def page(browser: Browser, running: Running) -> AsyncIterator[Page]:
    """A page in ada's session, on the fleet. The test fails if it ever said anything bad."""
    context = await browser.new_context(viewport={"width": 1360, "height": 820})
    opened = await context.new_page()
    said = watched(opened)
    await opened.add_init_script(SPY)
    await sign_in(opened, running.url)
    yield opened
    await context.close()
    assert [line for line in said if "422" not in line] == []  # the browser's own note on a form that was refused


def watched(page: Page) -> list[str]:
    """A list that gets every console error, script error and dialog of the page."""
    said: list[str] = []

    async def dismiss(dialog) -> None:
        said.append(f"dialog: {dialog.message}")
        await dialog.dismiss()

    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", dismiss)
    return said


async def sign_in(page: Page, url: str) -> None:
    await page.goto(url + "/sign-in")
    await page.fill("[name=name]", "ada")
    await page.fill("[name=password]", PASSWORD)
    await page.click("button")
    await page.wait_for_url(url + "/")
