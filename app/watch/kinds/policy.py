"""Horizontal pod autoscalers and pod disruption budgets. Pure."""

from typing import Final

import msgspec

from app.watch.projection import (
    ERROR,
    OK,
    UNKNOWN,
    WARNING,
    Condition,
    Object,
    Projection,
    Slim,
    condition,
    row,
    seconds,
    text_of,
)
from app.watch.schemas import Cell, Column, Row


class ScaleTarget(Slim):
    kind: str = ""
    name: str = ""


class Amount(Slim):
    """A target or a current value of a metric."""

    average_utilization: int | None = None
    average_value: str | None = None
    value: str | None = None

    def text(self) -> str:
        if self.average_utilization is not None:
            return f"{self.average_utilization}%"
        if self.average_value is not None:
            return f"{self.average_value} (avg)"
        return self.value or "<unknown>"


class MetricName(Slim):
    name: str = ""


class Source(Slim):
    """One of the metric sources; they differ only in where the name stands."""

    name: str = ""
    metric: MetricName | None = None
    target: Amount | None = None
    current: Amount | None = None


class Metric(Slim):
    type: str = ""
    resource: Source | None = None
    container_resource: Source | None = None
    pods: Source | None = None
    object: Source | None = None
    external: Source | None = None

    def source(self) -> Source:
        found = self.resource or self.container_resource or self.pods or self.object or self.external
        return found or Source()


class ScalerSpec(Slim):
    scale_target_ref: ScaleTarget = msgspec.field(default_factory=ScaleTarget)
    min_replicas: int | None = None
    max_replicas: int = 0
    metrics: list[Metric] | None = None


class ScalerStatus(Slim):
    current_replicas: int | None = None
    desired_replicas: int | None = None
    current_metrics: list[Metric] | None = None
    conditions: list[Condition] | None = None


class Scaler(Object):
    spec: ScalerSpec
    status: ScalerStatus = msgspec.field(default_factory=ScalerStatus)


def _targets(scaler: Scaler) -> str:
    currents = scaler.status.current_metrics or []
    texts = []
    for index, metric in enumerate(scaler.spec.metrics or ()):
        source = metric.source()
        name = source.name or (source.metric.name if source.metric is not None else "")
        current = currents[index].source().current if index < len(currents) else None
        now = current.text() if current is not None else "<unknown>"
        texts.append(f"{name}: {now}/{source.target.text() if source.target is not None else '<auto>'}")
    return ", ".join(texts)


def _scaler_state(scaler: Scaler) -> tuple[str, int, Condition | None]:
    conditions = scaler.status.conditions
    active = condition(conditions, "ScalingActive")
    for found in (condition(conditions, "AbleToScale"), active):
        if found is not None and found.status == "False":
            disabled = found.reason == "ScalingDisabled"  # scaled to zero by hand: not a fault
            return found.reason or "CannotScale", OK if disabled else ERROR, found
    limited = condition(conditions, "ScalingLimited")
    if limited is not None and limited.status == "True" and limited.reason == "TooManyReplicas":
        return "AtMaximum", WARNING, limited
    return ("Unknown", UNKNOWN, None) if active is None else ("Active", OK, active)


def project_hpa(scaler: Scaler, _now: float) -> Row:
    """The row of one horizontal pod autoscaler."""
    word, level, found = _scaler_state(scaler)
    spec = scaler.spec
    cells: tuple[Cell, ...] = (
        f"{spec.scale_target_ref.kind}/{spec.scale_target_ref.name}",
        _targets(scaler),
        spec.min_replicas,
        spec.max_replicas,
        scaler.status.current_replicas,
        word,
        seconds(found.last_transition_time) if found is not None else None,
    )
    return row(scaler.metadata, level, cells)


HPAS: Final = Projection(
    group="autoscaling",
    versions=("v2",),
    resource="horizontalpodautoscalers",
    kind="HorizontalPodAutoscaler",
    namespaced=True,
    type=Scaler,
    columns=(
        Column("reference", "Reference"),
        Column("targets", "Targets"),
        Column("min", "Min", "number"),
        Column("max", "Max", "number"),
        Column("replicas", "Replicas", "number"),
        Column("status", "Status", "status"),
        Column("since", "In this state since", "time", wide=True),
    ),
    project=project_hpa,
    status=5,
    since=6,
)


class BudgetSpec(Slim):
    min_available: int | str | None = None
    max_unavailable: int | str | None = None


class BudgetStatus(Slim):
    disruptions_allowed: int | None = None
    current_healthy: int | None = None
    desired_healthy: int | None = None
    expected_pods: int | None = None


class Budget(Object):
    spec: BudgetSpec
    status: BudgetStatus = msgspec.field(default_factory=BudgetStatus)


def project_pdb(budget: Budget, _now: float) -> Row:
    """The row of one pod disruption budget; fewer healthy pods than demanded is a warning."""
    status = budget.status
    healthy, wanted = status.current_healthy, status.desired_healthy
    level = UNKNOWN if healthy is None or wanted is None else WARNING if healthy < wanted else OK
    cells: tuple[Cell, ...] = (
        text_of(budget.spec.min_available),
        text_of(budget.spec.max_unavailable),
        status.disruptions_allowed,
        None if healthy is None else f"{healthy}/{status.expected_pods or 0}",
        wanted,
    )
    return row(budget.metadata, level, cells)


PDBS: Final = Projection(
    group="policy",
    versions=("v1",),
    resource="poddisruptionbudgets",
    kind="PodDisruptionBudget",
    namespaced=True,
    type=Budget,
    columns=(
        Column("min_available", "Min available"),
        Column("max_unavailable", "Max unavailable"),
        Column("allowed", "Allowed disruptions", "number"),
        Column("healthy", "Healthy", "ratio", help="healthy pods, of those expected"),
        Column("wanted", "Healthy wanted", "number", wide=True),
    ),
    project=project_pdb,
)
