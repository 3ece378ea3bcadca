"""A cluster's endpoint, sealed for the database and opened from it. The only place where both forms meet."""

import msgspec

from app.kube.client import Endpoint
from app.settings import Secret
from app.storage.encryption import Keyring


class _Stored(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The canonical form inside the seal. The address is in it: a row that was tampered with leads nowhere else."""

    server: str
    ca_pem: str = ""
    token: str = ""
    client_certificate_pem: str = ""
    client_key_pem: str = ""
    tls_server_name: str = ""
    insecure_skip_tls_verify: bool = False


def seal(keyring: Keyring, cluster_id: str, version: int, endpoint: Endpoint) -> bytes:
    """The sealed record; it opens for this cluster and this version of its credential alone."""
    stored = _Stored(
        server=endpoint.server,
        ca_pem=endpoint.ca_pem,
        token=endpoint.token.reveal(),
        client_certificate_pem=endpoint.client_certificate_pem,
        client_key_pem=endpoint.client_key_pem.reveal(),
        tls_server_name=endpoint.tls_server_name,
        insecure_skip_tls_verify=endpoint.insecure_skip_tls_verify,
    )
    return keyring.seal(msgspec.json.encode(stored, order="deterministic"), _place(cluster_id, version))


def unseal(keyring: Keyring, cluster_id: str, version: int, sealed: bytes, *, allow_loopback: bool) -> Endpoint:
    """The endpoint in a sealed record. Raises `SealError`."""
    stored = msgspec.json.decode(keyring.open(sealed, _place(cluster_id, version)), type=_Stored)
    return Endpoint(
        server=stored.server,
        ca_pem=stored.ca_pem,
        token=Secret(stored.token),
        client_certificate_pem=stored.client_certificate_pem,
        client_key_pem=Secret(stored.client_key_pem),
        tls_server_name=stored.tls_server_name,
        insecure_skip_tls_verify=stored.insecure_skip_tls_verify,
        allow_loopback=allow_loopback,
    )


def _place(cluster_id: str, version: int) -> bytes:
    return f"cluster_credential|{cluster_id}|{version}".encode()
