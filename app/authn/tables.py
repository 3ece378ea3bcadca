"""Users at rest. Sessions are not here: they live in Redis and end with it."""

from piccolo.columns import Boolean, Text, Timestamptz, Varchar
from piccolo.table import Table


class User(Table, tablename="platform_user"):
    """name: what one signs in with, lower case. password_expired: it may be used only to choose another."""

    id = Varchar(length=32, primary_key=True)
    name = Varchar(length=100, unique=True)
    password_hash = Text(secret=True)
    password_expired = Boolean(default=False)
    disabled = Boolean(default=False)
    created_at = Timestamptz()
    password_changed_at = Timestamptz()


class SetupStep(Table, tablename="setup_step"):
    """A step of the first start that must never happen again, such as making the first administrator."""

    name = Varchar(length=100, primary_key=True)
    done_at = Timestamptz()
