"""Pages over HTTP: who gets what, and what stands in them."""

import re

import pytest

from app.authz.roles import Role
from tests.ui.sample_fleet import SampleCard, status, trouble

PAGE = {"accept": "text/html"}
PAGES = ["/", "/clusters", "/clusters/new", "/resources/pods"]


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_without_a_session_leads_to_sign_in_and_back(served, path) -> None:
    async with served.client(**PAGE) as client:
        answer = await client.get(path)

    assert answer.status_code == 303
    assert answer.headers["location"] == f"/sign-in?next={path}"


@pytest.mark.parametrize("path", PAGES)
async def test_pages_come_up_and_every_file_they_name_is_there(served, path) -> None:
    async with served.signed_in() as client:
        answer = await client.get(path, headers=PAGE)
        assert answer.status_code == 200, answer.text
        files = re.findall(r'(?:src|href)="(/static/[^"]+)"', answer.text)
        assert files
        for file in files:
            got = await client.get(file)
            assert got.status_code == 200, file
            assert got.headers["cache-control"] == "public, max-age=31536000, immutable"


async def test_static_files_cannot_be_walked_out_of(served) -> None:
    async with served.client() as client:
        for name in ("../routes.py", "%2e%2e/routes.py", "vendor.py", "css", "%00.js"):
            answer = await client.get(f"/static/{name}")
            assert answer.status_code in {400, 404}, name


async def test_a_file_asked_for_without_its_hash_is_asked_for_again(served) -> None:
    async with served.client() as client:
        first = await client.get("/static/js/age.js")
        again = await client.get("/static/js/age.js", headers={"if-none-match": first.headers["etag"]})

    assert first.headers["cache-control"] == "no-cache"
    assert again.status_code == 304


async def test_an_empty_fleet_offers_to_register_a_cluster(served) -> None:
    async with served.signed_in() as client:
        answer = await client.get("/", headers=PAGE)

    assert "No cluster is registered yet" in answer.text
    assert 'href="/clusters/new"' in answer.text


async def test_what_is_not_known_is_a_dash_and_never_a_zero(served, fleet, cluster) -> None:
    fleet.all = [SampleCard(cluster, None)]

    async with served.signed_in() as client:
        text = (await client.get("/", headers=PAGE)).text

    assert 'title="Not known yet">&ndash;' in text
    assert ">0<" not in text


async def test_counts_of_a_whole_cluster_are_hidden_from_who_sees_one_namespace(served, fleet, cluster) -> None:
    theirs, others = trouble("mine", namespace="shop"), trouble("theirs", namespace="bank")
    fleet.all = [SampleCard(cluster, status(cluster.id, troubles=[theirs, others], pods=4711, broken=77))]

    where = {"clusters": frozenset({cluster.id}), "namespaces": frozenset({"shop"})}
    async with served.signed_in(Role.VIEWER, **where) as client:
        text = (await client.get("/", headers=PAGE)).text

    assert "mine" in text
    for hidden in ("theirs", "bank", "4,711", "4711", ">77<"):
        assert hidden not in text


async def test_a_cluster_is_removed_only_after_its_name_was_typed(served, fleet, cluster) -> None:
    async with served.signed_in() as client:
        wrong = await client.post(f"/clusters/{cluster.id}/remove", data={"confirm": "no"}, headers=PAGE)
        assert wrong.status_code == 422
        assert "This is not its name" in wrong.text
        assert len(await served.services.clusters.list()) == 1

        right = await client.post(f"/clusters/{cluster.id}/remove", data={"confirm": cluster.name}, headers=PAGE)

    assert right.status_code == 303
    assert await served.services.clusters.list() == []


async def test_settings_with_faults_come_again_with_sentences_beside_the_fields(served, cluster) -> None:
    form = {"version": "1", "name": cluster.name, "labels": "no equals sign"}

    async with served.signed_in() as client:
        answer = await client.post(f"/clusters/{cluster.id}", data=form, headers=PAGE)

    assert answer.status_code == 422
    assert "Write labels as name=value" in answer.text
    assert 'value="no equals sign"' in answer.text


async def test_a_kubeconfig_is_never_repeated_by_a_page(served) -> None:
    secret = "s3cr3t-token-of-a-kubeconfig"
    form = {
        "kubeconfig": f"apiVersion: v1\nkind: Config\nusers: [{{name: u, user: {{token: {secret}}}}}]\n",
        "token": secret,
    }

    async with served.signed_in() as client:
        for path in ("/clusters/contexts", "/clusters/validate", "/clusters/new"):
            answer = await client.post(path, data=form, headers={**PAGE, "hx-request": "true"})
            assert answer.status_code in {200, 422}, answer.text
            assert secret not in answer.text


async def test_a_wrong_password_shows_the_form_again_with_the_name(served) -> None:
    async with served.client(**PAGE) as client:
        answer = await client.post("/sign-in", data={"name": "ada", "password": "wrong", "next": "/clusters"})

    assert answer.status_code == 401
    assert 'value="ada"' in answer.text
    assert "wrong" not in answer.text.replace("is wrong", "")
    assert 'name="next" value="/clusters"' in answer.text


@pytest.mark.parametrize("path", ["/nothing", "/resources/no.such.kind", "/clusters/" + "0" * 32])
async def test_what_is_not_there_says_what_to_do(served, path) -> None:
    async with served.signed_in() as client:
        answer = await client.get(path, headers=PAGE)

    assert answer.status_code == 404
    assert "To the fleet" in answer.text
