"""Watch lines of pods, shaped after what a real 1.36 API server sent: about 8.5 kB each, a third of it managedFields.

Seeded: the same call gives the same bytes.
"""

import copy
import json
import random
import uuid
from pathlib import Path
from typing import Any, Final

RECORDED: Final = Path(__file__).parents[1] / "tests/fixtures/kubernetes-traffic/objects/pod-running.json"
PHASES: Final = ("Running", "Running", "Running", "Running", "Pending", "Failed", "Succeeded")


def template() -> dict[str, Any]:
    """The recorded pod with a second container's worth of status and some labels more, as production pods have."""
    pod: dict[str, Any] = json.loads(RECORDED.read_text())
    pod["metadata"]["labels"] |= {
        "app.kubernetes.io/managed-by": "helm",
        "app.kubernetes.io/part-of": "shop",
        "helm.sh/chart": "web-4.2.1",
    }
    pod["metadata"].setdefault("annotations", {}).update(
        {
            "checksum/config": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "prometheus.io/scrape": "true",
        }
    )
    for container in pod["spec"]["containers"]:
        container.setdefault("env", []).extend({"name": f"SETTING_{n}", "value": f"value-{n}"} for n in range(16))
    return pod


def pod(base: dict[str, Any], number: int, rng: random.Random, version: int) -> dict[str, Any]:
    """Pod number `number`: own uid, name, node, addresses, phase; the rest as the template has it."""
    made = copy.deepcopy(base)
    meta, status = made["metadata"], made["status"]
    app = f"service-{number % 211}"
    meta["uid"] = str(uuid.UUID(int=rng.getrandbits(128), version=4))
    meta["namespace"] = f"team-{number % 50}"
    meta["name"] = f"{app}-7d46fb6584-{number:05x}"
    meta["labels"]["app"] = app
    meta["resourceVersion"] = str(version)
    made["spec"]["nodeName"] = f"worker-{number % 997}"
    status["phase"] = rng.choice(PHASES)
    status["podIP"] = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    status["podIPs"] = [{"ip": status["podIP"]}]
    for container in status.get("containerStatuses", []):
        container["restartCount"] = rng.randrange(5)
        container["containerID"] = f"containerd://{rng.getrandbits(256):064x}"
    for condition in status.get("conditions", []):
        condition["lastTransitionTime"] = f"2026-10-{rng.randrange(1, 29):02d}T12:{rng.randrange(60):02d}:00Z"
    return made


def pods(count: int, *, seed: int = 7, first_version: int = 1000) -> list[bytes]:
    """`count` pods as compact JSON, one bytes each."""
    base, rng = template(), random.Random(seed)
    return [dump(pod(base, n, rng, first_version + n)) for n in range(count)]


def watch_lines(count: int, *, seed: int = 7) -> list[bytes]:
    """`count` watch lines, ending in a newline: ADDED first, then a mix of MODIFIED and some DELETED."""
    base, rng = template(), random.Random(seed)
    objects = max(1, count // 2)
    lines = []
    for n in range(count):
        kind = "ADDED" if n < objects else "DELETED" if n % 20 == 0 else "MODIFIED"
        body = dump(pod(base, n % objects, random.Random(seed * 100_003 + n % objects), 1000 + n))
        lines.append(b'{"type":"%s","object":%s}\n' % (kind.encode(), body))
    rng.shuffle(lines[objects:])
    return lines


def dump(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
