"""What an identity may see and do, as data."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.authz.guards import requires
from app.authz.identity import Binding, Identity
from app.authz.permissions import Permission, UnknownPermissionError
from app.authz.roles import GRANTS, Role
from app.authz.visibility import EVERYTHING, scope


def identity(*bindings: Binding, password_expired: bool = False) -> Identity:
    return Identity(user_id="u", name="ada", session="s", bindings=bindings, password_expired=password_expired)


NAMES = st.none() | st.frozensets(st.sampled_from("abc"), max_size=3)
BINDINGS = st.lists(st.builds(Binding, role=st.sampled_from(Role), clusters=NAMES, namespaces=NAMES), max_size=4)


def test_a_guard_on_a_misspelt_permission_fails_at_import() -> None:
    with pytest.raises(UnknownPermissionError):
        requires("row:read")


def test_nobody_without_a_binding_sees_or_may_do_anything() -> None:
    nobody = identity()

    assert not scope(nobody).all
    assert scope(nobody).clusters() == frozenset()
    assert not any(nobody.may(p) or nobody.may_somewhere(p) for p in Permission)


def test_an_expired_password_hides_everything() -> None:
    assert not scope(identity(Binding(role=Role.ADMINISTRATOR), password_expired=True)).all


def test_a_binding_to_namespaces_hides_objects_that_have_none() -> None:
    seen = scope(identity(Binding(role=Role.VIEWER, clusters=frozenset("a"), namespaces=frozenset({"shop"}))))

    assert seen.sees("a", "pods", "shop")
    assert not seen.sees("a", "pods", "kube-system")
    assert not seen.sees("a", "nodes", "")
    assert not seen.sees("b", "pods", "shop")
    assert seen.namespaces("a") == {"shop"}
    assert seen.sees_cluster("a")
    assert not seen.sees_cluster("b")


def test_what_belongs_to_no_cluster_takes_a_binding_that_holds_everywhere() -> None:
    local = identity(Binding(role=Role.ADMINISTRATOR, clusters=frozenset("a")))

    assert not local.may(Permission.CLUSTERS_REGISTER)
    assert local.may(Permission.CLUSTERS_REMOVE, "a")
    assert not local.may(Permission.CLUSTERS_REMOVE, "b")


def test_a_binding_to_namespaces_permits_nothing_on_the_cluster_itself() -> None:
    narrow = identity(Binding(role=Role.ADMINISTRATOR, clusters=frozenset("a"), namespaces=frozenset({"shop"})))

    assert not narrow.may(Permission.CLUSTERS_REMOVE, "a")


@given(BINDINGS, st.sampled_from("abc"), st.sampled_from(["", "a", "b", "c"]))
def test_the_scope_is_exactly_the_union_of_the_bindings_that_grant_it(
    bindings: list[Binding], cluster: str, namespace: str
) -> None:
    seen = scope(identity(*bindings))
    expected = any(
        Permission.ROWS_READ in GRANTS[b.role]
        and (b.clusters is None or cluster in b.clusters)
        and (b.namespaces is None or namespace in b.namespaces)
        for b in bindings
    )

    assert seen.sees(cluster, "pods", namespace) == expected
    if expected:
        assert seen.sees_cluster(cluster)
        allowed = seen.namespaces(cluster)
        assert allowed is None or namespace in allowed


@given(BINDINGS, BINDINGS)
def test_a_cache_key_is_shared_only_by_scopes_that_see_the_same(one: list[Binding], other: list[Binding]) -> None:
    first, second = scope(identity(*one)), scope(identity(*other))

    if first.key == second.key:
        places = [(c, n) for c in "abcd" for n in ("", "a", "b", "c", "d")]
        assert [first.sees(c, "pods", n) for c, n in places] == [second.sees(c, "pods", n) for c, n in places]
    assert (first.key == EVERYTHING) == first.all
