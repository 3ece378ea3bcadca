"""The filter language and the sort order, parsed. Pure: no I/O, no SQL.

Terms are AND-ed: `words` (part of a name, namespace, cluster or any text), `key=value`, `key!=value`, `key:part`,
`key>10`, `key<5m`, `label:app=web`, `label:app`, quotes around what holds blanks. Matching ignores case and is literal:
there are no patterns, so nothing that a person types can be slow (security.md S59).
ui/static/js/live-filter.js is the same language for lists that a browser holds whole.
"""

import re
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from app.watch.schemas import Column

LONGEST: Final = 500  # characters of a filter
MOST_TERMS: Final = 20
Operator = Literal["has", "=", "!=", ":", ">", "<"]
Operand = Literal["text", "number", "time"]

_TERM: Final = re.compile(r"""(?P<key>[A-Za-z][A-Za-z0-9_./-]*?)(?P<operator>!=|=|:|>|<)(?P<value>"[^"]*"|\S*)""")
_WORD: Final = re.compile(r'"(?P<quoted>[^"]*)"|(?P<plain>\S+)')
_NUMBER: Final = re.compile(r"(?P<digits>[0-9]+(?:\.[0-9]+)?)(?P<unit>[A-Za-z]*)")
_SPANS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_BYTES: Final = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "": 1}

COMMON: Final = (
    Column("cluster", "Cluster"),
    Column("namespace", "Namespace"),
    Column("name", "Name"),
    Column("age", "Age", "time", help="since when it exists"),
)
"""Columns of every kind, before its own."""


class QueryError(Exception):
    """The filter or the sort cannot be understood; the message says what, where, and what can be written."""


class Term(msgspec.Struct, frozen=True):
    """key: a column's key, "label", or "" for any text. value: folded text, a number, or seconds for a time."""

    key: str
    operator: Operator
    value: str | float
    label: str = ""


class Sort(msgspec.Struct, frozen=True):
    key: str
    descending: bool = False


class Query(msgspec.Struct, frozen=True):
    """What a view shows of what it may show. clusters, namespaces: empty means all."""

    terms: tuple[Term, ...] = ()
    sort: Sort = Sort("name")
    clusters: frozenset[str] = frozenset()
    namespaces: frozenset[str] = frozenset()


def parse(text: str, sort: str, columns: Sequence[Column]) -> tuple[tuple[Term, ...], Sort]:
    """The terms of a filter and a sort order ("name", "-restarts"); raises `QueryError`."""
    if len(text) > LONGEST:
        raise QueryError(f"The filter is longer than {LONGEST} characters.")
    known = {column.key: column for column in (*COMMON, *columns)}
    terms: list[Term] = []
    position = 0
    while position < len(text):
        if text[position].isspace():
            position += 1
            continue
        term, position = _term(text, position, known)
        terms.append(term)
        if len(terms) > MOST_TERMS:
            raise QueryError(f"The filter has more than {MOST_TERMS} terms.")
    return tuple(terms), order(sort, known)


def order(sort: str, known: dict[str, Column]) -> Sort:
    """Read a sort order; raises `QueryError` for a column that is not there."""
    key = sort.removeprefix("-") or "name"
    if key not in known:
        raise QueryError(f'There is no column "{key[:50]}" to sort by. There are: {", ".join(known)}.')
    return Sort(key, sort.startswith("-"))


def _term(text: str, position: int, known: dict[str, Column]) -> tuple[Term, int]:
    if match := _TERM.match(text, position):
        key, operator = match["key"].lower(), match["operator"]
        value = match["value"]
        if value.startswith('"') and not (len(value) > 1 and value.endswith('"')):
            raise QueryError(f"The quote at position {match.start('value') + 1} is not closed.")
        value = value.strip('"')
        if key == "label":
            return _label(value, operator, match.start()), match.end()
        if key in known:
            return _keyed(known[key], operator, value, match.start()), match.end()
        if operator != ":":
            raise QueryError(
                f'There is no column "{key[:50]}" (position {match.start() + 1}). There are: {", ".join(known)}, label.'
            )
    word = _WORD.match(text, position)
    assert word is not None  # noqa: S101 - the position is not a blank
    found = word["quoted"] if word["quoted"] is not None else word["plain"].strip('"')
    return Term("", "has", found.lower()), word.end()


def _label(value: str, operator: str, position: int) -> Term:
    if operator != ":":
        raise QueryError(f"Write label:app=web (position {position + 1}).")
    name, _, wanted = value.partition("=")
    return Term("label", "=" if wanted else "has", wanted.lower(), name.lower())


def _keyed(column: Column, operator: str, value: str, position: int) -> Term:
    if operator in {">", "<"}:
        return Term(column.key, operator, amount(column, value, position))  # type: ignore[arg-type]
    return Term(column.key, operator, value.lower())  # type: ignore[arg-type]


def amount(column: Column, text: str, position: int) -> float:
    """A number in the column's unit: "10", "5m" (seconds for a time), "200Mi" (bytes), "250m" (millicores)."""
    match = _NUMBER.fullmatch(text)
    units: dict[str, float] = {"": 1}
    if column.type == "time":
        units = dict(_SPANS)
    elif column.type == "bytes":
        units = dict(_BYTES)
    elif column.type == "millicores":
        units = {"m": 1, "": 1000}
    if match is None or match["unit"] not in units:
        example = {"time": "5m", "bytes": "200Mi", "millicores": "250m"}.get(column.type, "10")
        raise QueryError(
            f'"{text[:50]}" (position {position + 1}) is no amount for {column.title}. Write e.g. {example}.'
        )
    return float(match["digits"]) * units[match["unit"]]
