"""Connects to an API server's address, and to nothing else that the address may be bent to.

A name is resolved once per connection, every answer is checked, and the connection is made to a checked address:
there is no second look-up that could answer differently (security.md S05, S06). Never follows a proxy.
"""

import asyncio
import contextlib
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, TypeVar

import msgspec

from app.kube.errors import AddressRefused, Unreachable, Untrusted

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Awaitable[list[str]]]
P = TypeVar("P", bound=asyncio.BaseProtocol)

RESOLVE_S: Final = 5.0
CONNECT_S: Final = 10.0  # TCP and TLS together
KEEPALIVE: Final = (15, 5, 3)  # s idle, s between, probes: a dead peer is found within 30 s (W22)
REFUSED: Final = "The API server refuses connections: it may be restarting."
METADATA: Final = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "100.100.100.200",  # Alibaba
        "168.63.129.16",  # Azure's wire server
        "192.0.0.192",  # Oracle
        "fd00:ec2::254",  # AWS
        "fd20:ce::254",  # Google
    )
)
THIS_NETWORK: Final = ipaddress.ip_network("0.0.0.0/8")  # Linux takes 0.0.0.0 for loopback
NAT64: Final = ipaddress.ip_network("64:ff9b::/96")


class Target(msgspec.Struct, frozen=True):
    """Where one API server is. loopback_only: for plaintext, which never leaves the machine."""

    host: str
    port: int
    allow_loopback: bool
    loopback_only: bool = False


async def system_resolve(host: str, port: int) -> list[str]:
    """The system's resolver."""
    answers = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(answer[4][0]) for answer in answers]


def check(text: str, target: Target) -> None:
    """Raise `AddressRefused` unless `target` may be at the address `text`."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError as error:
        raise AddressRefused from error
    for seen in _meanings(address):
        if seen.is_loopback:
            if not target.allow_loopback:
                raise AddressRefused("The API server's address is on this machine's loopback, which is not allowed.")
        elif (
            target.loopback_only
            or seen in METADATA
            or seen in THIS_NETWORK
            or seen.is_link_local
            or seen.is_multicast
            or seen.is_unspecified
            or seen.is_reserved
        ):
            raise AddressRefused


def _meanings(address: Address) -> Iterator[Address]:
    """The address, and where it is a wrapped IPv4 address that address instead or as well."""
    if isinstance(address, ipaddress.IPv4Address):
        yield address
        return
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
        return
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    if address in NAT64:
        yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        return
    yield address


async def addresses(target: Target, resolve: Resolve = system_resolve) -> list[str]:
    """All addresses of `target`, each checked; one bad answer refuses all."""
    try:
        async with asyncio.timeout(RESOLVE_S):
            found = await resolve(target.host, target.port)
    except (OSError, UnicodeError, TimeoutError) as error:
        raise Unreachable("The API server's name cannot be resolved.") from error
    if not found:
        raise Unreachable("The API server's name has no address.")
    for text in found:
        check(text, target)
    return list(dict.fromkeys(found))


def open_socket(family: int, address: str, target: Target) -> socket.socket:
    """A socket for one connection to `address`, which is checked here once more, with keepalive set."""
    check(address, target)
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.settimeout(0)
    idle_s, between_s, probes = KEEPALIVE
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", idle_s), ("TCP_KEEPINTVL", between_s), ("TCP_KEEPCNT", probes)):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


async def connect(
    target: Target,
    protocol: Callable[[], P],
    *,
    tls: ssl.SSLContext | None,
    server_name: str,
    resolve: Resolve = system_resolve,
) -> P:
    """Connect to the first address that accepts, and return the protocol; raises `KubeError`."""
    failure: OSError | None = None
    with _as_kube_errors():
        async with asyncio.timeout(CONNECT_S):
            for address in await addresses(target, resolve):
                try:
                    return await _connect_to(address, target, protocol, tls=tls, server_name=server_name)
                except ssl.SSLError:
                    raise
                except OSError as error:
                    failure = error
        raise failure or OSError("no address")


async def _connect_to(
    address: str, target: Target, protocol: Callable[[], P], *, tls: ssl.SSLContext | None, server_name: str
) -> P:
    loop = asyncio.get_running_loop()
    sock = open_socket(socket.AF_INET6 if ":" in address else socket.AF_INET, address, target)
    try:
        await loop.sock_connect(sock, (address, target.port))
    except BaseException:
        sock.close()
        raise
    try:
        _, made = await loop.create_connection(
            protocol, sock=sock, ssl=tls, server_hostname=server_name if tls else None
        )
    except BaseException:
        # The transport owns the socket now, and asyncio forgets it when the handshake is cancelled in its first turn:
        # closing here would free its number while it still reads. This ends it as a peer would, and it closes itself.
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
        raise
    return made


@contextlib.contextmanager
def _as_kube_errors() -> Iterator[None]:
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise Untrusted from error
    except ConnectionRefusedError as error:
        raise Unreachable(REFUSED, refused=True) from error
    except TimeoutError as error:
        raise Unreachable(f"The API server does not accept a connection within {CONNECT_S:.0f} s.") from error
    except ssl.SSLError as error:
        raise Unreachable("The API server does not complete the TLS handshake.") from error
    except OSError as error:
        raise Unreachable from error
