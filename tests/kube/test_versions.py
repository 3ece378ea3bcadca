"""Comparison of resourceVersions by KEP-5504 (W25)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.kube.versions import is_comparable, newer


@pytest.mark.case("W25")
@pytest.mark.parametrize(
    ("version", "comparable"),
    [
        ("", False),
        ("0", False),
        ("007", False),
        ("1a", False),
        ("-1", False),
        ("+1", False),
        (" 1", False),
        ("1.0", False),
        ("\u0661\u0662", False),
        ("\u00b2", False),
        ("1", True),
        ("10", True),
        ("9" * 38, True),
        (str(2**128 - 1), True),
        (str(2**128), False),
        ("9" * 39, False),
        ("1" * 40, False),
    ],
)
def test_what_can_be_compared(version: str, comparable: bool) -> None:
    assert is_comparable(version) is comparable


@pytest.mark.case("W25")
@pytest.mark.parametrize(
    ("a", "b", "answer"),
    [
        ("2", "1", True),
        ("1", "2", False),
        ("1", "1", False),
        ("10", "9", True),
        ("9", "10", False),
        (str(2**128 - 1), str(2**128 - 2), True),
        ("0", "1", None),
        ("1", "0", None),
        ("", "", None),
        ("abc", "1", None),
        ("007", "6", None),
    ],
)
def test_which_is_newer(a: str, b: str, answer: bool | None) -> None:
    assert newer(a, b) is answer


@pytest.mark.case("W25")
@given(st.integers(1, 2**128 - 1), st.integers(1, 2**128 - 1))
def test_integers_compare_as_integers(a: int, b: int) -> None:
    assert newer(str(a), str(b)) is (a > b)
