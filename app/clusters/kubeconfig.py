"""A kubeconfig into the endpoints that its contexts name. Pure: it runs nothing, opens nothing, resolves nothing.

kubectl's own loader runs programs and reads files of whoever loads it (security.md S01, S02). Here a context whose
cluster or user asks for that is a candidate with a refusal, which says what to use instead. Fields: client-go's
`tools/clientcmd/api/v1`.
"""

import base64
import binascii
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from app.clusters.documents import DocumentError, read
from app.problems import InvalidInput
from app.settings import Secret

MOST_CONTEXTS: Final = 1000
SERVICE_ACCOUNT_HELP: Final = (
    "Use the token of a service account instead: `kubectl create serviceaccount kubenexus -n kube-system`, bind it "
    "to a role that may read, then `kubectl create token kubenexus -n kube-system --duration 8760h`."
)
EMBED_HELP: Final = "`kubectl config view --flatten --minify` writes a kubeconfig that holds the files' content."


class KubeconfigError(InvalidInput):
    """The text is no kubeconfig that can be used; the message says why and what to do."""


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """What one context names.

    refusal: why it cannot be used and what to do instead; "" when it can, and then there is a server and a credential.
    namespace: the context's default, "" without one. ca_pem: "" means the authorities that the system trusts.
    """

    name: str
    cluster: str = ""
    user: str = ""
    namespace: str = ""
    current: bool = False
    server: str = ""
    ca_pem: str = ""
    tls_server_name: str = ""
    insecure_skip_tls_verify: bool = False
    token: Secret = Secret("")
    client_certificate_pem: str = ""
    client_key_pem: Secret = Secret("")
    refusal: str = ""


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """No field passes unnoticed: one that means running or reading something would otherwise be dropped in silence."""


class _Cluster(_Strict, frozen=True):
    server: str = ""
    tls_server_name: str | None = None
    insecure_skip_tls_verify: bool | None = None
    certificate_authority: str | None = None
    certificate_authority_data: str | None = None
    proxy_url: str | None = None
    disable_compression: bool | None = None
    extensions: Any = None


class _User(_Strict, frozen=True):
    client_certificate: str | None = None
    client_certificate_data: str | None = None
    client_key: str | None = None
    client_key_data: str | None = None
    token: str | None = None
    token_file: str | None = msgspec.field(default=None, name="tokenFile")
    impersonate: str | None = msgspec.field(default=None, name="as")
    impersonate_uid: str | None = msgspec.field(default=None, name="as-uid")
    impersonate_groups: list[str] | None = msgspec.field(default=None, name="as-groups")
    impersonate_extra: Any = msgspec.field(default=None, name="as-user-extra")
    username: str | None = None
    password: str | None = None
    auth_provider: Any = None
    exec: Any = None
    extensions: Any = None


class _Context(_Strict, frozen=True):
    cluster: str = ""
    user: str = ""
    namespace: str | None = None
    extensions: Any = None


class _NamedCluster(_Strict, frozen=True):
    name: str
    cluster: _Cluster


class _NamedUser(_Strict, frozen=True):
    name: str
    user: _User | None = None


class _NamedContext(_Strict, frozen=True):
    name: str
    context: _Context


class _Kubeconfig(_Strict, frozen=True):
    api_version: str | None = msgspec.field(default=None, name="apiVersion")
    kind: str | None = None
    preferences: Any = None
    clusters: list[_NamedCluster] | None = None
    users: list[_NamedUser] | None = None
    contexts: list[_NamedContext] | None = None
    current_context: str | None = None
    extensions: Any = None


def parse(text: bytes | str) -> list[Candidate]:
    """Every context of a kubeconfig, in its order, usable or with its refusal.

    Raises `KubeconfigError` when the whole text cannot be used.
    """
    try:
        config = msgspec.convert(read(text), _Kubeconfig)
    except DocumentError as error:
        raise _refused(str(error)) from None
    except msgspec.ValidationError as error:
        raise _refused(f"It is not a kubeconfig: {str(error)[:200]}.") from None
    if config.kind not in {None, "Config"}:
        raise _refused("It is a Kubernetes object of another kind, not a kubeconfig (kind: Config).")
    if not config.contexts:
        raise _refused("It has no contexts. `kubectl config view --flatten` writes a whole one.")
    if len(config.contexts) > MOST_CONTEXTS:
        raise _refused(f"It has {len(config.contexts)} contexts; at most {MOST_CONTEXTS} are read.")
    clusters = {named.name: named.cluster for named in config.clusters or ()}
    users = {named.name: named.user or _User() for named in config.users or ()}
    return [_candidate(named, clusters, users, config.current_context or "") for named in config.contexts]


def choose(candidates: list[Candidate], context: str) -> Candidate:
    """The candidate called `context`; "" means the current one, or the only one.

    Raises `KubeconfigError` when there is none or it has a refusal.
    """
    wanted = [c for c in candidates if (c.name == context if context else c.current)]
    if not wanted and not context and len(candidates) == 1:
        wanted = candidates
    if not wanted:
        names = ", ".join(c.name[:60] for c in candidates[:10])
        raise _refused(f"Say which context to register. It has: {names}.")
    if wanted[0].refusal:
        raise _refused(wanted[0].refusal)
    return wanted[0]


def direct(server: str, ca_pem: str, token: str) -> Candidate:
    """The candidate for an address, an authority ("" means the system's) and a token, under the same rules.

    Raises `KubeconfigError`.
    """
    if fault := _server_fault(server) or _credential_fault(_User(token=token)):
        raise _refused(fault)
    if ca_pem and "-----BEGIN CERTIFICATE-----" not in ca_pem:
        raise _refused("The certificate authority holds no PEM block of a certificate. Copy it again, whole.")
    name = urlsplit(server).hostname or ""
    return Candidate(name=name, current=True, server=server, ca_pem=ca_pem, token=Secret(token.strip()))


def _candidate(named: _NamedContext, clusters: dict[str, _Cluster], users: dict[str, _User], current: str) -> Candidate:
    context = named.context
    cluster, user = clusters.get(context.cluster), users.get(context.user)
    shown = Candidate(
        name=named.name,
        cluster=context.cluster,
        user=context.user,
        namespace=context.namespace or "",
        current=named.name == current,
        server=cluster.server if cluster is not None and not _server_fault(cluster.server) else "",
    )
    if cluster is None:
        return _with(shown, f'The context names a cluster "{context.cluster[:60]}" that the file does not define.')
    if user is None:
        # Without this a context with no user would be anonymous, or whoever a proxy makes of it (security.md S12).
        return _with(shown, f'The context names a user "{context.user[:60]}" that the file does not define.')
    try:
        if refusal := _cluster_fault(cluster) or _user_fault(user):
            return _with(shown, refusal)
        return msgspec.structs.replace(
            shown,
            ca_pem=_pem(cluster.certificate_authority_data, "certificate-authority-data", "CERTIFICATE"),
            tls_server_name=cluster.tls_server_name or "",
            insecure_skip_tls_verify=bool(cluster.insecure_skip_tls_verify),
            token=Secret((user.token or "").strip()),
            client_certificate_pem=_pem(user.client_certificate_data, "client-certificate-data", "CERTIFICATE"),
            client_key_pem=Secret(_pem(user.client_key_data, "client-key-data", "PRIVATE KEY")),
        )
    except KubeconfigError as error:
        return _with(shown, error.detail)


def _with(candidate: Candidate, refusal: str) -> Candidate:
    return msgspec.structs.replace(candidate, refusal=refusal)


def _cluster_fault(cluster: _Cluster) -> str:
    if fault := _server_fault(cluster.server):
        return fault
    if cluster.certificate_authority:
        return (
            f"Its certificate-authority is a file on the machine it was made on, which is not read here. {EMBED_HELP}"
        )
    if cluster.proxy_url:
        return (
            "It asks for a proxy (proxy-url), which a kubeconfig may not choose here. Remove it and give an address "
            "that this server reaches directly."
        )
    return ""


def _user_fault(user: _User) -> str:
    if user.exec is not None:
        return (
            f"Its user gets a credential by running a program (exec), which is never done here. {SERVICE_ACCOUNT_HELP}"
        )
    if user.auth_provider is not None:
        return f"Its user needs an auth-provider (a provider's login), which is never run here. {SERVICE_ACCOUNT_HELP}"
    for name, value in (
        ("client-certificate", user.client_certificate),
        ("client-key", user.client_key),
        ("tokenFile", user.token_file),
    ):
        if value:
            return f"Its {name} is a file on the machine it was made on, which is not read here. {EMBED_HELP}"
    if user.username or user.password:
        return (
            f"Its user has a name and a password, which API servers stopped accepting in 1.19. {SERVICE_ACCOUNT_HELP}"
        )
    if user.impersonate is not None or user.impersonate_uid or user.impersonate_groups or user.impersonate_extra:
        return f"Its user acts as another one (as, as-groups). Give that one's own credential. {SERVICE_ACCOUNT_HELP}"
    return _credential_fault(user)


def _credential_fault(user: _User) -> str:
    token = (user.token or "").strip()
    if token and not (token.isascii() and token.isprintable() and " " not in token):
        return "Its token has characters that no token has. Copy it again, in one line."
    if bool(user.client_certificate_data) != bool(user.client_key_data):
        return "Its user has a client certificate without its key, or a key without its certificate. Give both."
    if not token and not user.client_certificate_data:
        return f"Its user has no credential at all. {SERVICE_ACCOUNT_HELP}"
    return ""


def _server_fault(server: str) -> str:
    if not server:
        return "Its cluster has no server address."
    try:
        parts = urlsplit(server)
        port = parts.port
    except ValueError:
        return "Its server is not a URL."
    if not server.isascii() or not server.isprintable() or "\\" in server or " " in server:
        return "Its server is not a URL."
    if parts.scheme != "https":
        return "Its server is not an https address. API servers speak TLS; give the https one."
    if not parts.hostname or "@" in parts.netloc or parts.query or parts.fragment or port == 0:
        return "Its server must be like https://host:6443, without a user, a query or a fragment."
    return ""


def _pem(encoded: str | None, field: str, label: str) -> str:
    if not encoded:
        return ""
    try:
        text = base64.b64decode("".join(encoded.split()), validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        raise _refused(f"Its {field} is not base64 of a PEM text. Copy it again, whole.") from None
    if "-----BEGIN " not in text or f"{label}-----" not in text:
        raise _refused(f"Its {field} holds no PEM block of a {label.lower()}. Copy it again, whole.")
    if "ENCRYPTED" in text:
        raise _refused(f"Its {field} is locked with a passphrase. `openssl pkey -in key.pem` writes it without one.")
    return text


def _refused(sentence: str) -> KubeconfigError:
    return KubeconfigError(sentence, errors={"kubeconfig": sentence})
