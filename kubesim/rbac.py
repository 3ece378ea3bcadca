"""Who a token is, and what RBAC objects in the store let that user do. Denies by default."""

from collections.abc import Iterator
from typing import Any

import msgspec

from kubesim.store import Store

Object = dict[str, Any]


class User(msgspec.Struct, frozen=True):
    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""


class Attributes(msgspec.Struct, frozen=True):
    """What is asked: subresource after a slash in `resource`; path for what is no resource."""

    verb: str
    group: str = ""
    resource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""


ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))


def allowed(store: Store, user: User, asked: Attributes) -> bool:
    """Whether any binding of the user has a rule that fits."""
    if "system:masters" in user.groups:
        return True
    return any(fits(rule, asked) for rule in rules(store, user, asked.namespace))


def rules(store: Store, user: User, namespace: str) -> Iterator[Object]:
    """The rules that hold for `user` in `namespace`; "" is the cluster's scope."""
    for binding in store.list("clusterrolebindings.rbac.authorization.k8s.io"):
        if _names(binding, user):
            yield from _rules_of(store, binding["roleRef"], "")
    if namespace:
        for binding in store.list("rolebindings.rbac.authorization.k8s.io", namespace):
            if _names(binding, user):
                yield from _rules_of(store, binding["roleRef"], namespace)


def fits(rule: Object, asked: Attributes) -> bool:
    verbs = rule.get("verbs") or ()
    if "*" not in verbs and asked.verb not in verbs:
        return False
    if asked.path:
        return any(
            path == asked.path or (path.endswith("*") and asked.path.startswith(path[:-1]))
            for path in rule.get("nonResourceURLs") or ()
        )
    groups, resources = rule.get("apiGroups") or (), rule.get("resources") or ()
    if "*" not in groups and asked.group not in groups:
        return False
    wildcard = "*/" + asked.resource.partition("/")[2] if "/" in asked.resource else "*"
    if "*" not in resources and asked.resource not in resources and wildcard not in resources:
        return False
    names = rule.get("resourceNames")
    return not names or asked.name in names


def refusal(user: User, asked: Attributes) -> str:
    """The end of a 403's message."""
    verb = f'User "{user.name}" cannot {asked.verb}'
    if asked.path:
        return f'{verb} path "{asked.path}"'
    where = f'in the namespace "{asked.namespace}"' if asked.namespace else "at the cluster scope"
    return f'{verb} resource "{asked.resource}" in API group "{asked.group}" {where}'


def _names(binding: Object, user: User) -> bool:
    for subject in binding.get("subjects") or ():
        if subject["kind"] == "User" and subject["name"] == user.name:
            return True
        if subject["kind"] == "Group" and subject["name"] in user.groups:
            return True
        if subject["kind"] == "ServiceAccount":
            full = f"system:serviceaccount:{subject.get('namespace', '')}:{subject['name']}"
            if full == user.name:
                return True
    return False


def _rules_of(store: Store, ref: Object, namespace: str) -> list[Object]:
    key = "roles" if ref["kind"] == "Role" else "clusterroles"
    role = store.find(f"{key}.rbac.authorization.k8s.io", namespace if key == "roles" else "", ref["name"])
    return (role or {}).get("rules") or []
