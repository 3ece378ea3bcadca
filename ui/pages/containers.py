"""The containers of a pod as its page shows them. Pure. Values of environment variables are never taken over."""

from typing import Any, Final

import msgspec

Manifest = dict[str, Any]
WAITING_WELL: Final = frozenset({"ContainerCreating", "PodInitializing", ""})


class Container(msgspec.Struct, frozen=True, kw_only=True):
    """role: "" for a main one, else "init" or "ephemeral". state: a word with its reason; last: how it ended before."""

    name: str
    role: str
    level: str
    state: str
    since: str
    last: str
    last_at: str
    restarts: int | None
    ready: bool | None
    image: str
    requests: str
    limits: str
    ports: str
    probes: list[str]
    env: list[str]
    message: str


def containers(manifest: Manifest) -> list[Container]:
    """All containers of a pod; [] for other kinds."""
    if manifest.get("kind") != "Pod":
        return []
    spec, status = _dict(manifest.get("spec")), _dict(manifest.get("status"))
    found = []
    for field, statuses, role in (
        ("containers", "containerStatuses", ""),
        ("initContainers", "initContainerStatuses", "init"),
        ("ephemeralContainers", "ephemeralContainerStatuses", "ephemeral"),
    ):
        states = {str(s.get("name")): s for s in _list(status.get(statuses))}
        found += [_container(c, states.get(str(c.get("name")), {}), role) for c in _list(spec.get(field))]
    return found


def _container(spec: Manifest, status: Manifest, role: str) -> Container:
    level, state, since, message = _state(_dict(status.get("state")))
    _, last, last_at, last_message = _state(_dict(status.get("lastState")))
    resources = _dict(spec.get("resources"))
    return Container(
        name=str(spec.get("name", "")),
        role=role,
        level=level,
        state=state,
        since=since,
        last=last if status.get("lastState") else "",
        last_at=last_at,
        restarts=status.get("restartCount") if isinstance(status.get("restartCount"), int) else None,
        ready=status.get("ready") if isinstance(status.get("ready"), bool) else None,
        image=str(spec.get("image", "")),
        requests=_quantities(resources.get("requests")),
        limits=_quantities(resources.get("limits")),
        ports=", ".join(
            f"{port.get('name', '')} {port.get('containerPort')}/{port.get('protocol', 'TCP')}".strip()
            for port in _list(spec.get("ports"))
        ),
        probes=[text for name in ("startup", "readiness", "liveness") if (text := _probe(name, spec))],
        env=[_variable(v) for v in _list(spec.get("env"))] + [_imported(v) for v in _list(spec.get("envFrom"))],
        message=message or last_message,
    )


def _state(state: Manifest) -> tuple[str, str, str, str]:
    """level, words, since, message."""
    if running := state.get("running"):
        return "ok", "Running", str(_dict(running).get("startedAt") or ""), ""
    if "waiting" in state:
        waiting = _dict(state["waiting"])
        reason = str(waiting.get("reason", ""))
        level = "progress" if reason in WAITING_WELL else "error"
        return level, reason or "Waiting", "", str(waiting.get("message", ""))
    if "terminated" in state:
        ended = _dict(state["terminated"])
        code = ended.get("exitCode")
        words = f"{ended.get('reason') or 'Terminated'}, exit code {code}"
        at = str(ended.get("finishedAt") or "")
        return ("ok" if code == 0 else "error"), words, at, str(ended.get("message", ""))
    return "unknown", "Unknown", "", ""


def _probe(name: str, spec: Manifest) -> str:
    probe = _dict(spec.get(f"{name}Probe"))
    if not probe:
        return ""
    what = next((key for key in ("httpGet", "tcpSocket", "exec", "grpc") if key in probe), "")
    detail = _dict(probe.get(what))
    words = {
        "httpGet": f"GET {detail.get('path', '/')} on {detail.get('port', '')}",
        "tcpSocket": f"TCP {detail.get('port', '')}",
        "grpc": f"gRPC {detail.get('port', '')}",
        "exec": "a command",
    }.get(what, "")
    return f"{name}: {words}, every {probe.get('periodSeconds', 10)} s, {probe.get('failureThreshold', 3)} tries"


def _variable(variable: Manifest) -> str:
    """Its name and where its value comes from."""
    name, source = str(variable.get("name", "")), _dict(variable.get("valueFrom"))
    for field, word in (("secretKeyRef", "secret"), ("configMapKeyRef", "config map")):
        if ref := _dict(source.get(field)):
            return f"{name} from {word} {ref.get('name', '')}, key {ref.get('key', '')}"
    if ref := _dict(source.get("fieldRef")):
        return f"{name} from {ref.get('fieldPath', '')}"
    return name


def _imported(source: Manifest) -> str:
    for field, word in (("secretRef", "secret"), ("configMapRef", "config map")):
        if ref := _dict(source.get(field)):
            return f"all of {word} {ref.get('name', '')}"
    return ""


def _quantities(values: object) -> str:
    return ", ".join(f"{name} {amount}" for name, amount in _dict(values).items())


def _dict(value: object) -> Manifest:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Manifest]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
