"""Try a connection to a cluster step by step, so that a person sees which part of it does not work.

Each step is one of `schemas.Step`, in a fixed order; what comes after a failed one is skipped. Sentences are ours:
nothing that the other side answered is repeated, but its version and the name that it gives the credential.
"""

from collections.abc import AsyncIterator
from typing import Final, TypeVar, get_args

import msgspec

from app.clusters.schemas import Step, StepName
from app.kube import discovery, errors
from app.kube.client import ApiServer, Endpoint

T = TypeVar("T")

STEPS: Final[tuple[StepName, ...]] = get_args(StepName)
DEADLINE_S: Final = 10.0
REVIEW: Final = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
ACCESS: Final = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
ANONYMOUS: Final = "system:anonymous"
LONGEST_SHOWN: Final = 120


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What a successful try found out. identity: "" where the credential may not read it.

    namespaces: what the credential must be limited to; None when it may list everywhere, or nowhere that we know of.
    """

    version: str
    identity: str
    namespaces: list[str] | None


class _UserInfo(msgspec.Struct, frozen=True):
    username: str = ""


class _ReviewStatus(msgspec.Struct, frozen=True, rename="camel"):
    user_info: _UserInfo = _UserInfo()


class _Review(msgspec.Struct, frozen=True):
    status: _ReviewStatus = _ReviewStatus()


class _AccessStatus(msgspec.Struct, frozen=True):
    allowed: bool = False


class _Access(msgspec.Struct, frozen=True):
    status: _AccessStatus = _AccessStatus()


async def steps(endpoint: Endpoint, namespaces: list[str] | None) -> AsyncIterator[Step | Found]:
    """All steps as they end, and `Found` after the last when none failed.

    namespaces: those that were asked for, or None. Never raises `KubeError`.
    """
    done: list[StepName] = []
    try:
        async with ApiServer(endpoint) as api:
            async for step in _tries(api, namespaces):
                if isinstance(step, Step):
                    done.append(step.name)
                yield step
    except errors.KubeError as error:
        failed = _failed_step(error, done)
        for name in STEPS[len(done) : STEPS.index(failed)]:
            yield Step(name, "passed", _PASSED[name])
        yield Step(failed, "failed", str(error))
        for name in STEPS[STEPS.index(failed) + 1 :]:
            yield Step(name, "skipped", "Not tried, because a step before it failed.")


_PASSED: Final[dict[StepName, str]] = {
    "address": "The address is one that may be connected to.",
    "reachable": "The API server answers.",
    "tls": "Its certificate fits its name and the authority that was given.",
    "kubernetes": "It is a Kubernetes API server.",
    "credential": "The credential is accepted.",
}


async def _tries(api: ApiServer, namespaces: list[str] | None) -> AsyncIterator[Step | Found]:
    version = await discovery.version(api)
    yield Step("address", "passed", _PASSED["address"])
    yield Step("reachable", "passed", _PASSED["reachable"])
    if api.endpoint.insecure_skip_tls_verify:
        yield Step("tls", "warning", "Its certificate is not checked, as you chose: anybody in between can read along.")
    else:
        yield Step("tls", "passed", _PASSED["tls"])
    yield Step("kubernetes", "passed", f"It is Kubernetes {_shown(version)}.")
    user = await _user(api)
    yield Step("credential", "passed", f"It knows the credential as {_shown(user)}." if user else _PASSED["credential"])
    identity = await discovery.identity(api)
    if identity:
        yield Step("identity", "passed", "Its identity is noted; should another cluster answer here, you are asked.")
    else:
        yield Step(
            "identity",
            "warning",
            "The credential may not read the namespace kube-system, so a replaced cluster cannot be recognised. "
            'Allow it "get" on that one namespace if you can.',
        )
    limited, step = await _reach(api, namespaces)
    yield step
    yield Found(version=version, identity=identity, namespaces=limited)


async def _user(api: ApiServer) -> str:
    """The name by which the API server knows the credential; "" where it is too old to say (before 1.28).

    Raises `Unauthorized` for nobody: a client certificate that is not trusted is not refused but anonymous.
    """
    body = b'{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}'
    try:
        answer = await _post(api, REVIEW, body)
    except errors.NotFound:
        return ""
    except errors.Forbidden as error:
        if ANONYMOUS in error.detail:
            raise errors.Unauthorized from error
        return ""
    user = _read(answer, _Review).status.user_info.username
    if user == ANONYMOUS:
        raise errors.Unauthorized
    return user


async def _reach(api: ApiServer, namespaces: list[str] | None) -> tuple[list[str] | None, Step]:
    """Where pods may be listed, as the measure of all."""
    if namespaces is not None:
        blind = [name for name in namespaces if not await _may_list(api, name)]
        if blind:
            names = ", ".join(blind[:5])
            return namespaces, Step("namespaces", "warning", f"It may not list pods in: {names}. The others are shown.")
        return namespaces, Step("namespaces", "passed", "It may list pods in the namespaces given.")
    if await _may_list(api, ""):
        return None, Step("namespaces", "passed", "It may list pods in all namespaces.")
    return None, Step(
        "namespaces",
        "warning",
        "It may not list pods in all namespaces. Name those that it may read, or hardly anything will be shown.",
    )


async def _may_list(api: ApiServer, namespace: str) -> bool:
    asked = {"namespace": namespace, "verb": "list", "resource": "pods"}
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": asked},
    }
    try:
        return _read(await _post(api, ACCESS, msgspec.json.encode(body)), _Access).status.allowed
    except (errors.Forbidden, errors.NotFound):
        return False


async def _post(api: ApiServer, path: str, body: bytes) -> bytes:
    headers = {"Content-Type": "application/json"}
    return (await api.request("POST", path, headers=headers, body=body, deadline_s=DEADLINE_S)).body


def _read(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise errors.NotKubernetes from error


def _failed_step(error: errors.KubeError, done: list[StepName]) -> StepName:
    """Which step an error belongs to: the connection is made once, so its first steps succeed or fail together."""
    if done:
        return STEPS[len(done)]
    match error:
        case errors.AddressRefused():
            return "address"
        case errors.Untrusted():
            return "tls"
        case errors.Unreachable():
            return "reachable"
        case errors.Unauthorized() | errors.Forbidden():
            return "credential"
        case _:
            return "kubernetes"


def _shown(text: str) -> str:
    """What the other side says of itself, short and on one line; pages escape it besides."""
    return "".join(c for c in text if c.isprintable())[:LONGEST_SHOWN]
