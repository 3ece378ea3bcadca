"""Registering clusters: real TLS, real PostgreSQL; what fails says which step, and leaves nothing behind."""

import asyncio
import base64
import contextlib
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from app.clusters.schemas import ClusterChange, Connection, Details, Registration, Step
from app.clusters.service import ClusterService
from app.clusters.tables import Cluster as Clusters
from app.clusters.tables import ClusterCredential
from app.problems import Conflict, InvalidInput, NotFound, Unavailable
from app.settings import Settings
from app.storage.encryption import Keyring
from tests.clusters.api_server import TOKEN, ApiServer, Authority, running

LOCAL = Settings(allow_loopback_clusters=True)
KEY = Keyring([b"k" * 32])


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("lab")


@pytest_asyncio.fixture
async def api(authority: Authority, tmp_path: Path):
    async with running(authority.server(tmp_path)) as server:
        yield server


@pytest.fixture
def clusters(engine) -> ClusterService:
    return ClusterService(LOCAL, engine, KEY)


def registration(api: ApiServer, authority: Authority, **details) -> Registration:
    return Registration(Connection(kubeconfig=api.kubeconfig(authority)), Details(**details))


def open_files() -> list[str]:
    return [str(fd.readlink()) for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink()]


async def verdicts(clusters: ClusterService, connection: Connection, namespaces=None) -> dict[str, Step]:
    return {step.name: step async for step in clusters.validate(connection, namespaces)}


async def test_a_cluster_is_registered_by_its_kubeconfig(clusters, api, authority) -> None:
    made = await clusters.register(registration(api, authority, environment="test", labels={"team": "a"}))

    assert made.name == "lab"
    assert made.identity == api.uid
    assert await clusters.list() == [made] == [await clusters.get(made.id)]
    endpoint = await clusters.endpoint(made.id)
    assert endpoint.token.reveal() == TOKEN
    assert endpoint.ca_pem == authority.pem
    assert endpoint.allow_loopback


async def test_every_step_of_a_good_connection_says_what_it_found(clusters, api, authority) -> None:
    found = await verdicts(clusters, Connection(kubeconfig=api.kubeconfig(authority)))

    assert [step.state for step in found.values()] == ["passed"] * 7
    assert "v1.36.2" in found["kubernetes"].message
    assert "system:serviceaccount:kube-system:kubenexus" in found["credential"].message
    assert await clusters.list() == []


@pytest.mark.case("S04")
@pytest.mark.parametrize(("host", "days"), [("localhost", 30), ("10.0.0.1", 30), ("127.0.0.1", -1)])
async def test_a_wrong_certificate_fails_the_tls_step(clusters, authority, tmp_path, host, days) -> None:
    async with running(authority.server(tmp_path, host=host, days=days)) as api:
        found = await verdicts(clusters, Connection(kubeconfig=api.kubeconfig(authority)))

    assert found["tls"].state == "failed"
    assert found["kubernetes"].state == found["namespaces"].state == "skipped"
    assert api.requests == []


@pytest.mark.case("S04")
async def test_an_authority_of_another_cluster_fails_and_no_credential_was_sent(clusters, api) -> None:
    stranger = Connection(kubeconfig=api.kubeconfig(Authority("stranger")))

    assert (await verdicts(clusters, stranger))["tls"].state == "failed"
    with pytest.raises(InvalidInput) as raised:
        await clusters.register(Registration(stranger))
    assert raised.value.errors.keys() == {"tls"}
    assert api.requests == []
    assert await clusters.list() == []


@pytest.mark.case("S04")
async def test_an_unchecked_certificate_takes_an_explicit_choice(clusters, api, authority) -> None:
    text = api.kubeconfig(Authority("stranger"), **{"insecure-skip-tls-verify": True, "certificate-authority-data": ""})
    with pytest.raises(InvalidInput) as raised:
        await clusters.register(Registration(Connection(kubeconfig=text)))
    assert raised.value.errors.keys() == {"accept_insecure"}

    chosen = Connection(kubeconfig=text, accept_insecure=True)
    assert (await verdicts(clusters, chosen))["tls"].state == "warning"
    assert (await clusters.register(Registration(chosen))).insecure_skip_tls_verify


@pytest.mark.case("S05")
async def test_loopback_is_refused_unless_the_settings_allow_it(engine, api, authority) -> None:
    careful = ClusterService(Settings(), engine, KEY)
    for host in (
        "127.0.0.1",
        "localhost",
        "127.1",
        "2130706433",
        "0x7f000001",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
    ):
        text = api.kubeconfig(authority).replace("127.0.0.1", host)
        found = await verdicts(careful, Connection(kubeconfig=text))
        assert "failed" in (found["address"].state, found["reachable"].state), host

    assert api.connections == 0


@pytest.mark.case("S05")
@pytest.mark.parametrize(
    "host", ["169.254.169.254", "[fd00:ec2::254]", "[fe80::1]", "100.100.100.200", "224.0.0.1", "[::]"]
)
async def test_metadata_services_and_link_local_addresses_are_never_dialled(clusters, host) -> None:
    found = await verdicts(clusters, Connection(server=f"https://{host}", token="x"))

    assert found["address"].state == "failed"


@pytest.mark.case("S07")
@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_not_followed_and_takes_no_credential_along(
    clusters, api, authority, tmp_path, status
) -> None:
    async with running(authority.server(tmp_path)) as other:
        api.answer = (status, {"location": f"https://127.0.0.1:{other.port}/version"}, b"")
        found = await verdicts(clusters, Connection(kubeconfig=api.kubeconfig(authority)))

        assert found["kubernetes"].state == "failed"
        assert "redirect" in found["kubernetes"].message
        assert other.connections == 0


@pytest.mark.case("S08")
async def test_proxies_of_the_environment_are_not_used(clusters, api, authority, monkeypatch) -> None:
    seen = []

    async def note(reader, writer) -> None:
        seen.append(await reader.read(100))
        writer.close()

    proxy = await asyncio.start_server(note, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, address)
    try:
        await clusters.register(registration(api, authority))
    finally:
        proxy.close()

    assert seen == []


@pytest.mark.case("S09")
@pytest.mark.parametrize("status", [200, 404, 500])
async def test_the_answer_of_something_else_is_never_shown(clusters, api, authority, status) -> None:
    api.answer = (status, {"content-type": "text/html"}, b"<html>CANARY of an inner service</html>")

    found = await verdicts(clusters, Connection(kubeconfig=api.kubeconfig(authority)))

    assert found["kubernetes"].state == "failed"
    assert "CANARY" not in str(found)


@pytest.mark.case("S12")
async def test_a_credential_that_is_nobody_is_refused(clusters, api, authority) -> None:
    api.user = "system:anonymous"

    found = await verdicts(clusters, Connection(kubeconfig=api.kubeconfig(authority)))

    assert found["credential"].state == "failed"
    with pytest.raises(InvalidInput):
        await clusters.register(registration(api, authority))


async def test_a_wrong_token_fails_the_credential_step(clusters, api, authority) -> None:
    found = await verdicts(clusters, Connection(kubeconfig=api.kubeconfig(authority, token="another")))

    assert found["credential"].state == "failed"
    assert found["tls"].state == "passed"


async def test_an_address_where_nothing_listens_fails_the_reachable_step(clusters, api, authority) -> None:
    text = api.kubeconfig(authority).replace(str(api.port), "1")

    assert (await verdicts(clusters, Connection(kubeconfig=text)))["reachable"].state == "failed"


async def test_an_old_api_server_and_a_narrow_credential_can_be_registered(clusters, api, authority) -> None:
    api.old, api.lists_everywhere, api.reads_kube_system = True, False, False

    open_ended = await verdicts(clusters, Connection(kubeconfig=api.kubeconfig(authority)))
    assert open_ended["namespaces"].state == open_ended["identity"].state == "warning"

    made = await clusters.register(registration(api, authority, namespaces=["shop"]))
    assert made.namespaces == ["shop"]
    assert made.identity == ""


async def test_a_cluster_can_be_given_by_address_authority_and_token(clusters, api, authority) -> None:
    by_hand = Connection(server=f"https://127.0.0.1:{api.port}", ca_pem=authority.pem, token=TOKEN)

    made = await clusters.register(Registration(by_hand, Details(name="by hand")))

    assert (await clusters.endpoint(made.id)).token.reveal() == TOKEN


@pytest.mark.case("S69")
async def test_another_cluster_at_the_same_address_takes_an_approval(clusters, api, authority) -> None:
    made = await clusters.register(registration(api, authority))
    api.uid = "another"

    with pytest.raises(Conflict, match="Another cluster"):
        await clusters.replace_credential(made.id, Connection(kubeconfig=api.kubeconfig(authority)))
    assert (await clusters.get(made.id)).identity == made.identity

    assert (await clusters.approve(made.id)).identity == "another"
    assert (await clusters.get(made.id)).identity == "another"


async def test_a_replaced_credential_is_the_one_that_is_used(clusters, api, authority) -> None:
    made = await clusters.register(registration(api, authority))
    before = (await ClusterCredential.select().first())["sealed"]

    changed = await clusters.replace_credential(made.id, Connection(kubeconfig=api.kubeconfig(authority)))

    row = await ClusterCredential.select().first()
    assert row["version"] == 2
    assert row["sealed"] != before
    assert changed.version == made.version + 1
    assert (await clusters.endpoint(made.id)).token.reveal() == TOKEN


async def test_each_change_raises_the_revision_and_a_refused_one_does_not(clusters, api, authority) -> None:
    seen = [await clusters.revision()]
    made = await clusters.register(registration(api, authority))
    seen.append(await clusters.revision())
    await clusters.change(made.id, ClusterChange(paused=True))
    seen.append(await clusters.revision())
    with pytest.raises(InvalidInput):
        await clusters.change(made.id, ClusterChange(name=""))
    assert await clusters.revision() == seen[-1]
    await clusters.remove(made.id)
    seen.append(await clusters.revision())

    assert seen == sorted(set(seen))
    assert await clusters.list() == []
    assert await ClusterCredential.count() == 0
    for call in (clusters.get, clusters.endpoint, clusters.remove):
        with pytest.raises(NotFound):
            await call(made.id)


async def test_a_change_on_an_old_version_is_refused(clusters, api, authority) -> None:
    made = await clusters.register(registration(api, authority))
    await clusters.change(made.id, ClusterChange(description="first", version=made.version))

    with pytest.raises(Conflict):
        await clusters.change(made.id, ClusterChange(description="second", version=made.version))
    assert (await clusters.get(made.id)).description == "first"


async def test_one_of_two_registrations_of_one_name_wins(clusters, api, authority) -> None:
    results = await asyncio.gather(
        *(clusters.register(registration(api, authority)) for _ in range(4)), return_exceptions=True
    )

    assert sum(isinstance(result, InvalidInput) for result in results) == 3
    assert await Clusters.count() == await ClusterCredential.count() == 1


@pytest.mark.parametrize(
    ("details", "field"),
    [
        ({"name": "x" * 64}, "name"),
        ({"name": "a\u202eb"}, "name"),
        ({"name": "  "}, "name"),
        ({"colour": "red"}, "colour"),
        ({"colour": "#12345g"}, "colour"),
        ({"labels": {"a b": "c"}}, "labels"),
        ({"labels": {f"k{n}": "" for n in range(65)}}, "labels"),
        ({"namespaces": []}, "namespaces"),
        ({"namespaces": ["../x"]}, "namespaces"),
        ({"environment": "x\x1b[31m"}, "environment"),
        ({"description": "x" * 2001}, "description"),
    ],
)
async def test_what_people_write_is_checked_before_anything_is_dialled(
    clusters, api, authority, details, field
) -> None:
    with pytest.raises(InvalidInput) as raised:
        await clusters.register(registration(api, authority, **details))

    assert raised.value.errors.keys() == {field}
    assert api.connections == 0


async def test_a_credential_moved_to_another_row_does_not_open(clusters, api, authority) -> None:
    one = await clusters.register(registration(api, authority, name="one"))
    two = await clusters.register(registration(api, authority, name="two"))
    sealed = (await ClusterCredential.select().where(ClusterCredential.cluster == one.id).first())["sealed"]
    await ClusterCredential.update({ClusterCredential.sealed: sealed}).where(ClusterCredential.cluster == two.id)

    with pytest.raises(Unavailable, match="does not open"):
        await clusters.endpoint(two.id)

    await clusters.replace_credential(two.id, Connection(kubeconfig=api.kubeconfig(authority)))
    assert (await clusters.endpoint(two.id)).token.reveal() == TOKEN


@pytest.mark.case("S03")
@pytest.mark.case("S52")
async def test_no_credential_is_at_rest_in_clear(clusters, api, authority, postgres_url, capfd, tmp_path) -> None:
    made = await clusters.register(registration(api, authority))
    with contextlib.suppress(InvalidInput):
        await clusters.register(registration(api, authority))
    await clusters.endpoint(made.id)

    rows = str([await table.select() for table in (Clusters, ClusterCredential)])
    said = "".join(capfd.readouterr())
    held = open_files()
    for canary in (TOKEN, base64.b64encode(TOKEN.encode()).decode()):
        assert canary not in rows
        assert canary not in said
        assert canary not in msgspec.json.encode(await clusters.list()).decode()
    assert not [path for path in held if "memfd" in path or path.endswith((".pem", ".key"))]
    assert not list(tmp_path.rglob("*.pem"))
