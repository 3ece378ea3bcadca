"""SelfSubject*Reviews and SubjectAccessReview: what may this user do, answered from the RBAC objects in the store."""

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from kubesim import rbac, writes
from kubesim.clock import stamp
from kubesim.rbac import Attributes, User
from kubesim.requests import Request
from kubesim.store import Store

Object = dict[str, Any]
Review = Callable[[web.Request], Awaitable[Object]]


def answer(store: Store, user: User, found: Request) -> Review | None:
    """How to answer a review, None when the request is not one."""
    makers = {
        "selfsubjectreviews": _self,
        "selfsubjectaccessreviews": _access,
        "subjectaccessreviews": _access,
        "selfsubjectrulesreviews": _rules,
    }
    maker = makers.get(found.resource)
    if maker is None or found.verb != "create":
        return None

    async def review(http: web.Request) -> Object:
        body = writes.read_body(await http.read(), http.headers.get("Content-Type", ""))
        kind = {"kind": body.get("kind"), "apiVersion": body.get("apiVersion")}
        return kind | maker(store, user, body.get("spec") or {})

    return review


def _self(store: Store, user: User, _spec: Object) -> Object:
    info: Object = {"username": user.name, "groups": list(user.groups)}
    return {"metadata": {"creationTimestamp": stamp(store.clock.now())}, "status": {"userInfo": info}}


def _access(store: Store, user: User, spec: Object) -> Object:
    asking = User(spec["user"], tuple(spec.get("groups") or ())) if spec.get("user") else user
    if path := spec.get("nonResourceAttributes"):
        asked = Attributes(path.get("verb", ""), path=path.get("path", ""))
    else:
        found = spec.get("resourceAttributes") or {}
        resource = found.get("resource", "")
        if found.get("subresource"):
            resource = f"{resource}/{found['subresource']}"
        asked = Attributes(
            found.get("verb", ""), found.get("group", ""), resource, found.get("namespace", ""), found.get("name", "")
        )
    status: Object = {"allowed": rbac.allowed(store, asking, asked)}
    return {"metadata": {}, "spec": spec, "status": status}


def _rules(store: Store, user: User, spec: Object) -> Object:
    resource_rules: list[Object] = []
    path_rules: list[Object] = []
    if "system:masters" in user.groups:
        found: list[Object] = [
            {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
            {"verbs": ["*"], "nonResourceURLs": ["*"]},
        ]
    else:
        found = list(rbac.rules(store, user, spec.get("namespace", "")))
    for rule in found:
        (path_rules if rule.get("nonResourceURLs") else resource_rules).append(rule)
    status = {"resourceRules": resource_rules, "nonResourceRules": path_rules, "incomplete": False}
    return {"metadata": {}, "spec": {}, "status": status}
