"""Which kinds an API server serves, its version and its identity.

Asks for aggregated discovery (KEP-3352, two requests) and falls back to one request a group version. A group whose
own server is down is kept as it was known, and named in `stale`: it is never taken for gone.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final, TypeVar

import msgspec

from app.kube import errors
from app.kube.client import ApiServer

S = TypeVar("S")

ACCEPT: Final = (
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,"
    "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,"
    "application/json"
)
AT_ONCE: Final = 8  # legacy requests in flight


class Resource(msgspec.Struct, frozen=True, array_like=True, order=True):
    """A kind that an API server serves, in the version that it prefers. group: "" is core."""

    group: str
    version: str
    resource: str
    kind: str
    namespaced: bool
    verbs: tuple[str, ...] = ()
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """Where all objects of the kind are listed."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        return f"{root}/{self.resource}"

    @property
    def is_watchable(self) -> bool:
        return "list" in self.verbs and "watch" in self.verbs


class Discovered(msgspec.Struct, frozen=True):
    """resources: in the server's order. stale: "group/version" whose own server did not answer."""

    resources: list[Resource]
    stale: list[str]


class _Kind(msgspec.Struct, frozen=True):
    kind: str = ""


class _Named(msgspec.Struct, frozen=True):
    name: str = ""


class _Served(msgspec.Struct, frozen=True, rename="camel"):
    resource: str
    response_kind: _Kind | None = None
    scope: str = ""
    verbs: list[str] = []
    short_names: list[str] = []
    categories: list[str] = []


class _Version(msgspec.Struct, frozen=True):
    version: str
    resources: list[_Served] = []
    freshness: str = "Current"


class _Group(msgspec.Struct, frozen=True):
    metadata: _Named = _Named()
    versions: list[_Version] = []


class _Aggregated(msgspec.Struct, frozen=True):
    kind: str = ""
    items: list[_Group] = []


class _LegacyVersion(msgspec.Struct, frozen=True, rename="camel"):
    version: str
    group_version: str = ""


class _LegacyGroup(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    versions: list[_LegacyVersion] = []
    preferred_version: _LegacyVersion | None = None


class _LegacyGroups(msgspec.Struct, frozen=True):
    groups: list[_LegacyGroup] = []


class _LegacyCore(msgspec.Struct, frozen=True):
    versions: list[str] = []


class _LegacyResource(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    kind: str = ""
    namespaced: bool = False
    verbs: list[str] = []
    short_names: list[str] = []
    categories: list[str] = []


class _LegacyResources(msgspec.Struct, frozen=True):
    resources: list[_LegacyResource] = []


class _GitVersion(msgspec.Struct, frozen=True, rename="camel"):
    git_version: str


class _Uid(msgspec.Struct, frozen=True):
    uid: str = ""


class _Namespace(msgspec.Struct, frozen=True):
    metadata: _Uid = _Uid()


_GroupVersion = tuple[str, str, list[Resource] | None]  # None: stale


async def discover(api: ApiServer, known: Sequence[Resource] = ()) -> Discovered:
    """All kinds, each in its preferred version. known: what was found before, for the groups that are stale now."""
    core, named = await api.request("GET", "/api", headers={"Accept": ACCEPT}), await _groups(api)
    versions = _aggregated(core.body)
    if versions is None:
        versions = await _legacy_core(api, core.body)
    return _merge([*versions, *named], known)


async def version(api: ApiServer) -> str:
    """E.g. "v1.36.2"."""
    answer = await api.request("GET", "/version", deadline_s=10)
    return _read(answer.body, _GitVersion).git_version


async def identity(api: ApiServer) -> str:
    """The uid of namespace kube-system, which names a cluster for its life; "" when the credential may not see it."""
    try:
        answer = await api.request("GET", "/api/v1/namespaces/kube-system", deadline_s=10)
    except (errors.Forbidden, errors.NotFound):
        return ""
    return _read(answer.body, _Namespace).metadata.uid


async def _groups(api: ApiServer) -> list[_GroupVersion]:
    answer = await api.request("GET", "/apis", headers={"Accept": ACCEPT})
    found = _aggregated(answer.body)
    if found is not None:
        return found
    wanted: list[tuple[str, str]] = []
    for group in _read(answer.body, _LegacyGroups).groups:
        preferred = group.preferred_version.version if group.preferred_version else ""
        ordered = sorted(group.versions, key=lambda v: v.version != preferred)  # stable: the rest keep their order
        wanted += [(group.name, v.version) for v in ordered]
    return await _legacy(api, wanted)


async def _legacy_core(api: ApiServer, body: bytes) -> list[_GroupVersion]:
    return await _legacy(api, [("", v) for v in _read(body, _LegacyCore).versions])


async def _legacy(api: ApiServer, wanted: Iterable[tuple[str, str]]) -> list[_GroupVersion]:
    """One request a group version; one that fails is stale."""
    turn = asyncio.Semaphore(AT_ONCE)

    async def ask(group: str, version: str) -> _GroupVersion:
        path = f"/apis/{group}/{version}" if group else f"/api/{version}"
        async with turn:
            try:
                answer = await api.request("GET", path)
                served = _read(answer.body, _LegacyResources).resources
            except errors.KubeError:
                return group, version, None
        return group, version, [_from_legacy(group, version, r) for r in served if "/" not in r.name]

    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(ask(group, version)) for group, version in wanted]
    return [task.result() for task in asked]


def _aggregated(body: bytes) -> list[_GroupVersion] | None:
    """None when the server does not aggregate."""
    listed = _read(body, _Aggregated)
    if listed.kind != "APIGroupDiscoveryList":
        return None
    return [
        (group.metadata.name, v.version, [_from_served(group.metadata.name, v.version, r) for r in v.resources])
        if v.freshness == "Current"
        else (group.metadata.name, v.version, None)
        for group in listed.items
        for v in group.versions
    ]


def _from_served(group: str, version: str, served: _Served) -> Resource:
    return Resource(
        group,
        version,
        served.resource,
        served.response_kind.kind if served.response_kind else "",
        served.scope == "Namespaced",
        tuple(served.verbs),
        tuple(served.short_names),
        tuple(served.categories),
    )


def _from_legacy(group: str, version: str, served: _LegacyResource) -> Resource:
    return Resource(
        group,
        version,
        served.name,
        served.kind,
        served.namespaced,
        tuple(served.verbs),
        tuple(served.short_names),
        tuple(served.categories),
    )


def _merge(found: Sequence[_GroupVersion], known: Sequence[Resource]) -> Discovered:
    """The first version that serves a kind is the preferred one."""
    resources: dict[tuple[str, str], Resource] = {}
    stale: list[str] = []
    for group, version, served in found:
        if served is None:
            stale.append(f"{group}/{version}")
            served = [r for r in known if (r.group, r.version) == (group, version)]  # noqa: PLW2901
        for resource in served:
            resources.setdefault((group, resource.resource), resource)
    return Discovered([*resources.values()], stale)


def _read(body: bytes, kind: type[S]) -> S:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise errors.NotKubernetes from error
