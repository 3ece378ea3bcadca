"""What a Kubernetes API server answers when it refuses: Status bodies word for word as recorded. Pure."""

import json
from typing import Any


class ApiError(Exception):
    """An answer that is not a success. `body` is the Status, or plain text where a real server sends that."""

    def __init__(self, code: int, body: dict[str, Any] | str, headers: dict[str, str] | None = None) -> None:
        super().__init__(body if isinstance(body, str) else body.get("message", ""))
        self.code = code
        self.body = body
        self.headers = headers or {}

    def encoded(self) -> tuple[bytes, str]:
        """The body's bytes and its media type."""
        if isinstance(self.body, str):
            return self.body.encode(), "text/plain; charset=utf-8"
        return json.dumps(self.body, separators=(",", ":")).encode() + b"\n", "application/json"


def status(
    code: int, reason: str, message: str, details: dict[str, Any] | None = None, headers: dict[str, str] | None = None
) -> ApiError:
    body: dict[str, Any] = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
    }
    if details is not None:
        body["details"] = details
    return ApiError(code, body | {"code": code}, headers)


def qualified(resource: str, group: str) -> str:
    """How messages name a resource: pods, deployments.apps."""
    return f"{resource}.{group}" if group else resource


def _details(resource: str, group: str, name: str = "") -> dict[str, Any]:
    details: dict[str, Any] = {"name": name} if name else {}
    if group:
        details["group"] = group
    return details | {"kind": resource}


def not_found(resource: str, group: str, name: str) -> ApiError:
    message = f'{qualified(resource, group)} "{name}" not found'
    return status(404, "NotFound", message, _details(resource, group, name))


def no_such_resource() -> ApiError:
    return status(404, "NotFound", "the server could not find the requested resource", {})


def page_not_found() -> ApiError:
    return ApiError(404, "404 page not found\n")


def already_exists(resource: str, group: str, name: str) -> ApiError:
    message = f'{qualified(resource, group)} "{name}" already exists'
    return status(409, "AlreadyExists", message, _details(resource, group, name))


def conflict(resource: str, group: str, name: str, why: str = "") -> ApiError:
    why = why or "the object has been modified; please apply your changes to the latest version and try again"
    message = f'Operation cannot be fulfilled on {qualified(resource, group)} "{name}": {why}'
    return status(409, "Conflict", message, _details(resource, group, name))


def precondition_uid(resource: str, group: str, name: str, wanted: str, found: str) -> ApiError:
    why = f"Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}"
    return conflict(resource, group, name, why)


def other_uid(kind: str, group: str, name: str, wanted: str, found: str) -> ApiError:
    """A deletion whose precondition names another object; this one message names the kind."""
    lead = f"the UID in the precondition ({wanted}) does not match the UID in record ({found})."
    return conflict(kind, group, name, f"{lead} The object might have been deleted and then recreated")


def bad_request(message: str) -> ApiError:
    return status(400, "BadRequest", message)


def unauthorized() -> ApiError:
    return status(401, "Unauthorized", "Unauthorized")


def forbidden(resource: str, group: str, name: str, message: str) -> ApiError:
    lead = f'{qualified(resource, group)} "{name}"' if name else qualified(resource, group)
    return status(403, "Forbidden", f"{lead} is forbidden: {message}", _details(resource, group, name))


def method_not_allowed() -> ApiError:
    return status(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {})


def not_acceptable() -> ApiError:
    kinds = "application/json, application/yaml, application/vnd.kubernetes.protobuf, application/json;stream=watch"
    message = (
        f"406: Not Acceptable\n\nAvailable representations: {kinds}, application/vnd.kubernetes.protobuf;stream=watch"
    )
    return status(406, "NotAcceptable", message, {})


def unsupported_media() -> ApiError:
    return status(415, "UnsupportedMediaType", "415: Unsupported Media Type", {})


def expired(message: str) -> ApiError:
    return status(410, "Expired", message)


def too_large_version(wanted: int, current: int) -> ApiError:
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    message = f"Timeout: Too large resource version: {wanted}, current: {current}"
    return status(504, "Timeout", message, {"causes": [cause], "retryAfterSeconds": 1})


def invalid(kind: str, group: str, name: str, causes: list[tuple[str, str, str]]) -> ApiError:
    """422. causes: (field, reason such as FieldValueInvalid, message)."""
    texts = [f"{field}: {message}" for field, _, message in causes]
    joined = texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]"
    details: dict[str, Any] = {"name": name} if name else {}
    if group:
        details["group"] = group
    details |= {"kind": kind, "causes": [{"reason": r, "message": m, "field": f} for f, r, m in causes]}
    return status(422, "Invalid", f'{qualified(kind, group)} "{name}" is invalid: {joined}', details)
