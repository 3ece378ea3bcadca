"""What can go wrong between us and an API server, as a small tree, each with one fixed sentence.

`str(error)` is safe to show to anybody: it never quotes a body. `detail` is the message of a Kubernetes Status, for
people who may see the cluster; it is empty when the answer was not a Status (security.md S09).
"""

# ruff: noqa: N818 - the tree is named for what happened
from collections.abc import Mapping
from typing import ClassVar, Final

import msgspec

DETAIL_CHARACTERS: Final = 1000
RETRY_AFTER_MOST_S: Final = 3600.0  # a server that asks for more is asked again after an hour


class KubeError(Exception):
    """The root. status: the HTTP status, 0 where there was no answer. retry_after_s: None where none was asked for."""

    sentence: ClassVar[str] = "The API server could not be used."

    def __init__(
        self,
        sentence: str = "",
        *,
        status: int = 0,
        reason: str = "",
        detail: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(sentence or self.sentence)
        self.status = status
        self.reason = reason
        self.detail = detail
        self.retry_after_s = retry_after_s


class AddressRefused(KubeError):
    sentence = "The API server's address is one that we do not connect to."


class Unreachable(KubeError):
    """No complete answer. refused: the connection was refused, so nothing can have been changed by the request."""

    sentence = "The API server cannot be reached."

    def __init__(self, sentence: str = "", *, refused: bool = False) -> None:
        super().__init__(sentence)
        self.refused = refused


class Untrusted(Unreachable):
    sentence = "The API server's certificate is not trusted by the certificate authority given for this cluster."


class NotKubernetes(KubeError):
    sentence = "What answers at this address is not a Kubernetes API server."


class TooLarge(KubeError):
    sentence = "The API server's answer is larger than what we accept."


class Unauthorized(KubeError):
    sentence = "The API server does not accept the credential. It may have expired: give the cluster a new one."


class Forbidden(KubeError):
    sentence = "The credential has no right to this."


class NotFound(KubeError):
    sentence = "The API server does not have this."


class Conflict(KubeError):
    sentence = "It exists already or changed in the meantime."


class Gone(KubeError):
    sentence = "The version asked for is no longer kept by the API server."


class Invalid(KubeError):
    sentence = "The API server does not accept the request."


class Throttled(KubeError):
    sentence = "The API server is busy and asks us to wait."


class ServerFailed(KubeError):
    """5xx. version_too_large: we asked for a version that the server has not reached (KEP-2340)."""

    sentence = "The API server failed."

    def __init__(
        self,
        sentence: str = "",
        *,
        status: int = 500,
        reason: str = "",
        detail: str = "",
        retry_after_s: float | None = None,
        version_too_large: bool = False,
    ) -> None:
        super().__init__(sentence, status=status, reason=reason, detail=detail, retry_after_s=retry_after_s)
        self.version_too_large = version_too_large


_BY_STATUS: Final[Mapping[int, type[KubeError]]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    429: Throttled,
}


class Cause(msgspec.Struct, frozen=True):
    reason: str = ""
    message: str = ""


class Details(msgspec.Struct, frozen=True, rename="camel"):
    retry_after_seconds: float | None = None
    causes: list[Cause] | None = None


class Status(msgspec.Struct, frozen=True):
    """metav1.Status, the parts that we act on."""

    kind: str = ""
    message: str = ""
    reason: str = ""
    code: int = 0
    details: Details | None = None


_status = msgspec.json.Decoder(Status)


def read_status(body: bytes) -> Status:
    """The Status in a body; an empty one for anything else."""
    try:
        status = _status.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return Status()
    return status if status.kind == "Status" else Status()


def is_version_too_large(status: Status) -> bool:
    """Whether it refuses a version in the server's future; old servers say so only in the message."""
    causes = (status.details and status.details.causes) or []
    return any(c.reason == "ResourceVersionTooLarge" for c in causes) or "Too large resource version" in status.message


def from_answer(code: int, headers: Mapping[str, str], body: bytes) -> KubeError:
    """The error for an answer that is not 2xx. `headers` are in lower case."""
    if 300 <= code < 400:
        return NotKubernetes("The API server's address answers with a redirect, which we never follow.", status=code)
    status = read_status(body)
    detail = status.message[:DETAIL_CHARACTERS]
    retry_after_s = _retry_after(headers.get("retry-after", ""), status)
    if code >= 500:
        return ServerFailed(
            status=code,
            reason=status.reason,
            detail=detail,
            retry_after_s=retry_after_s,
            version_too_large=is_version_too_large(status),
        )
    kind = _BY_STATUS.get(code, Invalid)
    return kind(status=code, reason=status.reason, detail=detail, retry_after_s=retry_after_s)


def _retry_after(header: str, status: Status) -> float | None:
    """Seconds; the HTTP date form is not used by API servers and is ignored."""
    if header.strip().isdecimal():
        return min(float(header), RETRY_AFTER_MOST_S)
    asked = status.details.retry_after_seconds if status.details else None
    return None if asked is None or asked < 0 else min(asked, RETRY_AFTER_MOST_S)
