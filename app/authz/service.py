"""Read and write role bindings."""

from datetime import datetime
from typing import Final
from uuid import uuid4

from app.authz.identity import Binding
from app.authz.roles import Role
from app.authz.tables import RoleBinding

_KNOWN: Final = frozenset(role.value for role in Role)


async def bindings_of(user_id: str) -> tuple[Binding, ...]:
    """The bindings of one user; a role that this version does not know grants nothing."""
    rows = await RoleBinding.select().where(RoleBinding.user_id == user_id).order_by(RoleBinding.id)
    return tuple(
        Binding(role=Role(row["role"]), clusters=_names(row["clusters"]), namespaces=_names(row["namespaces"]))
        for row in rows
        if row["role"] in _KNOWN
    )


async def bind(user_id: str, binding: Binding, now: datetime) -> None:
    """Grant one more binding."""
    await RoleBinding(
        id=uuid4().hex,
        user_id=user_id,
        role=binding.role.value,
        clusters=None if binding.clusters is None else sorted(binding.clusters),
        namespaces=None if binding.namespaces is None else sorted(binding.namespaces),
        created_at=now,
    ).save()


async def unbind_all(user_id: str) -> None:
    """Take every binding away."""
    await RoleBinding.delete().where(RoleBinding.user_id == user_id)


def _names(names: list[str] | None) -> frozenset[str] | None:
    return None if names is None else frozenset(names)
