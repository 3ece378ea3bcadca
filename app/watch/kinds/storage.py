"""Volume claims, volumes, storage classes. Pure."""

from datetime import datetime
from typing import Final

import msgspec

from app.watch.projection import (
    ERROR,
    OK,
    PROGRESS,
    UNKNOWN,
    WARNING,
    Meta,
    Object,
    Projection,
    Slim,
    after,
    held,
    row,
    seconds,
    size,
)
from app.watch.schemas import Cell, Column, Row

_MODES: Final = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}


def _modes(modes: list[str] | None) -> str:
    return ",".join([_MODES.get(mode, mode) for mode in modes or ()])


def _capacity(amounts: dict[str, str] | None) -> int | None:
    text = (amounts or {}).get("storage")
    return None if text is None else size(text)


class ClaimSpec(Slim):
    access_modes: list[str] | None = None
    storage_class_name: str = ""
    volume_name: str = ""
    volume_mode: str = ""


class ClaimStatus(Slim):
    phase: str = ""
    capacity: dict[str, str] | None = None


class Claim(Object):
    spec: ClaimSpec
    status: ClaimStatus = msgspec.field(default_factory=ClaimStatus)


def _claim_level(claim: Claim, now: float) -> int:
    if claim.metadata.deletion_timestamp is not None:
        return PROGRESS
    match claim.status.phase:
        case "Bound":
            return OK
        case "Pending":
            return WARNING if held(claim.metadata.creation_timestamp, now) else PROGRESS
        case "Lost":
            return ERROR
    return UNKNOWN


def project_claim(claim: Claim, now: float) -> Row:
    """The row of one persistent volume claim."""
    spec, meta = claim.spec, claim.metadata
    bound = bool(spec.volume_name)
    cells: tuple[Cell, ...] = (
        "Terminating" if meta.deletion_timestamp is not None else claim.status.phase,
        spec.volume_name,
        _capacity(claim.status.capacity) if bound else None,
        _modes(spec.access_modes),
        spec.storage_class_name,
        spec.volume_mode,
        seconds(meta.deletion_timestamp or meta.creation_timestamp),
    )
    return row(meta, _claim_level(claim, now), cells)


def _claim_expires(claim: Claim, now: float) -> float | None:
    return after(claim.metadata.creation_timestamp, now) if claim.status.phase == "Pending" else None


PVCS: Final = Projection(
    group="",
    versions=("v1",),
    resource="persistentvolumeclaims",
    kind="PersistentVolumeClaim",
    namespaced=True,
    type=Claim,
    columns=(
        Column("status", "Status", "status"),
        Column("volume", "Volume"),
        Column("capacity", "Capacity", "bytes"),
        Column("access", "Access modes"),
        Column("class", "Storage class"),
        Column("mode", "Volume mode", wide=True),
        Column("since", "In this state since", "time", wide=True),
    ),
    project=project_claim,
    status=0,
    since=6,
    expires=_claim_expires,
)


class ClaimReference(Slim):
    namespace: str = ""
    name: str = ""


class VolumeSpec(Slim):
    capacity: dict[str, str] | None = None
    access_modes: list[str] | None = None
    persistent_volume_reclaim_policy: str = ""
    storage_class_name: str = ""
    volume_mode: str = ""
    claim_ref: ClaimReference | None = None


class VolumeStatus(Slim):
    phase: str = ""
    reason: str = ""
    last_phase_transition_time: datetime | None = None


class Volume(Object):
    spec: VolumeSpec
    status: VolumeStatus = msgspec.field(default_factory=VolumeStatus)


_VOLUME_LEVELS: Final = {"Available": OK, "Bound": OK, "Pending": PROGRESS, "Released": WARNING, "Failed": ERROR}


def project_volume(volume: Volume, _now: float) -> Row:
    """The row of one persistent volume."""
    spec, status, meta = volume.spec, volume.status, volume.metadata
    claim, leaving = spec.claim_ref, meta.deletion_timestamp is not None
    cells: tuple[Cell, ...] = (
        "Terminating" if leaving else status.phase,
        _capacity(spec.capacity),
        _modes(spec.access_modes),
        spec.persistent_volume_reclaim_policy,
        f"{claim.namespace}/{claim.name}" if claim is not None else "",
        spec.storage_class_name,
        status.reason,
        spec.volume_mode,
        seconds(_volume_since(meta, status)),
    )
    return row(meta, PROGRESS if leaving else _VOLUME_LEVELS.get(status.phase, UNKNOWN), cells)


def _volume_since(meta: Meta, status: VolumeStatus) -> datetime | None:
    return meta.deletion_timestamp or status.last_phase_transition_time or meta.creation_timestamp


PVS: Final = Projection(
    group="",
    versions=("v1",),
    resource="persistentvolumes",
    kind="PersistentVolume",
    namespaced=False,
    type=Volume,
    columns=(
        Column("status", "Status", "status"),
        Column("capacity", "Capacity", "bytes"),
        Column("access", "Access modes"),
        Column("reclaim", "Reclaim policy"),
        Column("claim", "Claim"),
        Column("class", "Storage class"),
        Column("reason", "Reason"),
        Column("mode", "Volume mode", wide=True),
        Column("since", "In this state since", "time", wide=True),
    ),
    project=project_volume,
    status=0,
    since=8,
)


class _DefaultMark(Slim):
    default: str = msgspec.field(default="", name="storageclass.kubernetes.io/is-default-class")


class _ClassMeta(Meta):
    annotations: _DefaultMark | None = None


class StorageClass(Object):
    metadata: _ClassMeta
    provisioner: str = ""
    reclaim_policy: str = ""
    volume_binding_mode: str = ""
    allow_volume_expansion: bool = False


def project_storageclass(storage: StorageClass, _now: float) -> Row:
    """The row of one storage class."""
    marks = storage.metadata.annotations
    cells: tuple[Cell, ...] = (
        storage.provisioner,
        storage.reclaim_policy,
        storage.volume_binding_mode,
        storage.allow_volume_expansion,
        marks is not None and marks.default == "true",
    )
    return row(storage.metadata, OK, cells)


STORAGECLASSES: Final = Projection(
    group="storage.k8s.io",
    versions=("v1",),
    resource="storageclasses",
    kind="StorageClass",
    namespaced=False,
    type=StorageClass,
    columns=(
        Column("provisioner", "Provisioner"),
        Column("reclaim", "Reclaim policy"),
        Column("binding", "Binding mode"),
        Column("expansion", "Expansion"),
        Column("default", "Default"),
    ),
    project=project_storageclass,
)
