"""The pages, served."""

import pytest
import pytest_asyncio

from app.authn.passwords import Passwords
from tests.ui.sample_fleet import SampleFleet
from tests.ui.serving import serving


@pytest.fixture(scope="session")
def passwords():
    with Passwords() as opened:
        yield opened


@pytest.fixture
def fleet():
    return SampleFleet()


@pytest_asyncio.fixture
async def served(engine, redis, passwords, fleet):
    async with serving(engine, redis, passwords, fleet) as server:
        yield server


@pytest_asyncio.fixture
async def cluster(served):
    """A registration whose API server does not exist."""
    from tests.ui.registering import insert

    return await insert(served.services.clusters, "eu-1")
