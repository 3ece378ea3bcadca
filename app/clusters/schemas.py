"""Clusters as other packages and HTTP clients see them. None of these ever holds a credential on its way out."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

LONGEST_KUBECONFIG = 2**20  # characters


class Cluster(msgspec.Struct, frozen=True, kw_only=True):
    """A registered cluster.

    id: 32 hexadecimal digits. environment: free text such as "production". colour: "#rrggbb" or "".
    namespaces: those to watch where the credential may not list all; None means all.
    identity: uid of its namespace kube-system as it was when registered or approved; "" where that may not be read.
    version: raised by each change, for `ClusterChange`.
    """

    id: str
    name: str
    server: str
    environment: str = ""
    description: str = ""
    colour: str = ""
    labels: dict[str, str] = {}
    namespaces: list[str] | None = None
    paused: bool = False
    insecure_skip_tls_verify: bool = False
    identity: str = ""
    created_at: datetime
    updated_at: datetime
    version: int = 1


class Details(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a person says of a cluster when registering it. name: "" takes the context's name."""

    name: str = ""
    environment: str = ""
    description: str = ""
    colour: str = ""
    labels: dict[str, str] = {}
    namespaces: list[str] | None = None


class Connection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How to reach a cluster: a kubeconfig and one of its contexts, or an address, authority and token.

    context: "" means the current one, or the only one.
    accept_insecure: the explicit choice not to check the API server's certificate, where the kubeconfig asks for that.
    """

    kubeconfig: Annotated[str, Meta(max_length=LONGEST_KUBECONFIG)] = ""
    context: str = ""
    server: Annotated[str, Meta(max_length=2048)] = ""
    ca_pem: Annotated[str, Meta(max_length=LONGEST_KUBECONFIG)] = ""
    token: Annotated[str, Meta(max_length=65536)] = ""
    accept_insecure: bool = False


class Registration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    connection: Connection
    details: Details = msgspec.field(default_factory=Details)


class ClusterChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What to change; the rest stays. version: refuse when the cluster was changed since that version was read."""

    name: str | UnsetType = UNSET
    environment: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    colour: str | UnsetType = UNSET
    labels: dict[str, str] | UnsetType = UNSET
    namespaces: list[str] | UnsetType | None = UNSET
    paused: bool | UnsetType = UNSET
    version: int | UnsetType = UNSET


StepName = Literal["address", "reachable", "tls", "kubernetes", "credential", "identity", "namespaces"]
StepState = Literal["passed", "warning", "failed", "skipped"]


class Step(msgspec.Struct, frozen=True):
    """One step of trying a connection. message: what was found, and after a failure what to do."""

    name: StepName
    state: StepState
    message: str


class ContextView(msgspec.Struct, frozen=True):
    """One context of a kubeconfig. refusal: why it cannot be used and what to do instead, or ""."""

    name: str
    server: str
    user: str
    namespace: str
    current: bool
    refusal: str


class KubeconfigText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kubeconfig: Annotated[str, Meta(max_length=LONGEST_KUBECONFIG)]


class LocalImport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which context of the kubeconfig on the server's own machine to register."""

    context: str
    details: Details = msgspec.field(default_factory=Details)
