"""Where we connect to and where never: addresses, names that change their mind, and the URL itself (S05, S06)."""

import asyncio
import socket
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.kube import dialer, errors
from app.kube.client import ApiServer, Endpoint
from app.kube.dialer import Target, check

from .fault_apiserver import FaultServer
from .mirror import PATH, endpoint

ALWAYS_REFUSED = [
    "169.254.169.254",
    "169.254.0.1",
    "0.0.0.0",
    "0.1.2.3",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "100.100.100.200",
    "168.63.129.16",
    "::",
    "fe80::1",
    "fe80::1%eth0",
    "ff02::1",
    "fd00:ec2::254",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
]
LOOPBACK = ["127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::"]
ALLOWED = ["10.0.0.1", "192.168.1.1", "172.16.5.5", "8.8.8.8", "fd12:3456::1", "2606:4700::1111", "100.64.0.1"]


@pytest.mark.case("S05")
@pytest.mark.parametrize("address", ALWAYS_REFUSED)
@pytest.mark.parametrize("allow_loopback", [False, True])
def test_addresses_that_are_never_an_api_server(address: str, allow_loopback: bool) -> None:
    with pytest.raises(errors.AddressRefused):
        check(address, Target("h", 443, allow_loopback))


@pytest.mark.case("S05")
@pytest.mark.parametrize("address", LOOPBACK)
def test_loopback_takes_a_permission(address: str) -> None:
    with pytest.raises(errors.AddressRefused):
        check(address, Target("h", 443, allow_loopback=False))
    if "2002" not in address:  # a tunnel to loopback is never meant
        check(address, Target("h", 443, allow_loopback=True))


@pytest.mark.parametrize("address", ALLOWED)
def test_private_and_public_addresses_are_allowed(address: str) -> None:
    check(address, Target("h", 443, allow_loopback=False))


@pytest.mark.parametrize("address", ALLOWED)
def test_plaintext_never_leaves_the_machine(address: str) -> None:
    with pytest.raises(errors.AddressRefused):
        check(address, Target("h", 443, allow_loopback=True, loopback_only=True))


@pytest.mark.case("S05")
@pytest.mark.parametrize(
    "server",
    [
        "http://10.0.0.1",
        "ftp://10.0.0.1",
        "file:///etc/passwd",
        "gopher://10.0.0.1:70/_x",
        "10.0.0.1:6443",
        "//10.0.0.1",
        "https://",
        "https:///path",
        "https://user@10.0.0.1",
        "https://user:pw@10.0.0.1",
        "https://10.0.0.1@evil.example",
        "https://10.0.0.1/?q=1",
        "https://10.0.0.1/#f",
        "https://10.0.0.1:99999",
        "https://10.0.0.1:x",
        "https://[::1",
        "",
    ],
)
def test_addresses_that_are_no_https_url_are_refused(server: str) -> None:
    with pytest.raises(errors.AddressRefused):
        ApiServer(Endpoint(server=server))


@pytest.mark.case("S05")
@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "0177.0.0.1", "127.1", "[::1]", "[::ffff:127.0.0.1]"]
)
async def test_no_spelling_of_loopback_is_connected_to(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0)
        port = listener.getsockname()[1]
        async with ApiServer(
            Endpoint(server=f"https://{host}:{port}", ca_pem="", insecure_skip_tls_verify=True)
        ) as api:
            with pytest.raises((errors.AddressRefused, errors.Unreachable)):
                await api.request("GET", PATH)
            with pytest.raises((errors.AddressRefused, errors.Unreachable)):
                await api.open_stream(PATH, idle_s=1)
        with pytest.raises(BlockingIOError):
            listener.accept()


class Flipping:
    """A resolver that gives another answer each time."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = answers
        self.asked = 0

    async def __call__(self, _host: str, _port: int) -> list[str]:
        answer = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        return answer


@pytest.mark.case("S06")
async def test_one_bad_answer_of_many_refuses_all() -> None:
    resolve = Flipping(["10.255.255.1", "169.254.169.254"])
    async with ApiServer(Endpoint(server="https://api.example", insecure_skip_tls_verify=True), resolve=resolve) as api:
        with pytest.raises(errors.AddressRefused):
            await api.request("GET", PATH)
        with pytest.raises(errors.AddressRefused):
            await api.open_stream(PATH, idle_s=1)


@pytest.mark.case("S06")
async def test_the_checked_address_is_the_one_connected_to() -> None:
    """The second answer of a rebinding resolver is never asked for by the connection that the first was checked for."""
    server, trap = FaultServer(), FaultServer()
    async with server, trap:
        where = endpoint(server)
        named = Endpoint(
            server=where.server.replace("127.0.0.1", "api.example"), allow_loopback=True, allow_plaintext=True
        )
        resolve = Flipping(["127.0.0.1"], ["169.254.169.254"])
        async with ApiServer(named, resolve=resolve) as api:
            assert (await api.request("GET", PATH)).status == 200
            assert resolve.asked == 1
            with pytest.raises(errors.AddressRefused):
                await api.open_stream(PATH, idle_s=1)

    assert len(server.requests) == 1


async def test_a_name_that_does_not_resolve_or_hangs_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(_host: str, _port: int) -> list[str]:
        await asyncio.Event().wait()
        return []

    async def fail(_host: str, _port: int) -> list[str]:
        raise socket.gaierror(-2, "unknown")

    monkeypatch.setattr(dialer, "RESOLVE_S", 0.05)
    for resolve in (hang, fail, Flipping([])):
        async with ApiServer(
            Endpoint(server="https://x.example", insecure_skip_tls_verify=True), resolve=resolve
        ) as api:
            with pytest.raises(errors.Unreachable):
                await api.request("GET", PATH)
            with pytest.raises(errors.Unreachable):
                await api.open_stream(PATH, idle_s=1)


async def test_the_next_address_is_tried_when_one_does_not_accept() -> None:
    server = FaultServer()
    async with server:
        named = Endpoint(
            server=server.url.replace("127.0.0.1", "api.example"), allow_loopback=True, allow_plaintext=True
        )
        async with ApiServer(named, resolve=Flipping(["127.0.0.9", "127.0.0.1"])) as api:
            stream = await api.open_stream(PATH, params=[("watch", "1")], idle_s=5)
            stream.close()


async def test_what_is_no_tls_server_is_said_so() -> None:
    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.6\r\n")
        await writer.drain()
        writer.close()

    listener = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        async with ApiServer(Endpoint(server=f"https://127.0.0.1:{port}", allow_loopback=True)) as api:
            for ask in (api.request("GET", PATH), api.open_stream(PATH, idle_s=1)):
                with pytest.raises(errors.Unreachable):
                    await ask


@given(st.text(max_size=40))
def test_no_text_is_an_address_by_accident(text: str) -> None:
    try:
        check(text, Target("h", 443, allow_loopback=False))
    except errors.AddressRefused:
        return
    assert socket.getaddrinfo(text, 1, flags=socket.AI_NUMERICHOST)


def test_contexts_verify_by_default() -> None:
    from app.kube import tls

    context = tls.context(ca_pem="", certificate_pem="", key_pem="", insecure=False)

    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
