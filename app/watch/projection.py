"""How an object of a known kind becomes a row: the parts that all kinds share. Pure.

An object is decoded straight from the watch line into a slim struct (a tenth of the cost of a whole decode), so the
structs name only the fields that a table needs. Unknown is None and never 0. Levels need the time: a pod that
has not been ready for 10 seconds is starting, for 10 minutes it is broken; `Projection.expires` says when a level
must be looked at again although nothing was heard.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from sys import intern
from typing import Any, Final, Generic, TypeVar

import msgspec

from app.watch.schemas import Cell, Column, ResourceRef, Row

T = TypeVar("T")

UNKNOWN, OK, PROGRESS, WARNING, ERROR = range(5)

HOLD_S: Final = 60.0  # how long a thing may be "not there yet" before it is called broken (catalogue: most holds)


class Slim(msgspec.Struct, gc=False, rename="camel"):
    """A part of an object: JSON in camelCase, unnamed fields are skipped, short-lived (so no garbage collection)."""


class OwnerReference(Slim):
    kind: str = ""
    name: str = ""
    controller: bool | None = None


class Meta(Slim):
    """metadata. `annotations` are left out on purpose: last-applied may hold what must not be kept."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    labels: dict[str, str] | None = None
    owner_references: list[OwnerReference] | None = None


class Condition(Slim):
    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""
    last_transition_time: datetime | None = None


class Object(Slim, kw_only=True):
    """What every kind has."""

    metadata: Meta
    kind: str = ""
    api_version: str = ""


class Projection(msgspec.Struct, Generic[T], frozen=True):
    """One kind: how it is decoded, its columns, and how an object becomes a row.

    versions: those whose JSON `type` reads, the preferred first.
    project: (object, now) to a row; now in seconds since 1970.
    status: index of the column with the status word, -1 without one; since: of the time since when, -1 without.
    expires: when the level of this object must be looked at again (seconds since 1970), None for never.
    hidden: top-level fields that hold contents which are never kept (data of secrets and config maps).
    """

    group: str
    versions: tuple[str, ...]
    resource: str
    kind: str
    namespaced: bool
    type: type[T]
    columns: tuple[Column, ...]
    project: Callable[[T, float], Row]
    status: int = -1
    since: int = -1
    expires: Callable[[T, float], float | None] | None = None
    hidden: tuple[str, ...] = ()

    def ref(self, version: str = "") -> ResourceRef:
        return ResourceRef(self.group, version or self.versions[0], self.resource, self.kind, self.namespaced)


def row(meta: Meta, level: int, cells: tuple[Cell, ...]) -> Row:
    """The row of an object with these metadata."""
    created = meta.creation_timestamp
    labels = meta.labels
    owners = meta.owner_references
    return Row(
        meta.uid,
        intern(meta.namespace),
        meta.name,
        0 if created is None else int(created.timestamp()),
        level,
        cells,
        label_text(labels) if labels else "",
        owner_text(owners) if owners else "",
        meta.resource_version,
    )


def label_text(labels: Mapping[str, str]) -> str:
    """Labels as "k=v,k=v", sorted by key."""
    return _joined(tuple(labels.items()))


@lru_cache(maxsize=2048)
def _joined(labels: tuple[tuple[str, str], ...]) -> str:
    """Replicas share their labels, and so this text."""
    return ",".join(map("=".join, sorted(labels)))


def owner_text(owners: Sequence[OwnerReference]) -> str:
    """Tell the controller as "Kind/name", "" without one."""
    for owner in owners:
        if owner.controller:
            return f"{owner.kind}/{owner.name}"
    return ""


def seconds(time: datetime | None) -> int | None:
    """Seconds since 1970; None for no time and for Go's zero time (0001-01-01)."""
    if time is None or time.year == 1:
        return None
    return int(time.timestamp())


def held(since: datetime | None, now: float, hold_s: float = HOLD_S) -> bool:
    """Whether something has been so since more than `hold_s`; without a time it has."""
    return since is None or now - since.timestamp() >= hold_s


def after(since: datetime | None, now: float, hold_s: float = HOLD_S) -> float | None:
    """When `held` turns true, None when it already is."""
    if since is None:
        return None
    end = since.timestamp() + hold_s
    return end if end > now else None


def condition(conditions: Iterable[Condition] | None, kind: str) -> Condition | None:
    for each in conditions or ():
        if each.type == kind:
            return each
    return None


def is_true(conditions: Iterable[Condition] | None, kind: str) -> bool:
    found = condition(conditions, kind)
    return found is not None and found.status == "True"


class LabelRequirement(Slim):
    key: str = ""
    operator: str = ""
    values: list[str] | None = None


class LabelSelector(Slim):
    match_labels: dict[str, str] | None = None
    match_expressions: list[LabelRequirement] | None = None


def selector_text(selector: LabelSelector | None) -> str:
    """As kubectl prints it: "app=web,tier in (a,b),!old"."""
    if selector is None:
        return ""
    parts = [label_text(selector.match_labels)] if selector.match_labels else []
    for each in selector.match_expressions or ():
        values = ",".join(sorted(each.values or ()))
        match each.operator:
            case "In":
                parts.append(f"{each.key} in ({values})")
            case "NotIn":
                parts.append(f"{each.key} notin ({values})")
            case "Exists":
                parts.append(each.key)
            case "DoesNotExist":
                parts.append(f"!{each.key}")
    return ",".join(parts)


_FACTORS: Final = {
    "": 1.0, "n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18,
    "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50, "Ei": 2.0**60,
}  # fmt: skip


@lru_cache(maxsize=4096)
def quantity(text: str) -> float | None:
    """A Kubernetes quantity ("100m", "64Mi", "1e3") as a number; None when it is not one."""
    body = text.rstrip("numkKMGTPEi")
    factor = _FACTORS.get(text[len(body) :])
    try:
        value = float(body) * factor if factor is not None else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


@lru_cache(maxsize=4096)
def millicores(text: str) -> int | None:
    """A cpu quantity in thousandths of a core, rounded up as the scheduler does."""
    value = quantity(text)
    return None if value is None else math.ceil(round(value * 1000, 6))


@lru_cache(maxsize=4096)
def size(text: str) -> int | None:
    """A memory or storage quantity in bytes."""
    value = quantity(text)
    return None if value is None else math.ceil(value)


def text_of(value: Any) -> str:
    """An int-or-string field (ports, minAvailable) as text, "" when absent."""
    return "" if value is None else str(value)
