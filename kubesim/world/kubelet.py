"""Scheduler and kubelets: pods get a node, start, become ready, crash and are started again with the real back-off.

A crashing container is `terminated` for most of the time and `waiting: CrashLoopBackOff` for some of it, as recorded.
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from kubesim.clock import stamp
from kubesim.store import Change, Store
from kubesim.world.events import Recorder
from kubesim.world.timers import Timers

Object = dict[str, Any]
BACKOFF_FIRST_S: Final = 10.0
BACKOFF_CAP_S: Final = 300.0
SLOTS: Final = 110  # pods a node takes


class Behaviour(msgspec.Struct, frozen=True):
    """How the containers of a workload behave. life_s: seconds from start to the end of a container that ends.

    pull: whether its image can be had. exit_code None runs for ever. ready: whether its readiness probe passes.
    """

    pull: bool = True
    exit_code: int | None = None
    reason: str = "Error"
    life_s: float = 8.0
    ready: bool = True
    fits: bool = True
    message: str = ""


HEALTHY: Final = Behaviour()


class Kubelet:
    """All nodes' kubelets and the scheduler of one cluster. behaviour: of a pod, asked at each start."""

    def __init__(
        self, store: Store, timers: Timers, recorder: Recorder, behaviour: Callable[[Object], Behaviour]
    ) -> None:
        self.lost: set[str] = set()  # nodes whose kubelet is silent
        self._store = store
        self._timers = timers
        self._recorder = recorder
        self._behaviour = behaviour
        self._load: dict[str, int] = {}
        self._addresses = 0

    def changed(self, change: Change) -> None:
        """What a pod's change means to its kubelet."""
        pod = change.entry.object
        node = pod["spec"].get("nodeName", "")
        if change.type == "DELETED":
            if node:
                self._load[node] = self._load.get(node, 1) - 1
        elif change.type == "ADDED":
            if node:
                self._load[node] = self._load.get(node, 0) + 1
            else:
                self._later(pod, 0.1, self._schedule)
        elif _is_newly_ending(change):
            self._recorder.say(pod, "Killing", f"Stopping container {_main(pod)['name']}", component="kubelet")
            grace = pod["metadata"].get("deletionGracePeriodSeconds", 1)
            self._later(pod, min(1.5, grace), self._end)

    def adopt(self, pod: Object) -> None:
        """Count a pod that was made running already, when a cluster is built."""
        self._load[pod["spec"]["nodeName"]] = self._load.get(pod["spec"]["nodeName"], 0) + 1

    def settle(self, pod: Object) -> Object:
        """The status of a pod that has run for a while, for building a cluster at once."""
        return self._running(pod, restarts=0, ready=True, last=None)

    def restart(self, pod: Object, delay_s: float) -> None:
        """Let a running pod's container end and be looked at again, as when its behaviour has changed."""
        self._later(pod, delay_s, self._exit)

    def pick(self) -> str | None:
        """The ready, schedulable node with the most room."""
        nodes = [
            node["metadata"]["name"]
            for node in self._store.list("nodes")
            if not node["spec"].get("unschedulable") and not node["spec"].get("taints")
        ]
        room = [name for name in nodes if self._load.get(name, 0) < SLOTS]
        return min(room, key=lambda name: (self._load.get(name, 0), name)) if room else None

    # -- steps of a pod's life ---------------------------------------------------------------------------------------

    def _later(self, pod: Object, delay_s: float, step: Callable[[Object], None]) -> None:
        place, uid = (pod["metadata"]["namespace"], pod["metadata"]["name"]), pod["metadata"]["uid"]

        def work() -> None:
            now = self._store.find("pods", *place)
            if now is None or now["metadata"]["uid"] != uid:
                return
            if now["spec"].get("nodeName") in self.lost:
                self._timers.at(self._store.clock.now() + 5.0, work)
            elif step == self._end or "deletionTimestamp" not in now["metadata"]:
                step(now)

        self._timers.at(self._store.clock.now() + delay_s, work)

    def _schedule(self, pod: Object) -> None:
        if pod["spec"].get("nodeName"):
            return
        # A daemon's pod names its node, and goes there even when it is cordoned.
        node = wanted_node(pod) or (self.pick() if self._behaviour(pod).fits else None)
        if node is None:
            total = len(self._store.list("nodes"))
            text = (
                f"0/{total} nodes are available: {total} Insufficient memory. no new claims to deallocate, preemption: "
                f"0/{total} nodes are available: {total} Preemption is not helpful for scheduling."
            )
            if not _condition_of(pod, "PodScheduled"):
                unfit = _condition("PodScheduled", "False", self._now(), "Unschedulable", text)
                self._store.change("pods", pod, status={**pod["status"], "conditions": [unfit]})
            self._recorder.say(pod, "FailedScheduling", text, component="default-scheduler", warning=True)
            self._later(pod, 15.0, self._schedule)
            return
        self._load[node] = self._load.get(node, 0) + 1
        scheduled = _condition("PodScheduled", "True", self._now())
        bound = self._store.change("pods", pod, spec={**pod["spec"], "nodeName": node})
        bound = self._store.change("pods", bound, status={**bound["status"], "conditions": [scheduled]})
        where = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
        self._recorder.say(
            bound, "Scheduled", f"Successfully assigned {where} to {node}", component="default-scheduler"
        )
        self._later(bound, 0.3, self._begin)

    def _begin(self, pod: Object) -> None:
        waiting = {"waiting": {"reason": "ContainerCreating"}}
        status = self._status(pod, "Pending", waiting, ready=False, restarts=0, last=None)
        created = self._store.change("pods", pod, status=status)
        self._later(created, 0.5 + 2.0 * self._store.rng.random(), self._pull)

    def _pull(self, pod: Object) -> None:
        image = _main(pod)["image"]
        if not self._behaviour(pod).pull:
            reason = _waiting(pod)
            why = f'failed to pull and unpack image "{image}": {image}: not found'
            if reason != "ErrImagePull":
                self._recorder.say(
                    pod, "Failed", f'Failed to pull image "{image}": {why}', component="kubelet", warning=True
                )
                waiting = {"reason": "ErrImagePull", "message": f"rpc error: code = NotFound desc = {why}"}
            else:
                text = f'Back-off pulling image "{image}"'
                self._recorder.say(pod, "BackOff", text, component="kubelet", warning=True)
                waiting = {"reason": "ImagePullBackOff", "message": f"{text}: ErrImagePull: {why}"}
            status = self._status(pod, "Pending", {"waiting": waiting}, ready=False, restarts=0, last=None)
            self._later(self._store.change("pods", pod, status=status), 12.0, self._pull)
            return
        self._recorder.say(pod, "Pulled", f'Container image "{image}" already present on machine', component="kubelet")
        self._start(pod)

    def _start(self, pod: Object) -> None:
        restarts, last = _restarts(pod), _last(pod)
        if _ended(pod):
            restarts += 1
        started = self._store.change("pods", pod, status=self._running(pod, restarts=restarts, ready=False, last=last))
        self._recorder.say(pod, "Started", f"Started container {_main(pod)['name']}", component="kubelet")
        behaviour = self._behaviour(started)
        if behaviour.exit_code is not None:
            self._later(started, behaviour.life_s * (0.5 + self._store.rng.random()), self._exit)
        elif behaviour.ready:
            self._later(started, 1.0 + 3.0 * self._store.rng.random(), self._ready)
        else:
            text = "Readiness probe failed: HTTP probe failed with statuscode: 503"
            self._recorder.say(pod, "Unhealthy", text, component="kubelet", warning=True)
            self._later(started, 10.0, self._recheck)

    def _recheck(self, pod: Object) -> None:
        if self._behaviour(pod).ready:
            self._ready(pod)
            return
        text = "Readiness probe failed: HTTP probe failed with statuscode: 503"
        self._recorder.say(pod, "Unhealthy", text, component="kubelet", warning=True)
        self._later(pod, 10.0, self._recheck)

    def _ready(self, pod: Object) -> None:
        if _is_running(pod):
            status = self._running(pod, restarts=_restarts(pod), ready=True, last=_last(pod))
            self._store.change("pods", pod, status=status)

    def _exit(self, pod: Object) -> None:
        if not _is_running(pod):
            return
        behaviour = self._behaviour(pod)
        code = behaviour.exit_code if behaviour.exit_code is not None else 0
        started = pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"]
        ended: Object = {
            "exitCode": code,
            "reason": behaviour.reason if code else "Completed",
            "startedAt": started,
            "finishedAt": self._now(),
            "containerID": pod["status"]["containerStatuses"][0].get("containerID", ""),
        }
        if behaviour.message:
            ended["message"] = behaviour.message
        policy = pod["spec"].get("restartPolicy", "Always")
        restarts = _restarts(pod)
        if policy == "Never" or (policy == "OnFailure" and not code):
            phase = "Failed" if code else "Succeeded"
            status = self._status(pod, phase, {"terminated": ended}, ready=False, restarts=restarts, last=_last(pod))
            self._store.change("pods", pod, status=status)
            return
        status = self._status(pod, "Running", {"terminated": ended}, ready=False, restarts=restarts, last=_last(pod))
        now = self._store.change("pods", pod, status=status)
        wait = min(BACKOFF_CAP_S, BACKOFF_FIRST_S * 2 ** max(0, restarts - 1)) if restarts else 0.5
        name = _main(pod)["name"]
        meta = pod["metadata"]
        text = f"Back-off restarting failed container {name} in pod {meta['name']}_{meta['namespace']}({meta['uid']})"
        if restarts:
            self._recorder.say(now, "BackOff", text, component="kubelet", warning=True)
            self._later(now, 0.8 * wait, self._back_off)
        self._later(now, wait, self._start)

    def _back_off(self, pod: Object) -> None:
        if not _ended(pod):
            return
        restarts, meta = _restarts(pod), pod["metadata"]
        wait = min(BACKOFF_CAP_S, BACKOFF_FIRST_S * 2 ** max(0, restarts - 1))
        span = f"{int(wait // 60)}m{int(wait % 60)}s" if wait >= 60 else f"{int(wait)}s"
        where = f"{meta['name']}_{meta['namespace']}({meta['uid']})"
        text = f"back-off {span} restarting failed container={_main(pod)['name']} pod={where}"
        waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": text}}
        status = self._status(pod, "Running", waiting, ready=False, restarts=restarts, last=_ended(pod))
        self._store.change("pods", pod, status=status)

    def _end(self, pod: Object) -> None:
        self._store.delete("pods", pod["metadata"]["namespace"], pod["metadata"]["name"], grace_s=0)

    # -- statuses ----------------------------------------------------------------------------------------------------

    def _now(self) -> str:
        return stamp(self._store.clock.now())

    def _running(self, pod: Object, *, restarts: int, ready: bool, last: Object | None) -> Object:
        old = pod["status"].get("containerStatuses") or [{}]
        running = old[0].get("state", {}).get("running") or {"startedAt": self._now()}
        return self._status(pod, "Running", {"running": running}, ready=ready, restarts=restarts, last=last)

    def _status(
        self, pod: Object, phase: str, state: Object, *, ready: bool, restarts: int, last: Object | None
    ) -> Object:
        old, main = pod["status"], _main(pod)
        rng = self._store.rng
        address = old.get("podIP") or self._address()
        known = (old.get("containerStatuses") or [{}])[0]
        running = "running" in state
        fresh = running and "running" not in known.get("state", {})
        container: Object = {
            "name": main["name"],
            "state": state,
            "lastState": {"terminated": last} if last else {},
            "ready": ready,
            "restartCount": restarts,
            "image": main["image"],
            "imageID": "" if phase == "Pending" else f"sha256:{abs(hash_of(main['image'])):064x}",
            "containerID": f"containerd://{rng.getrandbits(256):064x}" if fresh else known.get("containerID", ""),
            "started": running,
            "resources": main.get("resources", {}),
            "volumeMounts": [_mounted(mount) for mount in main.get("volumeMounts") or ()],
        }
        container |= _allocated(main)
        why = "" if ready else "ContainersNotReady"
        text = "" if ready else f"containers with unready status: [{main['name']}]"
        if phase == "Succeeded":
            why, text = "PodCompleted", ""
        verdict = "True" if ready else "False"
        wanted = [
            ("PodReadyToStartContainers", "True", "", ""),
            ("Initialized", "True", "", ""),
            ("Ready", verdict, why, text),
            ("ContainersReady", verdict, why, text),
            ("PodScheduled", "True", "", ""),
        ]
        return {
            "observedGeneration": 1,
            "phase": phase,
            "conditions": [self._kept(old, *condition) for condition in wanted],
            "hostIP": self._host(pod),
            "hostIPs": [{"ip": self._host(pod)}],
            "podIP": address,
            "podIPs": [{"ip": address}],
            "startTime": old.get("startTime") or self._now(),
            "containerStatuses": [container],
            "qosClass": old.get("qosClass", "Burstable"),
            **_allocated(main),
            "resources": main.get("resources", {}),
        }

    def _kept(self, old: Object, kind: str, status: str, reason: str, message: str) -> Object:
        """A condition with its old transition time where its status is the same."""
        known = next((c for c in old.get("conditions") or () if c["type"] == kind), None)
        since = known["lastTransitionTime"] if known and known["status"] == status else self._now()
        return _condition(kind, status, since, reason, message)

    def _host(self, pod: Object) -> str:
        number = pod["spec"].get("nodeName", "worker-0").rpartition("-")[2]
        return f"192.0.2.{int(number) % 250 + 2 if number.isdigit() else 2}"

    def _address(self) -> str:
        self._addresses += 1
        n = self._addresses
        return f"10.{244 + (n >> 16) % 10}.{n >> 8 & 255}.{n & 255}"


def _allocated(container: Object) -> Object:
    requests = container.get("resources", {}).get("requests")
    return {"allocatedResources": requests} if requests else {}


def _mounted(mount: Object) -> Object:
    is_read_only = mount.get("readOnly", False)
    found = {"name": mount["name"], "mountPath": mount["mountPath"]}
    return found | ({"readOnly": True, "recursiveReadOnly": "Disabled"} if is_read_only else {})


def _is_newly_ending(change: Change) -> bool:
    before = change.before
    return (
        before is not None
        and "deletionTimestamp" in change.entry.object["metadata"]
        and "deletionTimestamp" not in before.object["metadata"]
    )


def wanted_node(pod: Object) -> str | None:
    """The one node that a pod's affinity names, as a DaemonSet's pods do."""
    affinity = pod["spec"].get("affinity", {}).get("nodeAffinity", {})
    terms = affinity.get("requiredDuringSchedulingIgnoredDuringExecution", {}).get("nodeSelectorTerms")
    return str(terms[0]["matchFields"][0]["values"][0]) if terms and terms[0].get("matchFields") else None


def hash_of(text: str) -> int:
    """A number that is the same in every run, unlike `hash`."""
    return int.from_bytes(text.encode()[-24:], "big")


def _condition(kind: str, status: str, since: str, reason: str = "", message: str = "") -> Object:
    found: Object = {"type": kind, "observedGeneration": 1, "status": status, "lastProbeTime": None}
    found["lastTransitionTime"] = since
    if reason:
        found["reason"] = reason
    if message:
        found["message"] = message
    return found


def _condition_of(pod: Object, kind: str) -> Object | None:
    return next((c for c in pod["status"].get("conditions") or () if c["type"] == kind), None)


def _main(pod: Object) -> Object:
    found: Object = pod["spec"]["containers"][0]
    return found


def _container(pod: Object) -> Object:
    return (pod["status"].get("containerStatuses") or [{}])[0]  # type: ignore[no-any-return]


def _is_running(pod: Object) -> bool:
    return "running" in _container(pod).get("state", {})


def _waiting(pod: Object) -> str:
    return str(_container(pod).get("state", {}).get("waiting", {}).get("reason", ""))


def _restarts(pod: Object) -> int:
    return int(_container(pod).get("restartCount", 0))


def _ended(pod: Object) -> Object | None:
    """How the container ended that is not running now."""
    container = _container(pod)
    state = container.get("state", {})
    if "running" in state:
        return None
    found: Object | None = state.get("terminated") or container.get("lastState", {}).get("terminated")
    return found


def _last(pod: Object) -> Object | None:
    container = _container(pod)
    return container.get("state", {}).get("terminated") or container.get("lastState", {}).get("terminated")  # type: ignore[no-any-return]
