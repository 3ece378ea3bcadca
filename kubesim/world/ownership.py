"""managedFields as a real server writes them: which manager set which field. A third of a real pod's bytes. Pure."""

import json
from typing import Any, Final

Object = dict[str, Any]
_CONDITION: Final[Object] = {
    ".": {}, "f:lastProbeTime": {}, "f:lastTransitionTime": {}, "f:observedGeneration": {}, "f:status": {},
    "f:type": {},
}  # fmt: skip
_CONDITIONS: Final = ("ContainersReady", "Initialized", "PodReadyToStartContainers", "Ready")
_STATUS: Final[Object] = {
    "f:status": {
        "f:conditions": {f'k:{{"type":"{name}"}}': _CONDITION for name in _CONDITIONS}
        | {'k:{"type":"PodScheduled"}': {"f:observedGeneration": {}}},
        **{f"f:{name}": {} for name in ("containerStatuses", "hostIP", "hostIPs", "observedGeneration")},
        **{f"f:{name}": {} for name in ("phase", "podIP", "podIPs", "startTime")},
    }
}
_KEYS: Final = (("containerPort", "protocol"), ("mountPath",), ("uid",), ("name",), ("key",))


def of_pod(written: Object, time: str) -> list[Object]:
    """The entries of a pod that a controller made: its own and the kubelet's. written: see `fields_of`; shared."""
    return [
        _entry("kube-controller-manager", written, time),
        _entry("kubelet", _STATUS, time) | {"subresource": "status"},
    ]


def fields_of(obj: Object) -> Object:
    """The fields of a pod as its controller sends it."""
    meta = {
        k: v for k, v in obj["metadata"].items() if k in {"labels", "annotations", "ownerReferences", "generateName"}
    }
    return {"f:metadata": _tree(meta, top=True), "f:spec": _tree(obj["spec"], top=True)}


def of_workload(obj: Object, time: str) -> list[Object]:
    """The entries of a workload that was applied with kubectl."""
    return [_entry("kubectl-client-side-apply", fields_of(obj), time, "apps/v1")]


def _entry(manager: str, fields: Object, time: str, version: str = "v1") -> Object:
    lead = {"manager": manager, "operation": "Update", "apiVersion": version, "time": time}
    return lead | {"fieldsType": "FieldsV1", "fieldsV1": fields}


def _tree(value: Any, *, top: bool = False) -> Object:
    if isinstance(value, dict):
        found: Object = {} if top or not value else {".": {}}
        return found | {f"f:{key}": _tree(part) for key, part in sorted(value.items())}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        key = next((names for names in _KEYS if all(name in part for part in value for name in names)), None)
        if key is not None:
            return {".": {}} | {_key(part, key): _tree(part) for part in value}
    return {}


def _key(part: Object, names: tuple[str, ...]) -> str:
    return "k:" + json.dumps({name: part[name] for name in names}, separators=(",", ":"))
