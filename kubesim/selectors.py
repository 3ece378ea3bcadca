"""Label and field selectors, parsed as an API server parses them. Pure.

A parsed selector is a predicate over an object; refusals are the recorded 400s.
"""

import re
from collections.abc import Callable
from typing import Any, Final

from kubesim.errors import bad_request

Object = dict[str, Any]
Predicate = Callable[[Object], bool]

_SET: Final = re.compile(r"^\s*([^\s!=,()]+)\s+(in|notin)\s*\(([^)]*)\)\s*$")
_EQUALS: Final = re.compile(r"^\s*([^\s!=,()]+)\s*(==|=|!=)\s*([^\s!=,()]*)\s*$")
_EXISTS: Final = re.compile(r"^\s*(!?)\s*([^\s!=,()]+)\s*$")

FIELDS: Final[dict[str, tuple[str, ...]]] = {
    "pods": (
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    ),
    "events": (
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ),
    "nodes": ("spec.unschedulable",),
    "namespaces": ("status.phase", "name"),
    "secrets": ("type",),
    "jobs.batch": ("status.successful",),
    "services": ("spec.clusterIP", "spec.type"),
}


def labels(text: str) -> Predicate:
    """A label selector; "" selects everything."""
    tests = [_label_test(part) for part in _split(text)] if text.strip() else []
    return lambda obj: all(test(obj["metadata"].get("labels") or {}) for test in tests)


def fields(text: str, key: str) -> Predicate:
    """A field selector of the resource `key`."""
    allowed = {"metadata.name", "metadata.namespace", *FIELDS.get(key, ())}
    tests = []
    for part in filter(None, (p.strip() for p in text.split(","))):
        match = _EQUALS.match(part)
        if match is None:
            raise bad_request(f"invalid field selector \"{text}\": can't understand '{part}'")
        path, operator, value = match.groups()
        if path not in allowed:
            raise bad_request(f"field label not supported: {path}")
        tests.append((path.split("."), value, operator != "!="))
    return lambda obj: all((_field(obj, path) == value) is wanted for path, value, wanted in tests)


def matches(selector: Object | None, found: dict[str, str]) -> bool:
    """Whether labels fulfil a LabelSelector object (matchLabels, matchExpressions); None selects nothing."""
    if selector is None:
        return False
    for name, value in (selector.get("matchLabels") or {}).items():
        if found.get(name) != value:
            return False
    for expression in selector.get("matchExpressions") or ():
        values, value = expression.get("values") or (), found.get(expression["key"])
        verdict = {
            "In": value in values,
            "NotIn": value not in values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }
        if not verdict[expression["operator"]]:
            return False
    return True


def _label_test(part: str) -> Callable[[dict[str, str]], bool]:
    if match := _SET.match(part):
        name, operator, listed = match.groups()
        values = {v.strip() for v in listed.split(",")}
        if operator == "in":
            return lambda found: found.get(name) in values
        return lambda found: found.get(name) not in values
    if match := _EQUALS.match(part):
        name, operator, value = match.groups()
        if operator == "!=":
            return lambda found: found.get(name) != value
        return lambda found: found.get(name) == value
    if match := _EXISTS.match(part):
        absent, name = bool(match[1]), match[2]
        return lambda found: (name in found) is not absent
    raise bad_request("unable to parse requirement: found '', expected: ',', ')' or identifier")


def _split(text: str) -> list[str]:
    """At the commas that are not inside parentheses."""
    parts, depth, start = [], 0, 0
    for position, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if letter == "," and not depth:
            parts.append(text[start:position])
            start = position + 1
    return [*parts, text[start:]]


def _field(obj: Object, path: list[str]) -> str:
    value: Any = obj
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
