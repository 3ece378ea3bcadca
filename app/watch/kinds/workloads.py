"""Deployments, replica sets, stateful sets, daemon sets. Pure.

A Deployment that crashes after it once was ready keeps Progressing=True (recorded), so Available decides. Being
short of replicas is progress at first and a fault once it has lasted.
"""

from datetime import datetime
from typing import Final

import msgspec

from app.watch.projection import (
    ERROR,
    OK,
    PROGRESS,
    WARNING,
    Condition,
    LabelSelector,
    Meta,
    Object,
    Projection,
    Slim,
    after,
    condition,
    held,
    is_true,
    label_text,
    row,
    seconds,
    selector_text,
)
from app.watch.schemas import Cell, Column, Row


class Container(Slim):
    name: str = ""
    image: str = ""


class PodSpec(Slim):
    containers: list[Container] | None = None
    node_selector: dict[str, str] | None = None


class Template(Slim):
    spec: PodSpec = msgspec.field(default_factory=PodSpec)


class Strategy(Slim):
    type: str = ""


class Spec(Slim):
    replicas: int | None = None
    paused: bool = False
    selector: LabelSelector | None = None
    strategy: Strategy | None = None
    update_strategy: Strategy | None = None
    service_name: str = ""
    template: Template = msgspec.field(default_factory=Template)


class Status(Slim):
    observed_generation: int = 0
    replicas: int = 0
    ready_replicas: int = 0
    updated_replicas: int = 0
    available_replicas: int = 0
    current_revision: str = ""
    update_revision: str = ""
    conditions: list[Condition] | None = None


class Workload(Object):
    spec: Spec
    status: Status = msgspec.field(default_factory=Status)


def images(template: Template) -> str:
    return ",".join([container.image for container in template.spec.containers or ()])


def _wanted(workload: Workload) -> int:
    return 1 if workload.spec.replicas is None else workload.spec.replicas  # the API's default


def _deployment_state(workload: Workload, now: float) -> tuple[str, int, datetime | None]:
    """Status word, level, and since when."""
    status = workload.status
    available = condition(status.conditions, "Available")
    progressing = condition(status.conditions, "Progressing")
    failure = condition(status.conditions, "ReplicaFailure")
    if failure is not None and failure.status == "True":
        return failure.reason or "ReplicaFailure", ERROR, failure.last_transition_time
    if progressing is not None and progressing.status == "False":
        return progressing.reason or "Stalled", ERROR, progressing.last_transition_time
    since = available.last_transition_time if available is not None else workload.metadata.creation_timestamp
    return (*_rollout(workload, available, now), since)


def _rollout(workload: Workload, available: Condition | None, now: float) -> tuple[str, int]:
    """Word and level of a deployment whose controller reports no failure."""
    status, wanted = workload.status, _wanted(workload)
    if workload.spec.paused:
        return "Paused", OK
    if wanted == 0 and status.replicas == 0:
        return "ScaledDown", OK
    if available is not None and available.status == "False":
        return "Unavailable", ERROR if held(available.last_transition_time, now) else PROGRESS
    behind = status.observed_generation < workload.metadata.generation
    if behind or status.updated_replicas < wanted or status.replicas > wanted:
        return "Progressing", PROGRESS
    return ("Degraded", WARNING) if status.available_replicas < wanted else ("Available", OK)


def _deployment_expires(workload: Workload, now: float) -> float | None:
    available = condition(workload.status.conditions, "Available")
    if available is None or available.status != "False":
        return None
    return after(available.last_transition_time, now)


def project_deployment(workload: Workload, now: float) -> Row:
    """The row of one deployment."""
    word, level, since = _deployment_state(workload, now)
    spec, status = workload.spec, workload.status
    cells: tuple[Cell, ...] = (
        f"{status.ready_replicas}/{_wanted(workload)}",
        word,
        status.updated_replicas,
        status.available_replicas,
        spec.strategy.type if spec.strategy is not None else "",
        images(spec.template),
        selector_text(spec.selector),
        seconds(since),
    )
    return row(workload.metadata, level, cells)


_READY: Final = Column("ready", "Ready", "ratio", help="replicas that are ready, of those wanted")
_STATUS: Final = Column("status", "Status", "status")
_IMAGES: Final = Column("images", "Images", wide=True)
_SELECTOR: Final = Column("selector", "Selector", wide=True)
_SINCE: Final = Column("since", "In this state since", "time", wide=True)

DEPLOYMENTS: Final = Projection(
    group="apps",
    versions=("v1",),
    resource="deployments",
    kind="Deployment",
    namespaced=True,
    type=Workload,
    columns=(
        _READY,
        _STATUS,
        Column("updated", "Up to date", "number"),
        Column("available", "Available", "number"),
        Column("strategy", "Strategy", wide=True),
        _IMAGES,
        _SELECTOR,
        _SINCE,
    ),
    project=project_deployment,
    status=1,
    since=7,
    expires=_deployment_expires,
)


def _short(meta: Meta, ready: int, wanted: int, now: float) -> tuple[str, int]:
    """Word and level of a set that has no conditions: by count and age."""
    if ready >= wanted:
        return "Available", OK
    if not held(meta.creation_timestamp, now):
        return "Progressing", PROGRESS
    return ("Unavailable", ERROR) if ready == 0 else ("Degraded", WARNING)


def _young(workload: Workload, now: float) -> float | None:
    return after(workload.metadata.creation_timestamp, now)


def project_replicaset(workload: Workload, now: float) -> Row:
    """The row of one replica set: an old, empty one is in order."""
    spec, status, wanted = workload.spec, workload.status, _wanted(workload)
    word, level = _short(workload.metadata, status.ready_replicas, wanted, now)
    if is_true(status.conditions, "ReplicaFailure"):
        found = condition(status.conditions, "ReplicaFailure")
        word, level = (found.reason if found is not None else "") or "ReplicaFailure", ERROR
    elif wanted == 0:
        word, level = "ScaledDown", OK
    cells: tuple[Cell, ...] = (
        f"{status.ready_replicas}/{wanted}",
        word,
        status.replicas,
        images(spec.template),
        selector_text(spec.selector),
    )
    return row(workload.metadata, level, cells)


REPLICASETS: Final = Projection(
    group="apps",
    versions=("v1",),
    resource="replicasets",
    kind="ReplicaSet",
    namespaced=True,
    type=Workload,
    columns=(_READY, _STATUS, Column("current", "Current", "number"), _IMAGES, _SELECTOR),
    project=project_replicaset,
    status=1,
    expires=_young,
)


def project_statefulset(workload: Workload, now: float) -> Row:
    """The row of one stateful set; it rolls while its two revisions differ."""
    spec, status, wanted = workload.spec, workload.status, _wanted(workload)
    word, level = _short(workload.metadata, status.ready_replicas, wanted, now)
    if wanted == 0 and status.replicas == 0:
        word, level = "ScaledDown", OK
    elif level == OK and status.update_revision != status.current_revision:
        word, level = "Progressing", PROGRESS
    cells: tuple[Cell, ...] = (
        f"{status.ready_replicas}/{wanted}",
        word,
        status.updated_replicas,
        spec.service_name,
        images(spec.template),
        selector_text(spec.selector),
    )
    return row(workload.metadata, level, cells)


STATEFULSETS: Final = Projection(
    group="apps",
    versions=("v1",),
    resource="statefulsets",
    kind="StatefulSet",
    namespaced=True,
    type=Workload,
    columns=(
        _READY,
        _STATUS,
        Column("updated", "Up to date", "number"),
        Column("service", "Service"),
        _IMAGES,
        _SELECTOR,
    ),
    project=project_statefulset,
    status=1,
    expires=_young,
)


class DaemonStatus(Slim):
    desired_number_scheduled: int = 0
    current_number_scheduled: int = 0
    number_ready: int = 0
    updated_number_scheduled: int = 0
    number_available: int = 0
    number_misscheduled: int = 0


class DaemonSet(Object):
    spec: Spec
    status: DaemonStatus = msgspec.field(default_factory=DaemonStatus)


def project_daemonset(daemons: DaemonSet, now: float) -> Row:
    """The row of one daemon set."""
    spec, status = daemons.spec, daemons.status
    wanted = status.desired_number_scheduled
    word, level = _short(daemons.metadata, status.number_ready, wanted, now)
    if level in {OK, WARNING} and status.updated_number_scheduled < wanted:
        word, level = "Progressing", PROGRESS
    cells: tuple[Cell, ...] = (
        f"{status.number_ready}/{wanted}",
        word,
        status.current_number_scheduled,
        status.updated_number_scheduled,
        status.number_available,
        status.number_misscheduled,
        label_text(spec.template.spec.node_selector or {}),
        images(spec.template),
        selector_text(spec.selector),
    )
    return row(daemons.metadata, level, cells)


def _young_daemons(daemons: DaemonSet, now: float) -> float | None:
    return after(daemons.metadata.creation_timestamp, now)


DAEMONSETS: Final = Projection(
    group="apps",
    versions=("v1",),
    resource="daemonsets",
    kind="DaemonSet",
    namespaced=True,
    type=DaemonSet,
    columns=(
        _READY,
        _STATUS,
        Column("current", "Current", "number"),
        Column("updated", "Up to date", "number"),
        Column("available", "Available", "number"),
        Column("misscheduled", "Misscheduled", "number", wide=True),
        Column("node_selector", "Node selector", wide=True),
        _IMAGES,
        _SELECTOR,
    ),
    project=project_daemonset,
    status=1,
    expires=_young_daemons,
)
