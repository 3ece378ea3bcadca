"""Objects as people read them: secret values masked, managed fields folded, YAML. Pure.

Masking happens before anything else sees an object, and in the copy of it that `kubectl apply` leaves in an annotation.
"""

import base64
import binascii
from typing import Any, Final

import msgspec
import yaml

LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
MASK: Final = "••••••••"
_SECRET_FIELDS: Final = ("data", "stringData")

Manifest = dict[str, Any]


def masked(manifest: Manifest) -> Manifest:
    """The object without secret values; the one given is not changed."""
    if not _is_secret(manifest):
        return manifest
    clean = _without_values(manifest)
    metadata = _dict(clean.get("metadata"))
    annotations = _dict(metadata.get("annotations"))
    if LAST_APPLIED in annotations:
        applied = _masked_text(annotations[LAST_APPLIED])
        clean["metadata"] = {**metadata, "annotations": {**annotations, LAST_APPLIED: applied}}
    return clean


def as_yaml(manifest: Manifest, *, managed_fields: bool = False) -> str:
    """YAML in the server's own order. managed_fields: show them, which most people never want."""
    metadata = _dict(manifest.get("metadata"))
    if not managed_fields and "managedFields" in metadata:
        kept = {name: value for name, value in metadata.items() if name != "managedFields"}
        manifest = {**manifest, "metadata": kept}
    return yaml.dump(manifest, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=120)


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """Texts of several lines as blocks, and no anchors: equal parts of an object are not one part."""

    def ignore_aliases(self, data: object) -> bool:
        del data
        return True


def _text(dumper: Any, text: str) -> Any:
    style = "|" if "\n" in text and not any(line.endswith(" ") for line in text.split("\n")) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def _is_secret(manifest: Manifest) -> bool:
    return manifest.get("kind") == "Secret" and str(manifest.get("apiVersion", "")) in {"v1", ""}


def _without_values(manifest: Manifest) -> Manifest:
    return {
        name: {key: _mask(part, encoded=name == "data") for key, part in value.items()}
        if name in _SECRET_FIELDS and isinstance(value, dict)
        else (MASK if name in _SECRET_FIELDS and value else value)
        for name, value in manifest.items()
    }


def _mask(value: object, *, encoded: bool) -> str:
    """A mask that tells the size, which helps to see that a value is empty or cut."""
    if not isinstance(value, str):
        return MASK
    try:
        size = len(base64.b64decode(value, validate=True)) if encoded else len(value.encode())
    except (binascii.Error, ValueError, UnicodeError):
        return MASK
    return f"{MASK} ({size} bytes)"


def _masked_text(text: object) -> str:
    try:
        applied = msgspec.json.decode(str(text))
    except (msgspec.DecodeError, RecursionError):
        return MASK
    if not isinstance(applied, dict):
        return MASK
    metadata = _dict(applied.get("metadata"))
    annotations = {k: v for k, v in _dict(metadata.get("annotations")).items() if k != LAST_APPLIED}
    clean = _without_values(applied)
    if "annotations" in metadata:
        clean["metadata"] = {**metadata, "annotations": annotations}
    return msgspec.json.encode(clean).decode()


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
