"""Nodes and namespaces. Pure."""

from typing import Final

import msgspec

from app.watch.projection import (
    ERROR,
    OK,
    PROGRESS,
    UNKNOWN,
    WARNING,
    Condition,
    Object,
    Projection,
    Slim,
    condition,
    is_true,
    millicores,
    row,
    seconds,
    size,
)
from app.watch.schemas import Cell, Column, Row

_ROLE: Final = "node-role.kubernetes.io/"
_PRESSURES: Final = ("MemoryPressure", "DiskPressure", "PIDPressure")


class Taint(Slim):
    key: str = ""
    value: str = ""
    effect: str = ""


class NodeSpec(Slim):
    unschedulable: bool = False
    taints: list[Taint] | None = None


class Address(Slim):
    type: str = ""
    address: str = ""


class NodeInfo(Slim):
    kubelet_version: str = ""
    os_image: str = ""
    kernel_version: str = ""
    architecture: str = ""
    container_runtime_version: str = ""


class NodeStatus(Slim):
    conditions: list[Condition] | None = None
    addresses: list[Address] | None = None
    node_info: NodeInfo = msgspec.field(default_factory=NodeInfo)
    capacity: dict[str, str] | None = None
    allocatable: dict[str, str] | None = None


class Node(Object):
    spec: NodeSpec = msgspec.field(default_factory=NodeSpec)
    status: NodeStatus = msgspec.field(default_factory=NodeStatus)


def _word(node: Node) -> str:
    ready = condition(node.status.conditions, "Ready")
    words = ["Unknown" if ready is None else "Ready" if ready.status == "True" else "NotReady"]
    words += [name for name in _PRESSURES if is_true(node.status.conditions, name)]
    if node.spec.unschedulable:
        words.append("SchedulingDisabled")
    return ",".join(words)


def _level(node: Node) -> int:
    conditions = node.status.conditions
    ready = condition(conditions, "Ready")
    if ready is None:
        return UNKNOWN
    if ready.status != "True" or is_true(conditions, "NetworkUnavailable"):
        return ERROR
    if node.spec.unschedulable or any(is_true(conditions, name) for name in _PRESSURES):
        return WARNING
    return OK


def _roles(labels: dict[str, str] | None) -> str:
    """As kubectl: names after node-role.kubernetes.io/, and the value of the old label kubernetes.io/role."""
    roles = set()
    for key, value in (labels or {}).items():
        if key.startswith(_ROLE) and (name := key.removeprefix(_ROLE)):
            roles.add(name)
        elif key == "kubernetes.io/role" and value:
            roles.add(value)
    return ",".join(sorted(roles))


def _address(node: Node, kind: str) -> str:
    return next((each.address for each in node.status.addresses or () if each.type == kind), "")


def _taint(taint: Taint) -> str:
    return f"{taint.key}={taint.value}:{taint.effect}" if taint.value else f"{taint.key}:{taint.effect}"


def project_node(node: Node, _now: float) -> Row:
    """The row of one node."""
    info, ready = node.status.node_info, condition(node.status.conditions, "Ready")
    room = node.status.allocatable or node.status.capacity or {}
    pods = room.get("pods", "")
    cells: tuple[Cell, ...] = (
        _word(node),
        _roles(node.metadata.labels),
        info.kubelet_version,
        millicores(room["cpu"]) if "cpu" in room else None,
        size(room["memory"]) if "memory" in room else None,
        int(pods) if pods.isdecimal() else None,
        ",".join([_taint(taint) for taint in node.spec.taints or ()]),
        _address(node, "InternalIP"),
        _address(node, "ExternalIP"),
        info.os_image,
        f"{info.kernel_version} ({info.architecture})" if info.architecture else info.kernel_version,
        info.container_runtime_version,
        seconds(ready.last_transition_time) if ready is not None else None,
    )
    return row(node.metadata, _level(node), cells)


NODES: Final = Projection(
    group="",
    versions=("v1",),
    resource="nodes",
    kind="Node",
    namespaced=False,
    type=Node,
    columns=(
        Column("status", "Status", "status"),
        Column("roles", "Roles"),
        Column("version", "Version"),
        Column("cpu", "CPU", "millicores", help="allocatable"),
        Column("memory", "Memory", "bytes", help="allocatable"),
        Column("pods", "Pods", "number", help="most pods that the node takes"),
        Column("taints", "Taints"),
        Column("internal_ip", "Internal IP", wide=True),
        Column("external_ip", "External IP", wide=True),
        Column("os", "OS", wide=True),
        Column("kernel", "Kernel", wide=True),
        Column("runtime", "Runtime", wide=True),
        Column("since", "In this state since", "time", wide=True, help="when the condition Ready last changed"),
    ),
    project=project_node,
    status=0,
    since=12,
)


class NamespaceStatus(Slim):
    phase: str = ""
    conditions: list[Condition] | None = None


class Namespace(Object):
    status: NamespaceStatus = msgspec.field(default_factory=NamespaceStatus)


def project_namespace(namespace: Namespace, _now: float) -> Row:
    """The row of one namespace; a stuck deletion names its reason."""
    phase, metadata = namespace.status.phase, namespace.metadata
    stuck = next((each for each in namespace.status.conditions or () if each.status == "True"), None)
    level = OK if phase == "Active" else PROGRESS if phase == "Terminating" else UNKNOWN
    if level == PROGRESS and stuck is not None:
        level = WARNING
    message = stuck.message if stuck is not None else ""
    return row(metadata, level, (phase, message, seconds(metadata.deletion_timestamp or metadata.creation_timestamp)))


NAMESPACES: Final = Projection(
    group="",
    versions=("v1",),
    resource="namespaces",
    kind="Namespace",
    namespaced=False,
    type=Namespace,
    columns=(
        Column("status", "Status", "status"),
        Column("message", "Message", wide=True),
        Column("since", "In this state since", "time", wide=True),
    ),
    project=project_namespace,
    status=0,
    since=2,
)
