"""Pods. The status word is kubectl's printPod's, step by step; the level is ours. Pure.

A crashing container is mostly `terminated` and only now and then `waiting: CrashLoopBackOff` (recorded: 65-99 % of
the time), and between two crashes it runs: so a restart counts as trouble for a while after it. A lost node's
pods stay in phase Running with Ready=False.
"""

from datetime import datetime
from typing import Final

import msgspec

from app.watch.projection import (
    ERROR,
    HOLD_S,
    OK,
    PROGRESS,
    UNKNOWN,
    WARNING,
    Condition,
    Meta,
    Object,
    Projection,
    Slim,
    after,
    held,
    millicores,
    row,
    seconds,
    size,
)
from app.watch.schemas import Cell, Column, Row

CRASH_S: Final = 600.0  # kubelet forgets a crash after 10 min of running (its back-off reset)
RESTARTS: Final = 2  # so many restarts and a fresh crash make a crash loop (Robusta: restartCount > 1)


class Terminated(Slim):
    exit_code: int = 0
    signal: int = 0
    reason: str = ""
    finished_at: datetime | None = None


class Waiting(Slim):
    reason: str = ""


class Running(Slim):
    """That it is there says all."""


class State(Slim):
    waiting: Waiting | None = None
    running: Running | None = None
    terminated: Terminated | None = None


class ContainerStatus(Slim):
    name: str = ""
    ready: bool = False
    started: bool | None = None
    restart_count: int = 0
    state: State | None = None
    last_state: State | None = None


class Amounts(Slim):
    cpu: str | None = None
    memory: str | None = None


class Resources(Slim):
    requests: Amounts | None = None
    limits: Amounts | None = None


class Container(Slim):
    name: str = ""
    image: str = ""
    restart_policy: str = ""
    resources: Resources | None = None


class Spec(Slim):
    node_name: str = ""
    containers: list[Container] = msgspec.field(default_factory=list)
    init_containers: list[Container] | None = None


class Status(Slim):
    phase: str = ""
    reason: str = ""
    pod_ip: str = msgspec.field(default="", name="podIP")
    qos_class: str = ""
    conditions: list[Condition] | None = None
    init_container_statuses: list[ContainerStatus] | None = None
    container_statuses: list[ContainerStatus] | None = None


class Pod(Object):
    spec: Spec
    status: Status = msgspec.field(default_factory=Status)


class _Summary:
    """What printPod gathers on its way: one pass over the container statuses."""

    __slots__ = ("crashed", "crashed_at", "ready", "restarted_at", "restarts", "total", "word")

    def __init__(self, word: str, total: int) -> None:
        self.word = word
        self.total = total
        self.ready = 0
        self.restarts = 0
        self.restarted_at: datetime | None = None
        self.crashed = False  # a container stands at a failed end right now
        self.crashed_at: datetime | None = None  # the newest failed end

    def count(self, container: ContainerStatus) -> None:
        state, last = container.state, container.last_state
        if container.restart_count:
            self.restarts += container.restart_count
            self.restarted_at = _newer(self.restarted_at, last.terminated if last is not None else None)
        if state is not None and (end := state.terminated) is not None and end.exit_code != 0:
            self.crashed = True
            self.crashed_at = _newer(self.crashed_at, end)
        if last is not None and (end := last.terminated) is not None and end.exit_code != 0:
            self.crashed_at = _newer(self.crashed_at, end)


def _newer(time: datetime | None, end: Terminated | None) -> datetime | None:
    if end is None or end.finished_at is None:
        return time
    return end.finished_at if time is None or time < end.finished_at else time


def _init_word(container: ContainerStatus, index: int, total: int) -> str:
    state = container.state
    if state is not None and (end := state.terminated) is not None:
        if end.reason:
            return f"Init:{end.reason}"
        return f"Init:Signal:{end.signal}" if end.signal else f"Init:ExitCode:{end.exit_code}"
    if state is not None and state.waiting is not None and state.waiting.reason not in {"", "PodInitializing"}:
        return f"Init:{state.waiting.reason}"
    return f"Init:{index}/{total}"


def _word(state: State) -> str | None:
    """The word of one container that has not simply come to run."""
    if state.waiting is not None and state.waiting.reason:
        return state.waiting.reason
    if (end := state.terminated) is None:
        return None
    if end.reason:
        return end.reason
    return f"Signal:{end.signal}" if end.signal else f"ExitCode:{end.exit_code}"


def _init_containers(pod: Pod, summary: _Summary) -> bool:
    """Take in the init containers; whether the pod is still initializing. Sidecars count as containers."""
    declared = pod.spec.init_containers or []
    sidecars = {container.name for container in declared if container.restart_policy == "Always"}
    summary.total += len(sidecars)
    kept = _Summary("", 0)  # of the sidecars alone: what is left once the pod is initialized
    for index, container in enumerate(pod.status.init_container_statuses or ()):
        summary.count(container)
        sidecar = container.name in sidecars
        if sidecar:
            kept.count(container)
        end = container.state.terminated if container.state is not None else None
        if end is not None and end.exit_code == 0:
            continue
        if sidecar and container.started:
            summary.ready += container.ready
            continue
        summary.word = _init_word(container, index, len(declared))
        if not _initialized(pod.status):
            return True
        break
    summary.restarts, summary.restarted_at = kept.restarts, kept.restarted_at
    summary.crashed, summary.crashed_at = kept.crashed, kept.crashed_at
    return False


def _initialized(status: Status) -> bool:
    return any(each.type == "Initialized" and each.status == "True" for each in status.conditions or ())


def _containers(pod: Pod, summary: _Summary) -> None:
    running = False
    for container in reversed(pod.status.container_statuses or ()):
        summary.count(container)
        state = container.state
        word = _word(state) if state is not None else None
        if word is not None:
            summary.word = word
        elif container.ready and state is not None and state.running is not None:
            running = True
            summary.ready += 1
    if summary.word == "Completed" and running:
        ready = any(each.type == "Ready" and each.status == "True" for each in pod.status.conditions or ())
        summary.word = "Running" if ready else "NotReady"


def summarize(pod: Pod) -> _Summary:
    """The columns Ready, Status and Restarts of `kubectl get pods`."""
    status = pod.status
    summary = _Summary(status.reason or status.phase, len(pod.spec.containers))
    for each in status.conditions or ():
        if each.type == "PodScheduled" and each.reason == "SchedulingGated":
            summary.word = "SchedulingGated"
    if not (pod.spec.init_containers or status.init_container_statuses) or not _init_containers(pod, summary):
        _containers(pod, summary)
    if pod.metadata.deletion_timestamp is not None:
        if status.reason == "NodeLost":
            summary.word = "Unknown"
        elif status.phase not in {"Succeeded", "Failed"}:
            summary.word = "Terminating"
    return summary


_BROKEN: Final = frozenset(
    (
        "CrashLoopBackOff",
        "ImagePullBackOff",
        "ErrImagePull",
        "ErrImageNeverPull",
        "InvalidImageName",
        "ImageInspectError",
        "RegistryUnavailable",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
        "StartError",
        "ContainerCannotRun",
        "PreStartHookError",
        "PostStartHookError",
        "OOMKilled",
        "Error",
        "DeadlineExceeded",
        "ContainerStatusUnknown",
        "Evicted",
        "UnexpectedAdmissionError",
        "NodeAffinity",
        "OutOfcpu",
        "OutOfmemory",
        "OutOfpods",
        "Failed",
    )
)


def _level(pod: Pod, summary: _Summary, now: float) -> int:
    phase, word = pod.status.phase, summary.word
    if word == "Terminating":
        return PROGRESS
    if phase == "Succeeded":
        return OK
    if phase == "Failed" or summary.crashed or word.removeprefix("Init:") in _BROKEN:
        return ERROR
    if phase == "Running":
        return _running_level(pod, summary, now)
    if phase == "Pending":
        return _pending_level(pod, now)
    return ERROR if word == "Unknown" else UNKNOWN


def _running_level(pod: Pod, summary: _Summary, now: float) -> int:
    ready = _condition(pod, "Ready")
    crashing = summary.restarts >= RESTARTS and summary.crashed_at is not None
    if crashing and not held(summary.crashed_at, now, CRASH_S):
        return ERROR if ready is None or ready.status != "True" else WARNING
    if ready is None:
        return UNKNOWN
    if ready.status == "True":
        return OK
    return WARNING if held(ready.last_transition_time, now) else PROGRESS


def _pending_level(pod: Pod, now: float) -> int:
    scheduled = _condition(pod, "PodScheduled")
    if scheduled is not None and scheduled.status == "False" and scheduled.reason == "Unschedulable":
        return ERROR if held(scheduled.last_transition_time, now) else WARNING
    return PROGRESS


def _condition(pod: Pod, kind: str) -> Condition | None:
    for each in pod.status.conditions or ():
        if each.type == kind:
            return each
    return None


def _expires(pod: Pod, now: float) -> float | None:
    """When a fresh crash is forgotten, or something not yet ready or scheduled becomes a fault."""
    status = pod.status
    times = [
        after(each.last_transition_time, now, HOLD_S)
        for each in status.conditions or ()
        if each.status != "True" and each.type in {"Ready", "PodScheduled"}
    ]
    if status.phase == "Running" and _has_crashed(status):
        times.append(after(summarize(pod).crashed_at, now, CRASH_S))
    return min([time for time in times if time is not None], default=None) if times else None


def _has_crashed(status: Status) -> bool:
    """Whether there may be a crash to forget: a container was restarted, and one has failed."""
    restarted = failed = False
    for statuses in (status.container_statuses, status.init_container_statuses):
        for each in statuses or ():
            restarted = restarted or each.restart_count > 0
            failed = failed or _has_failed(each.state) or _has_failed(each.last_state)
    return restarted and failed


def _has_failed(state: State | None) -> bool:
    return state is not None and state.terminated is not None and state.terminated.exit_code != 0


def _resources(spec: Spec) -> tuple[int | None, int | None, int | None, int | None]:
    """Requests and limits: cpu, memory, cpu, memory of containers and sidecars; None where none is set."""
    sums = _Sums()
    for container in spec.containers:
        if container.resources is not None:
            sums.add(container.resources)
    for container in spec.init_containers or ():
        if container.restart_policy == "Always" and container.resources is not None:
            sums.add(container.resources)
    return sums.cpu_request, sums.memory_request, sums.cpu_limit, sums.memory_limit


class _Sums:
    __slots__ = ("cpu_limit", "cpu_request", "memory_limit", "memory_request")

    def __init__(self) -> None:
        self.cpu_request: int | None = None
        self.cpu_limit: int | None = None
        self.memory_request: int | None = None
        self.memory_limit: int | None = None

    def add(self, resources: Resources) -> None:
        if (asked := resources.requests) is not None:
            if asked.cpu is not None:
                self.cpu_request = _plus(self.cpu_request, millicores(asked.cpu))
            if asked.memory is not None:
                self.memory_request = _plus(self.memory_request, size(asked.memory))
        if (allowed := resources.limits) is not None:
            if allowed.cpu is not None:
                self.cpu_limit = _plus(self.cpu_limit, millicores(allowed.cpu))
            if allowed.memory is not None:
                self.memory_limit = _plus(self.memory_limit, size(allowed.memory))


def _plus(total: int | None, amount: int | None) -> int | None:
    return amount if total is None else total if amount is None else total + amount


COLUMNS: Final = (
    Column("ready", "Ready", "ratio", help="containers that are ready, of all"),
    Column("status", "Status", "status"),
    Column("restarts", "Restarts", "number"),
    Column("restarted", "Last restart", "time"),
    Column("node", "Node"),
    Column("ip", "IP"),
    Column("cpu_request", "CPU request", "millicores"),
    Column("memory_request", "Memory request", "bytes"),
    Column("cpu_limit", "CPU limit", "millicores", wide=True),
    Column("memory_limit", "Memory limit", "bytes", wide=True),
    Column("qos", "QoS", wide=True),
    Column("images", "Images", wide=True),
    Column("since", "In this state since", "time", wide=True, help="when the condition Ready last changed"),
)


def project(pod: Pod, now: float) -> Row:
    """The row of one pod."""
    meta: Meta = pod.metadata
    spec, status = pod.spec, pod.status
    summary = summarize(pod)
    ready = _condition(pod, "Ready")
    since = ready.last_transition_time if ready is not None else meta.creation_timestamp
    cpu_request, memory_request, cpu_limit, memory_limit = _resources(spec)
    cells: tuple[Cell, ...] = (
        f"{summary.ready}/{summary.total}",
        summary.word,
        summary.restarts,
        seconds(summary.restarted_at),
        spec.node_name,
        status.pod_ip,
        cpu_request,
        memory_request,
        cpu_limit,
        memory_limit,
        status.qos_class,
        ",".join([container.image for container in spec.containers]),
        seconds(since),
    )
    return row(meta, _level(pod, summary, now), cells)


PODS: Final = Projection(
    group="",
    versions=("v1",),
    resource="pods",
    kind="Pod",
    namespaced=True,
    type=Pod,
    columns=COLUMNS,
    project=project,
    status=1,
    since=12,
    expires=_expires,
)
