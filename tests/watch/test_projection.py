"""Rows against what a real API server printed for the same objects, and levels against recorded faults."""

from pathlib import Path

import msgspec
import pytest

from app.watch.catalogue import PROJECTIONS, projection_of
from app.watch.codec import ObjectCodec
from app.watch.projection import ERROR, OK, PROGRESS, UNKNOWN, WARNING, millicores, quantity, size
from app.watch.schemas import ResourceRef, Row
from tests.watch import recordings

DEPLOYMENTS, JOBS, PODS, NODES, EVENTS = (
    ("apps", "deployments"),
    ("batch", "jobs"),
    ("", "pods"),
    ("", "nodes"),
    ("", "events"),
)


def rows(key: tuple[str, str], path: str, now: float = recordings.TAKEN) -> dict[str, Row]:
    projection = PROJECTIONS[key]
    page = ObjectCodec(projection, projection.versions[0]).page(recordings.read(path))
    return {event.uid: projection.project(event.object, now) for event in page.events}


def cell(key: tuple[str, str], row: Row, name: str):
    return row.cells[[column.key for column in PROJECTIONS[key].columns].index(name)]


def shown(text: object) -> object:
    """kubectl's words for nothing."""
    return "" if text in {"<none>", "<unknown>"} else text


def test_pods_say_what_kubectl_prints() -> None:
    printed = recordings.table("pods")
    found = rows(PODS, "lists/pods.json")

    assert found.keys() == printed.keys()
    for uid, (name, ready, status, restarts, _age, ip, node, *_rest) in printed.items():
        row = found[uid]
        said = (row.name, *(cell(PODS, row, key) for key in ("ready", "status", "restarts", "ip", "node")))
        assert said == (name, ready, status, int(restarts.partition(" ")[0]), shown(ip), shown(node))
        assert (cell(PODS, row, "restarted") is None) == ("ago" not in restarts)


def test_every_pod_of_a_recorded_watch_says_what_the_server_printed_at_that_version() -> None:
    """Two watches of the same pods, one as objects and one as Table, joined by version."""
    from app.watch.table import TableCodec

    projection, codec = PROJECTIONS[PODS], ObjectCodec(PROJECTIONS[PODS], "v1")
    tables = TableCodec(ResourceRef("", "v1", "pods", "Pod", namespaced=True))
    printed = {}
    for line in recordings.lines("watch/pods-table.jsonl"):
        decoded = tables.line(line)
        for event in decoded if isinstance(decoded, list) else []:
            printed[event.uid, event.version] = event.object.cells
    compared = 0
    for line in recordings.lines("watch/pods.jsonl"):
        event = codec.line(line)
        expected = printed.get((getattr(event, "uid", ""), getattr(event, "version", "")))
        if expected is not None:
            row = projection.project(event.object, recordings.TAKEN)
            assert tuple(cell(PODS, row, key) for key in ("ready", "status")) == expected[:2]
            compared += 1
    assert compared >= 20


def test_deployments_say_what_kubectl_prints() -> None:
    printed, found = recordings.table("deployments"), rows(DEPLOYMENTS, "lists/deployments.json")

    assert found.keys() == printed.keys()
    for uid, (name, ready, updated, available, _age, _containers, images, selector) in printed.items():
        row = found[uid]
        said = (
            row.name,
            *(cell(DEPLOYMENTS, row, key) for key in ("ready", "updated", "available", "images", "selector")),
        )
        assert said == (name, ready, updated, available, images, selector)


def test_jobs_say_what_kubectl_prints() -> None:
    printed, found = recordings.table("jobs"), rows(JOBS, "lists/jobs.json")

    assert found.keys() == printed.keys()
    for uid, (name, status, completions, _duration, _age, _containers, images, selector) in printed.items():
        row = found[uid]
        said = (row.name, *(cell(JOBS, row, key) for key in ("status", "completions", "images", "selector")))
        assert said == (name, status, completions, images, selector)


def test_nodes_say_what_kubectl_prints() -> None:
    printed, found = recordings.table("nodes"), rows(NODES, "lists/nodes.json")

    assert found.keys() == printed.keys()
    for uid, (name, status, roles, _age, version, internal, external, os, kernel, runtime) in printed.items():
        row = found[uid]
        keys = ("status", "roles", "version", "internal_ip", "external_ip", "os", "kernel", "runtime")
        assert (row.name, *(cell(NODES, row, key) for key in keys)) == (
            name, status, shown(roles), version, internal, shown(external), os, kernel, runtime,
        )  # fmt: skip
        assert cell(NODES, row, "memory") == 24_581_684 * 1024


def test_events_say_what_kubectl_prints() -> None:
    printed, found = recordings.table("events"), rows(EVENTS, "lists/events-core-v1.json")

    compared = 0
    for uid, (_last, kind, reason, about, subobject, source, message, _first, count, name) in printed.items():
        row = found[uid]
        keys = ("type", "reason", "object", "subobject", "source", "message", "count")
        assert (row.name, *(cell(EVENTS, row, key) for key in keys)) == (
            name, kind, reason, about, subobject, source, message, count,
        )  # fmt: skip
        compared += 1
    assert compared >= 20


def test_both_spellings_of_events_give_the_same_columns() -> None:
    new = ("events.k8s.io", "events")
    found = rows(new, "lists/events-events-v1.json")

    assert len(found) == 48
    assert {cell(new, row, "reason") for row in found.values()} >= {"Started", "Created"}
    assert all(cell(new, row, "message") and cell(new, row, "last_seen") for row in found.values())


BROKEN = {
    "catalog": ERROR, "payments": ERROR, "ledger": ERROR, "checkout": ERROR, "feature-flags": ERROR,
    "report-viewer": ERROR, "migrations": ERROR, "inventory": WARNING, "sessions": WARNING, "search": ERROR,
    "orders-db": ERROR, "web": OK, "shell": OK,
}  # fmt: skip


def test_levels_of_recorded_pods_name_what_is_broken_and_nothing_else() -> None:
    found = rows(PODS, "lists/pods.json")
    for row in found.values():
        name = next(each for each in BROKEN if row.name.startswith(each))
        expected = OK if row.name.startswith("catalog-cf85") else BROKEN[name]
        assert (row.name, row.level) == (row.name, expected)


def test_a_deployment_that_crashes_after_it_was_ready_is_an_error_although_it_progresses() -> None:
    row = next(row for row in rows(DEPLOYMENTS, "lists/deployments.json").values() if row.name == "payments")

    assert (row.level, cell(DEPLOYMENTS, row, "status")) == (ERROR, "Unavailable")


def test_the_pods_of_a_lost_node_are_warned_of_although_they_are_running() -> None:
    """The containers still say ready: the node that would say otherwise is gone. Ready=False decides."""
    lost = 1795406900.0
    found = rows(PODS, "failures/pods-on-lost-node.json", lost).values()
    running = [row for row in found if cell(PODS, row, "status") == "Running"]

    assert running
    assert {row.level for row in running} == {WARNING}


@pytest.mark.case("W28")
def test_a_pod_that_is_being_deleted_is_terminating() -> None:
    codec, projection = ObjectCodec(PROJECTIONS[PODS], "v1"), PROJECTIONS[PODS]
    events = [codec.line(line) for line in recordings.lines("watch/pods.jsonl")]
    words = [
        (cell(PODS, row, "status"), row.level)
        for event in events
        if getattr(event, "object", None) is not None and event.object.metadata.deletion_timestamp is not None
        for row in [projection.project(event.object, recordings.TAKEN)]
    ]

    assert ("Terminating", PROGRESS) in words


def test_a_level_that_depends_on_time_says_when_to_look_again() -> None:
    projection = PROJECTIONS[PODS]
    page = ObjectCodec(projection, "v1").page(recordings.read("lists/pods.json"))
    sessions = next(event.object for event in page.events if event.object.metadata.name.startswith("sessions"))

    at = projection.expires(sessions, recordings.TAKEN)
    assert at is not None
    assert at > recordings.TAKEN
    assert projection.project(sessions, at - 1).level == WARNING
    assert projection.project(sessions, at).level == OK
    assert projection.expires(sessions, at) is None


def lists() -> list[Path]:
    kinds = {f"{projection.kind}List" for projection in PROJECTIONS.values()}
    found = sorted((recordings.ROOT / "lists").glob("*.json"))
    return [path for path in found if msgspec.json.decode(path.read_bytes())["kind"] in kinds]


@pytest.mark.parametrize("path", lists(), ids=lambda path: path.stem)
def test_every_recorded_list_becomes_rows_that_fit_their_columns(path) -> None:
    kind = msgspec.json.decode(path.read_bytes())["kind"].removesuffix("List")
    keys = [key for key, projection in PROJECTIONS.items() if projection.kind == kind]
    key = next(key for key in keys if ("events.k8s.io" in key) == (path.stem == "events-events-v1"))
    codec = ObjectCodec(PROJECTIONS[key], PROJECTIONS[key].versions[0])
    page = codec.page(path.read_bytes())

    assert page.events
    assert codec.refused == 0
    for event in page.events:
        row = PROJECTIONS[key].project(event.object, recordings.TAKEN)
        assert len(row.cells) == len(PROJECTIONS[key].columns)
        assert row.uid == event.uid
        assert row.created > 1_700_000_000
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(row), type=Row) == row


@pytest.mark.parametrize(
    ("text", "value"),
    [("100m", 0.1), ("64Mi", 2**26), ("1e3", 1000), ("1.5", 1.5), ("24581684Ki", 24581684 * 1024), ("x", None),
     ("", None), ("1KB", None), ("2E", 2e18), ("inf", None), ("nan", None)],
)  # fmt: skip
def test_quantities(text: str, value: float | None) -> None:
    assert quantity(text) == value


def test_cpu_is_rounded_up_to_thousandths_and_memory_is_in_bytes() -> None:
    assert (millicores("100m"), millicores("1"), millicores("100u"), size("1Ki")) == (100, 1000, 1, 1024)


def test_a_version_that_no_projection_reads_comes_as_a_table() -> None:
    assert projection_of(ResourceRef("autoscaling", "v1", "horizontalpodautoscalers", "X", namespaced=True)) is None
    assert projection_of(ResourceRef("autoscaling", "v2", "horizontalpodautoscalers", "X", namespaced=True)) is not None


POD = {
    "kind": "Pod", "apiVersion": "v1",
    "metadata": {"name": "p", "uid": "u", "resourceVersion": "1", "creationTimestamp": "2026-11-23T03:53:47Z"},
    "spec": {"containers": [{"name": "a"}, {"name": "b"}], "initContainers": [
        {"name": "first"}, {"name": "sidecar", "restartPolicy": "Always"}, {"name": "last"}]},
}  # fmt: skip


def pod_word(status: dict, **metadata: str) -> tuple[str, str, int]:
    document = {**POD, "metadata": {**POD["metadata"], **metadata}, "status": status}
    pod = msgspec.convert(document, PROJECTIONS[PODS].type, strict=False)
    row = PROJECTIONS[PODS].project(pod, recordings.TAKEN)
    return cell(PODS, row, "ready"), cell(PODS, row, "status"), cell(PODS, row, "restarts")


def waiting(reason: str) -> dict:
    return {"state": {"waiting": {"reason": reason}}}


DONE = {"state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}
UP = {"state": {"running": {}}, "ready": True, "started": True}


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({"phase": "Pending"}, ("0/3", "Pending", 0)),
        ({"phase": "Pending", "reason": "Evicted"}, ("0/3", "Evicted", 0)),
        ({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]},
         ("0/3", "SchedulingGated", 0)),
        ({"phase": "Pending", "initContainerStatuses": [{"name": "first", **waiting("PodInitializing")}]},
         ("0/3", "Init:0/3", 0)),
        ({"phase": "Pending", "initContainerStatuses": [{"name": "first", **DONE}, {"name": "sidecar", **UP},
          {"name": "last", "state": {"running": {}}}]}, ("1/3", "Init:2/3", 0)),
        ({"phase": "Pending", "initContainerStatuses": [{"name": "first", "restartCount": 4,
          "state": {"terminated": {"exitCode": 3}}}]}, ("0/3", "Init:ExitCode:3", 4)),
        ({"phase": "Pending", "initContainerStatuses": [{"name": "first",
          "state": {"terminated": {"exitCode": 137, "signal": 9}}}]}, ("0/3", "Init:Signal:9", 0)),
        ({"phase": "Pending", "initContainerStatuses": [{"name": "first", **waiting("CrashLoopBackOff")}]},
         ("0/3", "Init:CrashLoopBackOff", 0)),
        ({"phase": "Running", "initContainerStatuses": [{"name": "first", "restartCount": 2, **DONE},
          {"name": "sidecar", "restartCount": 1, **UP}, {"name": "last", **DONE}],
          "containerStatuses": [{"name": "a", "restartCount": 5, **UP}, {"name": "b", **UP}]}, ("3/3", "Running", 6)),
        ({"phase": "Running", "initContainerStatuses": [], "containerStatuses": [
          {"name": "a", **DONE}, {"name": "b", **UP}], "conditions": [{"type": "Ready", "status": "True"}]},
         ("1/3", "Running", 0)),
        ({"phase": "Running", "containerStatuses": [{"name": "a", **DONE}, {"name": "b", **UP}]},
         ("1/3", "NotReady", 0)),
        ({"phase": "Succeeded", "containerStatuses": [{"name": "a", **DONE}, {"name": "b", **DONE}]},
         ("0/3", "Completed", 0)),
        ({"phase": "Failed", "containerStatuses": [{"name": "a", "state": {"terminated": {"exitCode": 2}}}]},
         ("0/3", "ExitCode:2", 0)),
        ({"phase": "Failed", "containerStatuses": [{"name": "a",
          "state": {"terminated": {"exitCode": 143, "signal": 15}}}]}, ("0/3", "Signal:15", 0)),
    ],
)  # fmt: skip
def test_the_status_word_follows_printpod(status: dict, expected: tuple[str, str, int]) -> None:
    assert pod_word(status) == expected


def test_deleted_pods_terminate_unless_they_have_ended_or_their_node_is_lost() -> None:
    gone = {"deletionTimestamp": "2026-11-23T03:55:00Z"}

    assert pod_word({"phase": "Running"}, **gone)[1] == "Terminating"
    assert pod_word({"phase": "Succeeded", "containerStatuses": [{"name": "a", **DONE}]}, **gone)[1] == "Completed"
    assert pod_word({"phase": "Running", "reason": "NodeLost"}, **gone)[1] == "Unknown"


META = {"name": "x", "uid": "u", "resourceVersion": "1", "creationTimestamp": "2026-11-23T03:53:47Z"}


@pytest.mark.parametrize(
    ("key", "document", "cells", "level"),
    [
        (("", "persistentvolumes"),
         {"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "fast",
          "persistentVolumeReclaimPolicy": "Delete", "claimRef": {"namespace": "shop", "name": "data"}},
          "status": {"phase": "Bound"}},
         ("Bound", 2**30, "RWO", "Delete", "shop/data", "fast", "", "", 1795406027), OK),
        (("", "persistentvolumes"), {"spec": {}, "status": {"phase": "Failed", "reason": "r"}},
         ("Failed", None, "", "", "", "", "r", "", 1795406027), ERROR),
        (("storage.k8s.io", "storageclasses"),
         {"provisioner": "p", "reclaimPolicy": "Delete", "volumeBindingMode": "Immediate",
          "metadata": {**META, "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}},
         ("p", "Delete", "Immediate", False, True), OK),
        (("", "serviceaccounts"), {}, (0, None), OK),
        (("", "services"), {"spec": {"type": "LoadBalancer", "ports": [{"port": 80, "nodePort": 30080}]}},
         ("LoadBalancer", "", "", "80:30080/TCP", "Pending", ""), PROGRESS),
        (("", "persistentvolumeclaims"), {"spec": {}, "status": {"phase": "Lost"}},
         ("Lost", "", None, "", "", "", 1795406027), ERROR),
        (("", "pods"), {"spec": {"containers": [{"name": "a"}]}},
         ("0/1", "", 0, None, "", "", None, None, None, None, "", "", 1795406027), UNKNOWN),
        (("", "nodes"), {}, ("Unknown", "", "", None, None, None, "", "", "", "", "", "", None), UNKNOWN),
    ],
)  # fmt: skip
def test_kinds_that_were_not_recorded_and_objects_that_say_little(key, document, cells, level) -> None:
    """What is not said is None or empty, never 0."""
    projection = PROJECTIONS[key]
    found = msgspec.convert({"metadata": META, **document}, projection.type, strict=False)
    row = projection.project(found, 1795406030.0)

    assert (row.cells, row.level) == (cells, level)
