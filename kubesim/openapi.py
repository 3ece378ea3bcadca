"""OpenAPI v3, as far as kubectl reads it: which kinds there are and that their patches take fieldValidation and dryRun.

Holds no schemas of fields: what is sent is checked by `kubesim.writes`, as far as anything is.
"""

import hashlib
from typing import Any, Final

from kubesim import errors
from kubesim.kinds import Kind
from kubesim.store import Store

Object = dict[str, Any]
_PARAMETERS: Final = [
    {"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}}
    for name in ("dryRun", "fieldManager", "fieldValidation", "force")
]
_MEDIA: Final = (
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
)


def answer(store: Store, place: str) -> Object:
    """/openapi/v3, or /openapi/v3/<place>, e.g. of "api/v1" or "apis/apps/v1". Raises `ApiError` 404."""
    found = document(store, place) if place else index(store)
    if found is None:
        raise errors.page_not_found()
    return found


def index(store: Store) -> Object:
    """Which documents there are."""
    places = sorted({_place(resource.kind) for resource in store.resources.values()})
    return {"paths": {place: {"serverRelativeURL": f"/openapi/v3/{place}?hash={_hash(place)}"} for place in places}}


def document(store: Store, place: str) -> Object | None:
    """One document; None where nothing is served."""
    kinds = [resource.kind for resource in store.resources.values() if _place(resource.kind) == place]
    if not kinds:
        return None
    paths = {_path(kind): {"patch": _patch(kind), "parameters": []} for kind in kinds}
    info = {"title": "Kubernetes", "version": "unversioned"}
    return {"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": {}}}


def _place(kind: Kind) -> str:
    return f"apis/{kind.group}/{kind.version}" if kind.group else f"api/{kind.version}"


def _path(kind: Kind) -> str:
    scope = "namespaces/{namespace}/" if kind.namespaced else ""
    return f"/{_place(kind)}/{scope}{kind.plural}/{{name}}"


def _patch(kind: Kind) -> Object:
    return {
        "operationId": f"patch{kind.kind}",
        "parameters": _PARAMETERS,
        "requestBody": {"content": {media: {"schema": {"type": "object"}} for media in _MEDIA}},
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-action": "patch",
        "x-kubernetes-group-version-kind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
    }


def _hash(place: str) -> str:
    return hashlib.sha256(place.encode()).hexdigest()[:32].upper()
