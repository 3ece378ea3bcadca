"""Compares resourceVersions as KEP-5504 allows (stable since 1.35). Pure.

A version is comparable when it is a decimal integer above zero without leading zeros, of at most 128 bits, and both
belong to the same resource type. Everything else is opaque: equal or not equal, never older.
"""

from typing import Final

MOST_DIGITS: Final = 39  # 2**128 - 1 has 39 digits
MOST: Final = 2**128 - 1


def is_comparable(version: str) -> bool:
    """Whether `version` has an order; "", "0", "007" and "1a" have none."""
    return (
        version.isascii()
        and version.isdigit()
        and version[0] != "0"
        and (len(version) < MOST_DIGITS or (len(version) == MOST_DIGITS and int(version) <= MOST))
    )


def newer(a: str, b: str) -> bool | None:
    """Whether `a` is newer than `b`; None where that cannot be known."""
    if not (is_comparable(a) and is_comparable(b)):
        return None
    return (len(a), a) > (len(b), b)
