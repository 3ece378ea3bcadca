"""What a request to an API server means: its resource, verb and shape, read from method, path and headers. Pure."""

from typing import Any, Final

import msgspec

from kubesim import errors
from kubesim.lists import Shape

_VERBS: Final = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


class Request(msgspec.Struct, frozen=True):
    """A request for a resource. `resource` may be one that is not served; `name` is "" for a collection."""

    verb: str
    group: str
    version: str
    resource: str
    namespace: str | None
    name: str
    subresource: str

    @property
    def key(self) -> str:
        return f"{self.resource}.{self.group}" if self.group else self.resource

    @property
    def checked(self) -> str:
        """The resource as RBAC names it."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


def parse(method: str, path: str, params: dict[str, str]) -> Request | None:
    """None for a path that names no resource, such as /version or a discovery document."""
    parts = [part for part in path.split("/") if part]
    if parts[:2] == ["api", "v1"]:
        group, version, rest = "", "v1", parts[2:]
    elif parts[:1] == ["apis"] and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    if not rest:
        return None
    namespace: str | None = None
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in {"status", "finalize"}:
        namespace, rest = rest[1], rest[2:]
    resource, name, subresource = [*rest, "", ""][:3]
    if resource == "namespaces" and name:
        namespace = name
    return Request(_verb(method, params, name), group, version, resource, namespace, name, subresource)


def _verb(method: str, params: dict[str, str], name: str) -> str:
    if method in {"GET", "HEAD"}:
        if params.get("watch") in {"1", "true"}:
            return "watch"
        return "get" if name else "list"
    if method == "DELETE" and not name:
        return "deletecollection"
    return _VERBS.get(method, method.lower())


def shape(accept: str) -> Shape:
    """What the Accept header asks lists and watches to be. Raises `ApiError` 406."""
    for part in accept.split(",") if accept else ["*/*"]:
        media, *options = [piece.strip() for piece in part.split(";")]
        found = dict(option.split("=", 1) for option in options if "=" in option)
        wanted = found.get("as", "").removesuffix("List")
        if media not in {"application/json", "*/*", "application/*"}:
            continue
        if wanted == "Table" and found.get("v") in {"v1", None}:
            return "Table"
        if wanted == "PartialObjectMetadata" and found.get("v") in {"v1", None}:
            return "PartialObjectMetadata"
        if not wanted or "g" not in found:
            return "object"
    raise errors.not_acceptable()


def is_true(params: dict[str, str], name: str) -> bool:
    return params.get(name, "") in {"1", "true", "True"}


def object_of(body: Any) -> dict[str, Any]:
    """The JSON object of a request's body. Raises `ApiError` 400."""
    if not isinstance(body, dict) or not isinstance(body.get("metadata", {}), dict):
        raise errors.bad_request("the object provided is unrecognized (must be of type object)")
    return body
