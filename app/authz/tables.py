"""Role bindings at rest. Private: others ask `app.authz.service`."""

from piccolo.columns import Array, Timestamptz, Varchar
from piccolo.table import Table


class RoleBinding(Table, tablename="role_binding"):
    """A row grants `role` to `user_id`; null clusters or namespaces mean all of them.

    user_id is no foreign key: the users' table belongs to a package above this one, which removes the bindings
    in the transaction that removes the user.
    """

    id = Varchar(length=32, primary_key=True)
    user_id = Varchar(length=32, index=True)
    role = Varchar(length=32)
    clusters = Array(base_column=Varchar(length=32), null=True, default=None)
    namespaces = Array(base_column=Varchar(length=253), null=True, default=None)
    created_at = Timestamptz()
