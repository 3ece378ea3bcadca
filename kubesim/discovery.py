"""Discovery documents, aggregated and legacy, made from the resources in the store. Pure."""

from typing import Any, Final

from kubesim.kinds import BUILT_IN, Kind
from kubesim.store import Store

Object = dict[str, Any]
AGGREGATED: Final = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
REVIEWS: Final = tuple(
    Kind(group, "v1", kind.lower() + "s", kind, namespaced=False, verbs=("create",))
    for group, kind in (
        ("authentication.k8s.io", "SelfSubjectReview"),
        ("authorization.k8s.io", "SelfSubjectAccessReview"),
        ("authorization.k8s.io", "SelfSubjectRulesReview"),
        ("authorization.k8s.io", "SubjectAccessReview"),
    )
)
_SUBRESOURCE_VERBS: Final = {
    "status": ["get", "patch", "update"],
    "scale": ["get", "patch", "update"],
    "log": ["get"],
    "eviction": ["create"],
    "binding": ["create"],
    "exec": ["create", "get"],
    "attach": ["create", "get"],
    "portforward": ["create", "get"],
    "proxy": ["create", "delete", "get", "patch", "update"],
    "ephemeralcontainers": ["get", "patch", "update"],
    "resize": ["get", "patch", "update"],
    "finalize": ["update"],
    "token": ["create"],
    "approval": ["get", "patch", "update"],
}


def groups(store: Store) -> dict[str, dict[str, list[Kind]]]:
    """Group to version to kinds, in the order of registration; "" is core."""
    found: dict[str, dict[str, list[Kind]]] = {}
    for kind in [*(r.kind for r in store.resources.values()), *REVIEWS]:
        found.setdefault(kind.group, {}).setdefault(kind.version, []).append(kind)
    return found


def aggregated(store: Store, *, core: bool) -> Object:
    """APIGroupDiscoveryList of /api or /apis."""
    items = []
    for group, versions in groups(store).items():
        if (group == "") is not core:
            continue
        items.append(
            {
                "metadata": {"name": group} if group else {},
                "versions": [
                    {
                        "version": version,
                        "resources": [_resource(kind) for kind in sorted(kinds, key=lambda k: k.plural)],
                        "freshness": "Current",
                    }
                    for version, kinds in versions.items()
                ],
            }
        )
    return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}


def _resource(kind: Kind) -> Object:
    found: Object = {
        "resource": kind.plural,
        "responseKind": _response_kind(kind),
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular or kind.kind.lower(),
        "verbs": list(kind.verbs),
    }
    if kind.short_names:
        found["shortNames"] = list(kind.short_names)
    if kind.categories:
        found["categories"] = list(kind.categories)
    if kind.subresources:
        found["subresources"] = [
            {
                "subresource": name,
                "responseKind": _response_kind(kind),
                "verbs": _SUBRESOURCE_VERBS.get(name, ["get"]),
            }
            for name in kind.subresources
        ]
    return found


def _response_kind(kind: Kind) -> Object:
    """Built-in kinds come without group and version, as recorded; custom ones with them."""
    is_own = kind.key in BUILT_IN or kind in REVIEWS
    return {"group": "" if is_own else kind.group, "version": "" if is_own else kind.version, "kind": kind.kind}


def api_versions(address: str) -> Object:
    """Legacy /api."""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    }


def group_list(store: Store) -> Object:
    """Legacy /apis."""
    return {
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": [api_group(name, list(versions)) for name, versions in groups(store).items() if name],
    }


def api_group(name: str, versions: list[str]) -> Object:
    found = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": found, "preferredVersion": found[0]}


def resource_list(store: Store, group_name: str, version: str) -> Object | None:
    """Legacy /api/v1 or /apis/<group>/<version>; None when there is no such version."""
    kinds = groups(store).get(group_name, {}).get(version)
    if kinds is None:
        return None
    resources: list[Object] = []
    for kind in sorted(kinds, key=lambda k: k.plural):
        entry: Object = {
            "name": kind.plural,
            "singularName": kind.singular or kind.kind.lower(),
            "namespaced": kind.namespaced,
            "kind": kind.kind,
            "verbs": list(kind.verbs),
        }
        if kind.short_names:
            entry["shortNames"] = list(kind.short_names)
        if kind.categories:
            entry["categories"] = list(kind.categories)
        resources.append(entry)
        resources += [
            {
                "name": f"{kind.plural}/{name}",
                "singularName": "",
                "namespaced": kind.namespaced,
                "kind": kind.kind,
                "verbs": _SUBRESOURCE_VERBS.get(name, ["get"]),
            }
            for name in kind.subresources
        ]
    where = f"{group_name}/{version}" if group_name else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": where, "resources": resources}


def server_version(minor: int) -> Object:
    """/version of release 1.<minor>."""
    return {
        "major": "1",
        "minor": str(minor),
        "emulationMajor": "1",
        "emulationMinor": str(minor),
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": str(minor - 1),
        "gitVersion": f"v1.{minor}.2",
        "gitCommit": "98b35193b2ac7a23a673325f5e9b830ecd5ba406",
        "gitTreeState": "clean",
        "buildDate": "2026-07-22T00:00:00Z",
        "goVersion": "go1.26.6",
        "compiler": "gc",
        "platform": "linux/amd64",
    }
