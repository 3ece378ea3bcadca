"""A fleet as `app.views.fleet` would tell it, set by a test."""

import time

import msgspec

from app.views.fleet import Fleet
from app.watch.schemas import ClusterStatus, ResourceRef, ResourceStatus, Trouble

PODS = ResourceRef("", "v1", "pods", "Pod", True)
NODES = ResourceRef("", "v1", "nodes", "Node", False)
WIDGETS = ResourceRef("shop.example.com", "v1", "widgets", "Widget", True)


class SampleCard(msgspec.Struct):
    cluster: object
    status: ClusterStatus | None
    stale_since: float | None = None


class SampleFleet(Fleet):
    """cards: what is shown, changed by the test."""

    def __init__(self) -> None:  # what the real one follows is not there
        self.all: list[SampleCard] = []

    def cards(self, scope):
        return [card for card in self.all if scope.sees_cluster(card.cluster.id)]


def status(cluster_id: str, *, troubles=(), phase="live", message="", pods=200, broken=0, lag_s=0.1) -> ClusterStatus:
    now = time.time()
    counters = {
        "nodes": 3,
        "nodes_ready": 3 - (broken > 3),
        "pods": pods,
        "pods_ok": pods - broken - 2,
        "pods_progress": 2,
        "pods_warning": 0,
        "pods_error": broken,
    }
    return ClusterStatus(
        cluster_id,
        phase,
        message,
        "v1.34.1",
        "uid",
        now,
        now - 300,
        now - 1,
        lag_s,
        counters,
        [
            ResourceStatus(PODS, "live", pods, now - 500),
            ResourceStatus(NODES, "forbidden", None, now, "No right."),
        ],
        list(troubles),
        [PODS, NODES, WIDGETS],
    )


def trouble(name: str, reason: str = "CrashLoopBackOff", namespace: str = "shop") -> Trouble:
    return Trouble("pods", f"uid-{name}", namespace, name, reason, time.time() - 480)
