"""A kubeconfig is data from a stranger: what it asks us to run or to read is refused, in words."""

import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.clusters.documents import DEEPEST, LARGEST_BYTES, DocumentError, read
from app.clusters.kubeconfig import Candidate, KubeconfigError, choose, parse
from tests.clusters.kubeconfigs import CERTIFICATE, EXEC, HAZARDS, KEY, PROVIDER, dangerous, encoded, kubeconfig, text

WATCHED = {"open", "subprocess.Popen", "os.exec", "os.system", "os.posix_spawn", "os.fork", "socket.connect"}
_seen: list[tuple[str, Any]] | None = None


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _seen is not None and event in WATCHED:
        _seen.append((event, arguments[:2]))


@pytest.fixture
def audited() -> Iterator[Callable[[], list[tuple[str, Any]]]]:
    """What the interpreter opened, ran and connected to inside the test."""
    global _seen  # noqa: PLW0603 - an audit hook cannot be removed, so it is there once and switched
    if not getattr(sys, "_kubenexus_audited", False):
        sys.addaudithook(_audit)
        sys._kubenexus_audited = True  # type: ignore[attr-defined]
    _seen = []
    yield lambda: list(_seen or ())
    _seen = None


def only(config: dict[str, Any]) -> Candidate:
    return parse(text(config))[0]


def test_a_plain_kubeconfig_names_its_endpoint() -> None:
    config = kubeconfig(
        cluster={
            "certificate-authority-data": encoded(CERTIFICATE),
            "tls-server-name": "api",
            "extensions": [{"a": 1}],
        },
        user={"client-certificate-data": encoded(CERTIFICATE), "client-key-data": encoded(KEY)},
    )
    found = choose(parse(text(config)), "")

    assert found.server == "https://203.0.113.5:6443"
    assert found.ca_pem == CERTIFICATE
    assert found.client_certificate_pem == CERTIFICATE
    assert found.client_key_pem.reveal() == KEY
    assert found.tls_server_name == "api"
    assert found.current
    assert "BEGIN" not in repr(found.client_key_pem)


def test_a_token_that_looks_like_a_number_stays_what_it_is() -> None:
    assert only(kubeconfig(user={"token": "0123"})).token.reveal() == "0123"
    assert parse(text(kubeconfig()).replace("abc.def", "1e5"))[0].token.reveal() == "1e5"


@pytest.mark.case("S01")
@pytest.mark.case("S02")
def test_no_kubeconfig_makes_us_run_open_or_connect(audited: Callable[[], list[tuple[str, Any]]]) -> None:
    rng = random.Random(20)
    texts = [dangerous(rng) for _ in range(10_000)]
    parse(text(kubeconfig()))  # so that nothing is imported below
    before = audited()

    used = []
    for one in texts:
        try:
            used += [c for c in parse(one) if not c.refusal]
        except KubeconfigError:
            continue

    assert used == []
    assert audited() == before == []


@pytest.mark.case("S01")
@pytest.mark.parametrize(
    ("user", "words"),
    [
        ({"exec": EXEC}, "running a program (exec)"),
        ({"auth-provider": PROVIDER}, "auth-provider"),
        ({"tokenFile": "/var/run/token"}, "tokenFile is a file"),
        ({"token": "a", "client-key": "/k", "client-certificate": "/c"}, "client-certificate is a file"),
        ({"username": "admin", "password": "x"}, "stopped accepting"),
        ({"token": "a", "as": "root"}, "acts as another"),
    ],
)
def test_a_refused_credential_says_what_to_use_instead(user: dict[str, Any], words: str) -> None:
    refusal = only(kubeconfig(user=user)).refusal

    assert words in refusal
    assert "kubectl create token" in refusal or "--flatten" in refusal


def test_a_refused_context_does_not_spoil_the_others() -> None:
    config = kubeconfig()
    config["users"].append({"name": "cloud", "user": {"exec": EXEC}})
    config["contexts"].append({"name": "cloud", "context": {"cluster": "lab", "user": "cloud"}})

    lab, cloud = parse(text(config))

    assert not lab.refusal
    assert cloud.refusal
    with pytest.raises(KubeconfigError, match="exec"):
        choose([lab, cloud], "cloud")


@pytest.mark.case("S12")
@pytest.mark.parametrize("user", [{}, {"token": ""}, {"token": "   "}, {"token": None}, {"client-key-data": ""}])
def test_a_user_without_a_credential_is_refused_not_anonymous(user: dict[str, Any]) -> None:
    assert "no credential at all" in only(kubeconfig(user=user)).refusal


@pytest.mark.case("S12")
def test_a_context_without_a_user_is_refused() -> None:
    config = kubeconfig()
    config["contexts"][0]["context"]["user"] = ""

    assert "does not define" in only(config).refusal


@pytest.mark.case("S12")
@pytest.mark.parametrize("field", ["as", "as-groups", "as-uid", "as-user-extra"])
def test_impersonation_in_a_kubeconfig_is_refused(field: str) -> None:
    value: Any = {"as-groups": ["system:masters"], "as-user-extra": {"a": ["b"]}}.get(field, "")
    if field == "as-uid":
        value = "1"

    assert "acts as another" in only(kubeconfig(user={"token": "a", field: value})).refusal


@pytest.mark.parametrize(
    "server",
    [
        "http://203.0.113.5",
        "203.0.113.5:6443",
        "https://",
        "https://user:pw@host",
        "https://@host",
        "https://host/?a=b",
        "https://host/#x",
        "https://host:99999",
        "https://ho st",
        "https://host\\@evil",
        "https://h\u00f6st",
        "https://host\r\nX: y",
        "file:///etc/passwd",
        "gopher://host",
        "unix:///var/run/x.sock",
        "https://[::1",
    ],
)
def test_a_server_that_is_no_plain_https_address_is_refused(server: str) -> None:
    assert only(kubeconfig(server=server)).refusal


def test_a_locked_key_is_refused_before_a_library_could_ask_for_its_passphrase() -> None:
    locked = encoded("-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n")
    user = {"client-certificate-data": encoded(CERTIFICATE), "client-key-data": locked}

    assert "passphrase" in only(kubeconfig(user=user)).refusal


@pytest.mark.case("S52")
@pytest.mark.parametrize("field", ["token", "client-key-data", "client-certificate-data", "password"])
def test_a_refusal_never_repeats_a_secret(field: str) -> None:
    canary = "CANARY-7f3a9c"
    for value in (canary, canary + "\x00", canary + " " + canary, [canary], {canary + "-nested": "x"}):
        try:
            said = str([c.refusal for c in parse(text(kubeconfig(user={field: value})))])
        except KubeconfigError as error:
            said = str(error)
        assert canary not in said


@pytest.mark.parametrize(
    "broken",
    [
        "",
        "just words",
        "[]",
        "kind: Pod\ncontexts: []",
        "kind: Secret\ncontexts: [{name: a, context: {}}]",
        "a: 1\na: 2",
        "a: 1\n---\nb: 2",
        "{",
        "\x00",
        "a: !!python/name:os.system x",
        "a: &x 1\nb: *x",
        "<<: {a: 1}",
        "? [a]\n: b",
        "\xff\xfe".encode("latin-1"),
        "contexts: 5",
        "clusters: [{name: 1, cluster: {server: true}}]",
    ],
)
def test_what_is_no_kubeconfig_is_refused_in_a_sentence(broken: str | bytes) -> None:
    with pytest.raises(KubeconfigError) as raised:
        parse(broken)

    assert raised.value.status == 422
    assert raised.value.detail.endswith((".", "one."))
    assert raised.value.errors.keys() == {"kubeconfig"}


@pytest.mark.case("S54")
def test_a_bomb_of_aliases_is_refused_at_the_first_alias() -> None:
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [{','.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(8)
    )

    with pytest.raises(DocumentError, match="anchor"):
        read(bomb)


@pytest.mark.case("S55")
@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "{[", "? "])
def test_depth_is_refused_while_it_is_read(opening: str) -> None:
    # The CPU that one thread uses, not the time that passes: a deep document cost seconds where all of it was parsed.
    begun = time.thread_time()
    with pytest.raises(DocumentError):
        read(opening * (LARGEST_BYTES // len(opening) - 1))

    assert time.thread_time() - begun < 5


@pytest.mark.case("S54")
def test_limits_hold_at_their_edges() -> None:
    read("[" * DEEPEST + "]" * DEEPEST)
    with pytest.raises(DocumentError, match="deeper"):
        read("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1))
    read("[" + ",".join(["a"] * 99_998) + "]")
    with pytest.raises(DocumentError, match="100,000"):
        read("[" + ",".join(["a"] * 100_001) + "]")
    with pytest.raises(DocumentError, match="bytes"):
        read("a" * (LARGEST_BYTES + 1))


@given(st.text() | st.binary())
def test_any_text_gives_candidates_or_one_refusal(anything: str | bytes) -> None:
    try:
        parse(anything)
    except KubeconfigError:
        return


@given(st.recursive(st.none() | st.booleans() | st.text(), lambda v: st.lists(v) | st.dictionaries(st.text(), v)))
def test_json_is_read_as_what_it_says(value: Any) -> None:
    try:
        found = read(json.dumps(value, ensure_ascii=False))
    except DocumentError:
        return  # a control character, which YAML does not take
    assert found == value


def test_a_thousand_contexts_are_read_and_more_are_refused() -> None:
    config = kubeconfig()
    context = config["contexts"][0]["context"]
    config["contexts"] = [{"name": f"c{n}", "context": dict(context)} for n in range(1000)]
    assert len(parse(text(config))) == 1000

    config["contexts"].append({"name": "one more", "context": dict(context)})
    with pytest.raises(KubeconfigError, match="1001"):
        parse(text(config))


def test_every_hazard_is_known_by_name() -> None:
    assert {"exec", "auth-provider", "tokenFile", "proxy-url"} <= {name for name, _ in HAZARDS}
