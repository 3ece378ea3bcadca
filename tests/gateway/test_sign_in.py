"""Signing in over HTTP, as a browser does it."""

import re

import pytest

from app.authz.roles import Role
from tests.gateway.serving import PASSWORD, Served


async def test_who_signs_in_by_the_form_lands_where_they_wanted(served: Served) -> None:
    async with served.signed_in() as _, served.client() as client:
        answer = await client.post(
            "/sign-in", data={"name": "administrator-0", "password": PASSWORD, "next": "/fleet?a=b"}
        )
        assert answer.status_code == 303
        assert answer.headers["location"] == "/fleet?a=b"
        cookie = answer.headers["set-cookie"].lower()
        assert cookie.startswith("kubenexus=")
        assert "httponly" in cookie
        assert "samesite=lax" in cookie
        assert "path=/" in cookie
        assert "domain" not in cookie
        assert "secure" not in cookie

        me = await client.get("/api/v1/session")
        assert me.json()["roles"] == ["administrator"]


async def test_signing_out_ends_the_session_and_the_cookie(served: Served) -> None:
    async with served.signed_in() as client:
        held = client.cookies["kubenexus"]
        answer = await client.post("/sign-out")
        assert answer.status_code == 303
        assert 'kubenexus=""' in answer.headers["set-cookie"] or "kubenexus=;" in answer.headers["set-cookie"]

        again = await client.get("/api/v1/session", headers={"cookie": f"kubenexus={held}"})
        assert again.status_code == 401


async def test_a_one_time_password_opens_nothing_but_its_change(served: Served) -> None:
    password = await served.services.accounts.ensure_administrator()
    async with served.client() as client:
        await client.post("/sign-in", data={"name": "admin", "password": password})
        refused = await client.get("/api/v1/clusters")
        assert refused.status_code == 403
        assert refused.json()["type"] == "/problems/password-expired"
        page = await client.get("/docs", headers={"accept": "text/html"})
        assert page.status_code in {200, 303}

        old = client.cookies["kubenexus"]
        new = "seven green trees in the rain"
        changed = await client.post("/account/password", data={"current": password, "new": new, "repeated": new})
        assert changed.status_code == 303
        assert client.cookies["kubenexus"] != old
        assert (await client.get("/api/v1/clusters")).status_code == 200


async def test_a_sign_in_link_is_exchanged_by_a_form_and_works_once(served: Served) -> None:
    await served.services.accounts.ensure_administrator()
    link = await served.services.accounts.create_sign_in_link(served.url)
    async with served.client() as client:
        answer = await client.post("/sign-in/link", data={"token": link.partition("#")[2]})
        assert answer.status_code == 303
        assert (await client.get("/api/v1/clusters")).status_code == 200
        assert (await client.post("/sign-in/link", data={"token": link.partition("#")[2]})).status_code == 401


@pytest.mark.case("S40")
async def test_no_token_in_a_url_opens_anything(served: Served) -> None:
    async with served.signed_in() as owner, served.client() as client:
        secret = owner.cookies["kubenexus"]
        for query in ("token", "access_token", "session", "kubenexus", "cookie"):
            assert (await client.get(f"/api/v1/session?{query}={secret}")).status_code == 401
        for header in ("authorization", "x-api-key", "x-session"):
            assert (await client.get("/api/v1/session", headers={header: f"Bearer {secret}"})).status_code == 401


@pytest.mark.case("S38")
async def test_a_cookie_that_was_planted_before_the_sign_in_is_never_the_session(served: Served) -> None:
    planted = "P" * 43
    async with served.signed_in(), served.client() as client:
        client.cookies.set("kubenexus", planted)
        await client.post("/sign-in", data={"name": "administrator-0", "password": PASSWORD})
        async with served.client() as attacker:
            attacker.cookies.set("kubenexus", planted)
            assert (await attacker.get("/api/v1/session")).status_code == 401


@pytest.mark.case("S43")
async def test_a_refusal_has_the_same_bytes_for_a_known_and_an_unknown_name(served: Served) -> None:
    async with served.signed_in(Role.VIEWER), served.client() as client:
        bodies = set()
        for name in ("viewer-0", "nobody", "ADMIN", "'; --"):
            answer = await client.post("/api/v1/session", json={"name": name, "password": "wrong"})
            assert answer.status_code == 401
            bodies.add(re.sub(rb'"request_id":"\w+"', b"", answer.content))
            assert "set-cookie" not in answer.headers

    assert len(bodies) == 1


LEAVING = [
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "/\t/evil.example",
    "/\n/evil.example",
    "https://evil.example",
    "HTTPS:evil.example",
    "http:evil.example",
    "javascript:alert(1)",
    "data:text/html,x",
    " //evil.example",
    "\t//evil.example",
    "/%09//evil.example\n",
    "evil.example",
    "@evil.example",
    ":80",
    "?next=//evil.example",
    "#//evil.example",
    "",
    "/\u2028/evil",
    "/\u00a0",
    "/\x00",
    "/\\/evil.example",
    "/..\\evil",
    "\u2215\u2215evil.example",
    "/sign-out",
    "/sign-in/link#x",
]


@pytest.mark.case("S67")
@pytest.mark.parametrize(
    "wanted", LEAVING + [f"{prefix}evil.example" for prefix in ("////", "/\\\\", "\\/", "/ /", "./\\")]
)
def test_a_sign_in_never_leads_to_another_site(wanted: str) -> None:
    from app.authn.cookies import local_path

    assert local_path(wanted) == "/"


@pytest.mark.case("S67")
@pytest.mark.parametrize("wanted", ["/", "/fleet", "/objects/a/b?x=1&y=%2F", "/a//b", "/@x", "/a?b=https://c"])
def test_a_path_of_ours_is_kept(wanted: str) -> None:
    from app.authn.cookies import local_path

    assert local_path(wanted) == wanted


@pytest.mark.case("S47")
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/v1/session", {"name": "a", "password": "b"}),
        ("PUT", "/api/v1/account/password", {"current": "a", "new": "b", "repeated": "b"}),
        ("POST", "/api/v1/clusters", {"connection": {}}),
        ("POST", "/api/v1/clusters/validate", {"server": "https://203.0.113.1"}),
        ("PATCH", "/api/v1/clusters/x", {"name": "a"}),
    ],
)
async def test_a_field_that_is_not_offered_is_refused_not_ignored(served: Served, method, path, body) -> None:
    async with served.signed_in() as client:
        for field in ("id", "role", "roles", "is_superuser", "identity", "user_id", "created_at", "password_expired"):
            answer = await client.request(method, path, json={**body, field: "administrator"})
            assert answer.status_code in {400, 422}, (field, answer.text)
            assert "unknown field" in answer.text, answer.text


async def test_a_session_can_be_ended_from_another_one(served: Served) -> None:
    async with served.signed_in() as laptop, served.signed_in() as phone:
        listed = (await laptop.get("/api/v1/sessions")).json()
        assert len(listed) == 2
        other = next(s for s in listed if not s["current"])
        assert (await laptop.delete(f"/api/v1/sessions/{other['handle']}")).status_code == 204
        assert (await phone.get("/api/v1/session")).status_code == 401
        assert (await laptop.delete(f"/api/v1/sessions/{other['handle']}")).status_code == 404
