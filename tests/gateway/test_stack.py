"""What every request passes, through a real server and real sockets."""

import asyncio
import json
import re
import socket
from typing import Any

import pytest
import structlog
from litestar import get, post, websocket
from litestar.connection import WebSocket

from app import log
from app.authz.guards import PUBLIC, requires
from app.authz.roles import Role
from app.gateway.origins import origins
from app.settings import Settings, SettingsError
from app.storage.redis import connect
from tests.gateway.serving import Served, serving

ran: list[str] = []


@get("/test/fails", opt={PUBLIC: "a test's"})
async def fails() -> str:
    raise RuntimeError("CANARY of an inner fault")


@get("/test/unguarded")
async def unguarded() -> str:
    ran.append("unguarded")
    return "shown"


@post("/test/act", guards=[requires("clusters:register")])
async def act() -> str:
    ran.append("act")
    return "acted"


@websocket("/test/live", guards=[requires("rows:read")])
async def live(socket: WebSocket[Any, Any, Any]) -> None:
    await socket.accept()
    await socket.send_text("hello")
    await socket.close()


@pytest.fixture
async def fitted(engine, redis, hub, passwords):
    ran.clear()
    async with serving(engine, redis, hub, passwords, [fails, unguarded, act, live]) as server:
        yield server


@pytest.fixture
def logged(capfd):
    """What was written so far; a test configures the log itself, for pytest swaps the files before it begins."""
    yield lambda: "".join(capfd.readouterr())
    structlog.reset_defaults()


async def raw(served: Served, request: str) -> tuple[int, str]:
    """Send exactly these bytes; the status and the whole answer."""
    host, port = served.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request.replace("\n", "\r\n").encode("latin-1"))
    async with asyncio.timeout(10):
        answer = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        if "101 Switching" not in answer:
            answer += (await reader.read()).decode("latin-1")
    writer.close()
    await writer.wait_closed()
    return int(answer.split(" ")[1]), answer


async def handshake(served: Served, cookie: str, origin: str | None, more: str = "") -> int:
    """The status of a WebSocket handshake."""
    said = "" if origin is None else f"Origin: {origin}\n"
    host = served.url.removeprefix("http://")
    status, _ = await raw(
        served,
        f"GET /test/live HTTP/1.1\nHost: {host}\nConnection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\n"
        f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\nCookie: kubenexus={cookie}\n{said}{more}\n",
    )
    return status


# --- who asked -------------------------------------------------------------------------------------------------------


def foreign(own: str) -> list[str]:
    port = own.rpartition(":")[2]
    return [
        "https://evil.example",
        "null",
        "",
        own.replace("http:", "https:"),
        own.replace("127.0.0.1", "localhost"),
        own + "0",
        own.replace(port, "80"),
        own + "/",
        own + ".evil.example",
        own.replace("http://", "http://evil."),
        own.replace("http://", "http://user@"),
        own.upper(),
        f"{own}, {own}",
        f"{own} ",
        "file://",
    ]


@pytest.mark.case("S26")
async def test_a_websocket_is_opened_by_pages_of_our_own_origin_alone(fitted: Served) -> None:
    async with fitted.signed_in() as client:
        cookie = client.cookies["kubenexus"]
        assert await handshake(fitted, cookie, fitted.url) == 101
        for origin in [*foreign(fitted.url)[:-2], None]:
            assert await handshake(fitted, cookie, origin) == 403, origin
        assert await handshake(fitted, cookie, None, "Sec-Fetch-Site: same-origin\n") == 403
        assert await handshake(fitted, "A" * 43, fitted.url) == 403


@pytest.mark.case("S27")
async def test_nothing_is_changed_by_what_another_site_sends(fitted: Served) -> None:
    async with fitted.signed_in() as client:
        assert (await client.post("/test/act")).status_code == 201
        ran.clear()
        paths = ["/test/act", "/sign-out", "/account/password", "/api/v1/clusters", "/api/v1/session", "/sign-in"]
        for path in paths:
            for origin in foreign(fitted.url)[:-3]:
                answer = await client.post(path, headers={"origin": origin}, data={"a": "b"})
                assert answer.status_code == 403, (path, origin)
        for path in paths:
            del client.headers["origin"]
            assert (await client.post(path)).status_code == 403, "a cookie without an Origin"
            for site in ("cross-site", "same-site", "none", "?"):
                assert (await client.post(path, headers={"sec-fetch-site": site})).status_code == 403
            client.headers["origin"] = fitted.url
        for kind in ("text/plain", "", "TEXT/PLAIN; charset=utf-8"):
            answer = await client.post("/test/act", content='{"a": 1}', headers={"content-type": kind})
            assert answer.status_code in {403, 415}
        assert (await client.get("/api/v1/session")).status_code == 200
    assert ran == []


@pytest.mark.case("S27")
async def test_a_program_without_a_cookie_needs_no_origin(fitted: Served) -> None:
    async with fitted.client() as client:
        del client.headers["origin"]
        assert (await client.post("/api/v1/session", json={"name": "x", "password": "y"})).status_code == 401


@pytest.mark.case("S29")
@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "evil.example:{port}",
        "127.0.0.1:{port}@evil.example",
        "127.0.0.1:{port}, evil.example",
        "127.0.0.1:{port}/x",
        "127x0x0x1",
        "[::1",
        "127.0.0.1:",
        "127.0.0.1:99999999",
        "0.0.0.0:{port}",
        "2130706433",
        "localhost\\.evil.example",
        "",
    ],
)
async def test_a_host_that_is_not_ours_is_refused(fitted: Served, host: str) -> None:
    port = fitted.url.rpartition(":")[2]
    status, answer = await raw(fitted, f"GET /sign-in HTTP/1.1\nHost: {host.format(port=port)}\nConnection: close\n\n")

    assert status in {400, 421}
    assert "set-cookie" not in answer.lower()


@pytest.mark.case("S29")
async def test_forwarded_headers_change_nothing(fitted: Served) -> None:
    forged = {"x-forwarded-host": "evil.example", "forwarded": "host=evil.example;for=198.51.100.1"}
    async with fitted.signed_in() as client:
        answer = await client.get("/test/none", headers={**forged, "x-forwarded-for": "198.51.100.1"})
        assert "evil.example" not in answer.text + str(answer.headers)
        foreign_port = {"x-forwarded-host": "evil.example", "origin": "https://evil.example"}
        assert (await client.post("/test/act", headers=foreign_port)).status_code == 403
        listed = (await client.get("/api/v1/sessions", headers={"x-forwarded-for": "198.51.100.1"})).json()
        assert {s["address"] for s in listed} == {"127.0.0.1"}


@pytest.mark.parametrize(
    ("settings", "host", "origin"),
    [
        (Settings(public_url="https://kn.example"), "kn.example", "https://kn.example"),
        (Settings(public_url="https://KN.example/"), "kn.EXAMPLE:443", "https://kn.example"),
        (Settings(public_url="https://kn.example:8443"), "kn.example:8443", "https://kn.example:8443"),
        (Settings(public_url="https://kn.example"), "okxexample", None),
        (Settings(public_url="https://kn.example"), "knxexample", None),
        (Settings(public_url="https://kn.example"), "kn.example:444", None),
        (Settings(public_url="https://kn.example"), "a.kn.example", None),
        (Settings(public_url="https://kn.example"), "127.0.0.1:9000", "http://127.0.0.1:9000"),
        (Settings(host="10.0.0.5", port=8420), "10.0.0.5:8420", "http://10.0.0.5:8420"),
        (Settings(host="10.0.0.5", port=8420), "10.0.0.5", None),
        (Settings(host="0.0.0.0"), "10.0.0.5:8420", None),
        (Settings(host="0.0.0.0"), "localhost:8420", "http://localhost:8420"),
        (Settings(), "[::1]:8420", "http://[::1]:8420"),
        (Settings(host="::1"), "[::1]:8420", "http://[::1]:8420"),
    ],
)
def test_each_host_has_its_own_origin(settings: Settings, host: str, origin: str | None) -> None:
    assert origins(settings).of(host) == origin


@pytest.mark.parametrize(
    "url",
    ["kn.example", "ftp://kn.example", "https://kn.example/path", "https://u@kn.example", "https://:80", "http://a:b"],
)
def test_a_public_url_that_is_no_origin_is_refused_at_the_start(url: str) -> None:
    with pytest.raises(SettingsError, match="public_url"):
        origins(Settings(public_url=url))


# --- what is allowed -------------------------------------------------------------------------------------------------


@pytest.mark.case("S17")
async def test_a_route_that_declares_nothing_is_refused_to_everybody(fitted: Served) -> None:
    async with fitted.signed_in() as client:
        assert (await client.get("/test/unguarded")).status_code == 403
    assert ran == []


@pytest.mark.case("S17")
async def test_a_viewer_may_not_act(fitted: Served) -> None:
    async with fitted.signed_in(Role.VIEWER) as client:
        refused = await client.post("/test/act")
        assert refused.status_code == 403
        assert "clusters:register" in refused.json()["detail"]
    assert ran == []


@pytest.mark.case("S18")
async def test_no_handler_runs_when_finding_out_who_calls_fails(fitted: Served, monkeypatch) -> None:
    async with fitted.signed_in() as client:
        for error in (RuntimeError("x"), ConnectionError("x"), TimeoutError("x"), ValueError("x")):

            async def failing(_secret: str, error: Exception = error) -> None:
                raise error

            monkeypatch.setattr(fitted.services.accounts, "identify", failing)
            assert (await client.post("/test/act")).status_code >= 500
        monkeypatch.undo()
    assert ran == []


# --- how it answers --------------------------------------------------------------------------------------------------


async def test_every_error_is_one_problem_document(fitted: Served) -> None:
    async with fitted.signed_in() as client:
        answers = [
            await client.get("/nothing/here"),
            await client.put("/docs/openapi.json"),
            await client.get("/test/fails"),
            await client.post("/api/v1/clusters", content="{", headers={"content-type": "application/json"}),
            await client.post("/api/v1/clusters", json={"connection": 5}),
            await client.get("/api/v1/clusters/none"),
            await client.get("/livez", headers={"host": "evil.example"}),
            await client.get("/x", headers={"host": "evil.example"}),
            await client.post("/test/act", headers={"origin": "https://evil.example"}),
            await client.post("/test/act", content=b"x" * (5 * 2**20), headers={"content-type": "application/json"}),
        ]
    assert [a.status_code for a in answers] == [404, 405, 500, 400, 422, 404, 200, 421, 403, 413]
    for answer in answers:
        if answer.status_code == 200:
            continue
        assert answer.headers["content-type"] == "application/problem+json"
        document = answer.json()
        assert document["status"] == answer.status_code
        assert document["type"].startswith("/problems/")
        assert document["detail"].endswith((".", ")")), document
        assert document["request_id"] == answer.headers["x-request-id"]
        assert "CANARY" not in answer.text
        assert "Traceback" not in answer.text


async def test_a_browser_gets_a_page_and_who_is_not_signed_in_the_way_there(fitted: Served) -> None:
    html = {"accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}
    async with fitted.client() as client:
        away = await client.get("/api/v1/clusters?a=b&c=/d", headers=html)
        assert away.status_code == 303
        assert away.headers["location"] == "/sign-in?next=/api/v1/clusters%3Fa%3Db%26c%3D/d"
        script = await client.get("/api/v1/clusters", headers={**html, "hx-request": "true"})
        assert script.status_code == 401
        assert script.headers["hx-redirect"].startswith("/sign-in?next=")
        missing = await client.get("/<script>alert(1)</script>", headers=html)
        assert missing.status_code == 404
        assert missing.headers["content-type"] == "text/html; charset=utf-8"
        assert "<script>alert" not in missing.text


async def test_every_response_confines_its_page(fitted: Served) -> None:
    async with fitted.client() as client:
        first, second = [await client.get(path) for path in ("/livez", "/nothing")]
    policy = first.headers["content-security-policy"]
    assert "unsafe" not in policy
    for directive in (
        "default-src 'none'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "require-trusted-types-for 'script'",
    ):
        assert directive in policy
    assert re.search(r"'nonce-[\w-]{20,}'", policy)
    assert policy != second.headers["content-security-policy"], "a nonce is used once"
    for answer in (first, second):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "strict-transport-security" not in answer.headers


async def test_behind_tls_the_cookie_and_the_headers_say_so(engine, redis, hub, passwords) -> None:
    async with (
        serving(engine, redis, hub, passwords, public_url="https://kn.example") as served,
        served.client(host="kn.example", origin="https://kn.example") as client,
    ):
        password = await served.services.accounts.ensure_administrator()
        answer = await client.post("/sign-in", data={"name": "admin", "password": password})
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-kubenexus=")
    assert "Secure" in cookie
    assert answer.headers["strict-transport-security"]


# --- what it takes ---------------------------------------------------------------------------------------------------


async def test_a_body_without_an_end_is_cut_at_the_limit(fitted: Served) -> None:
    async with fitted.signed_in() as client:

        async def endless():
            for _ in range(200):
                yield b"x" * 2**16

        answer = await client.post("/api/v1/clusters", content=endless(), headers={"content-type": "application/json"})
    assert answer.status_code == 413


@pytest.mark.parametrize("length", ["-1", "+5", "0x10", "1e3", "5, 5", "99999999999999999999999", "\u0661"])
async def test_a_length_that_is_no_length_is_refused(fitted: Served, length: str) -> None:
    host = fitted.url.removeprefix("http://")
    request = f"POST /sign-in HTTP/1.1\nHost: {host}\nConnection: close\nContent-Length: {length}\n\nabcde"
    host_name, port = host.split(":")
    reader, writer = await asyncio.open_connection(host_name, int(port))
    writer.write(request.replace("\n", "\r\n").encode())
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 413", b"HTTP/1.1 403", b"HTTP/1.1 415"))


# --- what it notes ---------------------------------------------------------------------------------------------------


@pytest.mark.case("S51")
async def test_the_log_has_no_control_character_of_a_path(fitted: Served, logged) -> None:
    log.configure("debug", "console")
    async with fitted.client() as client:
        for path in ("/%1b%5b2J", "/a%0d%0aINFO:%20forged", "/%e2%80%ae", "/%00"):
            await client.get(path)
    said = logged()

    assert "http.request" in said
    assert "%1b%5b2J" in said
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202e]", re.sub(r"\x1b\[\d+m", "", said))
    assert "\nINFO: forged" not in said


@pytest.mark.case("S52")
async def test_no_planted_secret_reaches_a_log_or_an_error(fitted: Served, logged) -> None:
    log.configure("debug", "console")
    canaries: list[str] = []

    def planted():
        while True:
            canaries.append(f"CANARY{len(canaries):04}x7f3a9c")
            yield canaries[-1]

    every = planted()
    said = []
    async with fitted.signed_in() as client, fitted.client() as stranger:
        for _ in range(12):
            for answer in (
                await stranger.post("/sign-in", data={"name": "a", "password": next(every)}),
                await stranger.post("/sign-in/link", data={"token": next(every)}),
                await stranger.post("/api/v1/session", json={"name": "a", "password": next(every)}),
                await stranger.get("/api/v1/session", headers={"cookie": f"kubenexus={next(every):A<43}"}),
                await stranger.get("/api/v1/session", headers={"authorization": f"Bearer {next(every)}"}),
                await client.put(
                    "/api/v1/account/password", json={"current": next(every), "new": "x", "repeated": "y"}
                ),
                await client.post(
                    "/account/password", data={"current": "x", "new": next(every), "repeated": next(every)}
                ),
                await client.post(
                    "/api/v1/clusters", json={"connection": {"server": "https://127.0.0.1:1", "token": next(every)}}
                ),
                await client.post("/api/v1/clusters/validate", json={"server": "http://x", "token": next(every)}),
                await client.post(
                    "/api/v1/clusters/validate",
                    json={"kubeconfig": f"users: [{{name: a, user: {{token: {next(every)}}}}}]"},
                ),
                await client.post("/api/v1/clusters/contexts", json={"kubeconfig": f"users: {next(every)}"}),
                await client.post("/api/v1/clusters/contexts", json={"kubeconfig": f"\t{next(every)}: ["}),
                await client.put(
                    "/api/v1/clusters/none/credential", json={"server": "https://127.0.0.1:1", "token": next(every)}
                ),
                await client.post(
                    "/api/v1/clusters",
                    content='{"connection": ' + next(every),
                    headers={"content-type": "application/json"},
                ),
                await client.post("/api/v1/clusters", json={"connection": {"token": [next(every)]}}),
                await stranger.get(f"/api/v1/clusters?token={next(every)}"),
                await stranger.get(f"/nothing?secret={next(every)}"),
            ):
                said.append(answer.text + json.dumps(dict(answer.headers)))
    structlog.get_logger().info("test.plain", kubeconfig=next(every), password=next(every), token=next(every))
    written = logged()

    assert "http.request" in written
    assert len(canaries) > 200
    for canary in canaries:
        assert canary not in written, canary
        assert not [text for text in said if canary in text], canary


# --- who holds on ----------------------------------------------------------------------------------------------------


async def test_live_and_ready_answer_without_a_session_and_by_any_name(fitted: Served) -> None:
    status, answer = await raw(fitted, "GET /livez HTTP/1.1\nHost: 10.1.2.3:8420\nConnection: close\n\n")
    assert status == 200
    async with fitted.client() as client:
        ready = await client.get("/readyz")
    assert ready.status_code == 200
    assert ready.json() == {"ready": True, "parts": {"postgresql": "ok", "redis": "ok", "hub": "ok"}}
    assert "ok" in answer


async def test_ready_names_the_part_that_does_not_answer(engine, redis, hub, passwords) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:  # accepts, and never says a word
        dead = connect(f"redis://127.0.0.1:{mute.getsockname()[1]}", command_deadline_s=0.3)
        async with serving(engine, dead, hub, passwords) as broken, broken.client() as client:
            answer = await client.get("/readyz")
            assert (await client.get("/livez")).status_code == 200
            signing_in = await client.post("/api/v1/session", json={"name": "a", "password": "b"})
        await dead.aclose()

    assert answer.status_code == 503
    assert answer.json()["parts"]["postgresql"] == "ok"
    assert answer.json()["parts"]["redis"] != "ok"
    assert signing_in.status_code == 503, "limits are closed when they cannot be counted"
