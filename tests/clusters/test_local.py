"""The kubeconfig of the person at the machine is offered to that person alone."""

import os
import stat
from pathlib import Path

import pytest

from app.clusters import local
from app.problems import NotFound
from app.settings import Settings

HERE = Settings(host="127.0.0.1")


@pytest.mark.parametrize(
    ("settings", "peer", "host", "headers", "offered"),
    [
        (HERE, "127.0.0.1", "127.0.0.1:8420", [], True),
        (HERE, "127.0.0.1", "localhost:8420", ["accept", "cookie"], True),
        (Settings(host="::1"), "::1", "[::1]:8420", [], True),
        (HERE, "127.0.0.1", "kn.example", [], False),
        (HERE, "127.0.0.1", "127.0.0.1:8420", ["x-forwarded-for"], False),
        (HERE, "127.0.0.1", "127.0.0.1:8420", ["Forwarded"], False),
        (HERE, "127.0.0.1", "127.0.0.1:8420", ["via"], False),
        (HERE, "10.0.0.9", "127.0.0.1:8420", [], False),
        (HERE, "", "127.0.0.1:8420", [], False),
        (Settings(host="0.0.0.0"), "127.0.0.1", "127.0.0.1:8420", [], False),
        (Settings(host="10.0.0.5"), "10.0.0.5", "10.0.0.5:8420", [], False),
    ],
)
def test_it_is_offered_at_the_machine_alone(settings, peer, host, headers, offered) -> None:
    assert local.is_offered(settings, peer=peer, host=host, headers=headers) is offered


def test_kubectls_own_rule_says_which_file_it_is(tmp_path: Path) -> None:
    assert local.path_of({"KUBECONFIG": f"/a/b{os.pathsep}/c"}) == Path("/a/b")
    assert local.path_of({}) == Path.home() / ".kube" / "config"


def test_no_file_is_nothing_and_an_unreadable_one_is_said(tmp_path: Path) -> None:
    assert local.read(tmp_path / "none") == ""
    with pytest.raises(NotFound, match="cannot be read"):
        local.read(tmp_path)


def test_a_file_that_is_too_large_is_not_read_whole(tmp_path: Path) -> None:
    (tmp_path / "config").write_bytes(b"a" * (3 * 2**20))
    assert len(local.read(tmp_path / "config")) == 2**20 + 1
    assert stat.S_ISREG((tmp_path / "config").stat().st_mode)
