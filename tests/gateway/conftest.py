"""The application, served."""

import pytest
import pytest_asyncio

from app.authn.passwords import Passwords
from tests.gateway.serving import serving


@pytest.fixture(scope="session")
def passwords():
    with Passwords() as opened:
        yield opened


@pytest_asyncio.fixture
async def served(engine, redis, passwords):
    async with serving(engine, redis, passwords) as server:
        yield server
