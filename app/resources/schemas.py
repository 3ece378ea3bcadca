"""What the object page and the objects API are told. No secret value is in any of these: `manifests` masked them."""

from typing import Any

import msgspec


class ObjectPlace(msgspec.Struct, frozen=True):
    """Where an object is. key: `ResourceRef.key`, e.g. "deployments.apps". namespace: "" for one without."""

    cluster_id: str
    key: str
    namespace: str
    name: str


class Related(msgspec.Struct, frozen=True):
    """An owner or an owned object. key: "" when its kind is not served any more, so that there is no page for it.

    ready: a short word on its state, e.g. "2/3" or "Running"; "" where that is not known.
    """

    kind: str
    key: str
    namespace: str
    name: str
    ready: str = ""
    created: str = ""


class Happening(msgspec.Struct, frozen=True):
    """One event about the object. type: "Normal" or "Warning". first, last: ISO 8601; count: how often."""

    type: str
    reason: str
    message: str
    source: str
    count: int
    first: str
    last: str


class ObjectView(msgspec.Struct, frozen=True, kw_only=True):
    """One object with what is around it.

    manifest: the object as read, secret values masked. owners: nearest first. complete: False when something
    around it could not be read; `notes` then has a sentence for each.
    """

    place: ObjectPlace
    kind: str
    manifest: dict[str, Any]
    events: list[Happening]
    owners: list[Related]
    owned: list[Related]
    notes: list[str]
