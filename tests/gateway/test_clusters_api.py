"""Registering a cluster over HTTP, from the first paste to its removal."""

import asyncio

import pytest
import pytest_asyncio

from app.authz.roles import Role
from tests.clusters.api_server import TOKEN, Authority, running
from tests.gateway.serving import Served


@pytest_asyncio.fixture
async def lab(tmp_path):
    authority = Authority("lab")
    async with running(authority.server(tmp_path)) as api:
        yield api, authority


async def test_a_cluster_from_paste_to_removal(served: Served, lab) -> None:
    api, authority = lab
    text = api.kubeconfig(authority)
    async with served.signed_in() as client:
        offered = (await client.post("/api/v1/clusters/contexts", json={"kubeconfig": text})).json()
        assert [(c["name"], c["refusal"], c["current"]) for c in offered] == [("lab", "", True)]

        tried = await client.post("/api/v1/clusters/validate", json={"kubeconfig": text})
        assert {step["state"] for step in tried.json()} == {"passed"}

        made = await client.post(
            "/api/v1/clusters", json={"connection": {"kubeconfig": text}, "details": {"labels": {"team": "a"}}}
        )
        assert made.status_code == 201, made.text
        cluster = made.json()
        assert cluster["labels"] == {"team": "a"}

        again = await client.post("/api/v1/clusters", json={"connection": {"kubeconfig": text}})
        assert again.status_code == 422
        assert again.json()["errors"].keys() == {"name"}

        path = f"/api/v1/clusters/{cluster['id']}"
        paused = await client.patch(path, json={"paused": True, "colour": "#aabbcc", "version": cluster["version"]})
        assert paused.json()["paused"]
        stale = await client.patch(path, json={"paused": False, "version": cluster["version"]})
        assert stale.status_code == 409

        replaced = await client.put(f"{path}/credential", json={"kubeconfig": text})
        assert replaced.status_code == 200
        assert replaced.json()["version"] == paused.json()["version"] + 1

        seen = made.text + replaced.text + (await client.get("/api/v1/clusters")).text
        assert TOKEN not in seen
        assert "BEGIN CERTIFICATE" not in seen

        assert (await client.delete(path)).status_code == 204
        assert (await client.get(path)).status_code == 404
        assert (await client.delete(path)).status_code == 404


@pytest.mark.case("S01")
async def test_a_kubeconfig_that_runs_something_is_a_422_with_what_to_do(served: Served, lab) -> None:
    api, authority = lab
    text = api.kubeconfig(authority).replace(f'"token": "{TOKEN}"', '"exec": {"command": "/bin/sh"}')
    async with served.signed_in() as client:
        for path, body in (
            ("/api/v1/clusters", {"connection": {"kubeconfig": text}}),
            ("/api/v1/clusters/validate", {"kubeconfig": text}),
        ):
            answer = await client.post(path, json=body)
            assert answer.status_code == 422
            assert "kubectl create token" in answer.json()["errors"]["kubeconfig"]
    assert api.connections == 0


async def test_the_local_kubeconfig_is_listed_and_one_context_imported(
    served: Served, lab, tmp_path, monkeypatch
) -> None:
    api, authority = lab
    (tmp_path / "config").write_text(api.kubeconfig(authority))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    async with served.signed_in() as client:
        listed = await client.get("/api/v1/clusters/local")
        assert [c["name"] for c in listed.json()] == ["lab"]
        assert TOKEN not in listed.text
        through_a_proxy = await client.get("/api/v1/clusters/local", headers={"x-forwarded-for": "198.51.100.1"})
        assert through_a_proxy.json() == []
        refused = await client.post("/api/v1/clusters/local", json={"context": "lab"}, headers={"via": "1.1 proxy"})
        assert refused.status_code == 403
        assert (await client.get("/api/v1/clusters")).json() == []

        imported = await client.post("/api/v1/clusters/local", json={"context": "lab"})
        assert imported.status_code == 201, imported.text
        unknown = await client.post("/api/v1/clusters/local", json={"context": "none"})
        assert unknown.status_code == 422
        assert "lab" in unknown.json()["detail"]


async def test_the_identity_of_a_stream_ends_within_a_moment_of_sign_out(served: Served) -> None:
    sessions = served.services.sessions
    async with served.signed_in(Role.VIEWER) as client:
        handle = (await client.get("/api/v1/sessions")).json()[0]["handle"]
        with sessions.held(handle) as ended:
            await client.post("/sign-out")
            async with asyncio.timeout(5):
                await ended.wait()
