"""Counters and phases of a cluster from what its mirrors say."""

from app.watch.schemas import ResourceRef, ResourceStatus, Trouble
from app.watch.summary import TROUBLES, counters, phase, troubles

PODS = ResourceRef("", "v1", "pods", "Pod", namespaced=True)
NODES = ResourceRef("", "v1", "nodes", "Node", namespaced=False)
SECRETS = ResourceRef("", "v1", "secrets", "Secret", namespaced=True)


class Mirror:
    def __init__(self, ref: ResourceRef, counted: dict, state: str = "live", listed: bool = True) -> None:
        self.ref = ref
        self.counted = counted
        self.state = state
        self.listed = listed
        self.broken: list[Trouble] = []

    def status(self) -> ResourceStatus:
        count = sum(self.counted.values()) if self.listed else None
        return ResourceStatus(self.ref, self.state, count, 0.0, self.state)

    def counters(self) -> dict:
        return self.counted

    def troubles(self) -> list[Trouble]:
        return self.broken


def test_counters_name_levels_words_and_ready_nodes() -> None:
    pods = Mirror(PODS, {(1, "Running"): 5, (3, "Running"): 1, (4, "Error"): 2, (4, "ok"): 1})
    nodes = Mirror(NODES, {(1, "Ready"): 2, (3, "Ready,SchedulingDisabled"): 1, (4, "NotReady"): 1})
    found = counters([pods, nodes])

    assert (found["pods"], found["pods_ok"], found["pods_warning"], found["pods_error"]) == (9, 5, 1, 3)
    assert (found["pods_Running"], found["pods_Error"]) == (6, 2)
    assert (found["nodes"], found["nodes_ready"], found["nodes_error"]) == (4, 3, 1)


def test_what_is_not_listed_yet_or_only_looked_at_has_no_counter() -> None:
    assert counters([Mirror(PODS, {}, listed=False), Mirror(SECRETS, {(1, ""): 3})]) == {}


def test_one_live_kind_makes_a_cluster_live() -> None:
    def of(*states: str) -> str:
        return phase([Mirror(PODS, {}, state).status() for state in states])[0]

    assert of("live", "stale", "forbidden") == "live"
    assert of("listing", "forbidden") == "connecting"
    assert of() == "connecting"
    assert of("stale", "degraded", "forbidden") == "stale"
    assert of("forbidden", "forbidden") == "unauthorized"


def test_the_newest_troubles_are_named_and_no_more_than_fit() -> None:
    mirror = Mirror(PODS, {})
    mirror.broken = [Trouble("pods", str(n), "ns", f"p{n}", "Error", float(n)) for n in range(2 * TROUBLES)]
    found = troubles([mirror])

    assert len(found) == TROUBLES
    assert found[0].name == f"p{2 * TROUBLES - 1}"
