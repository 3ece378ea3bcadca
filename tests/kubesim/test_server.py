"""The simulated API server over TLS: lists, watches, writes, refusals, as a real one answers."""

import gzip

import aiohttp
import pytest

from kubesim.fleet import Cluster
from tests.kubesim.conftest import Client, configmap

MAPS = "/api/v1/namespaces/default/configmaps"
TABLE = "application/json;as=Table;g=meta.k8s.io;v=v1"
PARTIAL = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"


async def test_pages_of_a_list_hold_each_object_once_and_tell_what_is_left(admin: Client) -> None:
    whole = await admin.get("/api/v1/pods")
    names = [item["metadata"]["uid"] for item in whole["items"]]
    found, token = [], ""
    while True:
        page = await admin.get(f"/api/v1/pods?limit=9&continue={token}")
        found += [item["metadata"]["uid"] for item in page["items"]]
        if not (token := page["metadata"].get("continue", "")):
            break
        assert page["metadata"]["remainingItemCount"] == len(names) - len(found)
    assert found == names
    assert whole["kind"] == "PodList"
    assert "kind" not in whole["items"][0]


async def test_a_continued_list_shows_the_state_of_its_first_page(admin: Client) -> None:
    for name in ("page-a", "page-b", "page-c"):
        assert (await admin("POST", MAPS, configmap(name, page="1"))).status == 201
    first = await admin.get(MAPS + "?limit=1&labelSelector=page%3D1")
    assert (await admin("DELETE", MAPS + "/page-b")).status == 200
    token = first["metadata"]["continue"]
    rest = await admin.get(f"{MAPS}?limit=5&labelSelector=page%3D1&continue={token}")
    assert [item["metadata"]["name"] for item in rest["items"]] == ["page-b", "page-c"]
    assert rest["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


async def test_a_compacted_continue_token_is_gone_and_offers_another(admin: Client, cluster: Cluster) -> None:
    first = await admin.get("/api/v1/pods?limit=3")
    await admin("POST", MAPS, configmap("moves-the-revision"))
    cluster.store.compact()
    gone = await admin("GET", f"/api/v1/pods?limit=3&continue={first['metadata']['continue']}")
    assert (gone.status, gone.json["reason"]) == (410, "Expired")
    rest = await admin.get(f"/api/v1/pods?limit=500&continue={gone.json['metadata']['continue']}")
    assert len(rest["items"]) == len((await admin.get("/api/v1/pods"))["items"]) - 3


@pytest.mark.parametrize(
    ("selector", "wanted"),
    [
        ("labelSelector=tier%3Dfront", {"sel-1"}),
        ("labelSelector=tier+in+(front,back)", {"sel-1", "sel-2"}),
        ("labelSelector=tier,tier!%3Dfront", {"sel-2"}),
        ("labelSelector=tier,!blue", {"sel-1"}),
        ("fieldSelector=metadata.name%3Dsel-2", {"sel-2"}),
    ],
)
async def test_selectors_choose(admin: Client, selector: str, wanted: set[str]) -> None:
    await admin("POST", MAPS, configmap("sel-1", tier="front"))
    await admin("POST", MAPS, configmap("sel-2", tier="back", blue="yes"))
    found = await admin.get(f"{MAPS}?{selector}")
    assert {item["metadata"]["name"] for item in found["items"]} == wanted


async def test_a_watch_goes_on_after_a_list(admin: Client) -> None:
    version = (await admin.get(MAPS))["metadata"]["resourceVersion"]
    await admin("POST", MAPS, configmap("seen"))
    async with admin.watch(f"{MAPS}?watch=1&resourceVersion={version}&timeoutSeconds=20") as stream:
        assert (await stream.next())["type"] == "ADDED"
        await admin("DELETE", MAPS + "/seen")
        gone = await stream.next()
    assert gone["type"] == "DELETED"
    assert int(gone["object"]["metadata"]["resourceVersion"]) > int(version)


async def test_a_watch_from_a_compacted_version_is_told_so_in_the_stream(admin: Client, cluster: Cluster) -> None:
    version = (await admin.get(MAPS))["metadata"]["resourceVersion"]
    await admin("POST", MAPS, configmap("later"))
    cluster.store.compact()
    async with admin.watch(f"{MAPS}?watch=1&resourceVersion={version}&timeoutSeconds=20") as stream:
        events = await stream.rest()
    assert [(e["type"], e["object"]["code"], e["object"]["reason"]) for e in events] == [("ERROR", 410, "Expired")]


async def test_a_streaming_list_ends_with_its_mark(admin: Client) -> None:
    path = (
        "/api/v1/namespaces?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
        "&allowWatchBookmarks=true&timeoutSeconds=20"
    )
    async with admin.watch(path) as stream:
        events = await stream.until_bookmark()
    assert {e["type"] for e in events[:-1]} == {"ADDED"}
    assert events[-1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    listed = await admin.get("/api/v1/namespaces")
    assert len(events) - 1 == len(listed["items"])


async def test_through_a_selector_a_change_can_be_a_coming_or_a_going(admin: Client) -> None:
    await admin("POST", MAPS, configmap("turncoat", side="light"))
    version = (await admin.get(MAPS))["metadata"]["resourceVersion"]
    watch = f"{MAPS}?watch=1&labelSelector=side%3Ddark&resourceVersion={version}&timeoutSeconds=20"
    merge = {"Content-Type": "application/merge-patch+json"}
    async with admin.watch(watch) as stream:
        for side in ("dark", "light"):
            patch = {"metadata": {"labels": {"side": side}}}
            assert (await admin("PATCH", MAPS + "/turncoat", patch, headers=merge)).status == 200
        assert [(await stream.next())["type"] for _ in range(2)] == ["ADDED", "DELETED"]


@pytest.mark.parametrize(("accept", "kind"), [(TABLE, "Table"), (PARTIAL, "PartialObjectMetadata")])
async def test_lists_and_watches_come_in_other_shapes(admin: Client, accept: str, kind: str) -> None:
    listed = await admin.get("/api/v1/pods?limit=2", Accept=accept.replace("Metadata;", "MetadataList;"))
    assert listed["kind"] == kind + ("List" if kind != "Table" else "")
    async with admin.watch("/api/v1/pods?watch=1&timeoutSeconds=20", Accept=accept) as stream:
        event = await stream.next()
    assert event["type"] == "ADDED"
    assert event["object"]["kind"] == kind
    if kind == "Table":
        columns = [column["name"] for column in listed["columnDefinitions"]]
        assert columns[:5] == ["Name", "Ready", "Status", "Restarts", "Age"]
        assert len(listed["rows"][0]["cells"]) == len(columns)


async def test_an_object_is_created_read_replaced_patched_and_deleted(admin: Client) -> None:
    made = await admin("POST", MAPS, configmap("life"))
    assert made.status == 201
    meta = made.json["metadata"]
    assert meta["uid"]
    assert meta["creationTimestamp"]
    assert (await admin.get(MAPS + "/life"))["metadata"] == meta
    changed = {**made.json, "data": {"a": "2"}}
    put = await admin("PUT", MAPS + "/life", changed)
    assert (put.status, put.json["data"]) == (200, {"a": "2"})
    stale = await admin("PUT", MAPS + "/life", changed)
    assert (stale.status, stale.json["reason"]) == (409, "Conflict")
    gone = await admin("DELETE", MAPS + "/life")
    assert (gone.status, gone.json["status"]) == (200, "Success")
    assert (await admin("GET", MAPS + "/life")).status == 404


@pytest.mark.parametrize(
    ("media", "patch"),
    [
        ("application/json-patch+json", [{"op": "replace", "path": "/data/a", "value": "9"}]),
        ("application/merge-patch+json", {"data": {"a": "9"}}),
        ("application/strategic-merge-patch+json", {"data": {"a": "9"}}),
    ],
)
async def test_three_patches_do_the_same(admin: Client, media: str, patch: object) -> None:
    await admin("DELETE", MAPS + "/patched")
    await admin("POST", MAPS, configmap("patched"))
    dry = await admin("PATCH", MAPS + "/patched?dryRun=All", patch, headers={"Content-Type": media})
    assert (dry.status, dry.json["data"]) == (200, {"a": "9"})
    assert (await admin.get(MAPS + "/patched"))["data"] == {"a": "1"}
    wet = await admin("PATCH", MAPS + "/patched", patch, headers={"Content-Type": media})
    assert (wet.status, wet.json["data"]) == (200, {"a": "9"})


async def test_a_dry_run_creates_nothing(admin: Client) -> None:
    made = await admin("POST", MAPS + "?dryRun=All", configmap("never"))
    assert made.status == 201
    assert made.json["metadata"]["uid"]
    assert (await admin("GET", MAPS + "/never")).status == 404


async def test_scale_is_read_and_written(admin: Client) -> None:
    path = "/apis/apps/v1/namespaces/shop/deployments/web/scale"
    found = await admin.get(path)
    assert found["kind"] == "Scale"
    merge = {"Content-Type": "application/merge-patch+json"}
    wanted = found["spec"]["replicas"] + 1
    assert (await admin("PATCH", path, {"spec": {"replicas": wanted}}, headers=merge)).status == 200
    assert (await admin.get(path.removesuffix("/scale")))["spec"]["replicas"] == wanted


async def test_an_evicted_pod_is_being_deleted_and_a_budget_forbids_it(admin: Client) -> None:
    pods = await admin.get("/api/v1/namespaces/shop/pods")
    name = pods["items"][0]["metadata"]["name"]
    path = f"/api/v1/namespaces/shop/pods/{name}"
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": "shop"}}
    budget = {
        "metadata": {"name": "all"},
        "spec": {"selector": {"matchLabels": {"app": pods["items"][0]["metadata"]["labels"]["app"]}}},
        "status": {"disruptionsAllowed": 0, "desiredHealthy": 1, "currentHealthy": 1},
    }
    budgets = "/apis/policy/v1/namespaces/shop/poddisruptionbudgets"
    assert (await admin("POST", budgets, budget)).status == 201
    refused = await admin("POST", path + "/eviction", eviction)
    assert (refused.status, refused.json["reason"]) == (429, "TooManyRequests")
    assert (await admin("DELETE", budgets + "/all")).status == 200
    assert (await admin("POST", path + "/eviction", eviction)).status == 201
    assert (await admin.get(path))["metadata"]["deletionTimestamp"]


async def test_logs_are_cut_as_asked(admin: Client) -> None:
    pods = await admin.get("/api/v1/namespaces/orders/pods")
    path = f"/api/v1/namespaces/orders/pods/{pods['items'][0]['metadata']['name']}/log"
    tail = await admin("GET", path + "?tailLines=5")
    assert tail.status == 200
    assert len(tail.body.splitlines()) == 5
    stamped = await admin("GET", path + "?tailLines=2&timestamps=true")
    assert all(line[:2] == b"20" for line in stamped.body.splitlines())
    assert len((await admin("GET", path + "?limitBytes=100")).body) == 100
    assert (await admin("GET", path + "?previous=true")).status == 400
    assert (await admin("GET", path + "?container=nope")).status == 400


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "reason"),
    [
        ("GET", "/api/v1/pods", {"Authorization": "Bearer wrong"}, 401, "Unauthorized"),
        ("GET", "/api/v1/namespaces/shop/pods/nope", {}, 404, "NotFound"),
        ("PATCH", "/api/v1/namespaces/shop/pods", {}, 405, "MethodNotAllowed"),
        ("GET", "/api/v1/pods", {"Accept": "text/csv"}, 406, "NotAcceptable"),
        ("GET", "/api/v1/pods?limit=x", {}, 400, "BadRequest"),
        ("GET", "/api/v1/pods?labelSelector=%3D%3D", {}, 400, "BadRequest"),
        ("GET", "/api/v1/pods?fieldSelector=spec.nope%3D1", {}, 400, "BadRequest"),
        ("GET", "/api/v1/pods?continue=nonsense", {}, 400, "BadRequest"),
        ("GET", "/api/v1/pods?resourceVersion=99999999", {}, 504, "Timeout"),
        ("GET", "/api/v1/pods?resourceVersion=1&resourceVersionMatch=Exact", {}, 410, "Expired"),
        ("DELETE", "/api/v1/namespaces/kube-system", {}, 403, "Forbidden"),
    ],
)
async def test_refusals_are_statuses(
    admin: Client, cluster: Cluster, method: str, path: str, headers: dict[str, str], status: int, reason: str
) -> None:
    cluster.store.compact()
    found = await admin(method, path, headers=headers)
    assert (found.status, found.json["kind"], found.json["reason"]) == (status, "Status", reason)
    assert found.json["code"] == status


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (({}, "text/csv"), 415),
        (({"spec": {"selector": {"matchLabels": {"app": "other"}}}}, "application/merge-patch+json"), 422),
        (([{"op": "test", "path": "/spec/replicas", "value": 77}], "application/json-patch+json"), 422),
    ],
)
async def test_bad_patches_are_refused(admin: Client, change: tuple[object, str], status: int) -> None:
    body, media = change
    found = await admin("PATCH", "/apis/apps/v1/namespaces/shop/deployments/web", body, headers={"Content-Type": media})
    assert found.status == status


async def test_an_unknown_group_is_a_plain_404(admin: Client) -> None:
    found = await admin("GET", "/apis/example.com/v1/widgets")
    assert (found.status, found.body) == (404, b"404 page not found\n")


async def test_one_name_is_taken_once(admin: Client) -> None:
    await admin("POST", MAPS, configmap("once"))
    again = await admin("POST", MAPS, configmap("once"))
    assert (again.status, again.json["reason"]) == (409, "AlreadyExists")


async def test_rights_follow_the_bindings(session: aiohttp.ClientSession, cluster: Cluster) -> None:
    two, nobody = Client(session, cluster, "two-namespaces"), Client(session, cluster, "nobody")
    anonymous = Client(session, cluster, "")
    assert (await two("GET", "/api/v1/namespaces/shop/pods")).status == 200
    for client, path in (
        (two, "/api/v1/pods"),
        (two, "/api/v1/namespaces/payments/pods"),
        (nobody, "/api/v1/namespaces/shop/pods"),
        (anonymous, "/api/v1/namespaces"),
    ):
        found = await client("GET", path)
        assert (found.status, found.json["reason"]) == (403, "Forbidden"), path
    assert (await two("DELETE", "/api/v1/namespaces/shop/configmaps/web-config")).status == 403
    assert (await nobody("GET", "/version")).status == 200


async def test_a_custom_resource_is_served_until_its_definition_goes(admin: Client) -> None:
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "gadgets.test.example.com"},
        "spec": {
            "group": "test.example.com",
            "scope": "Namespaced",
            "names": {"plural": "gadgets", "singular": "gadget", "kind": "Gadget", "listKind": "GadgetList"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }
    definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    assert (await admin("POST", definitions, definition)).status == 201
    gadget = {"apiVersion": "test.example.com/v1", "kind": "Gadget", "metadata": {"name": "one"}}
    gadgets = "/apis/test.example.com/v1/namespaces/default/gadgets"
    assert (await admin("POST", gadgets, gadget)).status == 201
    group = await admin.get("/apis/test.example.com/v1")
    assert [r["name"] for r in group["resources"]] == ["gadgets"]
    version = (await admin.get("/apis/test.example.com/v1/gadgets"))["metadata"]["resourceVersion"]
    watch = f"/apis/test.example.com/v1/gadgets?watch=1&resourceVersion={version}"
    async with admin.watch(watch) as stream:
        assert (await admin("DELETE", f"{definitions}/gadgets.test.example.com")).status == 200
        assert [event["type"] for event in await stream.rest()] == ["DELETED"]
    gone = await admin("GET", "/apis/test.example.com/v1/gadgets")
    assert (gone.status, gone.body) == (404, b"404 page not found\n")


async def test_a_long_list_is_sent_compressed(cluster: Cluster, fleet: object) -> None:
    reader = aiohttp.TCPConnector(ssl=False)
    headers = {"Authorization": f"Bearer {cluster.tokens['admin']}", "Accept-Encoding": "gzip"}
    async with (
        aiohttp.ClientSession(connector=reader, auto_decompress=False) as plain,
        plain.get(cluster.url + "/api/v1/pods", headers=headers) as found,
    ):
        assert found.headers["Content-Encoding"] == "gzip"
        assert b'"PodList"' in gzip.decompress(await found.read())
