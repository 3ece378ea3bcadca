"""The recordings of a real API server are asked of the simulated one: same status, headers and bodies.

Lists and objects are seeded from their own recording, refusals from all recorded lists. `NOT_REPLAYED` says why not.
"""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from yarl import URL

from kubesim import kinds, requests
from kubesim.clock import HandClock, seconds
from kubesim.rbac import User
from kubesim.server import ApiServer
from kubesim.store import Store
from kubesim.world import logs

Object = dict[str, Any]
ROOT = Path(__file__).parent.parent / "fixtures" / "kubernetes-traffic"
INDEX: dict[str, Any] = json.loads((ROOT / "index.json").read_text())
NOW = "2026-11-23T04:00:00Z"
USERS = {
    "admin": User("kubernetes-admin", ("system:masters", "system:authenticated")),
    "dev": User("token-dev", ("developers", "system:authenticated")),
    "viewer": User(
        "system:serviceaccount:platform:viewer",
        ("system:serviceaccounts", "system:serviceaccounts:platform", "system:authenticated"),
    ),
}


def names(folder: str, *suffixes: str) -> list[str]:
    return sorted(name for name in INDEX if name.startswith(folder + "/") and name.endswith(suffixes or ("",)))


def recorded(name: str) -> Any:
    return json.loads((ROOT / name).read_text())


def item_store(objects: list[Object]) -> Store:
    """A store of these objects, their versions too; of one that is there twice, the newest."""
    clock = HandClock(seconds(NOW))
    store = Store(clock, 1)
    latest: dict[tuple[str, str, str], tuple[str, Object]] = {}
    for obj in sorted(objects, key=lambda o: int(o["metadata"]["resourceVersion"])):
        kind = next(
            (k for k in kinds.BUILT_IN.values() if (k.kind, k.group) == (obj["kind"], _group(obj))),
            None,
        )
        if kind is not None:
            place = (kind.key, obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
            latest[place] = (kind.key, obj)
    for key, obj in sorted(latest.values(), key=lambda found: int(found[1]["metadata"]["resourceVersion"])):
        store.load({**obj, "apiVersion": _api_version(key)}, key)
    return store


def _group(obj: Object) -> str:
    group = str(obj["apiVersion"]).rpartition("/")[0]
    return "" if group == "events.k8s.io" else group


def _api_version(key: str) -> str:
    return kinds.BUILT_IN[key].api_version


def items(name: str) -> list[Object]:
    """The objects of a recorded list, with the type that a list leaves out."""
    body = recorded(name)
    if not body["kind"].endswith("List"):
        return [body]
    lead = {"kind": body["kind"].removesuffix("List"), "apiVersion": body["apiVersion"]}
    return [{**lead, **item} for item in body["items"]]


def everything() -> list[Object]:
    skipped = ("chunk", "metadata-only", "events-events", "selector", "rv0")
    return [obj for name in names("lists", ".json") if not any(s in name for s in skipped) for obj in items(name)]


class Replay:
    """Servers of stores; ends them all."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self.servers: list[ApiServer] = []

    async def ask(self, store: Store, name: str, user: str = "admin") -> tuple[int, dict[str, str], bytes]:
        server = ApiServer(store, tokens=USERS, minor=36, logs=lambda n, p, q: logs.read(store, n, p, q))
        self.servers.append(server)
        await server.start(None)
        entry = INDEX[name]
        headers = dict(entry.get("request_headers") or {})
        if user:
            headers["Authorization"] = f"Bearer {user}"
        body = entry.get("request_body")
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode() if body is not None else None
        url = f"http://127.0.0.1:{server.port}{entry['path']}"
        async with self._session.request(entry["method"], URL(url, encoded=True), data=data, headers=headers) as found:
            return found.status, {k.title(): v for k, v in found.headers.items()}, await found.read()


@pytest_asyncio.fixture
async def replay() -> AsyncIterator[Replay]:
    async with aiohttp.ClientSession() as session:
        found = Replay(session)
        yield found
    for server in found.servers:
        await server.stop()


def check_head(name: str, status: int, headers: dict[str, str]) -> None:
    wanted = INDEX[name]["response_headers"]
    assert status == INDEX[name]["status"]
    assert headers.get("Content-Type") == wanted.get("Content-Type")
    assert headers.get("Warning") == wanted.get("Warning")


# -- lists and objects -----------------------------------------------------------------------------------------------

LISTS = [
    name
    for name in names("lists", ".json")
    if not any(part in name for part in ("chunk", "metadata-only", "events-events", "apiservices"))
]


@pytest.mark.parametrize("name", LISTS)
async def test_a_list_is_as_recorded(replay: Replay, name: str) -> None:
    store = item_store(items(name))
    status, headers, body = await replay.ask(store, name)
    check_head(name, status, headers)
    found, wanted = json.loads(body), recorded(name)
    assert found["metadata"].pop("resourceVersion")
    assert wanted["metadata"].pop("resourceVersion")
    assert found == wanted
    assert list(found) == list(wanted)


async def test_pages_are_cut_where_recorded(replay: Replay) -> None:
    pages = names("lists", "chunk-1.json", "chunk-2.json", "chunk-3.json")
    store = item_store([obj for page in pages for obj in items(page)])
    store.revision = int(recorded(pages[0])["metadata"]["resourceVersion"])
    for page in pages:
        status, headers, body = await replay.ask(store, page)
        check_head(page, status, headers)
        assert json.loads(body) == recorded(page)


async def test_metadata_only_lists_are_as_recorded(replay: Replay) -> None:
    name = "lists/pods-metadata-only.json"
    wanted = recorded(name)
    lead = {"kind": "Pod", "apiVersion": "v1"}
    store = item_store([{**item, **lead} for item in wanted["items"]])
    status, headers, body = await replay.ask(store, name)
    check_head(name, status, headers)
    found = json.loads(body)
    found["metadata"].pop("resourceVersion")
    wanted["metadata"].pop("resourceVersion")
    assert found == wanted


@pytest.mark.parametrize("name", [n for n in names("objects", ".json") if "scale" not in n])
async def test_an_object_is_as_recorded(replay: Replay, name: str) -> None:
    status, headers, body = await replay.ask(item_store([recorded(name)]), name)
    check_head(name, status, headers)
    assert json.loads(body) == recorded(name)


@pytest.mark.parametrize("name", names("tables", ".json"))
async def test_a_table_has_the_recorded_columns_and_cells(replay: Replay, name: str) -> None:
    status, headers, body = await replay.ask(item_store(everything()), name)
    check_head(name, status, headers)
    found, wanted = json.loads(body), recorded(name)
    ours, theirs = (_undescribed(body["columnDefinitions"]) for body in (found, wanted))
    assert ours == theirs
    shown = [column["name"] for column in wanted["columnDefinitions"]]
    moving = {shown.index(c) for c in ("Age", "Last Seen", "First Seen", "Count", "Restarts", "Duration") if c in shown}
    ours = [_still(row["cells"], moving) for row in found["rows"]]
    theirs = [_still(row["cells"], moving) for row in wanted["rows"]]
    common = [row for row in theirs if row in ours]
    assert len(common) >= 0.8 * len(theirs), [row for row in theirs if row not in ours]
    assert {frozenset(row) for row in found["rows"]} == {frozenset(row) for row in wanted["rows"]}


def _undescribed(columns: list[Object]) -> list[Object]:
    """The descriptions are the documentation of fields; the simulated server leaves them empty."""
    return [{k: v for k, v in column.items() if k != "description"} for column in columns]


def _still(cells: list[Any], moving: set[int]) -> list[Any]:
    return [None if number in moving else cell for number, cell in enumerate(cells)]


# -- refusals --------------------------------------------------------------------------------------------------------

REFUSALS = {
    "errors/400-bad-continue.json": "admin",
    "errors/400-bad-field-selector.json": "admin",
    "errors/400-bad-label-selector.json": "admin",
    "errors/400-bad-limit.json": "admin",
    "errors/400-log-container-required.json": "admin",
    "errors/400-log-previous-not-found.json": "admin",
    "errors/400-log-waiting.json": "admin",
    "errors/400-namespace-mismatch.json": "admin",
    "errors/400-invalid-json.json": "admin",
    "errors/401-bad-token.json": "wrong",
    "errors/401-expired-service-account-token.json": "wrong",
    "errors/403-anonymous.json": "",
    "errors/403-delete-kube-system.json": "admin",
    "errors/403-impersonate-user.json": "dev",
    "errors/403-impersonated-user-has-no-role.json": "admin",
    "errors/403-rbac-cluster-scope.json": "dev",
    "errors/403-rbac-list.json": "dev",
    "errors/403-service-account-delete.json": "viewer",
    "errors/403-service-account-node-proxy.json": "viewer",
    "errors/403-service-account-secrets.json": "viewer",
    "errors/404-custom-resource-gone.txt": "admin",
    "errors/404-group.txt": "admin",
    "errors/404-namespace-on-create.json": "admin",
    "errors/404-pod.json": "admin",
    "errors/404-resource.json": "admin",
    "errors/405-method.json": "admin",
    "errors/405-patch-collection.json": "admin",
    "errors/406-not-acceptable.json": "admin",
    "errors/409-already-exists.json": "admin",
    "errors/409-conflict-update.json": "admin",
    "errors/409-precondition-uid.json": "admin",
    "errors/410-list-continue-pods.json": "admin",
    "errors/410-list-continue-events.json": "admin",
    "errors/410-list-exact-version.json": "admin",
    "errors/415-media-type.json": "admin",
    "errors/422-immutable-selector.json": "admin",
    "errors/422-json-patch-test-failed.json": "admin",
    "errors/422-log-stream-parameter.json": "admin",
    "errors/422-scale-negative.json": "admin",
    "errors/429-eviction-pdb.json": "admin",
    "errors/500-watch-rv-invalid.json": "admin",
    "errors/504-resource-version-too-large.json": "admin",
    "writes/apply-missing-manager-422.json": "admin",
}


@pytest.mark.parametrize(("name", "user"), REFUSALS.items())
async def test_a_refusal_is_word_for_word_as_recorded(replay: Replay, name: str, user: str) -> None:
    store = item_store(everything())
    if "/410-" in name:
        store.compact()
    status, headers, body = await replay.ask(store, name, user)
    check_head(name, status, headers)
    if name.endswith(".txt"):
        assert body == (ROOT / name).read_bytes()
        return
    found, wanted = json.loads(body), recorded(name)
    if name.startswith(("errors/504", "errors/400-invalid-json")):  # the present version, a parser's words
        found.pop("message")
        wanted.pop("message")
    if "continue" in wanted.get("metadata", {}):
        assert found["metadata"].pop("continue")
        del wanted["metadata"]["continue"]
    assert found == wanted


# -- documents -------------------------------------------------------------------------------------------------------

DOCUMENTS = {"discovery/api-legacy.json", "discovery/healthz.txt", "discovery/livez.txt", "discovery/version.json"}


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
async def test_small_documents(replay: Replay, name: str) -> None:
    status, headers, body = await replay.ask(item_store([]), name)
    check_head(name, status, headers)
    if name.endswith(".txt"):
        assert body == (ROOT / name).read_bytes()
    else:
        assert json.loads(body).keys() == recorded(name).keys()


def rows(body: Object) -> dict[str, Any]:
    """What aggregated discovery says of each resource."""
    return {
        f"{group['metadata'].get('name', '')}/{version['version']}/{resource['resource']}": resource
        for group in body["items"]
        for version in group["versions"]
        for resource in version["resources"]
    }


AGGREGATED = ("discovery/api-aggregated.json", "discovery/apis-aggregated.json")


@pytest.mark.parametrize("name", AGGREGATED)
async def test_what_discovery_says_of_a_resource_is_as_recorded(replay: Replay, name: str) -> None:
    status, headers, body = await replay.ask(item_store([]), name)
    check_head(name, status, headers)
    found, wanted = rows(json.loads(body)), rows(recorded(name))
    assert found
    for key in found.keys() & wanted.keys():
        ours, theirs = found[key], wanted[key]
        for part in ("responseKind", "scope", "singularResource", "shortNames"):
            assert ours.get(part) == theirs.get(part), key
        assert set(ours["verbs"]) == set(theirs["verbs"]), key


# -- watches ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["watch/from-unset-version.jsonl", "watch/from-version-zero.jsonl"])
async def test_a_watch_without_a_version_begins_with_the_present_state(replay: Replay, name: str) -> None:
    wanted = [json.loads(line) for line in (ROOT / name).read_text().splitlines()]
    INDEX[name]["path"] = INDEX[name]["path"].replace("timeoutSeconds=3", "timeoutSeconds=1")
    status, headers, body = await replay.ask(item_store([event["object"] for event in wanted]), name)
    check_head(name, status, headers)
    found = [json.loads(line) for line in body.splitlines()]
    by_name = lambda event: event["object"]["metadata"]["name"]  # noqa: E731
    assert sorted(found, key=by_name) == sorted(wanted, key=by_name)


async def test_a_watch_from_an_old_version_is_told_as_recorded(replay: Replay) -> None:
    name = "watch/410-watch-too-old.jsonl"
    store = item_store(everything())
    store.compact()
    status, headers, body = await replay.ask(store, name)
    check_head(name, status, headers)
    found, wanted = json.loads(body), json.loads((ROOT / name).read_text())
    for event in (found, wanted):
        event["object"]["message"] = event["object"]["message"].partition("(")[0]  # the oldest version is in it
    assert found == wanted


# -- the account -----------------------------------------------------------------------------------------------------

LATER = "exec, port-forward and metrics are not simulated yet"
HISTORY = "a history of what controllers did; test_world compares sequences and fields"
NOT_SERVED = "the simulated server does not do this; the difference is known"
SECOND = "the second cluster of the recordings, or a part of one that fails"
NOT_REPLAYED: dict[str, str] = {
    **dict.fromkeys(names("exec"), LATER),
    **dict.fromkeys(names("portforward"), LATER),
    **dict.fromkeys(names("metrics"), LATER),
    **dict.fromkeys(names("failures"), SECOND),
    **dict.fromkeys(names("kubectl"), "what kubectl sends; test_kubectl runs the real one"),
    **dict.fromkeys(names("watch"), HISTORY),
    **dict.fromkeys(names("writes"), "test_server and test_kubectl make such writes"),
    **dict.fromkeys(names("logs"), "lines are made up by seed; test_server checks the parameters"),
    **dict.fromkeys(names("access"), "identities and rules of the recorded cluster; test_kubectl asks can-i"),
    **dict.fromkeys(names("discovery"), "lists all of a server's groups; rows are compared from the aggregated form"),
    "lists/apiservices.json": "APIServices of built-in groups are not kept as objects",
    "lists/events-events-v1.json": "the group events.k8s.io is not served; its events are in core/v1",
    "objects/deployment-scale.json": "test_server reads and writes a Scale",
    "errors/201-warn-unknown-field.json": NOT_SERVED + ": fields are not validated against schemas",
    "errors/400-strict-unknown-field.json": NOT_SERVED + ": fields are not validated against schemas",
    "errors/403-impersonate-group.json": NOT_SERVED + ": groups are not checked when impersonating",
    "errors/403-pod-security.json": NOT_SERVED + ": no admission of pods",
    "errors/403-quota.json": NOT_SERVED + ": no admission of pods",
    "errors/422-custom-resource.json": NOT_SERVED + ": fields are not validated against schemas",
    "errors/422-invalid-pod.json": NOT_SERVED + ": fields are not validated against schemas",
    "errors/429-priority-and-fairness.txt": NOT_SERVED + ": no flow control",
}
REPLAYED = (
    {*LISTS, *names("lists", "chunk-1.json", "chunk-2.json", "chunk-3.json"), "lists/pods-metadata-only.json"}
    | {name for name in names("objects", ".json") if "scale" not in name}
    | {*names("tables", ".json"), *REFUSALS, *DOCUMENTS, *AGGREGATED}
    | {"watch/from-unset-version.jsonl", "watch/from-version-zero.jsonl", "watch/410-watch-too-old.jsonl"}
)


def test_each_recording_is_replayed_or_has_a_reason() -> None:
    assert INDEX.keys() - REPLAYED - NOT_REPLAYED.keys() == set()
    assert requests.parse("GET", "/api/v1/pods", {}) is not None
