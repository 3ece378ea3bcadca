"""The application, served."""

import pytest
import pytest_asyncio

from app.authn.passwords import Passwords
from app.stream.hub import Hub
from tests.gateway.serving import serving


@pytest.fixture(scope="session")
def passwords():
    with Passwords() as opened:
        yield opened


@pytest_asyncio.fixture
async def hub(redis_url):
    async with Hub(redis_url) as opened:
        yield opened


@pytest_asyncio.fixture
async def served(engine, redis, hub, passwords):
    async with serving(engine, redis, hub, passwords) as server:
        yield server
