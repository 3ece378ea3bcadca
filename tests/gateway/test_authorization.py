"""Each route of the JSON API for each kind of caller: what is not said here to be allowed is refused."""

import re

import pytest

from app.authz.roles import Role
from app.clusters.tables import Cluster
from tests.gateway.serving import Served

OPEN = {("get", "/livez"), ("get", "/readyz"), ("post", "/api/v1/session")}
OWN = {
    ("get", "/api/v1/session"),
    ("get", "/api/v1/sessions"),
    ("delete", "/api/v1/sessions"),
    ("delete", "/api/v1/sessions/{handle}"),
    ("put", "/api/v1/account/password"),
    ("delete", "/api/v1/session"),
}
# The least role for each other route; a route that is missing here fails the test.
NEEDS: dict[tuple[str, str], Role] = {
    ("get", "/api/v1/clusters"): Role.VIEWER,
    ("get", "/api/v1/clusters/{cluster_id}"): Role.VIEWER,
    ("patch", "/api/v1/clusters/{cluster_id}"): Role.OPERATOR,
    ("post", "/api/v1/clusters"): Role.ADMINISTRATOR,
    ("post", "/api/v1/clusters/validate"): Role.ADMINISTRATOR,
    ("post", "/api/v1/clusters/contexts"): Role.ADMINISTRATOR,
    ("get", "/api/v1/clusters/local"): Role.ADMINISTRATOR,
    ("post", "/api/v1/clusters/local"): Role.ADMINISTRATOR,
    ("put", "/api/v1/clusters/{cluster_id}/credential"): Role.ADMINISTRATOR,
    ("post", "/api/v1/clusters/{cluster_id}/approve"): Role.ADMINISTRATOR,
    ("delete", "/api/v1/clusters/{cluster_id}"): Role.ADMINISTRATOR,
}
RANK = [Role.VIEWER, Role.OPERATOR, Role.ADMINISTRATOR]
ELSEWHERE = {"clusters": frozenset({"f" * 32})}


async def test_every_documented_route_of_these_features_says_here_who_may_use_it(served: Served) -> None:
    async with served.signed_in() as client:
        document = (await client.get("/docs/openapi.json")).json()
    routes = {(method, path) for path, item in document["paths"].items() for method in item}

    assert routes == OPEN | OWN | NEEDS.keys()


@pytest.mark.case("S17")
@pytest.mark.case("S19")
async def test_every_cell_of_routes_and_callers(served: Served) -> None:
    async with (
        served.client() as nobody,
        served.signed_in(Role.VIEWER) as viewer,
        served.signed_in(Role.OPERATOR) as operator,
        served.signed_in(Role.ADMINISTRATOR) as administrator,
        served.signed_in(Role.ADMINISTRATOR, **ELSEWHERE) as elsewhere,
        served.signed_in(Role.ADMINISTRATOR, namespaces=frozenset({"shop"})) as narrow,
    ):
        callers = {Role.VIEWER: viewer, Role.OPERATOR: operator, Role.ADMINISTRATOR: administrator}
        cells = 0
        for (method, path), least in NEEDS.items():
            concrete = path.replace("{cluster_id}", "0" * 32)
            assert (await nobody.request(method, concrete)).status_code == 401, (method, path)
            for role, client in callers.items():
                status = (await client.request(method, concrete)).status_code
                allowed = RANK.index(role) >= RANK.index(least)
                assert (status != 403) == allowed, (method, path, role, status)
                assert status not in {401, 500}
                cells += 1
            for client in (elsewhere, narrow):
                status = (await client.request(method, concrete)).status_code
                if least is Role.VIEWER:
                    assert status in {200, 404}, (method, path, status)
                else:
                    assert status == 403, (method, path, status)
                cells += 1
    assert cells == 5 * len(NEEDS)


@pytest.mark.case("S19")
async def test_a_cluster_that_one_may_not_see_is_answered_like_one_that_is_not_there(served: Served) -> None:
    now = served.services.accounts._clock.now()
    await Cluster(id="0" * 32, name="hidden", server="https://x", created_at=now, updated_at=now).save()
    async with served.signed_in(Role.VIEWER, **ELSEWHERE) as viewer, served.signed_in() as administrator:
        hidden = await viewer.get(f"/api/v1/clusters/{'0' * 32}")
        missing = await viewer.get(f"/api/v1/clusters/{'1' * 32}")
        assert (await viewer.get("/api/v1/clusters")).json() == []
        assert len((await administrator.get("/api/v1/clusters")).json()) == 1

    assert hidden.status_code == missing.status_code == 404
    bare = [re.sub(rb'"request_id":"\w+"', b"", a.content) for a in (hidden, missing)]
    assert bare[0] == bare[1]
