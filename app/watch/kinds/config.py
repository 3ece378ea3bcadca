"""Config maps, secrets, service accounts: what they are and how many keys they hold, never a value. Pure.

The `hidden` fields of these projections are cut out of the kept object as well.
"""

from typing import Final

import msgspec

from app.watch.projection import OK, Object, Projection, Slim, row
from app.watch.schemas import Column, Row


class ConfigMap(Object):
    data: dict[str, msgspec.Raw] | None = None
    binary_data: dict[str, msgspec.Raw] | None = None
    immutable: bool = False


def project_configmap(config: ConfigMap, _now: float) -> Row:
    """The row of one config map."""
    keys = len(config.data or ()) + len(config.binary_data or ())
    return row(config.metadata, OK, (keys, config.immutable))


CONFIGMAPS: Final = Projection(
    group="",
    versions=("v1",),
    resource="configmaps",
    kind="ConfigMap",
    namespaced=True,
    type=ConfigMap,
    columns=(Column("keys", "Keys", "number"), Column("immutable", "Immutable", wide=True)),
    project=project_configmap,
    hidden=("data", "binaryData"),
)


class Secret(Object):
    type: str = ""
    data: dict[str, msgspec.Raw] | None = None
    immutable: bool = False


def project_secret(secret: Secret, _now: float) -> Row:
    """The row of one secret."""
    return row(secret.metadata, OK, (secret.type, len(secret.data or ()), secret.immutable))


SECRETS: Final = Projection(
    group="",
    versions=("v1",),
    resource="secrets",
    kind="Secret",
    namespaced=True,
    type=Secret,
    columns=(Column("type", "Type"), Column("keys", "Keys", "number"), Column("immutable", "Immutable", wide=True)),
    project=project_secret,
    hidden=("data", "stringData"),
)


class ServiceAccount(Object):
    secrets: list[Slim] | None = None
    automount_service_account_token: bool | None = None


def project_serviceaccount(account: ServiceAccount, _now: float) -> Row:
    """The row of one service account."""
    return row(account.metadata, OK, (len(account.secrets or ()), account.automount_service_account_token))


SERVICEACCOUNTS: Final = Projection(
    group="",
    versions=("v1",),
    resource="serviceaccounts",
    kind="ServiceAccount",
    namespaced=True,
    type=ServiceAccount,
    columns=(Column("secrets", "Secrets", "number"), Column("automount", "Token mounted", wide=True)),
    project=project_serviceaccount,
)
