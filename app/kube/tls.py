"""One TLS context a cluster, from bytes: trust and keys never pass through a file on a disk (security.md S03, S04)."""

import contextlib
import os
import ssl
from collections.abc import Iterator

from app.kube.errors import Invalid


def context(*, ca_pem: str, certificate_pem: str, key_pem: str, insecure: bool) -> ssl.SSLContext:
    """A client context that trusts `ca_pem` only, or the system's authorities when it is empty.

    Blocks for up to 70 ms when the system's authorities are loaded: call it in a thread.
    Raises `Invalid` when a certificate or key cannot be used.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.set_alpn_protocols(["http/1.1"])
    if insecure:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    elif ca_pem:
        _trust(made, ca_pem)
    else:
        made.load_default_certs()
    if certificate_pem:
        _present(made, certificate_pem, key_pem)
    return made


def _trust(made: ssl.SSLContext, ca_pem: str) -> None:
    try:
        made.load_verify_locations(cadata=ca_pem)
    except (ssl.SSLError, ValueError) as error:
        raise Invalid("The certificate authority of this cluster is not a PEM certificate.") from error


def _present(made: ssl.SSLContext, certificate_pem: str, key_pem: str) -> None:
    try:
        with _in_memory(certificate_pem) as certificate, _in_memory(key_pem) as key:
            # An empty password: without one OpenSSL would ask on the terminal for that of an encrypted key.
            made.load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, ValueError) as error:
        raise Invalid("The client certificate and key of this cluster cannot be used together.") from error


@contextlib.contextmanager
def _in_memory(text: str) -> Iterator[str]:
    """A path to `text` that lives in memory only and ends with the block."""
    handle = os.memfd_create("pem", os.MFD_CLOEXEC)
    try:
        content = text.encode()
        os.write(handle, content)
        yield f"/proc/self/fd/{handle}"
    finally:
        os.close(handle)
