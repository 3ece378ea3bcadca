"""What an API server fills in when an object is written: defaults of pods, workloads, services. Pure."""

from typing import Any

from kubesim.kinds import Kind
from kubesim.store import Store

Object = dict[str, Any]


def apply(kind: Kind, obj: Object, store: Store) -> None:
    """Fill `obj` in place."""
    filler = _FILLERS.get(kind.key)
    if filler is not None:
        filler(obj, store)


def pod_spec(spec: Object) -> None:
    """The defaults of a pod's spec, in a template too."""
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("securityContext", {})
    spec.setdefault("schedulerName", "default-scheduler")
    for container in [*spec.get("containers", ()), *spec.get("initContainers", ())]:
        container.setdefault("resources", {})
        container.setdefault("terminationMessagePath", "/dev/termination-log")
        container.setdefault("terminationMessagePolicy", "File")
        latest = container.get("image", "").rpartition("/")[2].partition(":")[2] in {"", "latest"}
        container.setdefault("imagePullPolicy", "Always" if latest else "IfNotPresent")
        for port in container.get("ports", ()):
            port.setdefault("protocol", "TCP")


def pod(obj: Object, store: Store) -> None:
    """A pod, with what the service account admission and the default tolerations add."""
    spec = obj.setdefault("spec", {})
    pod_spec(spec)
    spec.setdefault("serviceAccountName", "default")
    spec.setdefault("serviceAccount", spec["serviceAccountName"])
    spec.setdefault("priority", 0)
    spec.setdefault("enableServiceLinks", True)
    spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
    spec.setdefault("tolerations", []).extend(
        {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
        for key in ("not-ready", "unreachable")
        if not any(t.get("key") == f"node.kubernetes.io/{key}" for t in spec["tolerations"])
    )
    volume = f"kube-api-access-{store.suffix()}"
    if not any(v["name"].startswith("kube-api-access-") for v in spec.get("volumes") or ()):
        spec.setdefault("volumes", []).append({"name": volume, "projected": _PROJECTED})
        mount = {"name": volume, "readOnly": True, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}
        for container in [*spec.get("containers", ()), *spec.get("initContainers", ())]:
            container.setdefault("volumeMounts", []).append(mount)
    obj.setdefault("status", {"phase": "Pending", "qosClass": qos(spec)})


def qos(spec: Object) -> str:
    """Guaranteed, Burstable or BestEffort."""
    found = [c.get("resources", {}) for c in spec.get("containers", ())]
    if not any(r.get("requests") or r.get("limits") for r in found):
        return "BestEffort"
    whole = all(
        r.get("limits", {}).get(name) and r.get("requests", {}).get(name, r["limits"][name]) == r["limits"][name]
        for r in found
        for name in ("cpu", "memory")
    )
    return "Guaranteed" if whole else "Burstable"


_PROJECTED: Object = {
    "sources": [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {
            "downwardAPI": {
                "items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]
            }
        },
    ],
    "defaultMode": 420,
}


def _template(obj: Object) -> Object:
    spec: Object = obj.setdefault("spec", {})
    template = spec.setdefault("template", {})
    template.setdefault("metadata", {})
    pod_spec(template.setdefault("spec", {}))
    return spec


def _deployment(obj: Object, _store: Store) -> None:
    spec = _template(obj)
    spec.setdefault("replicas", 1)
    spec.setdefault(
        "strategy", {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}}
    )
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)


def _stateful_set(obj: Object, _store: Store) -> None:
    spec = _template(obj)
    spec.setdefault("replicas", 1)
    spec.setdefault("podManagementPolicy", "OrderedReady")
    spec.setdefault("updateStrategy", {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}})
    spec.setdefault("revisionHistoryLimit", 10)


def _daemon_set(obj: Object, _store: Store) -> None:
    spec = _template(obj)
    spec.setdefault("updateStrategy", {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}})
    spec.setdefault("revisionHistoryLimit", 10)


def _replica_set(obj: Object, _store: Store) -> None:
    _template(obj).setdefault("replicas", 1)


def _job(obj: Object, store: Store) -> None:
    spec = _template(obj)
    for name, value in (("parallelism", 1), ("completions", 1), ("backoffLimit", 6), ("completionMode", "NonIndexed")):
        spec.setdefault(name, value)
    spec.setdefault("suspend", False)
    if "selector" not in spec:
        uid = f"{store.rng.getrandbits(32):08x}-0000-4000-8000-{store.rng.getrandbits(48):012x}"
        name = obj["metadata"].get("name", "")
        labels = {"batch.kubernetes.io/controller-uid": uid, "batch.kubernetes.io/job-name": name}
        spec["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
        spec["template"]["metadata"].setdefault("labels", {}).update(labels)


def _service(obj: Object, store: Store) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    spec.setdefault("internalTrafficPolicy", "Cluster")
    if "clusterIP" not in spec and spec["type"] != "ExternalName":
        spec["clusterIP"] = f"10.96.{store.rng.randrange(256)}.{store.rng.randrange(1, 255)}"
        spec["clusterIPs"] = [spec["clusterIP"]]
        spec["ipFamilies"], spec["ipFamilyPolicy"] = ["IPv4"], "SingleStack"
    for port in spec.get("ports") or ():
        port.setdefault("protocol", "TCP")
        port.setdefault("targetPort", port["port"])
    obj.setdefault("status", {"loadBalancer": {}})


def namespace(obj: Object, _store: Store) -> None:
    meta = obj["metadata"]
    meta.setdefault("labels", {})["kubernetes.io/metadata.name"] = meta.get("name", "")
    obj.setdefault("spec", {"finalizers": ["kubernetes"]})
    obj.setdefault("status", {"phase": "Active"})


_FILLERS = {
    "pods": pod,
    "deployments.apps": _deployment,
    "statefulsets.apps": _stateful_set,
    "daemonsets.apps": _daemon_set,
    "replicasets.apps": _replica_set,
    "jobs.batch": _job,
    "services": _service,
    "namespaces": namespace,
}
