"""What an identity may see: the one function that every list, stream, count and search cuts by. Pure."""

import hashlib
from typing import Final

import msgspec

from app.authz.identity import Binding, Identity
from app.authz.permissions import Permission
from app.authz.roles import GRANTS

EVERYTHING: Final = "all"


class Scope(msgspec.Struct, frozen=True):
    """The clusters and namespaces that may be seen; equal scopes have equal keys.

    all: nothing is hidden. key: names the scope's content, so whatever is cached under it is right for everybody
    who has it, and a change of rights is another key.
    """

    all: bool
    bindings: tuple[Binding, ...]
    key: str

    def sees(self, cluster_id: str, resource_key: str, namespace: str) -> bool:  # noqa: ARG002 - asked by all callers
        """Whether one object is visible; namespace "" is an object without one."""
        return self.all or any(binding.covers(cluster_id, namespace) for binding in self.bindings)

    def clusters(self) -> frozenset[str] | None:
        """Ids of the clusters of which anything is visible; None means all."""
        if self.all:
            return None
        seen: set[str] = set()
        for binding in self.bindings:
            if binding.clusters is None:
                return None
            seen |= binding.clusters
        return frozenset(seen)

    def sees_cluster(self, cluster_id: str) -> bool:
        """Whether anything of the cluster is visible, so that its name and health may be shown."""
        return (seen := self.clusters()) is None or cluster_id in seen

    def namespaces(self, cluster_id: str) -> frozenset[str] | None:
        """The namespaces visible in a cluster; None means all, and the objects that have none."""
        if self.all:
            return None
        seen: set[str] = set()
        for binding in self.bindings:
            if binding.clusters is None or cluster_id in binding.clusters:
                if binding.namespaces is None:
                    return None
                seen |= binding.namespaces
        return frozenset(seen)


def scope(identity: Identity, permission: Permission = Permission.ROWS_READ) -> Scope:
    """What `identity` may see by the bindings that grant `permission`; nothing while its password has expired."""
    if identity.password_expired:
        return Scope(all=False, bindings=(), key=_key(()))
    bindings = tuple(b for b in identity.bindings if permission in GRANTS[b.role])
    if any(binding.everywhere for binding in bindings):
        return Scope(all=True, bindings=(), key=EVERYTHING)
    return Scope(all=False, bindings=bindings, key=_key(bindings))


def _key(bindings: tuple[Binding, ...]) -> str:
    places = sorted((_sorted(b.clusters), _sorted(b.namespaces)) for b in bindings)
    return hashlib.sha256(msgspec.json.encode(places)).hexdigest()


def _sorted(names: frozenset[str] | None) -> list[list[str]]:
    # A list around the names keeps None (all) apart from an empty set (none).
    return [] if names is None else [sorted(names)]
