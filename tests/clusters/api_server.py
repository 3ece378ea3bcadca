"""A small API server over TLS: enough of Kubernetes to be registered, with faults that a test can switch on.

Real TCP and TLS with certificates made for the test; the fleet that behaves as clusters do is `kubesim`'s.
"""

import asyncio
import contextlib
import datetime as dt
import ipaddress
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.clusters.kubeconfigs import encoded

TOKEN = "a-token-that-is-right"


class Authority:
    """A certificate authority and what it signs."""

    def __init__(self, name: str) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = self._sign(self.name, self.key, None, days=30)
        self.pem = self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def server(self, directory: Path, *, host: str = "127.0.0.1", days: int = 30) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        try:
            alternative: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
        except ValueError:
            alternative = x509.DNSName(host)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        certificate = self._sign(name, key, alternative, days=days)
        path = directory / f"{host}-{days}-{id(key)}.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        path.unlink()
        return context

    def _sign(
        self, name: x509.Name, key: ec.EllipticCurvePrivateKey, alternative: x509.GeneralName | None, *, days: int
    ) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=60))
            .not_valid_after(now + dt.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=alternative is None, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        if alternative is None:
            builder = builder.add_extension(
                x509.KeyUsage(
                    digital_signature=True,
                    content_commitment=False,
                    key_encipherment=False,
                    data_encipherment=False,
                    key_agreement=False,
                    key_cert_sign=True,
                    crl_sign=True,
                    encipher_only=False,
                    decipher_only=False,
                ),
                critical=True,
            )
        else:
            builder = builder.add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        return builder.sign(self.key, hashes.SHA256())


class ApiServer:
    """What it answers: change the fields to change it."""

    def __init__(self) -> None:
        self.port = 0
        self.uid = "0b6c7e0a-0000-4000-8000-000000000001"
        self.version = "v1.36.2"
        self.user = "system:serviceaccount:kube-system:kubenexus"
        self.lists_everywhere = True
        self.reads_kube_system = True
        self.old = False
        self.answer: tuple[int, dict[str, str], bytes] | None = None
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.connections = 0

    def kubeconfig(self, authority: Authority, *, token: str = TOKEN, **cluster: Any) -> str:
        config = {
            "current-context": "lab",
            "clusters": [
                {
                    "name": "lab",
                    "cluster": {
                        "server": f"https://127.0.0.1:{self.port}",
                        "certificate-authority-data": encoded(authority.pem),
                        **cluster,
                    },
                }
            ],
            "users": [{"name": "robot", "user": {"token": token}}],
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "robot"}}],
        }
        return json.dumps(config)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                method, path, _ = head.split("\r\n")[0].split(" ")
                headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                self.requests.append((method, path, headers))
                status, extra, content = self.answer or self._respond(path, headers, body)
                fields = {"content-type": "application/json", "content-length": str(len(content)), **extra}
                lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
                writer.write(f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode() + content)
                await writer.drain()
        writer.close()

    def _respond(  # noqa: PLR0911 - one a path
        self, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        if headers.get("authorization") != f"bearer {TOKEN}".lower():
            return 401, {}, _status(401, "Unauthorized")
        if path == "/version":
            return 200, {}, json.dumps({"gitVersion": self.version}).encode()
        if path.endswith("/selfsubjectreviews"):
            if self.old:
                return 404, {"content-type": "text/plain"}, b"404 page not found"
            return 201, {}, json.dumps({"status": {"userInfo": {"username": self.user}}}).encode()
        if path.endswith("/selfsubjectaccessreviews"):
            asked = json.loads(body)["spec"]["resourceAttributes"]
            allowed = self.lists_everywhere or asked["namespace"] == "shop"
            return 201, {}, json.dumps({"status": {"allowed": allowed}}).encode()
        if path == "/api/v1/namespaces/kube-system" and self.reads_kube_system:
            return 200, {}, json.dumps({"kind": "Namespace", "metadata": {"uid": self.uid}}).encode()
        return 403, {}, _status(403, "Forbidden")


def _status(code: int, reason: str) -> bytes:
    return json.dumps({"kind": "Status", "code": code, "reason": reason, "message": reason}).encode()


@contextlib.asynccontextmanager
async def running(context: ssl.SSLContext) -> AsyncIterator[ApiServer]:
    """An API server on a free port of loopback."""
    api = ApiServer()
    server = await asyncio.start_server(api.serve, "127.0.0.1", 0, ssl=context)
    api.port = server.sockets[0].getsockname()[1]
    try:
        yield api
    finally:
        server.close()
        server.close_clients() if hasattr(server, "close_clients") else None
        await asyncio.sleep(0.05)  # its connections see the client's close
