"""Node lifecycle: leases and heartbeats, and what the controller does with a node whose kubelet is silent."""

from typing import Any

from kubesim.clock import micro_stamp, stamp
from kubesim.store import Store
from kubesim.world.events import Recorder

Object = dict[str, Any]
LEASES = "leases.coordination.k8s.io"


def beat(store: Store, name: str) -> None:
    """Renew a node's lease, as its kubelet does each 10 s."""
    lease = store.find(LEASES, "kube-node-lease", name)
    spec = {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": micro_stamp(store.clock.now())}
    if lease is None:
        store.create(LEASES, {"metadata": {"name": name, "namespace": "kube-node-lease"}, "spec": spec})
    else:
        store.change(LEASES, lease, spec=spec)


def lose(store: Store, recorder: Recorder, name: str) -> None:
    """NodeStatusUnknown, the unreachable taints, and Ready=False on its pods, whose phase stays Running."""
    if (node := store.find("nodes", "", name)) is None:
        return  # deleted while it was lost
    why = ("NodeStatusUnknown", "Kubelet stopped posting node status.")
    conditions = [_turned(store, c, "Unknown", *why) for c in node["status"]["conditions"]]
    node = store.change("nodes", node, status={**node["status"], "conditions": conditions})
    now = stamp(store.clock.now())
    key = "node.kubernetes.io/unreachable"
    taints = [{"key": key, "effect": effect, "timeAdded": now} for effect in ("NoSchedule", "NoExecute")]
    node = store.change("nodes", node, spec={**node["spec"], "taints": taints})
    recorder.say(node, "NodeNotReady", f"Node {name} status is now: NodeNotReady", component="node-controller")
    for pod in store.list("pods"):
        if pod["spec"].get("nodeName") == name:
            old = pod["status"].get("conditions") or ()
            found = [_turned(store, c, "False") if c["type"] == "Ready" else c for c in old]
            store.change("pods", pod, status={**pod["status"], "conditions": found})
            recorder.say(pod, "NodeNotReady", "Node is not ready", component="node-controller", warning=True)


def regain(store: Store, recorder: Recorder, name: str) -> None:
    """The kubelet posts its status again."""
    if (node := store.find("nodes", "", name)) is None:
        return
    calm = {"MemoryPressure": "KubeletHasSufficientMemory", "DiskPressure": "KubeletHasNoDiskPressure"}
    calm |= {"PIDPressure": "KubeletHasSufficientPID", "Ready": "KubeletReady"}
    conditions = [
        _turned(store, c, "True" if c["type"] == "Ready" else "False", calm.get(c["type"], ""), "")
        for c in node["status"]["conditions"]
    ]
    node = store.change("nodes", node, status={**node["status"], "conditions": conditions})
    node = store.change("nodes", node, spec={k: v for k, v in node["spec"].items() if k != "taints"})
    recorder.say(node, "NodeReady", f"Node {name} status is now: NodeReady", component="kubelet")
    for pod in store.list("pods"):
        statuses = pod["status"].get("containerStatuses") or ()
        if pod["spec"].get("nodeName") == name and statuses and all(s.get("ready") for s in statuses):
            found = [_turned(store, c, "True") if c["type"] == "Ready" else c for c in pod["status"]["conditions"]]
            store.change("pods", pod, status={**pod["status"], "conditions": found})


def _turned(store: Store, condition: Object, status: str, reason: str = "", message: str = "") -> Object:
    found = {**condition, "status": status}
    if condition["status"] != status:
        found["lastTransitionTime"] = stamp(store.clock.now())
    if reason:
        found |= {"reason": reason, "message": message}
    elif status == "True":
        found = {k: v for k, v in found.items() if k not in {"reason", "message"}}
    return found
