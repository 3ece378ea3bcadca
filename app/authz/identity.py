"""Who is calling, as all other packages see it. Made by `app.authn` alone. Pure."""

import msgspec

from app.authz.permissions import Permission
from app.authz.roles import GRANTS, Role


class Binding(msgspec.Struct, frozen=True):
    """A role, and where it holds.

    clusters: ids of clusters; None means all, those registered later too.
    namespaces: in those clusters; None means all, and the objects that have no namespace.
    """

    role: Role
    clusters: frozenset[str] | None = None
    namespaces: frozenset[str] | None = None

    def covers(self, cluster_id: str, namespace: str) -> bool:
        """Whether it holds for an object there; namespace "" is an object without one."""
        if self.clusters is not None and cluster_id not in self.clusters:
            return False
        return self.namespaces is None or namespace in self.namespaces

    @property
    def everywhere(self) -> bool:
        return self.clusters is None and self.namespaces is None


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """A person or a program that proved who it is.

    name: what it signs in with, for pages and logs. session: the handle of its session, not the secret in the
    cookie. password_expired: it may do nothing but change its password.
    """

    user_id: str
    name: str
    session: str
    bindings: tuple[Binding, ...] = ()
    password_expired: bool = False

    @property
    def roles(self) -> frozenset[Role]:
        return frozenset(binding.role for binding in self.bindings)

    def may(self, permission: Permission, cluster_id: str | None = None) -> bool:
        """Whether some binding permits it: in `cluster_id`, or, when that is None, on the whole platform.

        What belongs to no cluster, such as registering one, takes a binding that holds everywhere. A binding to
        some namespaces permits nothing on the cluster itself but reading.
        """
        return any(
            permission in GRANTS[binding.role]
            and (
                binding.everywhere
                or (cluster_id is not None and binding.namespaces is None and binding.covers(cluster_id, ""))
            )
            for binding in self.bindings
        )

    def may_somewhere(self, permission: Permission) -> bool:
        """Whether any binding at all permits it: the question of a route whose answer the scope cuts."""
        return any(permission in GRANTS[binding.role] for binding in self.bindings)
