"""Requests, errors, bounds, TLS and the typed client (S03, S04, S07-S09)."""

import asyncio
import contextlib
import gzip
import os
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest
from kubernetes_asyncio.client import CoreV1Api

from app.kube import errors
from app.kube.client import ApiServer, Endpoint
from app.settings import Secret

from .certificates import Authority
from .fault_apiserver import Exchange, FaultServer, refuse, status
from .mirror import PATH, endpoint, until
from .recorded import RecordedServer, read


async def ask(answer: Any, **options: Any) -> Any:
    """What one request makes of `answer`."""
    server = FaultServer()
    server.always("any", answer)
    async with server, ApiServer(endpoint(server)) as api:
        return await api.request("GET", PATH, **options)


def recorded(name: str, **headers: str) -> Any:
    return refuse(int(Path(name).name[:3]), read(name), **headers)


@pytest.mark.parametrize(
    ("name", "kind", "reason"),
    [
        ("errors/401-bad-token.json", errors.Unauthorized, "Unauthorized"),
        ("errors/403-rbac-list.json", errors.Forbidden, "Forbidden"),
        ("errors/404-pod.json", errors.NotFound, "NotFound"),
        ("errors/404-custom-resource-gone.txt", errors.NotFound, ""),
        ("errors/409-conflict-update.json", errors.Conflict, "Conflict"),
        ("errors/410-list-exact-version.json", errors.Gone, "Expired"),
        ("errors/422-invalid-pod.json", errors.Invalid, "Invalid"),
        ("errors/406-not-acceptable.json", errors.Invalid, "NotAcceptable"),
        ("errors/429-eviction-pdb.json", errors.Throttled, "TooManyRequests"),
        ("errors/429-priority-and-fairness.txt", errors.Throttled, ""),
        ("errors/500-watch-rv-invalid.json", errors.ServerFailed, ""),
        ("errors/504-resource-version-too-large.json", errors.ServerFailed, "Timeout"),
    ],
)
async def test_recorded_errors_become_typed_ones(name: str, kind: type[errors.KubeError], reason: str) -> None:
    with pytest.raises(kind) as raised:
        await ask(recorded(name))

    assert raised.value.reason == reason
    assert raised.value.status == int(Path(name).name[:3])


async def test_a_version_in_the_future_is_told_apart_from_other_failures() -> None:
    with pytest.raises(errors.ServerFailed) as raised:
        await ask(recorded("errors/504-resource-version-too-large.json"))

    assert raised.value.version_too_large
    assert raised.value.retry_after_s == 1


@pytest.mark.parametrize(("sent", "seconds"), [("17", 17), ("999999999", 3600), ("soon", None), ("-1", None)])
async def test_retry_after_is_read_and_bounded(sent: str, seconds: float | None) -> None:
    with pytest.raises(errors.Throttled) as raised:
        await ask(recorded("errors/429-priority-and-fairness.txt", Retry_After=sent))

    assert raised.value.retry_after_s == seconds


@pytest.mark.case("S09")
@pytest.mark.parametrize("code", [200, 400, 401, 403, 404, 500, 502])
async def test_what_a_foreign_service_answers_is_never_quoted(code: int) -> None:
    secret = b"<html>PGRST hunter2 internal dashboard</html>"
    if code == 200:  # its body goes to a decoder, which refuses it
        assert (await ask(refuse(code, secret))).status == 200
        return
    with pytest.raises(errors.KubeError) as raised:
        await ask(refuse(code, secret))

    assert "hunter2" not in f"{raised.value} {raised.value.detail} {raised.value.reason} {raised.value!r}"
    assert str(raised.value) == type(raised.value).sentence


@pytest.mark.case("S07")
@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed_and_leak_nothing(code: int) -> None:
    elsewhere = FaultServer()
    async with elsewhere:
        with pytest.raises(errors.NotKubernetes, match="redirect"):
            await ask(refuse(code, b"", Location=elsewhere.url + "/steal"))

    assert elsewhere.connections == 0


@pytest.mark.case("S08")
async def test_proxies_and_netrc_of_the_environment_are_ignored(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    proxy = FaultServer()
    server = FaultServer()
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login u password hunter2\n")
    (tmp_path / ".netrc").chmod(0o600)
    async with proxy, server:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
        async with ApiServer(endpoint(server)) as api:
            await api.request("GET", PATH)
            stream = await api.open_stream(PATH, params=[("watch", "1")], idle_s=5)
            stream.close()

    assert proxy.connections == 0
    assert all("authorization" not in request.headers for request in server.requests)


@pytest.mark.case("S08")
def test_a_proxy_in_the_endpoint_is_refused() -> None:
    with pytest.raises(errors.AddressRefused, match="proxy"):
        ApiServer(Endpoint(server="https://10.0.0.1:6443", proxy_url="http://10.0.0.2:3128"))


async def test_answers_are_bounded_before_and_after_unpacking() -> None:
    async def plain(exchange: Exchange) -> None:
        await exchange.answer(200, b"x" * 5000)

    async def bomb(exchange: Exchange) -> None:
        packed = gzip.compress(b"\0" * (50 << 20))
        await exchange.answer(200, packed, {"Content-Encoding": "gzip"})

    with pytest.raises(errors.TooLarge):
        await ask(plain, most=4999)
    with pytest.raises(errors.TooLarge):
        await ask(bomb, most=1 << 20)
    assert len((await ask(plain, most=5000)).body) == 5000


async def test_a_gzipped_answer_is_unpacked_and_other_encodings_are_refused() -> None:
    body = read("lists/pods.json")

    async def packed(exchange: Exchange) -> None:
        await exchange.answer(200, gzip.compress(body), {"Content-Encoding": "gzip"})

    async def deflated(exchange: Exchange) -> None:
        await exchange.answer(200, zlib.compress(body), {"Content-Encoding": "deflate"})

    async def broken(exchange: Exchange) -> None:
        await exchange.answer(200, b"not gzip at all", {"Content-Encoding": "gzip"})

    assert (await ask(packed)).body == body
    with pytest.raises(errors.NotKubernetes):
        await ask(deflated)
    with pytest.raises(errors.KubeError):
        await ask(broken)


@pytest.mark.parametrize(
    "path", ["/api/../../etc", "/api/v1/pods?x=1", "/a b", "api", "/a#b", "/a\r\nHost: x", "/api/./x"]
)
async def test_paths_that_lead_elsewhere_are_refused(path: str) -> None:
    server = FaultServer()
    async with server, ApiServer(endpoint(server)) as api:
        with pytest.raises(errors.Invalid):
            await api.request("GET", path)
        with pytest.raises(errors.Invalid):
            await api.open_stream(path, idle_s=1)

    assert server.requests == []


async def test_a_header_with_a_line_end_is_never_sent() -> None:
    server = FaultServer()
    async with server, ApiServer(endpoint(server, token=Secret("a\r\nX-Evil: 1"))) as api:
        with pytest.raises((ValueError, errors.KubeError)):
            await api.open_stream(PATH, idle_s=1)
        with pytest.raises((ValueError, errors.KubeError)):
            await api.request("GET", PATH)

    assert server.requests == []


async def test_a_path_prefix_of_the_server_is_kept() -> None:
    server = FaultServer()
    async with server:
        where = endpoint(server)
        prefixed = Endpoint(server=where.server + "/k8s/clusters/c-1/", allow_loopback=True, allow_plaintext=True)
        async with ApiServer(prefixed) as api:
            await api.request("GET", "/api/v1/pods", params=[("limit", "1")])

    assert server.requests[0].path == "/k8s/clusters/c-1/api/v1/pods"


@pytest.mark.case("S04")
@pytest.mark.parametrize("fault", ["authority", "name", "expired", "early", "none"])
async def test_a_certificate_that_does_not_fit_is_refused(fault: str) -> None:
    authority, other = Authority(), Authority("other")
    days = {"expired": (-3.0, -1.0), "early": (1.0, 2.0)}.get(fault, (-1.0, 2.0))
    names = ("elsewhere.example",) if fault == "name" else ("127.0.0.1",)
    server = FaultServer(tls=authority.server(*names, days=days))
    ca = "" if fault == "none" else (other if fault == "authority" else authority).pem
    async with server, ApiServer(endpoint(server, ca_pem=ca)) as api:
        with pytest.raises(errors.Untrusted):
            await api.request("GET", PATH)
        with pytest.raises(errors.Untrusted):
            await api.open_stream(PATH, idle_s=5)

    assert server.requests == []


@pytest.mark.case("S04")
async def test_skipping_verification_takes_an_explicit_field() -> None:
    server = FaultServer(tls=Authority().server())
    async with server, ApiServer(endpoint(server, insecure_skip_tls_verify=True)) as api:
        assert (await api.request("GET", PATH)).status == 200


async def test_the_server_name_to_check_can_be_given() -> None:
    authority = Authority()
    server = FaultServer(tls=authority.server("kubernetes.default"))
    async with server, ApiServer(endpoint(server, ca_pem=authority.pem, tls_server_name="kubernetes.default")) as api:
        assert (await api.request("GET", PATH)).status == 200
        stream = await api.open_stream(PATH, params=[("watch", "1")], idle_s=5)
        stream.close()


@pytest.mark.case("S03")
async def test_a_client_certificate_is_presented_and_no_key_reaches_a_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, clients = Authority(), Authority("clients")
    pair = clients.sign("user")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    server = FaultServer(tls=authority.server(client_authority=clients.pem))
    written = record_writes()
    async with (
        server,
        ApiServer(
            endpoint(
                server,
                ca_pem=authority.pem,
                client_certificate_pem=pair.certificate,
                client_key_pem=Secret(pair.key),
            )
        ) as api,
    ):
        assert (await api.request("GET", PATH)).status == 200
        held = held_files()

    assert [path for path in written if path.startswith("/") and not path.startswith(("/proc/", "/dev/"))] == []
    assert not any("memfd:pem" in path for path in held)
    assert os.listdir(tmp_path) == []  # noqa: PTH208


def held_files() -> list[str]:
    """What this process has open."""
    found = []
    for link in [*Path("/proc/self/fd").iterdir()]:
        with contextlib.suppress(OSError):
            found.append(str(link.readlink()))
    return found


_writes: list[str] = []
_hooked: list[bool] = []


def record_writes() -> list[str]:
    """Paths opened for writing from now on; an audit hook can never be taken out, so there is one."""

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(args[0], str) and (args[2] or 0) & (os.O_WRONLY | os.O_RDWR):
            _writes.append(args[0])

    if not _hooked:
        _hooked.append(True)
        sys.addaudithook(hook)
    _writes.clear()
    return _writes


@pytest.mark.parametrize(
    "fields",
    [
        {"ca_pem": "not a certificate"},
        {"client_certificate_pem": "nonsense", "client_key_pem": Secret("nonsense")},
    ],
)
async def test_unusable_certificates_are_said_to_be(fields: dict[str, Any]) -> None:
    with pytest.raises(errors.Invalid):
        async with ApiServer(Endpoint(server="https://10.0.0.1:6443", **fields)):
            pass


async def test_an_encrypted_client_key_is_refused_without_asking_on_the_terminal() -> None:
    from cryptography.hazmat.primitives import serialization

    pair = Authority().sign("user")
    key = serialization.load_pem_private_key(pair.key.encode(), None)
    sealed = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"pw")
    ).decode()
    with pytest.raises(errors.Invalid):
        async with ApiServer(
            Endpoint(
                server="https://10.0.0.1:6443",
                client_certificate_pem=pair.certificate,
                client_key_pem=Secret(sealed),
            )
        ):
            pass


def test_an_endpoint_can_be_logged() -> None:
    shown = repr(Endpoint(server="https://c", token=Secret("hunter2"), client_key_pem=Secret("PRIVATE KEY")))

    assert "hunter2" not in shown
    assert "PRIVATE KEY" not in shown


async def test_the_typed_client_speaks_through_the_same_connection() -> None:
    routes: dict[str, Any] = {
        "/api/v1/namespaces/shop/pods": "lists/pods.json",
        "/api/v1/namespaces/shop/pods/gone": (404, read("errors/404-pod.json")),
    }
    async with RecordedServer(routes) as server, ApiServer(endpoint(server, token=Secret("t"))) as api:
        pods = await CoreV1Api(api.typed).list_namespaced_pod("shop", limit=3)
        with pytest.raises(errors.NotFound):
            await CoreV1Api(api.typed).read_namespaced_pod("gone", "shop")

    assert len(pods.items) == 17
    assert server.requests[0].headers["authorization"] == "Bearer t"
    assert server.requests[0].params == {"limit": "3"}


async def test_a_typed_write_sends_its_body() -> None:
    from kubernetes_asyncio.client import V1ConfigMap, V1ObjectMeta

    seen: list[bytes] = []
    server = FaultServer()

    async def created(exchange: Exchange) -> None:
        seen.append(exchange.request.body)
        await exchange.answer(201, {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a", "uid": "u"}})

    server.always("any", created)
    async with server, ApiServer(endpoint(server)) as api:
        made = await CoreV1Api(api.typed).create_namespaced_config_map(
            "shop", V1ConfigMap(metadata=V1ObjectMeta(name="a"), data={"k": "ü"})
        )

    assert made.metadata.uid == "u"
    assert b'"name": "a"' in seen[0]


async def test_a_refused_request_is_repeated_once_with_a_new_credential() -> None:
    server = FaultServer()
    asked = 0

    async def guarded(exchange: Exchange) -> None:
        good = exchange.request.headers.get("authorization") == "Bearer new"
        await (exchange.normal() if good else exchange.answer(401, status(401, "Unauthorized")))

    async def renew() -> Endpoint:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.01)
        return endpoint(server, token=Secret("new"))

    server.always("any", guarded)
    async with server, ApiServer(endpoint(server, token=Secret("old")), renew=renew) as api:
        await asyncio.gather(*(api.request("GET", PATH) for _ in range(20)))

    assert asked == 1


async def test_a_stream_holds_back_a_server_that_is_faster_than_its_reader() -> None:
    server = FaultServer()
    sent = 0

    async def flood(exchange: Exchange) -> None:
        nonlocal sent
        await exchange.start()
        for _ in range(2_000):
            await exchange.chunk(b"x" * 65_535 + b"\n")
            sent += 1
        await exchange.end()

    server.always("any", flood)
    async with server, ApiServer(endpoint(server)) as api, await api.open_stream(PATH, idle_s=5) as stream:
        before = -1
        while before != sent:  # until nothing moves any more
            before = sent
            await asyncio.sleep(0.1)
        held = sent
        received = 0
        while lines := await stream.read():
            received += len(lines)

    assert held < 500  # 32 MiB: the socket's buffers and ours, not the 125 MiB of the whole
    assert received == 2_000


async def test_until_gives_up() -> None:
    with pytest.raises(TimeoutError):
        await until(lambda: False, 0.01)
