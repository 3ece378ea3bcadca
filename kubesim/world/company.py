"""A believable company: its teams, services, their dependencies, and the objects of them. Seeded, pure."""

import hashlib
import random
from typing import Any, Final

import msgspec

Object = dict[str, Any]


class Service(msgspec.Struct, frozen=True):
    """One workload. kind: the resource key of its controller."""

    name: str
    team: str
    kind: str = "deployments.apps"
    replicas: int = 2
    cpu: str = "50m"
    memory: str = "128Mi"
    port: int = 8080
    needs: tuple[str, ...] = ()
    version: str = "1.0.0"


_SERVICES: Final = """
web shop 4 checkout,catalog,search
checkout shop 3 payments,orders,inventory
catalog shop 3 catalog-db
search shop 2 catalog
cart shop 2 redis-cart
recommendations shop 2 catalog
payments payments 3 ledger,fraud
ledger payments 2 ledger-db
fraud payments 2 feature-store
invoices payments 1 ledger
orders orders 3 orders-db,queue
inventory orders 2 inventory-db
shipping orders 2 queue
notifications orders 2 queue
feature-store data 2 warehouse
etl data 1 warehouse
reports data 1 warehouse
auth platform 3 auth-db
gateway platform 3 auth
feature-flags platform 2 auth-db
image-resizer media 2 storage-proxy
storage-proxy media 2 -
video media 1 storage-proxy
chat support 2 auth
""".strip()

_STATEFUL: Final = (
    ("catalog-db", "shop", 1), ("redis-cart", "shop", 1), ("ledger-db", "payments", 2), ("orders-db", "orders", 2),
    ("inventory-db", "orders", 1), ("queue", "orders", 3), ("warehouse", "data", 2), ("auth-db", "platform", 1),
)  # fmt: skip
_DAEMONS: Final = (("kube-proxy", "kube-system"), ("cni", "kube-system"), ("node-exporter", "monitoring"))
_SYSTEM: Final = (("coredns", "kube-system", 2), ("metrics-server", "kube-system", 1), ("prometheus", "monitoring", 1))


def services(rng: random.Random, pods: int, nodes: int) -> list[Service]:
    """Workloads of about `pods` pods: the company's two dozen, and shards of them for more."""
    found = [Service(name, team, replicas=count, version=_version(rng)) for name, team, count in _SYSTEM]
    found += [Service(name, team, "daemonsets.apps", nodes, "20m", "64Mi") for name, team in _DAEMONS]
    found += [
        Service(name, team, "statefulsets.apps", count, "200m", "512Mi", 5432, version=_version(rng))
        for name, team, count in _STATEFUL
    ]
    lines = [line.split() for line in _SERVICES.splitlines()]
    shard = 0
    while (left := pods - sum(s.replicas for s in found)) > 0:
        for name, team, count, needs in lines:
            replicas = min(left, max(1, int(count) * (1 if shard else rng.choice((1, 1, 2)))))
            if left <= 0:
                break
            title = f"{name}-{shard}" if shard else name
            wanted = tuple(n for n in needs.split(",") if n != "-")
            memory = rng.choice(("64Mi", "128Mi", "256Mi"))
            found.append(Service(title, team, replicas=replicas, memory=memory, needs=wanted, version=_version(rng)))
            left -= replicas
        shard += 1
    return found


def _version(rng: random.Random) -> str:
    return f"{rng.randrange(1, 6)}.{rng.randrange(0, 20)}.{rng.randrange(0, 9)}"


def template(service: Service) -> Object:
    """The pod template of a service."""
    name, claim = service.name, service.kind == "statefulsets.apps"
    container: Object = {
        "name": name,
        "image": f"registry.example/{service.team}/{name}:{service.version}",
        "ports": [{"name": "http", "containerPort": service.port, "protocol": "TCP"}],
        "env": [
            {"name": "LOG_LEVEL", "value": "info"},
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}},
            *({"name": f"{n.upper().replace('-', '_')}_URL", "value": f"http://{n}:8080"} for n in service.needs),
        ],
        "resources": {
            "limits": {"memory": service.memory},
            "requests": {"cpu": service.cpu, "memory": service.memory},
        },
        "livenessProbe": _probe("/livez", service.port, 20),
        "readinessProbe": _probe("/readyz", service.port, 10),
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "imagePullPolicy": "IfNotPresent",
    }
    if claim:
        container["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
    spec: Object = {
        "containers": [container],
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 5,
        "dnsPolicy": "ClusterFirst",
        "securityContext": {},
        "schedulerName": "default-scheduler",
    }
    labels = {"app": name, "app.kubernetes.io/part-of": service.team}
    notes = {"prometheus.io/port": str(service.port), "prometheus.io/scrape": "true"}
    return {"metadata": {"labels": labels, "annotations": notes}, "spec": spec}


def _probe(path: str, port: int, period_s: int) -> Object:
    return {
        "httpGet": {"path": path, "port": port, "scheme": "HTTP"},
        "timeoutSeconds": 1,
        "periodSeconds": period_s,
        "successThreshold": 1,
        "failureThreshold": 3,
    }


def workload(service: Service) -> Object:
    """The Deployment, StatefulSet or DaemonSet of a service, before the API server's defaults."""
    meta = {
        "name": service.name,
        "namespace": service.team,
        "labels": {"app": service.name, "team": service.team},
        "annotations": {"owner": f"team-{service.team}@example.com"},
    }
    spec: Object = {"selector": {"matchLabels": {"app": service.name}}, "template": template(service)}
    if service.kind != "daemonsets.apps":
        spec["replicas"] = service.replicas
    if service.kind == "statefulsets.apps":
        spec["serviceName"] = service.name
        spec["volumeClaimTemplates"] = [
            {
                "kind": "PersistentVolumeClaim",
                "apiVersion": "v1",
                "metadata": {"name": "data"},
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "resources": {"requests": {"storage": "10Gi"}},
                    "storageClassName": "fast-ssd",
                    "volumeMode": "Filesystem",
                },
                "status": {"phase": "Pending"},
            }
        ]
    return {"metadata": meta, "spec": spec}


def network(service: Service) -> Object:
    """Its Service object."""
    return {
        "metadata": {"name": service.name, "namespace": service.team, "labels": {"app": service.name}},
        "spec": {
            "selector": {"app": service.name},
            "ports": [{"name": "http", "port": service.port, "protocol": "TCP", "targetPort": "http"}],
        },
    }


def config(service: Service) -> Object:
    return {
        "metadata": {"name": f"{service.name}-config", "namespace": service.team, "labels": {"app": service.name}},
        "data": {"application.yaml": f"service: {service.name}\nlog: info\nworkers: 4\n"},
    }


def node(number: int, minor: int, now: str) -> Object:
    """A node of three zones; its kubelet keeps its conditions."""
    name, zone = f"worker-{number}", f"zone-{'abc'[number % 3]}"
    identity = hashlib.sha256(name.encode()).hexdigest()
    labels = {
        "beta.kubernetes.io/arch": "amd64", "beta.kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
        "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "node.kubernetes.io/instance-type": "standard-16",
        "topology.kubernetes.io/zone": zone,
    }  # fmt: skip
    quiet = (
        ("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    )
    conditions = [_condition(kind, "False", reason, text, now) for kind, reason, text in quiet]
    conditions.append(_condition("Ready", "True", "KubeletReady", "kubelet is posting ready status", now))
    info = {
        "machineID": identity[:32], "systemUUID": identity[:32], "bootID": identity[32:64],
        "kernelVersion": "6.12.0-amd64", "osImage": "Debian GNU/Linux 12 (bookworm)",
        "containerRuntimeVersion": "containerd://1.6.20", "kubeletVersion": f"v1.{minor}.2", "kubeProxyVersion": "",
        "operatingSystem": "linux", "architecture": "amd64",
    }  # fmt: skip
    room = {"cpu": "16", "ephemeral-storage": "264212084Ki", "memory": "65684084Ki", "pods": "110"}
    status = {
        "capacity": room,
        "allocatable": room,
        "conditions": conditions,
        "addresses": [
            {"type": "InternalIP", "address": f"192.0.2.{number % 250 + 2}"},
            {"type": "Hostname", "address": name},
        ],
        "images": [
            {"names": [f"registry.example/{team}/{name}:1.0.0"], "sizeBytes": 40_000_000 + 7_919 * len(name)}
            for name, team in _DAEMONS
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        "nodeInfo": info,
    }
    return {
        "metadata": {"name": name, "labels": labels, "annotations": {"node.alpha.kubernetes.io/ttl": "0"}},
        "spec": {"podCIDR": f"10.244.{number % 250}.0/24"},
        "status": status,
    }


def _condition(kind: str, status: str, reason: str, message: str, now: str) -> Object:
    stamps = {"lastHeartbeatTime": now, "lastTransitionTime": now}
    return {"type": kind, "status": status, **stamps, "reason": reason, "message": message}


def access() -> list[tuple[str, Object]]:
    """Roles and bindings: a read-only user of all, one limited to two namespaces, and one without any."""
    read = [{"verbs": ["get", "list", "watch"], "apiGroups": ["*"], "resources": ["*"]}]
    group = "rbac.authorization.k8s.io"
    viewer = {"apiGroup": group, "kind": "ClusterRole", "name": "view"}
    found: list[tuple[str, Object]] = [
        (f"clusterroles.{group}", {"metadata": {"name": "view"}, "rules": read}),
        (
            f"clusterrolebindings.{group}",
            {"metadata": {"name": "viewers"}, "roleRef": viewer, "subjects": [_user("viewer")]},
        ),
    ]
    for namespace in ("shop", "orders"):
        meta = {"name": "two-namespaces", "namespace": namespace}
        binding = {"metadata": meta, "roleRef": viewer, "subjects": [_user("two-namespaces")]}
        found.append((f"rolebindings.{group}", binding))
    return found


def _user(name: str) -> Object:
    return {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": name}
