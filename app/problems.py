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
    """retry_after_s: seconds until the next try can succeed; 0 when that is not known."""

    status, kind, title = 429, "too-many-requests", "Too many tries"

    def __init__(self, detail: str, *, retry_after_s: float = 0.0) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class Unavailable(Problem):
    status, kind, title = 503, "unavailable", "A part that this needs does not answer"


class UpstreamFailed(Problem):
    status, kind, title = 502, "upstream-failed", "The cluster's API server refused or failed"


class UpstreamTimeout(Problem):
    status, kind, title = 504, "upstream-timeout", "The cluster's API server did not answer in time"


class RequestTimeout(Problem):
    status, kind, title = 408, "request-timeout", "The request took too long to arrive"


class TooLarge(Problem):
    status, kind, title = 413, "too-large", "The request is too large"


class UnsupportedMedia(Problem):
    status, kind, title = 415, "unsupported-media-type", "This kind of body is not understood"


class Misdirected(Problem):
    status, kind, title = 421, "misdirected", "This server is not known by that name"
