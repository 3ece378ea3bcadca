"""Discovery against recorded answers of a real API server."""

from app.kube.client import ApiServer
from app.kube.discovery import discover, identity, version

from .mirror import endpoint
from .recorded import RecordedServer, read

AGGREGATED = {"/api": "discovery/api-aggregated.json", "/apis": "discovery/apis-aggregated-with-custom-resource.json"}
LEGACY = {
    "/api": "discovery/api-legacy.json",
    "/apis": "discovery/apis-legacy.json",
    "/api/v1": "discovery/api-v1-resources.json",
    "/apis/apps/v1": "discovery/apps-v1-resources.json",
}


async def test_aggregated_discovery_takes_two_requests_and_finds_custom_resources() -> None:
    async with RecordedServer(AGGREGATED) as server, ApiServer(endpoint(server)) as api:
        found = await discover(api)

    by_name = {(r.group, r.resource): r for r in found.resources}
    assert len(server.requests) == 2
    assert found.stale == []
    assert by_name["", "pods"].kind == "Pod"
    assert by_name["", "pods"].namespaced
    assert by_name["", "pods"].short_names == ("po",)
    assert by_name["", "pods"].path == "/api/v1/pods"
    assert by_name["example.com", "widgets"].is_watchable
    assert not by_name["", "nodes"].namespaced
    assert by_name["autoscaling", "horizontalpodautoscalers"].version == "v2"
    assert not any("/" in r.resource for r in found.resources)


async def test_a_group_whose_server_is_down_is_kept_and_reported() -> None:
    async with RecordedServer(AGGREGATED) as server, ApiServer(endpoint(server)) as api:
        before = await discover(api)
        server.routes["/apis"] = "failures/aggregated-discovery-stale.json"
        now = await discover(api, before.resources)

    assert now.stale == ["metrics.k8s.io/v1beta1"]
    assert {r for r in before.resources if r.group == "metrics.k8s.io"} <= {*now.resources}
    assert any(r.group == "metrics.k8s.io" for r in now.resources)


async def test_legacy_discovery_gives_the_same_and_reports_what_did_not_answer() -> None:
    async with RecordedServer(LEGACY) as server, ApiServer(endpoint(server)) as api:
        legacy = await discover(api)
        server.routes = {**AGGREGATED}
        aggregated = await discover(api)

    wanted = {r for r in aggregated.resources if r.group in {"", "apps"}}
    assert {r for r in legacy.resources if r.group in {"", "apps"}} == wanted
    assert "batch/v1" in legacy.stale


async def test_version_and_identity() -> None:
    namespaces = read("lists/namespaces.json")
    kube_system = b'{"kind":"Namespace","metadata":{"name":"kube-system","uid":"5d2c0f39"}}'
    routes = {"/version": "discovery/version.json", "/api/v1/namespaces/kube-system": (200, kube_system)}
    async with RecordedServer(routes) as server, ApiServer(endpoint(server)) as api:
        assert await version(api) == "v1.36.2"
        assert await identity(api) == "5d2c0f39"
        server.routes["/api/v1/namespaces/kube-system"] = (403, read("errors/403-rbac-cluster-scope.json"))
        assert await identity(api) == ""
    assert b"kube-system" in namespaces
