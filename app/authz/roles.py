"""The built-in roles: named sets of permissions. Pure."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from app.authz.permissions import Permission

_READ: Final = frozenset({Permission.ROWS_READ, Permission.OBJECTS_READ, Permission.CLUSTERS_READ})


class Role(StrEnum):
    ADMINISTRATOR = "administrator"
    OPERATOR = "operator"
    VIEWER = "viewer"


GRANTS: Final[Mapping[Role, frozenset[Permission]]] = {
    Role.VIEWER: _READ,
    Role.OPERATOR: _READ | {Permission.CLUSTERS_EDIT},
    Role.ADMINISTRATOR: frozenset(Permission),
}
