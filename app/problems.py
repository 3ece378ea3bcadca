"""Errors that a person or a client may see, as RFC 9457 problem types, without a framework.

`gateway.problem_documents` turns them into responses; nothing else does. The message says what
happened, to what, and what to do; it never carries a secret, a stack or another service's body.
"""

from collections.abc import Mapping
from typing import ClassVar


class Problem(Exception):  # noqa: N818 - RFC 9457's word
    """The root of all expected errors.

    status: HTTP status code. kind: last part of the problem `type` URI (`/problems/<kind>`).
    errors: sentences by field name, for forms.
    """

    status: ClassVar[int] = 500
    kind: ClassVar[str] = "internal"
    title: ClassVar[str] = "Something went wrong on our side"

    def __init__(self, detail: str, *, errors: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = dict(errors or {})


class InvalidInput(Problem):
    status, kind, title = 422, "invalid-input", "The input cannot be used"


class Unauthenticated(Problem):
    status, kind, title = 401, "unauthenticated", "Sign in first"


class Forbidden(Problem):
    status, kind, title = 403, "forbidden", "This is not allowed for you"


class PasswordExpired(Forbidden):
    kind, title = "password-expired", "Choose a new password"


class NotFound(Problem):
    status, kind, title = 404, "not-found", "There is no such thing here"


class Conflict(Problem):
    status, kind, title = 409, "conflict", "It changed in the meantime"


class TooManyRequests(Problem):
    status, kind, title = 429, "too-many-requests", "Too many tries"


class Unavailable(Problem):
    status, kind, title = 503, "unavailable", "A part that this needs does not answer"


class UpstreamFailed(Problem):
    status, kind, title = 502, "upstream-failed", "The cluster's API server refused or failed"


class UpstreamTimeout(Problem):
    status, kind, title = 504, "upstream-timeout", "The cluster's API server did not answer in time"
