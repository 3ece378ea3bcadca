"""What a company has beside workloads: volumes, scheduled jobs, autoscalers, ingresses and two kinds of its own."""

from typing import Any, Final

from kubesim import defaults, writes
from kubesim.clock import stamp
from kubesim.store import Store
from kubesim.world import company

Object = dict[str, Any]
CRON: Final = (("heartbeat", "platform", 1), ("nightly-report", "data", 5), ("cleanup", "orders", 10))
SCALED: Final = (("web", "shop"), ("checkout", "shop"), ("gateway", "platform"))
SHOWN: Final = (("web", "shop"), ("gateway", "platform"), ("reports", "data"))
CLASS: Final = "fast-ssd"


def build(store: Store) -> None:
    """Everything but the volumes, which come with their pods."""
    now = stamp(store.clock.now())
    made = {
        "metadata": {"name": CLASS, "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": "disks.example.com",
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
    }
    store.create("storageclasses.storage.k8s.io", made)
    for name, team, minutes in CRON:
        _create(store, "cronjobs.batch", _cron_job(name, team, minutes))
    for name, team in SCALED:
        if store.find("deployments.apps", team, name):
            store.create("horizontalpodautoscalers.autoscaling", _scaler(name, team, now))
    for name, team in SHOWN:
        store.create("ingresses.networking.k8s.io", _ingress(name, team))
    for number, (kind, plural, team) in enumerate(
        (("Certificate", "certificates", "platform"), ("Topic", "topics", "orders"))
    ):
        store.create("customresourcedefinitions.apiextensions.k8s.io", _definition(kind, plural, now))
        for name in ("main", "spare", "test")[: 3 - number]:
            spec = {"owner": team, "size": 3 + number}
            meta = {"name": f"{team}-{name}", "namespace": team, "labels": {"app": team}}
            store.create(
                f"{plural}.company.example.com", {"metadata": meta, "spec": spec, "status": {"state": "Ready"}}
            )


def volumes(store: Store, owner: Object, pod: str) -> list[Object]:
    """The volumes of a StatefulSet's pod; makes the claims that are not there, bound at once."""
    namespace, found = owner["metadata"]["namespace"], []
    for template in owner["spec"].get("volumeClaimTemplates") or ():
        volume = template["metadata"]["name"]
        name = f"{volume}-{pod}"
        found.append({"name": volume, "persistentVolumeClaim": {"claimName": name}})
        if store.find("persistentvolumeclaims", namespace, name) is None:
            _claim(store, owner, template["spec"], namespace, name)
    return found


def _claim(store: Store, owner: Object, wanted: Object, namespace: str, name: str) -> None:
    labels = dict(owner["spec"]["selector"].get("matchLabels", {}))
    meta = {"name": name, "namespace": namespace, "labels": labels, "finalizers": ["kubernetes.io/pvc-protection"]}
    size = wanted["resources"]["requests"]["storage"]
    bound = {"phase": "Bound", "accessModes": wanted["accessModes"], "capacity": {"storage": size}}
    claim = store.create("persistentvolumeclaims", {"metadata": meta, "spec": dict(wanted), "status": bound})
    volume = f"pvc-{claim['metadata']['uid']}"
    reference = {k: claim["metadata"][k] for k in ("namespace", "name", "uid", "resourceVersion")}
    spec: Object = {
        "capacity": {"storage": size},
        "accessModes": wanted["accessModes"],
        "csi": {"driver": "disks.example.com", "volumeHandle": volume},
        "claimRef": {"kind": "PersistentVolumeClaim", "apiVersion": "v1", **reference},
        "persistentVolumeReclaimPolicy": "Delete",
        "storageClassName": wanted["storageClassName"],
        "volumeMode": "Filesystem",
    }
    store.create("persistentvolumes", {"metadata": {"name": volume}, "spec": spec, "status": {"phase": "Bound"}})
    store.change("persistentvolumeclaims", claim, spec={**claim["spec"], "volumeName": volume})


def run_due(store: Store) -> None:
    """Start the jobs of the CronJobs that are due in this minute, and remove those past the history limit."""
    now = store.clock.now()
    minute = int(now // 60)
    for cron in store.list("cronjobs.batch"):
        every = cron["spec"]["schedule"].split()[0].removeprefix("*/")
        if cron["spec"].get("suspend") or not every.isdigit() or minute % max(1, int(every)):
            continue
        meta = cron["metadata"]
        name = f"{meta['name']}-{minute}"
        if store.find("jobs.batch", meta["namespace"], name) is not None:
            continue
        _create(store, "jobs.batch", _job(cron, name))
        mine = [job for job in store.list("jobs.batch", meta["namespace"]) if _owner(job) == meta["uid"]]
        mine.sort(key=lambda job: int(job["metadata"]["name"].rpartition("-")[2]))
        done = [job for job in mine if job.get("status", {}).get("completionTime")]
        for job in done[: -cron["spec"]["successfulJobsHistoryLimit"] or None]:
            store.delete("jobs.batch", meta["namespace"], job["metadata"]["name"])
            writes.collect(store, job["metadata"]["uid"])
        status = {**cron.get("status", {}), "lastScheduleTime": stamp(now)}
        if done:
            status["lastSuccessfulTime"] = done[-1]["status"]["completionTime"]
        store.change("cronjobs.batch", cron, status=status)


def _owner(job: Object) -> str:
    owners = job["metadata"].get("ownerReferences") or [{"uid": ""}]
    return str(owners[0]["uid"])


def _job(cron: Object, name: str) -> Object:
    meta = cron["metadata"]
    reference = {"apiVersion": "batch/v1", "kind": "CronJob", "name": meta["name"], "uid": meta["uid"]}
    owners = [reference | {"controller": True, "blockOwnerDeletion": True}]
    template = cron["spec"]["jobTemplate"]["spec"]["template"]
    copied = {"metadata": dict(template["metadata"]), "spec": template["spec"]}
    head = {"name": name, "namespace": meta["namespace"], "ownerReferences": owners}
    return {"metadata": head, "spec": {"template": copied}}


def _create(store: Store, key: str, obj: Object) -> None:
    defaults.apply(store.resource(key).kind, obj, store)
    store.create(key, obj)


def _cron_job(name: str, team: str, minutes: int) -> Object:
    template = company.template(company.Service(name, team, cpu="20m", memory="32Mi"))
    container = template["spec"]["containers"][0]
    for part in ("ports", "livenessProbe", "readinessProbe"):
        del container[part]
    template["spec"]["restartPolicy"] = "OnFailure"
    spec: Object = {
        "schedule": f"*/{minutes} * * * *",
        "concurrencyPolicy": "Allow",
        "suspend": False,
        "jobTemplate": {"metadata": {}, "spec": {"template": template}},
        "successfulJobsHistoryLimit": 3,
        "failedJobsHistoryLimit": 1,
    }
    return {"metadata": {"name": name, "namespace": team, "labels": {"app": name}}, "spec": spec, "status": {}}


def _scaler(name: str, team: str, now: str) -> Object:
    target = {"type": "Utilization", "averageUtilization": 70}
    current = {"name": "cpu", "current": {"averageValue": "12m", "averageUtilization": 24}}
    told = (
        ("AbleToScale", "True", "ReadyForNewScale", "recommended size matches current size"),
        (
            "ScalingActive",
            "True",
            "ValidMetricFound",
            "the HPA was able to successfully calculate a replica count from cpu resource utilization",
        ),
        ("ScalingLimited", "False", "DesiredWithinRange", "the desired count is within the acceptable range"),
    )
    conditions = [
        {"type": kind, "status": status, "lastTransitionTime": now, "reason": reason, "message": message}
        for kind, status, reason, message in told
    ]
    return {
        "metadata": {"name": name, "namespace": team},
        "spec": {
            "scaleTargetRef": {"kind": "Deployment", "name": name, "apiVersion": "apps/v1"},
            "minReplicas": 2,
            "maxReplicas": 12,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
        },
        "status": {
            "currentReplicas": 3,
            "desiredReplicas": 3,
            "currentMetrics": [{"type": "Resource", "resource": current}],
            "conditions": conditions,
        },
    }


def _ingress(name: str, team: str) -> Object:
    backend = {"service": {"name": name, "port": {"name": "http"}}}
    path = {"path": "/", "pathType": "Prefix", "backend": backend}
    return {
        "metadata": {"name": name, "namespace": team, "generation": 1},
        "spec": {"rules": [{"host": f"{name}.example.com", "http": {"paths": [path]}}]},
        "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.10"}]}},
    }


def _definition(kind: str, plural: str, now: str) -> Object:
    names = {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List"}
    columns = [
        {"name": "Owner", "type": "string", "jsonPath": ".spec.owner"},
        {"name": "State", "type": "string", "jsonPath": ".status.state"},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ]
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema, "subresources": {"status": {}}}
    told = (
        ("NamesAccepted", "NoConflicts", "no conflicts found"),
        ("Established", "InitialNamesAccepted", "the initial names have been accepted"),
    )
    conditions = [
        {"type": type_, "status": "True", "lastTransitionTime": now, "reason": reason, "message": message}
        for type_, reason, message in told
    ]
    return {
        "metadata": {"name": f"{plural}.company.example.com"},
        "spec": {
            "group": "company.example.com",
            "names": names,
            "scope": "Namespaced",
            "versions": [version | {"additionalPrinterColumns": columns}],
            "conversion": {"strategy": "None"},
        },
        "status": {"conditions": conditions, "acceptedNames": names, "storedVersions": ["v1"]},
    }
