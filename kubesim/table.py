"""Lists and watches as Table, with the columns that a real server prints (recorded in tables/*.json). Pure."""

from collections.abc import Callable
from typing import Any, Final

from kubesim.clock import seconds
from kubesim.kinds import Kind

Object = dict[str, Any]
Cells = Callable[[Object, float], list[Any]]
NONE: Final = "<none>"


def age(obj: Object, now: float) -> str:
    return duration(now - seconds(obj["metadata"]["creationTimestamp"]))


def duration(span_s: float) -> str:
    """How apimachinery's HumanDuration writes a span: at most two units, the second only while it matters."""
    s = max(0, int(span_s))
    for limit, unit, part, letters in _SPANS:
        if s < limit:
            whole, rest = divmod(s, unit)
            rest //= part or 1
            return f"{whole}{letters[0]}" + (f"{rest}{letters[1]}" if part and rest else "")
    return f"{s // 31_536_000}y{s % 31_536_000 // 86_400}d"


_SPANS: Final = (
    # below this many seconds: the unit, the second unit (0: none), their letters
    (120, 1, 0, "s"),
    (600, 60, 1, "ms"),
    (10_800, 60, 0, "m"),
    (28_800, 3_600, 60, "hm"),
    (172_800, 3_600, 0, "h"),
    (691_200, 86_400, 3_600, "dh"),
    (63_072_000, 86_400, 0, "d"),
)


def column(name: str, kind: str = "string", priority: int = 0, form: str = "", description: str = "") -> Object:
    return {"name": name, "type": kind, "format": form, "description": description, "priority": priority}


def _columns(text: str) -> list[Object]:
    """Names by commas; a leading + is shown only on request."""
    found = []
    for name in (part.strip() for part in text.split(",")):
        wide = name.startswith("+")
        title = name.lstrip("+")
        found.append(column(title, priority=int(wide), form="name" if title == "Name" else ""))
    return found


def pod_status(pod: Object) -> tuple[str, int, int, int]:
    """The word, ready containers, containers and restarts, as printers/internalversion computes them."""
    spec, status = pod["spec"], pod.get("status", {})
    word = status.get("reason") or status.get("phase", "Unknown")
    total, ready, restarts = len(spec.get("containers") or ()), 0, 0
    initial = status.get("initContainerStatuses") or ()
    for number, container in enumerate(initial):
        state = container.get("state", {})
        restarts += container.get("restartCount", 0)
        ended = state.get("terminated")
        if ended and ended.get("exitCode") == 0:
            continue
        waiting = state.get("waiting", {}).get("reason", "")
        if ended:
            word = "Init:" + (ended.get("reason") or f"ExitCode:{ended['exitCode']}")
        elif waiting and waiting != "PodInitializing":
            word = "Init:" + waiting
        else:
            word = f"Init:{number}/{len(spec.get('initContainers') or ())}"
        break
    else:
        running = False
        for container in reversed(status.get("containerStatuses") or ()):
            state = container.get("state", {})
            restarts += container.get("restartCount", 0)
            word, running = _container_word(container, state, word, running=running)
            ready += bool(container.get("ready") and "running" in state)
        if word == "Completed" and running:
            word = "Running" if _is_ready(status) else "NotReady"
    if "deletionTimestamp" in pod["metadata"]:
        word = "Unknown" if status.get("reason") == "NodeLost" else "Terminating"
    return word, ready, total, restarts


def _container_word(container: Object, state: Object, word: str, *, running: bool) -> tuple[str, bool]:
    if reason := state.get("waiting", {}).get("reason"):
        return reason, running
    if ended := state.get("terminated"):
        signal = ended.get("signal")
        return ended.get("reason") or (f"Signal:{signal}" if signal else f"ExitCode:{ended['exitCode']}"), running
    return word, running or bool(container.get("ready") and "running" in state)


def _is_ready(status: Object) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or ())


def _pod(pod: Object, now: float) -> list[Any]:
    word, ready, total, restarts = pod_status(pod)
    ended = [
        seconds(last["finishedAt"])
        for c in pod.get("status", {}).get("containerStatuses") or ()
        if (last := c.get("lastState", {}).get("terminated"))
    ]
    count = f"{restarts} ({duration(now - max(ended))} ago)" if restarts and ended else str(restarts)
    status = pod.get("status", {})
    return [
        pod["metadata"]["name"], f"{ready}/{total}", word, count, age(pod, now), status.get("podIP") or NONE,
        pod["spec"].get("nodeName") or NONE, status.get("nominatedNodeName") or NONE, NONE,
    ]  # fmt: skip


def _template(obj: Object) -> list[str]:
    containers = obj["spec"]["template"]["spec"].get("containers") or ()
    return [",".join(c["name"] for c in containers), ",".join(c["image"] for c in containers)]


def selector(found: Object | None) -> str:
    pairs = (found or {}).get("matchLabels") if "matchLabels" in (found or {}) else found
    return ",".join(f"{k}={v}" for k, v in sorted((pairs or {}).items())) or NONE


def _deployment(obj: Object, now: float) -> list[Any]:
    status = obj.get("status", {})
    ready = f"{status.get('readyReplicas', 0)}/{obj['spec'].get('replicas', 1)}"
    counts = [status.get("updatedReplicas", 0), status.get("availableReplicas", 0)]
    return [obj["metadata"]["name"], ready, *counts, age(obj, now), *_template(obj), selector(obj["spec"]["selector"])]


def _replica_set(obj: Object, now: float) -> list[Any]:
    status = obj.get("status", {})
    counts = [obj["spec"].get("replicas", 1), status.get("replicas", 0), status.get("readyReplicas", 0)]
    return [obj["metadata"]["name"], *counts, age(obj, now), *_template(obj), selector(obj["spec"]["selector"])]


def _stateful_set(obj: Object, now: float) -> list[Any]:
    ready = f"{obj.get('status', {}).get('readyReplicas', 0)}/{obj['spec'].get('replicas', 1)}"
    return [obj["metadata"]["name"], ready, age(obj, now), *_template(obj)]


def _daemon_set(obj: Object, now: float) -> list[Any]:
    status = obj.get("status", {})
    names = (
        "desiredNumberScheduled",
        "currentNumberScheduled",
        "numberReady",
        "updatedNumberScheduled",
        "numberAvailable",
    )
    chosen = selector(obj["spec"]["template"]["spec"].get("nodeSelector"))
    counts = [status.get(name, 0) for name in names]
    return [obj["metadata"]["name"], *counts, chosen, age(obj, now), *_template(obj), selector(obj["spec"]["selector"])]


def _job(obj: Object, now: float) -> list[Any]:
    status, spec = obj.get("status", {}), obj["spec"]
    kinds = {c["type"] for c in status.get("conditions") or () if c["status"] == "True"}
    word = next((w for w in ("Complete", "Failed", "Suspended") if w in kinds), "Running")
    start, end = status.get("startTime"), status.get("completionTime")
    took = duration((seconds(end) if end else now) - seconds(start)) if start else ""
    done = f"{status.get('succeeded', 0)}/{spec.get('completions', 1)}"
    return [obj["metadata"]["name"], word, done, took, age(obj, now), *_template(obj), selector(spec.get("selector"))]


def _cron_job(obj: Object, now: float) -> list[Any]:
    spec, status = obj["spec"], obj.get("status", {})
    last = status.get("lastScheduleTime")
    containers = spec["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    return [
        obj["metadata"]["name"], spec["schedule"], spec.get("timeZone") or NONE,
        str(spec.get("suspend", False)).title(),
        len(status.get("active") or ()), duration(now - seconds(last)) if last else NONE, age(obj, now),
        ",".join(c["name"] for c in containers), ",".join(c["image"] for c in containers), NONE,
    ]  # fmt: skip


def _node(obj: Object, now: float) -> list[Any]:
    status, info = obj["status"], obj["status"]["nodeInfo"]
    ready = next((c["status"] for c in status["conditions"] if c["type"] == "Ready"), "Unknown")
    word = "Ready" if ready == "True" else "NotReady"
    if obj["spec"].get("unschedulable"):
        word += ",SchedulingDisabled"
    lead = "node-role.kubernetes.io/"
    roles = ",".join(sorted(k.removeprefix(lead) for k in obj["metadata"]["labels"] if k.startswith(lead))) or NONE
    internal = next((a["address"] for a in status["addresses"] if a["type"] == "InternalIP"), NONE)
    kernel = f"{info['kernelVersion']} ({info['architecture']})"
    name = obj["metadata"]["name"]
    tail = [internal, NONE, info["osImage"], kernel, info["containerRuntimeVersion"]]
    return [name, word, roles, age(obj, now), info["kubeletVersion"], *tail]


def _event(obj: Object, now: float) -> list[Any]:
    series = obj.get("series") or {}
    first = obj.get("firstTimestamp") or obj.get("eventTime") or obj["metadata"]["creationTimestamp"]
    last = series.get("lastObservedTime") or obj.get("lastTimestamp") or first
    about = obj["involvedObject"]
    source = ", ".join(filter(None, (obj.get("source", {}).get("component") or obj.get("reportingComponent"),
                                     obj.get("source", {}).get("host") or obj.get("reportingInstance"))))  # fmt: skip
    return [
        duration(now - seconds(last)), obj.get("type", ""), obj.get("reason", ""),
        f"{about.get('kind', '').lower()}/{about.get('name', '')}", about.get("fieldPath", ""), source,
        obj.get("message", "").strip(), duration(now - seconds(first)), series.get("count") or obj.get("count") or 1,
        obj["metadata"]["name"],
    ]  # fmt: skip


def _service(obj: Object, now: float) -> list[Any]:
    spec = obj["spec"]
    ports = ",".join(
        f"{p['port']}{':' + str(p['nodePort']) if p.get('nodePort') else ''}/{p.get('protocol', 'TCP')}"
        for p in spec.get("ports") or ()
    )
    addresses = obj.get("status", {}).get("loadBalancer", {}).get("ingress") or ()
    external = ",".join(a.get("ip") or a.get("hostname", "") for a in addresses) or NONE
    return [
        obj["metadata"]["name"], spec.get("type", "ClusterIP"), spec.get("clusterIP", NONE), external,
        ports or NONE, age(obj, now), selector(spec.get("selector")),
    ]  # fmt: skip


def _named(*paths: str) -> Cells:
    """Name, the values at dotted paths, age."""

    def cells(obj: Object, now: float) -> list[Any]:
        return [obj["metadata"]["name"], *(_at(obj, path) for path in paths), age(obj, now)]

    return cells


def _at(obj: Object, path: str) -> Any:
    value: Any = obj
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if isinstance(value, dict):
        return len(value)
    return "" if value is None else value


def _claim(obj: Object, now: float) -> list[Any]:
    spec, status = obj["spec"], obj.get("status", {})
    modes = ",".join({"ReadWriteOnce": "RWO", "ReadWriteMany": "RWX"}.get(m, m) for m in spec["accessModes"])
    size = status.get("capacity", {}).get("storage", "")
    return [
        obj["metadata"]["name"], status.get("phase", ""), spec.get("volumeName", ""), size, modes if size else "",
        spec.get("storageClassName", ""), "<unset>", age(obj, now), spec.get("volumeMode", "Filesystem"),
    ]  # fmt: skip


PRINTERS: Final[dict[str, tuple[list[Object], Cells]]] = {
    "pods": (_columns("Name,Ready,Status,Restarts,Age,+IP,+Node,+Nominated Node,+Readiness Gates"), _pod),
    "deployments.apps": (_columns("Name,Ready,Up-to-date,Available,Age,+Containers,+Images,+Selector"), _deployment),
    "replicasets.apps": (_columns("Name,Desired,Current,Ready,Age,+Containers,+Images,+Selector"), _replica_set),
    "statefulsets.apps": (_columns("Name,Ready,Age,+Containers,+Images"), _stateful_set),
    "daemonsets.apps": (
        _columns("Name,Desired,Current,Ready,Up-to-date,Available,Node Selector,Age,+Containers,+Images,+Selector"),
        _daemon_set,
    ),
    "jobs.batch": (_columns("Name,Status,Completions,Duration,Age,+Containers,+Images,+Selector"), _job),
    "cronjobs.batch": (
        _columns("Name,Schedule,Timezone,Suspend,Active,Last Schedule,Age,+Containers,+Images,+Selector"),
        _cron_job,
    ),
    "nodes": (
        _columns(
            "Name,Status,Roles,Age,Version,+Internal-IP,+External-IP,+OS-Image,+Kernel-Version,+Container-Runtime"
        ),
        _node,
    ),
    "events": (
        _columns("Last Seen,Type,Reason,Object,+Subobject,+Source,Message,+First Seen,+Count,+Name"),
        _event,
    ),
    "services": (_columns("Name,Type,Cluster-IP,External-IP,Port(s),Age,+Selector"), _service),
    "namespaces": (_columns("Name,Status,Age"), _named("status.phase")),
    "configmaps": (_columns("Name,Data,Age"), _named("data")),
    "secrets": (_columns("Name,Type,Data,Age"), _named("type", "data")),
    "serviceaccounts": (_columns("Name,Secrets,Age"), lambda o, now: [o["metadata"]["name"], 0, age(o, now)]),
    "persistentvolumeclaims": (
        _columns("Name,Status,Volume,Capacity,Access Modes,StorageClass,VolumeAttributesClass,Age,+VolumeMode"),
        _claim,
    ),
    "leases.coordination.k8s.io": (_columns("Name,Holder,Age"), _named("spec.holderIdentity")),
    "storageclasses.storage.k8s.io": (
        _columns("Name,Provisioner,ReclaimPolicy,Age"),
        _named("provisioner", "reclaimPolicy"),
    ),
}
DEFAULT: Final = (
    _columns("Name,Created At"),
    lambda o, _now: [o["metadata"]["name"], o["metadata"]["creationTimestamp"]],
)


def printer(kind: Kind) -> tuple[list[Object], Cells]:
    """The columns of a kind and the function that fills them."""
    if kind.columns:
        return _custom(kind)
    return PRINTERS.get(kind.key, DEFAULT)


def _custom(kind: Kind) -> tuple[list[Object], Cells]:
    columns = [column("Name", form="name")]
    paths: list[str] = []
    for found in kind.columns:
        if found["jsonPath"] == ".metadata.creationTimestamp":
            continue
        columns.append(column(str(found["name"]), str(found["type"]), int(str(found.get("priority", 0)))))
        paths.append(str(found["jsonPath"]).lstrip("."))
    return [*columns, column("Age", "date")], _named(*(path for path in paths))


def row(kind: Kind, obj: Object, now: float, include: str) -> Object:
    """One row; include: "Object", "Metadata" or "None"."""
    _, cells = printer(kind)
    line: Object = {"cells": cells(obj, now)}
    if include == "Object":
        line["object"] = obj
    elif include == "Metadata":
        line["object"] = partial(obj)
    else:
        line["object"] = None
    return line


def partial(obj: Object) -> Object:
    """PartialObjectMetadata."""
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}
