"""Create, update, patch, delete and the subresources that write: what an API server checks and fills in."""

import json
from typing import Any, Final

import yaml

from kubesim import defaults, errors, patch, protobuf, requests, selectors
from kubesim.clock import stamp
from kubesim.kinds import Kind
from kubesim.requests import Request
from kubesim.store import Store, deep

Object = dict[str, Any]
PATCHES: Final = {
    "application/json-patch+json": "json",
    "application/merge-patch+json": "merge",
    "application/strategic-merge-patch+json": "strategic",
    "application/apply-patch+yaml": "apply",
}


def read_body(body: bytes, content_type: str) -> Any:
    """The body as plain data. Raises `ApiError` 400 or 415."""
    media = content_type.partition(";")[0].strip() or "application/json"
    if media in {"application/json", *PATCHES} - {"application/apply-patch+yaml"}:
        try:
            return json.loads(body or b"{}")
        except ValueError as error:
            message = f"couldn't get version/kind; json parse error: {error}"
            raise errors.bad_request(message) from error
    if media in {"application/yaml", "application/apply-patch+yaml"}:
        try:
            return yaml.load(body, Loader=yaml.CSafeLoader)
        except yaml.YAMLError as error:
            raise errors.bad_request("yaml: cannot be read") from error
    if media == protobuf.MEDIA:
        try:
            found = protobuf.decode(body)
        except ValueError as error:
            raise errors.bad_request(f"protobuf: {error}") from error
        if found is not None:
            return found
    raise errors.unsupported_media()


def create(store: Store, kind: Kind, request: Request, found: Any, params: dict[str, str]) -> Object:
    """Raises `ApiError` 400, 404, 409, 422."""
    obj = deep(requests.object_of(found))
    meta = obj.setdefault("metadata", {})
    _check_kind(kind, obj)
    namespace = request.namespace or ""
    if kind.namespaced:
        if meta.get("namespace") not in {None, "", namespace}:
            raise errors.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        if store.find("namespaces", "", namespace) is None:
            raise errors.not_found("namespaces", "", namespace)
    if not meta.get("name") and not meta.get("generateName"):
        why = "Required value: name or generateName is required"
        raise errors.invalid(kind.kind, kind.group, "", [("metadata.name", "FieldValueRequired", why)])
    defaults.apply(kind, obj, store)
    _manage(meta, params, kind, stamp(store.clock.now()))
    if is_dry_run(params):
        if not meta.get("name"):
            meta["name"] = meta["generateName"] + store.suffix()
        if (namespace, meta["name"]) in store.resource(kind.key).objects:
            raise errors.already_exists(kind.plural, kind.group, meta["name"])
        store.fill(kind, meta, namespace)
        return {"kind": kind.kind, "apiVersion": kind.api_version, **obj}
    return store.create(kind.key, obj, namespace)


def update(store: Store, kind: Kind, request: Request, found: Any, params: dict[str, str]) -> Object:
    """PUT of an object or of its status."""
    obj = deep(requests.object_of(found))
    old = store.get(kind.key, _namespace(kind, request), request.name)
    meta = obj.setdefault("metadata", {})
    meta.setdefault("name", request.name)
    if kind.namespaced:
        meta["namespace"] = request.namespace
    return _store(store, kind, request, old, obj, params)


def patched(store: Store, kind: Kind, request: Request, body: bytes, media: str, params: dict[str, str]) -> Object:
    """PATCH in the four forms. A server-side apply creates what is not there."""
    form = PATCHES.get(media.partition(";")[0].strip())
    if form is None:
        raise errors.unsupported_media()
    change = read_body(body, media)
    place = (_namespace(kind, request), request.name)
    old = store.find(kind.key, *place)
    if form == "apply":
        if not params.get("fieldManager"):
            why = "Required value: is required for apply patch"
            raise errors.invalid("PatchOptions", "meta.k8s.io", "", [("fieldManager", "FieldValueRequired", why)])
        if old is None:
            change.setdefault("metadata", {})["name"] = request.name
            return create(store, kind, request, change, params)
    if old is None:
        raise errors.not_found(kind.plural, kind.group, request.name)
    if form == "json":
        obj = patch.json_patch(old, change)
    elif form == "merge" or (form == "strategic" and kind.columns):
        obj = patch.merge(old, change)
    else:
        obj = patch.strategic(old, change)
    return _store(store, kind, request, old, deep(obj), params)


def scale(store: Store, kind: Kind, request: Request) -> Object:
    """The Scale of a workload."""
    obj = store.get(kind.key, request.namespace or "", request.name)
    meta = {k: obj["metadata"][k] for k in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")}
    labels = obj["spec"].get("selector", {}).get("matchLabels", {})
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": meta,
        "spec": {"replicas": obj["spec"].get("replicas", 1)},
        "status": {
            "replicas": obj.get("status", {}).get("replicas", 0),
            "selector": ",".join(f"{k}={v}" for k, v in sorted(labels.items())),
        },
    }


def rescale(store: Store, kind: Kind, request: Request, wanted: Object, params: dict[str, str]) -> Object:
    """PUT or PATCH of a Scale, given as the whole of it."""
    replicas = wanted.get("spec", {}).get("replicas", 0)
    if not isinstance(replicas, int) or replicas < 0:
        why = f"Invalid value: {replicas}: must be greater than or equal to 0"
        raise errors.invalid("Scale", "autoscaling", request.name, [("spec.replicas", "FieldValueInvalid", why)])
    old = store.get(kind.key, request.namespace or "", request.name)
    version = wanted.get("metadata", {}).get("resourceVersion")
    if version and version != old["metadata"]["resourceVersion"]:
        raise errors.conflict(kind.plural, kind.group, request.name)
    if not is_dry_run(params):
        store.change(kind.key, old, spec={**old["spec"], "replicas": replicas})
    return scale(store, kind, request)


def delete(store: Store, kind: Kind, request: Request, options: Any, params: dict[str, str]) -> Object:
    """DELETE of one object: it, while it is being ended, or a Status."""
    options = options if isinstance(options, dict) else {}
    place = (_namespace(kind, request), request.name)
    old = store.get(kind.key, *place)
    wanted = (options.get("preconditions") or {}).get("uid")
    if wanted and wanted != old["metadata"]["uid"]:
        raise errors.other_uid(kind.kind, kind.group, request.name, wanted, old["metadata"]["uid"])
    if kind.key == "namespaces" and request.name in {"default", "kube-system", "kube-public"}:
        raise errors.forbidden("namespaces", "", request.name, "this namespace may not be deleted")
    grace = options.get("gracePeriodSeconds", params.get("gracePeriodSeconds"))
    if not is_dry_run(params):
        gone = store.delete(kind.key, *place, grace_s=None if grace is None else int(grace))
        policy = options.get("propagationPolicy") or params.get("propagationPolicy") or "Background"
        if policy != "Orphan":
            collect(store, old["metadata"]["uid"])
        if store.find(kind.key, *place) is not None:
            return gone
    details: Object = {"name": request.name, "group": kind.group, "kind": kind.plural, "uid": old["metadata"]["uid"]}
    if not kind.group:
        del details["group"]
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def delete_collection(store: Store, kind: Kind, request: Request, params: dict[str, str]) -> Object:
    """DELETE of what the selectors name."""
    test = selectors.labels(params.get("labelSelector", ""))
    field_test = selectors.fields(params.get("fieldSelector", ""), kind.key)
    doomed = [o for o in store.list(kind.key, request.namespace) if test(o) and field_test(o)]
    if not is_dry_run(params):
        for obj in doomed:
            meta = obj["metadata"]
            store.delete(kind.key, meta.get("namespace", ""), meta["name"])
            collect(store, meta["uid"])
    meta = {"resourceVersion": str(store.revision)}
    return {"kind": kind.list_kind, "apiVersion": kind.api_version, "metadata": meta, "items": doomed}


def evict(store: Store, request: Request) -> Object:
    """An eviction, held up by PodDisruptionBudgets."""
    pod = store.get("pods", request.namespace or "", request.name)
    for budget in store.list("poddisruptionbudgets.policy", request.namespace):
        if not selectors.matches(budget["spec"].get("selector"), pod["metadata"].get("labels") or {}):
            continue
        if budget.get("status", {}).get("disruptionsAllowed", 1) < 1:
            name = budget["metadata"]["name"]
            message = f"The disruption budget {name} needs {budget['status']['desiredHealthy']} healthy pods and has "
            message += f"{budget['status']['currentHealthy']} currently"
            cause = {"reason": "DisruptionBudget", "message": message}
            main = "Cannot evict pod as it would violate the pod's disruption budget."
            raise errors.status(429, "TooManyRequests", main, {"causes": [cause]})
    store.delete("pods", request.namespace or "", request.name)
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


def bind(store: Store, request: Request, binding: Object) -> Object:
    """Give a pod its node, as a scheduler does."""
    pod = store.get("pods", request.namespace or "", request.name)
    store.change("pods", pod, spec={**pod["spec"], "nodeName": binding["target"]["name"]})
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


def is_dry_run(params: dict[str, str]) -> bool:
    return params.get("dryRun") == "All"


def _store(store: Store, kind: Kind, request: Request, old: Object, obj: Object, params: dict[str, str]) -> Object:
    _check_kind(kind, obj)
    _check_immutable(kind, old, obj, request)
    if obj["metadata"].get("name") != request.name:
        why = "the name of the object does not match the name on the URL"
        raise errors.bad_request(f"{why} ({obj['metadata'].get('name')} != {request.name})")
    if request.subresource != "status":
        defaults.apply(kind, obj, store)
    _manage(obj["metadata"], params, kind, stamp(store.clock.now()))
    if is_dry_run(params):
        return obj
    return store.replace(kind.key, obj, subresource=request.subresource)


def _check_kind(kind: Kind, obj: Object) -> None:
    given = (obj.get("apiVersion", kind.api_version), obj.get("kind", kind.kind))
    if given != (kind.api_version, kind.kind):
        why = f"the API version in the data ({given[0]}) does not match the expected API version ({kind.api_version})"
        raise errors.bad_request(why)


def _check_immutable(kind: Kind, old: Object, obj: Object, request: Request) -> None:
    if kind.group != "apps" or "selector" not in old.get("spec", {}):
        return
    spec = obj.get("spec", {})
    selector = spec.get("selector")
    labels = spec.get("template", {}).get("metadata", {}).get("labels") or {}
    causes: list[tuple[str, str, str]] = []
    if not selectors.matches(selector, labels):
        why = f"Invalid value: {_shown(labels)}: `selector` does not match template `labels`"
        causes.append(("spec.template.metadata.labels", "FieldValueInvalid", why))
    if selector != old["spec"]["selector"]:
        why = f"Invalid value: {_shown(selector)}: field is immutable"
        causes.append(("spec.selector", "FieldValueInvalid", why))
    if causes:
        raise errors.invalid(kind.kind, kind.group, request.name, causes)


def _shown(value: Object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _manage(meta: Object, params: dict[str, str], kind: Kind, now: str) -> None:
    """One entry a manager: who wrote last, and when."""
    manager = params.get("fieldManager") or "unknown"
    fields = [entry for entry in meta.get("managedFields") or () if entry.get("manager") != manager]
    named: Object = {f"f:{name}": {} for name in ("labels", "annotations") if name in meta}
    entry = {"manager": manager, "operation": "Update", "apiVersion": kind.api_version, "time": now}
    written = {"f:metadata": named} if named else {}
    meta["managedFields"] = [*fields, entry | {"fieldsType": "FieldsV1", "fieldsV1": written}]


def _namespace(kind: Kind, request: Request) -> str:
    return (request.namespace or "") if kind.namespaced else ""


def collect(store: Store, uid: str) -> None:
    """Background deletion of what the object owned."""
    for resource in list(store.resources.values()):
        for (namespace, name), entry in list(resource.objects.items()):
            owners = entry.object["metadata"].get("ownerReferences") or ()
            if any(owner["uid"] == uid for owner in owners) and (namespace, name) in resource.objects:
                store.delete(resource.kind.key, namespace, name)
                collect(store, entry.object["metadata"]["uid"])
