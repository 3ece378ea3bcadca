"""A connection to one cluster's API server: requests with deadlines and bounds, streams, and the typed client.

Never follows a redirect, reads no proxy or netrc from the environment, keeps no key on disk, and connects only to
addresses that `dialer` checked. Errors are those of `app.kube.errors`.
"""

import asyncio
import base64
import socket
import zlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, Self
from urllib.parse import quote, urlencode, urlsplit

import aiohttp
import aiohttp.abc
import msgspec
import structlog
from yarl import URL

from app.kube import dialer, errors, lines, stream, tls
from app.settings import Secret

log = structlog.get_logger()

AGENT: Final = "kubenexus/0.1"
DEADLINE_S: Final = 30.0
BODY_BYTES: Final = 16 << 20
LIST_BYTES: Final = 256 << 20
ERROR_BYTES: Final = 64 << 10
JSON: Final = "application/json"

Params = Iterable[tuple[str, str]]


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where a cluster's API server is and how to speak with it: the parts of a kubeconfig that we accept.

    server: https URL, a path prefix is kept. ca_pem: "" means the system's authorities.
    tls_server_name: the name to ask for and to check, "" means the host of `server`.
    insecure_skip_tls_verify: only ever set by an administrator's explicit choice.
    proxy_url: must be empty; a proxy could be anywhere and is refused.
    allow_plaintext: http, to loopback addresses only.
    """

    server: str
    ca_pem: str = ""
    token: Secret = Secret("")
    client_certificate_pem: str = ""
    client_key_pem: Secret = Secret("")
    tls_server_name: str = ""
    insecure_skip_tls_verify: bool = False
    proxy_url: str = ""
    allow_loopback: bool = False
    allow_plaintext: bool = False


class Answer(msgspec.Struct, frozen=True):
    """A 2xx answer. headers: names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


Renew = Callable[[], Awaitable[Endpoint | None]]
"""Gives the endpoint with a new credential, or None when there is none newer."""


class ApiServer:
    """One cluster's API server, as an async context manager; share one among all that talk to the cluster."""

    def __init__(
        self, endpoint: Endpoint, *, renew: Renew | None = None, resolve: dialer.Resolve = dialer.system_resolve
    ) -> None:
        self.endpoint = endpoint
        self.target = _target(endpoint)
        self._prefix = urlsplit(endpoint.server).path.rstrip("/")
        self._renew = renew
        self._renewing = asyncio.Lock()
        self._resolve = resolve
        self._tls: Any = None
        self._session: aiohttp.ClientSession | None = None
        self._buffer: stream.SharedBuffer | None = None
        self._typed: Any = None

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    @property
    def url(self) -> str:
        """Scheme, host, port and path prefix."""
        return self.endpoint.server.rstrip("/")

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Params = (),
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        deadline_s: float = DEADLINE_S,
        most: int = BODY_BYTES,
    ) -> Answer:
        """Ask once, with a bound on time and on the body's size after decompression; anything but 2xx raises.

        A 401 is tried once more when the credential could be renewed.
        """
        credential = self.endpoint.token
        try:
            return await self._ask(method, path, params, headers or {}, body, deadline_s, most)
        except errors.Unauthorized:
            if not await self.renew(credential):
                raise
        return await self._ask(method, path, params, headers or {}, body, deadline_s, most)

    async def open_stream(
        self,
        path: str,
        *,
        params: Params = (),
        headers: Mapping[str, str] | None = None,
        idle_s: float,
        head_s: float = stream.HEAD_S,
        line_bytes: int = lines.LINE_BYTES,
    ) -> stream.Stream:
        """GET a response that is read line by line on a connection of its own; anything but 200 raises.

        idle_s: how long the server may stay silent. A 401 is tried once more when the credential could be renewed.
        """
        credential = self.endpoint.token
        sent = dict(headers or {})
        try:
            return await self._stream(path, params, sent, idle_s, head_s, line_bytes)
        except errors.Unauthorized:
            if not await self.renew(credential):
                raise
        return await self._stream(path, params, sent, idle_s, head_s, line_bytes)

    async def _stream(
        self, path: str, params: Params, headers: dict[str, str], idle_s: float, head_s: float, line_bytes: int
    ) -> stream.Stream:
        sent = {
            "Host": self._netloc(),
            "User-Agent": AGENT,
            "Accept": JSON,
            **headers,
            **self.authorization(),
        }
        request = stream.request_head("GET", self._path(path, params), sent)
        if self._buffer is None:
            self._buffer = stream.SharedBuffer()
        buffer = self._buffer
        receiver = await dialer.connect(
            self.target,
            lambda: stream.Receiver(buffer, line_bytes),
            tls=self._tls,
            server_name=self.endpoint.tls_server_name or self.target.host,
            resolve=self._resolve,
        )
        opened = await stream.started(receiver, request, idle_s=idle_s, head_s=head_s)
        if opened.head.status == 200:
            if is_json(opened.head.headers):
                return opened
            opened.close()
            raise errors.NotKubernetes(status=200)
        try:
            async with asyncio.timeout(head_s):
                failed = await opened.body(ERROR_BYTES)
        except TimeoutError:
            failed = b""
        finally:
            opened.close()
        raise errors.from_answer(opened.head.status, opened.head.headers, failed)

    async def renew(self, seen: Secret) -> bool:
        """Replace the credential `seen`, which was refused; return whether there is another one now.

        Many requests may be refused at once: only the first asks for a new one.
        """
        async with self._renewing:
            if self.endpoint.token != seen:
                return True
            fresh = await self._renew() if self._renew is not None else None
            if fresh is None or fresh == self.endpoint:
                return False
            rekeyed = fresh.client_certificate_pem != self.endpoint.client_certificate_pem
            self.endpoint = msgspec.structs.replace(
                self.endpoint,
                token=fresh.token,
                client_certificate_pem=fresh.client_certificate_pem,
                client_key_pem=fresh.client_key_pem,
            )
            if rekeyed:
                await self._close()
                await self._open()
            return True

    def authorization(self) -> dict[str, str]:
        """The header that carries the token, if there is one."""
        token = self.endpoint.token.reveal()
        return {"Authorization": f"Bearer {token}"} if token else {}

    @property
    def typed(self) -> Any:
        """kubernetes_asyncio's ApiClient on this session, for typed calls."""
        from app.kube import typed  # noqa: PLC0415 - 600 ms of imports that a watcher never needs

        if self._typed is None:
            self._typed = typed.Typed(self)
        return self._typed

    async def _open(self) -> None:
        endpoint = self.endpoint
        if self.target.loopback_only:
            self._tls = None
        else:
            self._tls = await asyncio.to_thread(
                tls.context,
                ca_pem=endpoint.ca_pem,
                certificate_pem=endpoint.client_certificate_pem,
                key_pem=endpoint.client_key_pem.reveal(),
                insecure=endpoint.insecure_skip_tls_verify,
            )
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                ssl=self._tls or True,
                limit=32,
                use_dns_cache=False,
                resolver=_CheckedResolver(self.target, self._resolve),
                socket_factory=lambda info: dialer.open_socket(info[0], str(info[4][0]), self.target),
            ),
            trust_env=False,
            auto_decompress=False,
            read_bufsize=2**21,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": AGENT, "Accept-Encoding": "identity"},
        )

    async def _close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _ask(
        self,
        method: str,
        path: str,
        params: Params,
        headers: Mapping[str, str],
        body: bytes | None,
        deadline_s: float,
        most: int,
    ) -> Answer:
        if self._session is None:
            raise errors.Unreachable("The connection to this cluster is closed.")
        url = URL(
            self.endpoint.server.split("://")[0] + "://" + self._netloc() + self._path(path, params), encoded=True
        )
        try:
            async with (
                asyncio.timeout(deadline_s),
                self._session.request(
                    method,
                    url,
                    headers={"Accept": JSON, **headers, **self.authorization()},
                    data=body,
                    allow_redirects=False,
                    server_hostname=self.endpoint.tls_server_name or None,
                ) as response,
            ):
                got = {name.lower(): value for name, value in response.headers.items()}
                if 200 <= response.status < 300:
                    return Answer(response.status, got, await _bounded(response, most))
                failed = await _bounded(response, ERROR_BYTES, cut=True)
        except TimeoutError as error:
            raise errors.Unreachable(f"The API server did not answer within {deadline_s:.0f} s.") from error
        except aiohttp.ClientConnectorCertificateError as error:
            raise errors.Untrusted from error
        except (aiohttp.ClientError, OSError, zlib.error) as error:
            refused = isinstance(getattr(error, "os_error", error), ConnectionRefusedError)
            raise errors.Unreachable(dialer.REFUSED if refused else "", refused=refused) from error
        raise errors.from_answer(response.status, got, failed)

    def _netloc(self) -> str:
        return urlsplit(self.endpoint.server).netloc

    def _path(self, path: str, params: Params) -> str:
        """The request target; `path` comes from our own code and from names in clusters, so it is checked."""
        segments = path.split("/")
        if segments[0] or ".." in segments or "." in segments or any(c in path for c in "?#\\ \r\n\t"):
            raise errors.Invalid("This is not a path of the Kubernetes API.")
        query = urlencode(list(params))
        return self._prefix + quote(path, safe="/:@!$&'()*+,;=~%") + ("?" + query if query else "")


class _CheckedResolver(aiohttp.abc.AbstractResolver):
    """aiohttp's border to `dialer`: gives only addresses that were checked."""

    def __init__(self, target: dialer.Target, resolve: dialer.Resolve) -> None:
        self._target = target
        self._resolve = resolve

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[aiohttp.abc.ResolveResult]:
        del family
        return [
            aiohttp.abc.ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in await dialer.addresses(self._target, self._resolve)
        ]

    async def close(self) -> None:
        """Nothing is held."""


def is_json(headers: Mapping[str, str]) -> bool:
    """Whether the answer says that it is JSON and not compressed in a way that we did not ask for."""
    return (
        headers.get("content-type", "").startswith(JSON) and headers.get("content-encoding", "identity") == "identity"
    )


def basic(user: str, password: str) -> str:
    """The value of an Authorization header."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _target(endpoint: Endpoint) -> dialer.Target:
    """Check an endpoint's address as far as that goes without the network."""
    try:
        parts = urlsplit(endpoint.server)
        port = parts.port
    except ValueError as error:
        raise errors.AddressRefused("The API server's address is not a URL.") from error
    plain = parts.scheme == "http" and endpoint.allow_plaintext
    if parts.scheme != "https" and not plain:
        raise errors.AddressRefused("The API server's address must begin with https://.")
    if not parts.hostname or parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise errors.AddressRefused(
            "The API server's address must be https://host:port without user, query or fragment."
        )
    if endpoint.proxy_url:
        raise errors.AddressRefused("This cluster asks for a proxy, which is not supported.")
    return dialer.Target(parts.hostname, port or (80 if plain else 443), endpoint.allow_loopback, loopback_only=plain)


async def _bounded(response: aiohttp.ClientResponse, most: int, *, cut: bool = False) -> bytes:
    """The body, decompressed, of at most `most` bytes; a bomb is refused before it is unpacked."""
    unpack = None
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding == "gzip":
        unpack = zlib.decompressobj(wbits=31)
    elif encoding != "identity":
        raise errors.NotKubernetes(status=response.status)
    pieces: list[bytes] = []
    size = 0
    async for received in response.content.iter_any():
        piece = unpack.decompress(received, most - size + 1) if unpack else received
        pieces.append(piece)
        size += len(piece)
        if size > most:
            if cut:
                break
            raise errors.TooLarge
    return b"".join(pieces)[: most if cut else None]
