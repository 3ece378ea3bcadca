"""The rules for what people write about a cluster: each fault as a sentence by its field. Pure."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from app.problems import InvalidInput

LONGEST_NAME: Final = 63
LONGEST_DESCRIPTION: Final = 2000
MOST_LABELS: Final = 64
MOST_NAMESPACES: Final = 200
_COLOUR: Final = re.compile(r"#[0-9a-f]{6}")
# RFC 1123 labels, as Kubernetes takes them for namespaces; and its syntax of label keys and values.
_NAMESPACE: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_LABEL_KEY: Final = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE: Final = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")


def check(fields: Mapping[str, object]) -> None:
    """Raise `InvalidInput` with all the faults of the given fields of a cluster."""
    faults = dict(_faults(fields))
    if faults:
        raise InvalidInput(next(iter(faults.values())), errors=faults)


def _faults(fields: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    match fields.get("name"):
        case None:
            pass
        case str(name) if not name.strip():
            yield "name", "Give the cluster a name."
        case str(name) if len(name) > LONGEST_NAME or not name.isprintable():
            yield "name", f"A name has at most {LONGEST_NAME} printable characters."
    for field, longest in (("environment", LONGEST_NAME), ("description", LONGEST_DESCRIPTION)):
        text = str(fields.get(field, ""))
        if len(text) > longest or not text.replace("\n", "").isprintable():
            yield field, f"Use at most {longest} printable characters."
    colour = str(fields.get("colour", ""))
    if colour and not _COLOUR.fullmatch(colour):
        yield "colour", 'A colour is written like "#2a9d8f".'
    if isinstance(labels := fields.get("labels"), Mapping) and (fault := _label_fault(labels)):
        yield "labels", fault
    if isinstance(namespaces := fields.get("namespaces"), list) and (fault := _namespace_fault(namespaces)):
        yield "namespaces", fault


def _label_fault(labels: Mapping[str, str]) -> str:
    if len(labels) > MOST_LABELS:
        return f"Give at most {MOST_LABELS} labels."
    for key, value in labels.items():
        if not _LABEL_KEY.fullmatch(key) or not _LABEL_VALUE.fullmatch(value):
            return f'"{key[:63]}={value[:63]}" is no label: letters, digits, "-", "_" and ".", at most 63 of them.'
    return ""


def _namespace_fault(namespaces: list[str]) -> str:
    if not namespaces:
        return "Name at least one namespace, or leave it open to watch all of them."
    if len(namespaces) > MOST_NAMESPACES:
        return f"Name at most {MOST_NAMESPACES} namespaces."
    for name in namespaces:
        if not _NAMESPACE.fullmatch(name):
            return f'"{name[:63]}" is no name of a namespace: lower-case letters, digits and "-".'
    return ""
