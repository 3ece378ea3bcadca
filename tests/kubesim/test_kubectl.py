"""The real kubectl against a simulated cluster whose time runs twenty times as fast as ours."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.kubesim.conftest import running

Run = Callable[..., Awaitable[str]]
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: hello, namespace: default, labels: {app: hello}}
spec:
  replicas: 2
  selector: {matchLabels: {app: hello}}
  template:
    metadata: {labels: {app: hello}}
    spec:
      containers:
      - {name: hello, image: "registry.example/hello:1", ports: [{containerPort: 8080}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: default}
data: {theme: dark}
"""


class FastClock:
    def __init__(self) -> None:
        self._start = time.time()

    def now(self) -> float:
        return self._start + 20 * (time.time() - self._start)


class KubectlError(Exception):
    """kubectl ended with a code that is not 0."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def kubectl(tmp_path_factory: Any) -> AsyncIterator[Run]:
    directory: Path = tmp_path_factory.mktemp("kubectl")
    async with running(directory / "state", FastClock()) as fleet:
        config = directory / "config"
        config.write_text(fleet.kubeconfig(("admin", "two-namespaces")))

        async def run(*words: str, stdin: str = "") -> str:
            process = await asyncio.create_subprocess_exec(
                "/usr/bin/kubectl",
                f"--kubeconfig={config}",
                f"--cache-dir={directory / 'cache'}",
                *words,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            async with asyncio.timeout(40):
                out, errors = await process.communicate(stdin.encode())
            if process.returncode:
                raise KubectlError(errors.decode() + out.decode())
            return out.decode() + errors.decode()

        await run("apply", "-f", "-", stdin=DEPLOYMENT)
        await run("rollout", "status", "deployment/hello", "--timeout=30s")
        yield run


async def pod_of(kubectl: Run, app: str = "hello") -> str:
    found = json.loads(await kubectl("get", "pods", "-A", "-l", f"app={app}", "-o", "json"))
    return str(next(p["metadata"]["name"] for p in found["items"] if "deletionTimestamp" not in p["metadata"]))


async def test_get_in_its_forms(kubectl: Run) -> None:
    wide = await kubectl("get", "pods", "-A", "-o", "wide")
    assert wide.splitlines()[0].split()[:6] == ["NAMESPACE", "NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert "1/1" in wide
    assert "kind: Deployment" in await kubectl("get", "deploy", "hello", "-o", "yaml")
    assert json.loads(await kubectl("get", "nodes", "-o", "json"))["kind"] == "List"
    names = (await kubectl("get", "pods", "-l", "app=hello", "-o", "name")).split()
    assert len(names) == 2
    running_pods = await kubectl("get", "pods", "-A", "--field-selector", "status.phase=Running", "--no-headers")
    assert len(running_pods.splitlines()) >= 40
    for kind in (
        "svc",
        "cm",
        "ns",
        "nodes",
        "rs",
        "sts",
        "ds",
        "events",
        "jobs",
        "cronjobs",
        "ing",
        "hpa",
        "pvc",
        "pv",
    ):
        await kubectl("get", kind, "-A")
    await kubectl("get", "all", "-n", "shop")


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("pod", "-l", "app=hello"), "Successfully assigned"),
        (("deployment", "hello"), "NewReplicaSetAvailable"),
        (("node", "worker-0"), "Non-terminated Pods"),
        (("rs", "-l", "app=hello"), "SuccessfulCreate"),
        (("svc", "web", "-n", "shop"), "Selector"),
        (("statefulset", "queue", "-n", "orders"), "Volume Claims"),
        (("cronjob", "-n", "data"), "Schedule"),
        (("pvc", "-n", "orders"), "Bound"),
        (("hpa", "-n", "shop"), "Reference"),
        (("ingress", "-n", "shop"), "Rules"),
    ],
)
async def test_describe(kubectl: Run, words: tuple[str, ...], wanted: str) -> None:
    assert wanted in await kubectl("describe", *words)


async def test_apply_again_changes_nothing_and_diff_finds_a_difference(kubectl: Run) -> None:
    again = await kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
    assert again.count("unchanged") == 2
    with pytest.raises(KubectlError, match="theme: light"):
        await kubectl("diff", "-f", "-", stdin=DEPLOYMENT.replace("dark", "light"))
    served = await kubectl("apply", "--server-side", "-f", "-", "--force-conflicts", stdin=DEPLOYMENT)
    assert "serverside-applied" in served


@pytest.mark.parametrize(
    ("form", "patch"),
    [
        ("strategic", '{"data":{"by":"strategic"}}'),
        ("merge", '{"data":{"by":"merge"}}'),
        ("json", '[{"op":"add","path":"/data/by","value":"json"}]'),
    ],
)
async def test_patch(kubectl: Run, form: str, patch: str) -> None:
    assert "patched" in await kubectl("patch", "cm", "settings", "--type", form, "-p", patch)
    assert await kubectl("get", "cm", "settings", "-o", "jsonpath={.data.by}") == form


async def test_scale_goes_up_and_down(kubectl: Run) -> None:
    for count in ("4", "2"):
        await kubectl("scale", "deployment/hello", f"--replicas={count}")
        await kubectl("wait", f"--for=jsonpath={{.status.readyReplicas}}={count}", "deployment/hello", "--timeout=30s")


async def test_logs(kubectl: Run) -> None:
    pod = await pod_of(kubectl, "queue")
    assert len((await kubectl("logs", "-n", "orders", pod, "--tail=3")).splitlines()) == 3
    with pytest.raises(KubectlError, match="previous terminated container"):
        await kubectl("logs", "-n", "orders", pod, "-p")
    try:
        followed = await kubectl("logs", "-n", "orders", "-f", "--tail=1", pod, "--request-timeout=2s")
    except KubectlError as error:  # the time-out that ends it may be an error
        followed = str(error)
    assert followed.count("level=") > 1


async def test_a_rollout_is_restarted_and_undone(kubectl: Run) -> None:
    await kubectl("set", "image", "deployment/hello", "hello=registry.example/hello:2")
    await kubectl("rollout", "status", "deployment/hello", "--timeout=30s")
    await kubectl("rollout", "undo", "deployment/hello")
    await kubectl("rollout", "status", "deployment/hello", "--timeout=30s")
    image = "jsonpath={.spec.template.spec.containers[0].image}"
    assert await kubectl("get", "deployment", "hello", "-o", image) == "registry.example/hello:1"
    before = await pod_of(kubectl)
    await kubectl("rollout", "restart", "deployment/hello")
    await kubectl("rollout", "status", "deployment/hello", "--timeout=30s")
    assert await pod_of(kubectl) != before
    assert "REVISION" in await kubectl("rollout", "history", "deployment/hello")


async def test_a_deleted_pod_goes_and_another_comes(kubectl: Run) -> None:
    pod = await pod_of(kubectl)
    assert "deleted" in await kubectl("delete", "pod", pod, "--timeout=20s")
    await kubectl("wait", "--for=condition=Available", "deployment/hello", "--timeout=30s")
    await kubectl("delete", "pod", await pod_of(kubectl), "--force", "--grace-period=0")


async def test_labels_and_annotations(kubectl: Run) -> None:
    await kubectl("label", "cm", "settings", "colour=blue")
    await kubectl("annotate", "cm", "settings", "note=read me")
    assert "settings" in await kubectl("get", "cm", "-l", "colour=blue")
    await kubectl("label", "cm", "settings", "colour-")
    assert "No resources" in await kubectl("get", "cm", "-l", "colour=blue")


async def test_a_cordoned_node_gets_no_pods_and_can_be_drained(kubectl: Run) -> None:
    await kubectl("cordon", "worker-1")
    assert "SchedulingDisabled" in await kubectl("get", "node", "worker-1")
    await kubectl("drain", "worker-1", "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=30s")
    await kubectl("uncordon", "worker-1")
    assert "SchedulingDisabled" not in await kubectl("get", "node", "worker-1")


async def test_rights_are_told(kubectl: Run) -> None:
    assert "*.*" in await kubectl("auth", "can-i", "--list")
    assert (await kubectl("auth", "can-i", "delete", "pods")).startswith("yes")
    limited = ("--context", "prod-eu-two-namespaces", "-n", "shop")
    with pytest.raises(KubectlError, match="no"):
        await kubectl("auth", "can-i", "delete", "pods", *limited)
    with pytest.raises(KubectlError, match="Forbidden"):
        await kubectl("delete", "deployment", "web", *limited)


async def test_the_resources_are_told(kubectl: Run) -> None:
    found = await kubectl("api-resources")
    assert "deploy" in found
    assert "customresourcedefinitions" in found
    assert "Server Version" in await kubectl("version")
    assert "is running at" in await kubectl("cluster-info")


async def test_a_watch_shows_a_change(kubectl: Run) -> None:
    seen = ""

    async def watch() -> None:
        nonlocal seen
        try:
            seen = await kubectl("get", "cm", "-w", "--output-watch-events", "--request-timeout=4s")
        except KubectlError as error:  # the time-out
            seen = str(error)

    async with asyncio.TaskGroup() as group:
        group.create_task(watch())
        await asyncio.sleep(1.5)
        await kubectl("create", "cm", "watched", "--from-literal=a=b")
        await kubectl("delete", "cm", "watched")
    lines = [line.split()[0] for line in seen.splitlines() if " watched " in line]
    assert lines == ["ADDED", "DELETED"]


async def test_workloads_are_deleted_with_what_they_own(kubectl: Run) -> None:
    await kubectl("create", "deployment", "brief", "--image=registry.example/brief:1")
    await kubectl("rollout", "status", "deployment/brief", "--timeout=30s")
    await kubectl("delete", "deployment", "brief", "--timeout=20s")
    await kubectl("wait", "--for=delete", "pod", "-l", "app=brief", "--timeout=30s")
    await kubectl("create", "job", "once", "--image=registry.example/once:1")
    await kubectl("wait", "--for=condition=Complete", "job/once", "--timeout=30s")
    await kubectl("create", "ns", "short")
    await kubectl("delete", "ns", "short", "--timeout=20s")
