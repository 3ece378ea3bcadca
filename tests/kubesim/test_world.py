"""The life of a simulated cluster, with a clock that tests turn: controllers converge, troubles look as recorded."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kubesim.clock import HandClock
from kubesim.store import Change, Store
from kubesim.world.incidents import CRASH, Incidents
from kubesim.world.life import World

Object = dict[str, Any]
RECORDED = Path(__file__).parent.parent / "fixtures" / "kubernetes-traffic"


class Cluster:
    """A store and its world, driven in steps of half a second."""

    def __init__(
        self, *, seed: int = 3, pods: int = 40, troubled: bool | None = None, changes_per_s: float = 0
    ) -> None:
        self.clock = HandClock()
        self.store = Store(self.clock, seed)
        self.world = World(
            self.store,
            name="prod-eu",
            seed=seed,
            pods=pods,
            changes_per_s=changes_per_s,
            minor=36,
            troubled=troubled,
        )

    def run(self, seconds: float) -> None:
        for _ in range(int(seconds * 2)):
            self.clock.advance(0.5)
            self.world.step(0.5)

    def deployment(self, name: str = "web") -> Object:
        return self.store.get("deployments.apps", "shop", name)

    def pods(self, app: str = "web") -> list[Object]:
        return [p for p in self.store.list("pods", "shop") if p["metadata"]["labels"].get("app") == app]

    def scale(self, replicas: int) -> None:
        now = self.deployment()
        self.store.change("deployments.apps", now, spec={**now["spec"], "replicas": replicas})

    def release(self, image: str) -> None:
        now = self.deployment()
        template = now["spec"]["template"]
        container = {**template["spec"]["containers"][0], "image": image}
        spec = {**template["spec"], "containers": [container]}
        self.store.change("deployments.apps", now, spec={**now["spec"], "template": {**template, "spec": spec}})


def ready(pod: Object) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", ()))


def test_a_rollout_replaces_all_pods_and_keeps_enough_of_them_ready() -> None:
    cluster = Cluster()
    wanted = cluster.deployment()["spec"]["replicas"]
    cluster.release("registry.example/shop/web:9.9.9")
    least = wanted
    for _ in range(120):
        cluster.run(0.5)
        least = min(least, sum(map(ready, cluster.pods())))
    pods = cluster.pods()
    assert len(pods) == wanted
    assert {p["spec"]["containers"][0]["image"] for p in pods} == {"registry.example/shop/web:9.9.9"}
    assert all(map(ready, pods))
    assert least >= wanted - wanted // 4
    status = cluster.deployment()["status"]
    assert (status["updatedReplicas"], status["readyReplicas"]) == (wanted, wanted)
    reasons = {c["type"]: c["reason"] for c in status["conditions"]}
    assert reasons == {"Available": "MinimumReplicasAvailable", "Progressing": "NewReplicaSetAvailable"}
    sets = [
        rs
        for rs in cluster.store.list("replicasets.apps", "shop")
        if rs["metadata"]["ownerReferences"][0]["name"] == "web"
    ]
    assert sorted(rs["spec"]["replicas"] for rs in sets) == [0, wanted]


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.sampled_from(["delete", "force", "up", "down"]), st.integers(0, 20)), max_size=12))
def test_replica_sets_converge_whatever_is_deleted_or_scaled(steps: list[tuple[str, int]]) -> None:
    cluster = Cluster(pods=35)
    for step, number in steps:
        if step in {"delete", "force"}:
            if pods := cluster.pods():
                meta = pods[number % len(pods)]["metadata"]
                cluster.store.delete("pods", "shop", meta["name"], grace_s=0 if step == "force" else None)
        else:
            cluster.scale(max(0, cluster.deployment()["spec"]["replicas"] + (1 if step == "up" else -1)))
        cluster.run(0.5 * (number % 4))
    cluster.run(60)
    wanted = cluster.deployment()["spec"]["replicas"]
    pods = cluster.pods()
    assert len(pods) == wanted
    assert all(map(ready, pods))
    assert cluster.deployment()["status"].get("readyReplicas", 0) == wanted


def test_a_crash_loop_is_mostly_terminated_and_its_back_off_doubles() -> None:
    cluster = Cluster()
    incidents: Incidents = cluster.world._incidents
    incidents._behaviours["shop", "web"] = CRASH
    pod = cluster.pods()[0]
    assert incidents.kubelet is not None
    incidents.kubelet.restart(pod, 0.5)
    states: list[str] = []
    starts: list[float] = []
    restarts = 0
    for _ in range(900):
        cluster.run(0.5)
        status = cluster.store.get("pods", "shop", pod["metadata"]["name"])["status"]["containerStatuses"][0]
        states.append(next(iter(status["state"])))
        if status["restartCount"] > restarts:
            restarts = status["restartCount"]
            starts.append(cluster.clock.now())
        if "waiting" in status["state"]:
            assert status["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    gaps = [later - sooner for sooner, later in itertools.pairwise(starts)]
    assert all(later > sooner * 1.2 for sooner, later in itertools.pairwise(gaps))
    assert states.count("terminated") > states.count("waiting") > 0


def test_a_lost_node_goes_through_the_recorded_states() -> None:
    cluster = Cluster()
    incidents: Incidents = cluster.world._incidents
    before = cluster.store.revision
    steady = {p["metadata"]["name"] for p in cluster.store.list("pods") if ready(p)}
    incidents._lose_node()
    cluster.run(60)
    assert incidents.kubelet is not None
    (name,) = incidents.kubelet.lost
    changes = [c for c in cluster.store.resource("nodes").after(before) if c.entry.object["metadata"]["name"] == name]
    ours = [_node_state(change.entry.object) for change in changes]
    lines = (RECORDED / "failures" / "node-lost-watch-nodes.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    theirs = [_node_state(e["object"]) for e in events if e["type"] == "MODIFIED"]
    assert ours[0][0] == "Unknown"
    assert ours[-1] in theirs
    assert {state[0] for state in ours} <= {state[0] for state in theirs}
    node_pods = [p for p in cluster.store.list("pods") if p["spec"].get("nodeName") == name]
    node_pods = [p for p in node_pods if p["metadata"]["name"] in steady]
    assert node_pods
    assert {(p["status"]["phase"], ready(p)) for p in node_pods} == {("Running", False)}
    cluster.run(200)
    assert _node_state(cluster.store.get("nodes", "", name)) == ("True", ())


def _node_state(node: Object) -> tuple[str, tuple[str, ...]]:
    status = next(c["status"] for c in node["status"]["conditions"] if c["type"] == "Ready")
    taints = node["spec"].get("taints") or ()
    return status, tuple(sorted(f"{t['key']}:{t['effect']}" for t in taints))


def test_the_same_seed_has_the_same_history() -> None:
    histories = []
    for _ in range(2):
        cluster = Cluster(troubled=True, changes_per_s=5)
        seen: list[tuple[str, str, str]] = []

        def note(change: Change, seen: list[tuple[str, str, str]] = seen) -> None:
            seen.append((change.type, change.kind.key, change.entry.json.decode()))

        cluster.store.on_change(note)
        cluster.run(120)
        histories.append(seen)
    assert len(histories[0]) > 500
    assert histories[0] == histories[1]


def test_scheduled_jobs_run_to_their_end_and_old_ones_go() -> None:
    cluster = Cluster()
    cluster.run(600)
    jobs = [j for j in cluster.store.list("jobs.batch", "platform") if j["metadata"]["name"].startswith("heartbeat-")]
    assert 3 <= len(jobs) <= 5
    assert sum(bool(j["status"].get("completionTime")) for j in jobs) >= 3
    assert cluster.store.get("cronjobs.batch", "platform", "heartbeat")["status"]["lastSuccessfulTime"]


def test_events_stay_bounded() -> None:
    cluster = Cluster()
    pod = cluster.pods()[0]
    for number in range(2_500):
        cluster.world._recorder.say(pod, "Noise", f"number {number}", component="kubelet")
    assert len(cluster.store.list("events")) <= 2_000


def test_volumes_of_stateful_sets_are_bound() -> None:
    cluster = Cluster()
    claims = cluster.store.list("persistentvolumeclaims")
    volumes = {v["metadata"]["name"]: v for v in cluster.store.list("persistentvolumes")}
    assert claims
    assert all(c["status"]["phase"] == "Bound" and c["spec"]["volumeName"] in volumes for c in claims)
    names = {(c["metadata"]["namespace"], c["metadata"]["name"]) for c in claims}
    for pod in cluster.store.list("pods"):
        for volume in pod["spec"]["volumes"]:
            if claim := volume.get("persistentVolumeClaim"):
                assert (pod["metadata"]["namespace"], claim["claimName"]) in names


def test_kube_system_keeps_its_identity() -> None:
    stores = [
        Store(HandClock(start), seed, identity="00000000-0000-5000-8000-000000000001")
        for start, seed in ((0.0, 1), (9e8, 2))
    ]
    for store in stores:
        store.create("namespaces", {"metadata": {"name": "kube-system"}})
    assert {store.get("namespaces", "", "kube-system")["metadata"]["uid"] for store in stores} == {stores[0].identity}


# -- fields ----------------------------------------------------------------------------------------------------------

# Fields of recorded objects that ours do not have, and need not: what the recorded workloads happened to use.
MISSING = {
    "pod": {
        "spec.containers[].command[]",
        "spec.containers[].livenessProbe.exec.command[]",
        "spec.containers[].readinessProbe.exec.command[]",
    },
    "deployment": {
        "spec.template.spec.containers[].command[]",
        "spec.template.spec.containers[].livenessProbe.exec.command[]",
        "spec.template.spec.containers[].readinessProbe.exec.command[]",
    },
    "node": {"status.declaredFeatures[]", "metadata.managedFields"},  # known: nodes and events have no managers
    "event": {"metadata.managedFields"},
}


def paths(value: Any, lead: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, part in value.items():
            if key in {"labels", "annotations", "managedFields", "limits", "requests", "capacity", "allocatable"}:
                yield f"{lead}.{key}".lstrip(".")
            else:
                yield from paths(part, f"{lead}.{key}")
    elif isinstance(value, list) and value:
        for part in value:
            yield from paths(part, lead + "[]")
    else:
        yield lead.lstrip(".")


@pytest.mark.parametrize(
    ("kind", "file", "key"),
    [
        ("pod", "objects/pod-running.json", "pods"),
        ("deployment", "lists/deployments.json", "deployments.apps"),
        ("node", "objects/node.json", "nodes"),
        ("event", "lists/events-core-v1.json", "events"),
    ],
)
def test_objects_have_the_fields_of_real_ones(kind: str, file: str, key: str) -> None:
    body = json.loads((RECORDED / file).read_text())
    theirs = body["items"][-1] if "items" in body else body
    cluster = Cluster()
    cluster.release("registry.example/shop/web:9.9.9")
    cluster.run(30)
    ours = {path for obj in cluster.store.list(key) for path in paths(obj)}
    assert set(paths(theirs)) - ours - MISSING[kind] == set()


def test_a_third_of_a_pod_is_managed_fields() -> None:
    cluster = Cluster()
    pod = cluster.pods()[0]
    whole, part = len(json.dumps(pod)), len(json.dumps(pod["metadata"]["managedFields"]))
    assert 0.2 < part / whole < 0.5
