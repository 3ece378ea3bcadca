"""What the fleet page knows of a cluster, added up from its mirrors. Pure.

Counters are of the kinds that are always watched: "<resource>" ("pods", "deployments") is how many there are;
"<resource>_ok", "_progress", "_warning", "_error", "_unknown" how many at each level; "pods_<Word>" how many pods say
that status word; "nodes_ready" how many nodes are Ready. A resource whose first list is not whole has none of these:
unknown is not 0.
"""

from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from app.watch.catalogue import ALWAYS
from app.watch.schemas import LEVELS, ClusterPhase, ResourceStatus, Trouble

TROUBLES: Final = 50  # named in a status; the counters count them all


class Summed(Protocol):
    """What a reflector says of its resource."""

    def status(self) -> ResourceStatus: ...

    def counters(self) -> dict[tuple[int, str], int]: ...

    def troubles(self) -> list[Trouble]: ...


def counters(mirrors: Iterable[Summed]) -> dict[str, int]:
    """All counters of a cluster."""
    total: dict[str, int] = {}
    for mirror in mirrors:
        status = mirror.status()
        if status.count is None or status.ref.key not in ALWAYS:
            continue
        name = status.ref.resource
        total[name] = status.count
        total.update({f"{name}_{level}": 0 for level in LEVELS})
        if name == "nodes":
            total["nodes_ready"] = 0
        for (level, word), count in mirror.counters().items():
            _add(total, f"{name}_{LEVELS[level]}", count)
            if name == "pods" and word not in LEVELS:  # a hostile word must not change a level
                _add(total, f"pods_{word}", count)
            elif name == "nodes" and (word == "Ready" or word.startswith("Ready,")):
                _add(total, "nodes_ready", count)
    return total


def _add(total: dict[str, int], name: str, count: int) -> None:
    total[name] = total.get(name, 0) + count


def troubles(mirrors: Iterable[Summed]) -> list[Trouble]:
    """The newest troubles first."""
    found = [trouble for mirror in mirrors for trouble in mirror.troubles()]
    found.sort(key=lambda trouble: (-trouble.since, trouble.namespace, trouble.name))
    return found[:TROUBLES]


def phase(statuses: Sequence[ResourceStatus]) -> tuple[ClusterPhase, str]:
    """How a cluster that answers stands as a whole, and why: one live kind makes it live."""
    states = {status.state for status in statuses}
    if "live" in states:
        return "live", ""
    if not states or "listing" in states:
        return "connecting", "Reading the cluster for the first time."
    worst = next((status for status in statuses if status.state in {"degraded", "stale"}), statuses[0])
    if worst.state == "forbidden":
        return "unauthorized", "The cluster's credential may not read any of the kinds that are always watched."
    return "stale", worst.message
