"""What can be permitted: every permission by name, as "<things>:<verb>".

Pure. A route names one of these in its guard; a role is a set of them. A new power of the product starts here.
"""

from enum import StrEnum


class Permission(StrEnum):
    ROWS_READ = "rows:read"  # lists of objects, their counts and the fleet's state
    OBJECTS_READ = "objects:read"  # one whole object, its events and relations
    CLUSTERS_READ = "clusters:read"  # registrations, never their credentials
    CLUSTERS_REGISTER = "clusters:register"
    CLUSTERS_EDIT = "clusters:edit"  # names, labels, pause
    CLUSTERS_ROTATE = "clusters:rotate"  # replace a credential, approve a replaced cluster
    CLUSTERS_REMOVE = "clusters:remove"
    USERS_MANAGE = "users:manage"


class UnknownPermissionError(ValueError):
    """A guard or a role names a permission that does not exist."""


def permission(name: str) -> Permission:
    """The permission called `name`; raises `UnknownPermissionError`, so that a typing error ends at import."""
    try:
        return Permission(name)
    except ValueError as error:
        raise UnknownPermissionError(f"there is no permission {name!r} in app.authz.permissions") from error
