"""The workload controllers: Deployment, ReplicaSet, StatefulSet, DaemonSet and Job, as event-driven reconcilers."""

import hashlib
import json
from collections.abc import Callable
from typing import Any, Final

from kubesim import defaults
from kubesim.clock import stamp
from kubesim.store import Change, Store, deep
from kubesim.world import extras, nodes, ownership
from kubesim.world.events import Recorder
from kubesim.world.kubelet import wanted_node

Object = dict[str, Any]
KEYS: Final = {
    "Deployment": "deployments.apps",
    "ReplicaSet": "replicasets.apps",
    "StatefulSet": "statefulsets.apps",
    "DaemonSet": "daemonsets.apps",
    "Job": "jobs.batch",
    "CronJob": "cronjobs.batch",
}
REVISION: Final = "deployment.kubernetes.io/revision"
FIELDS_KEPT: Final = 50
PARALLEL: Final = 500  # pods that one reconcile makes at the most


class Controllers:
    """Queues the owners of what changed, and reconciles each once per `drain`."""

    def __init__(self, store: Store, recorder: Recorder, pick_node: Callable[[], str | None]) -> None:
        self._store = store
        self._recorder = recorder
        self._pick_node = pick_node
        self._queue: dict[tuple[str, str, str], None] = {}
        self._owned: dict[str, dict[tuple[str, str], Object]] = {}  # owner's uid to its pods and replica sets
        self._fields: dict[tuple[str, int], Object] = {}  # what pods of one template share
        self._reconcilers = {
            "deployments.apps": self._deployment,
            "replicasets.apps": self._replica_set,
            "statefulsets.apps": self._stateful_set,
            "daemonsets.apps": self._daemon_set,
            "jobs.batch": self._job,
        }

    def changed(self, change: Change) -> None:
        """Note whom a change concerns."""
        obj, key = change.entry.object, change.kind.key
        meta = obj["metadata"]
        place = (meta.get("namespace", ""), meta["name"])
        if key in self._reconcilers:
            self._queue[key, *place] = None
        if key in {"pods", "replicasets.apps"}:
            for owner in meta.get("ownerReferences") or ():
                if (owner_key := KEYS.get(owner["kind"])) is None:
                    continue
                mine = self._owned.setdefault(owner["uid"], {})
                if change.type == "DELETED":
                    mine.pop(place, None)
                else:
                    mine[place] = obj
                self._queue[owner_key, place[0], owner["name"]] = None
        if key == "nodes" and change.type != "MODIFIED":
            for obj in self._store.list("daemonsets.apps"):
                self._queue["daemonsets.apps", obj["metadata"]["namespace"], obj["metadata"]["name"]] = None

    def drain(self) -> None:
        """Reconcile all that is queued now; what that causes waits for the next call."""
        queue, self._queue = self._queue, {}
        for key, namespace, name in queue:
            obj = self._store.find(key, namespace, name)
            if obj is not None and "deletionTimestamp" not in obj["metadata"]:
                self._reconcilers[key](obj)

    def lose_node(self, name: str) -> None:
        """The node controller's part of a lost node."""
        nodes.lose(self._store, self._recorder, name)

    def regain_node(self, name: str) -> None:
        nodes.regain(self._store, self._recorder, name)

    def owned(self, owner: Object) -> list[Object]:
        """The pods (or replica sets) of an owner that are not being deleted."""
        found = self._owned.get(owner["metadata"]["uid"], {}).values()
        return [obj for obj in found if "deletionTimestamp" not in obj["metadata"]]

    # -- kinds -------------------------------------------------------------------------------------------------------

    def _deployment(self, obj: Object) -> None:
        digest = template_hash(obj["spec"]["template"])
        sets = sorted(self.owned(obj), key=lambda rs: int(rs["metadata"]["annotations"].get(REVISION, "0")))
        new = next((rs for rs in sets if rs["metadata"]["labels"].get("pod-template-hash") == digest), None)
        latest = int(sets[-1]["metadata"]["annotations"][REVISION]) if sets else 0
        if new is None:
            new = self._new_set(obj, digest, latest + 1)
        elif sets and sets[-1] is not new and new["metadata"]["annotations"][REVISION] != str(latest):
            notes = {**new["metadata"]["annotations"], REVISION: str(latest + 1)}
            new = self._store.annotate("replicasets.apps", new, annotations=notes)
        revision = new["metadata"]["annotations"][REVISION]
        if obj["metadata"].get("annotations", {}).get(REVISION) != revision:
            obj = self._store.annotate(
                "deployments.apps", obj, annotations={**obj["metadata"].get("annotations", {}), REVISION: revision}
            )
        if not obj["spec"].get("paused"):
            self._roll(obj, new, [rs for rs in sets if rs["metadata"]["uid"] != new["metadata"]["uid"]])
        self._deployment_status(obj)

    def _new_set(self, obj: Object, digest: str, revision: int) -> Object:
        meta, spec = obj["metadata"], obj["spec"]
        labels = {**spec["template"]["metadata"].get("labels", {}), "pod-template-hash": digest}
        template = {**spec["template"], "metadata": {**spec["template"]["metadata"], "labels": labels}}
        made = {
            "metadata": {
                "name": f"{meta['name']}-{digest}",
                "namespace": meta["namespace"],
                "labels": labels,
                "annotations": {REVISION: str(revision)},
                "ownerReferences": [reference(obj)],
            },
            "spec": {
                "replicas": 0,
                "selector": {"matchLabels": {**spec["selector"].get("matchLabels", {}), "pod-template-hash": digest}},
                "template": template,
            },
            "status": {"replicas": 0, "observedGeneration": 1},
        }
        return self._store.create("replicasets.apps", made)

    def _roll(self, obj: Object, new: Object, old: list[Object]) -> None:
        """One step of a rolling update: up by maxSurge, down by maxUnavailable, of pods that are available."""
        wanted = obj["spec"]["replicas"]
        rolling = obj["spec"].get("strategy", {}).get("rollingUpdate") or {}
        surge = _share(rolling.get("maxSurge", "25%"), wanted, up=True)
        spare = _share(rolling.get("maxUnavailable", "25%"), wanted, up=False)
        if not surge and not spare:
            spare = 1
        total_old = sum(rs["spec"]["replicas"] for rs in old)
        now = new["spec"]["replicas"]
        target = wanted if not total_old else max(min(now, wanted), min(wanted, wanted + surge - total_old))
        if target != now:
            self._resize(obj, new, target)
        self._shrink(obj, new, old, target=target, least=wanted - spare)

    def _shrink(self, obj: Object, new: Object, old: list[Object], *, target: int, least: int) -> None:
        """Take pods from the old sets: broken ones first, ready ones while `least` stay.

        Counts what is asked for, not what is there: a set that was made smaller a moment ago still has its pods.
        """
        healthy = {rs["metadata"]["uid"]: self._healthy(rs, rs["spec"]["replicas"]) for rs in old}
        new_healthy = self._healthy(new, target)
        room = sum(rs["spec"]["replicas"] for rs in old) + new_healthy - least
        extra = sum(healthy.values()) + new_healthy - least
        for rs in old:
            replicas = rs["spec"]["replicas"]
            good = healthy[rs["metadata"]["uid"]]
            broken = max(0, min(replicas - good, room))
            surplus = max(0, min(good, extra, room - broken))
            room, extra = room - broken - surplus, extra - surplus
            if broken + surplus:
                self._resize(obj, rs, replicas - broken - surplus)

    def _healthy(self, rs: Object, most: int) -> int:
        return min(most, sum(map(is_ready, self.owned(rs))))

    def _resize(self, obj: Object, rs: Object, replicas: int) -> None:
        before = rs["spec"]["replicas"]
        self._store.change("replicasets.apps", rs, spec={**rs["spec"], "replicas": replicas})
        word = "up" if replicas > before else "down"
        text = f"Scaled {word} replica set {rs['metadata']['name']} from {before} to {replicas}"
        self._recorder.say(obj, "ScalingReplicaSet", text, component="deployment-controller")

    def _deployment_status(self, obj: Object) -> None:
        digest = template_hash(obj["spec"]["template"])
        sets = self.owned(obj)
        pods = [pod for rs in sets for pod in self.owned(rs)]
        ready, wanted = sum(map(is_ready, pods)), obj["spec"]["replicas"]
        updated = sum(p["metadata"]["labels"].get("pod-template-hash") == digest for p in pods)
        spare = _share(
            obj["spec"].get("strategy", {}).get("rollingUpdate", {}).get("maxUnavailable", "25%"), wanted, up=False
        )
        enough = ready >= wanted - spare
        complete = updated == wanted and ready >= wanted and len(pods) == wanted
        name = obj["metadata"]["name"]
        available = (
            ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
            if enough
            else ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
        )
        progress = (
            ("True", "NewReplicaSetAvailable", f'ReplicaSet "{name}-{digest}" has successfully progressed.')
            if complete
            else ("True", "ReplicaSetUpdated", f'ReplicaSet "{name}-{digest}" is progressing.')
        )
        old = obj.get("status", {})
        known = next((c for c in old.get("conditions") or () if c["type"] == "Progressing"), None)
        if known and known["reason"] == "NewReplicaSetAvailable" and updated == len(pods):
            progress = (
                "True",
                known["reason"],
                known["message"],
            )  # a crash after success is not a rollout, as recorded
        status: Object = {"observedGeneration": obj["metadata"]["generation"]}
        counts = [("replicas", len(pods)), ("updatedReplicas", updated), ("readyReplicas", ready)]
        counts += [("availableReplicas", ready), ("unavailableReplicas", max(0, wanted - ready))]
        status |= {field: count for field, count in counts if count}
        status["terminatingReplicas"] = sum(map(self._ending, sets))
        status["conditions"] = [
            self._condition(old, "Available", *available),
            self._condition(old, "Progressing", *progress),
        ]
        self._store.change("deployments.apps", obj, status=status)

    def _ending(self, rs: Object) -> int:
        """How many pods of a set are being deleted."""
        found = self._owned.get(rs["metadata"]["uid"], {}).values()
        return sum("deletionTimestamp" in pod["metadata"] for pod in found)

    def _condition(self, old: Object, kind: str, status: str, reason: str, message: str) -> Object:
        now = stamp(self._store.clock.now())
        known = next((c for c in old.get("conditions") or () if c["type"] == kind), None)
        same = known is not None and known["status"] == status
        updated = known["lastUpdateTime"] if same and known and known["reason"] == reason else now
        return {
            "type": kind,
            "status": status,
            "lastUpdateTime": updated,
            "lastTransitionTime": known["lastTransitionTime"] if same and known else now,
            "reason": reason,
            "message": message,
        }

    def _replica_set(self, obj: Object) -> None:
        pods = self.owned(obj)
        wanted = obj["spec"]["replicas"]
        for _ in range(min(PARALLEL, wanted - len(pods))):
            made = self._pod(obj, generate=f"{obj['metadata']['name']}-")
            text = f"Created pod: {made['metadata']['name']}"
            self._recorder.say(obj, "SuccessfulCreate", text, component="replicaset-controller")
        for pod in sorted(pods, key=_deletion_order)[: max(0, len(pods) - wanted)]:
            self._store.delete("pods", pod["metadata"]["namespace"], pod["metadata"]["name"])
            text = f"Deleted pod: {pod['metadata']['name']}"
            self._recorder.say(obj, "SuccessfulDelete", text, component="replicaset-controller")
        pods = self.owned(obj)
        ready = sum(map(is_ready, pods))
        status: Object = {"replicas": len(pods), "observedGeneration": obj["metadata"]["generation"]}
        status["terminatingReplicas"] = self._ending(obj)
        if pods:
            status["fullyLabeledReplicas"] = len(pods)
        if ready:
            status |= {"readyReplicas": ready, "availableReplicas": ready}
        self._store.change("replicasets.apps", self._again("replicasets.apps", obj), status=status)

    def _stateful_set(self, obj: Object) -> None:
        pods = {pod["metadata"]["name"]: pod for pod in self.owned(obj)}
        name, wanted = obj["metadata"]["name"], obj["spec"]["replicas"]
        for number in range(wanted):
            ordinal = f"{name}-{number}"
            if ordinal not in pods and self._store.find("pods", obj["metadata"]["namespace"], ordinal) is None:
                self._pod(obj, name=ordinal)
                break
            if not is_ready(pods.get(ordinal, {})):
                break
        for ordinal in sorted(pods, key=lambda n: int(n.rpartition("-")[2]))[wanted:]:
            self._store.delete("pods", obj["metadata"]["namespace"], ordinal)
        ready = sum(map(is_ready, self.owned(obj)))
        count = len(self.owned(obj))
        status = {
            "observedGeneration": obj["metadata"]["generation"],
            "replicas": count,
            "readyReplicas": ready,
            "availableReplicas": ready,
            "currentReplicas": count,
            "updatedReplicas": count,
        }
        self._store.change("statefulsets.apps", self._again("statefulsets.apps", obj), status=status)

    def _daemon_set(self, obj: Object) -> None:
        pods = self.owned(obj)
        have = {pod["spec"].get("nodeName") or wanted_node(pod) for pod in pods}
        nodes = [node["metadata"]["name"] for node in self._store.list("nodes")]
        for node in nodes:
            if node not in have:
                self._pod(obj, generate=f"{obj['metadata']['name']}-", node=node)
        ready = sum(map(is_ready, pods))
        status = {
            "currentNumberScheduled": len(have),
            "desiredNumberScheduled": len(nodes),
            "numberAvailable": ready,
            "numberMisscheduled": 0,
            "numberReady": ready,
            "observedGeneration": obj["metadata"]["generation"],
            "updatedNumberScheduled": len(have),
        }
        if ready < len(nodes):
            status["numberUnavailable"] = len(nodes) - ready
        self._store.change("daemonsets.apps", self._again("daemonsets.apps", obj), status=status)

    def _job(self, obj: Object) -> None:
        status = dict(obj.get("status") or {})
        if any(c["type"] in {"Complete", "Failed"} and c["status"] == "True" for c in status.get("conditions") or ()):
            return
        pods = self.owned(obj)
        phases = [pod["status"].get("phase") for pod in pods]
        failed, done = phases.count("Failed"), phases.count("Succeeded")
        now = stamp(self._store.clock.now())
        status.setdefault("startTime", now)
        active = len(pods) - failed - done
        if done >= obj["spec"]["completions"]:
            status |= {"completionTime": now, "conditions": [self._finished("Complete", "CompletionsReached", now)]}
            self._recorder.say(obj, "Completed", "Job completed", component="job-controller")
        elif failed > obj["spec"]["backoffLimit"]:
            why = "Job has reached the specified backoff limit"
            status["conditions"] = [self._finished("Failed", "BackoffLimitExceeded", now, why)]
            self._recorder.say(obj, "BackoffLimitExceeded", why, component="job-controller", warning=True)
        elif not active:
            self._pod(obj, generate=f"{obj['metadata']['name']}-")
            active = 1
        status |= {"active": active, "failed": failed, "succeeded": done, "ready": sum(map(is_ready, pods))}
        found = {k: v for k, v in status.items() if v or k == "ready"}
        self._store.change("jobs.batch", self._again("jobs.batch", obj), status=found)

    def _finished(self, kind: str, reason: str, now: str, message: str = "") -> Object:
        stamps = {"lastProbeTime": now, "lastTransitionTime": now}
        return {"type": kind, "status": "True", **stamps, "reason": reason, "message": message}

    def _again(self, key: str, obj: Object) -> Object:
        return self._store.get(key, obj["metadata"]["namespace"], obj["metadata"]["name"])

    def _pod(self, owner: Object, *, generate: str = "", name: str = "", node: str = "") -> Object:
        template = owner["spec"]["template"]
        meta: Object = {
            "namespace": owner["metadata"]["namespace"],
            "labels": dict(template["metadata"].get("labels", {})),
            "ownerReferences": [reference(owner)],
        }
        if template["metadata"].get("annotations"):
            meta["annotations"] = template["metadata"]["annotations"]
        meta |= {"name": name} if name else {"generateName": generate}
        pod: Object = {"metadata": meta, "spec": deep(template["spec"])}
        if node:
            pod["spec"]["affinity"] = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": _on(node)}}
        if name and (volumes := extras.volumes(self._store, owner, name)):
            pod["spec"]["volumes"] = [*pod["spec"].get("volumes", ()), *volumes]
        version = (owner["metadata"]["uid"], owner["metadata"].get("generation", 0))
        if version not in self._fields:
            self._fields = {version: ownership.fields_of(pod), **dict(list(self._fields.items())[:FIELDS_KEPT])}
        meta["managedFields"] = ownership.of_pod(self._fields[version], stamp(self._store.clock.now()))
        defaults.pod(pod, self._store)
        return self._store.create("pods", pod)


def reference(owner: Object) -> Object:
    """The owner reference of a controller."""
    meta = owner["metadata"]
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": meta["name"],
        "uid": meta["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def template_hash(template: Object) -> str:
    """A stand-in for pod-template-hash: ten letters of the alphabet that rand.SafeEncodeString uses."""
    digest = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).digest()
    return "".join("bcdfghjklmnpqrstvwxz2456789"[byte % 27] for byte in digest[:10])


def is_ready(pod: Object) -> bool:
    conditions = pod.get("status", {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _on(node: str) -> Object:
    expression = {"key": "metadata.name", "operator": "In", "values": [node]}
    return {"nodeSelectorTerms": [{"matchFields": [expression]}]}


def _share(value: int | str, total: int, *, up: bool) -> int:
    """An absolute number, or a percentage rounded up or down."""
    if isinstance(value, int):
        return value
    exact = total * int(value.rstrip("%")) / 100
    return int(-(-exact // 1)) if up else int(exact)


def _deletion_order(pod: Object) -> tuple[bool, bool, float]:
    """Pods that are unassigned or not ready go first, then the youngest."""
    return (bool(pod["spec"].get("nodeName")), is_ready(pod), -int(pod["metadata"]["resourceVersion"]))
