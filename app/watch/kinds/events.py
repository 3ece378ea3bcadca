"""Events, from core/v1 or events.k8s.io/v1: two spellings of one stored object. Pure."""

from datetime import datetime
from typing import Final

from app.watch.projection import OK, WARNING, Meta, Object, Projection, Slim, row, seconds
from app.watch.schemas import Cell, Column, Row


class Reference(Slim):
    kind: str = ""
    namespace: str = ""
    name: str = ""
    field_path: str = ""
    uid: str = ""


class Source(Slim):
    component: str = ""
    host: str = ""


class Series(Slim):
    count: int = 0
    last_observed_time: datetime | None = None


class CoreEvent(Object):
    involved_object: Reference
    type: str = ""
    reason: str = ""
    message: str = ""
    source: Source | None = None
    first_timestamp: datetime | None = None
    last_timestamp: datetime | None = None
    event_time: datetime | None = None
    count: int = 0
    series: Series | None = None
    reporting_component: str = ""
    reporting_instance: str = ""


class NewEvent(Object):
    regarding: Reference
    type: str = ""
    reason: str = ""
    note: str = ""
    deprecated_source: Source | None = None
    deprecated_first_timestamp: datetime | None = None
    deprecated_last_timestamp: datetime | None = None
    event_time: datetime | None = None
    deprecated_count: int = 0
    series: Series | None = None
    reporting_controller: str = ""
    reporting_instance: str = ""


def project_core(event: CoreEvent, _now: float) -> Row:
    """The row of one event of core/v1. Reporting component and instance stand in for an empty source."""
    source = event.source
    text = _source(source) or ", ".join(
        [part for part in (event.reporting_component, event.reporting_instance) if part]
    )
    first = event.first_timestamp or event.event_time
    last = event.series.last_observed_time if event.series is not None else event.last_timestamp
    count = event.series.count if event.series is not None else event.count
    return _row(event, event.involved_object, (event.message, text, count), first, last)


def project_new(event: NewEvent, _now: float) -> Row:
    """The row of one event of events.k8s.io/v1."""
    text = _source(event.deprecated_source) or ", ".join(
        [part for part in (event.reporting_controller, event.reporting_instance) if part]
    )
    first = event.deprecated_first_timestamp or event.event_time
    last = event.series.last_observed_time if event.series is not None else event.deprecated_last_timestamp
    count = event.series.count if event.series is not None else event.deprecated_count
    return _row(event, event.regarding, (event.note, text, count), first, last)


def _source(source: Source | None) -> str:
    if source is None or not source.component:
        return ""
    return f"{source.component}, {source.host}" if source.host else source.component


def _row(
    event: CoreEvent | NewEvent,
    about: Reference,
    texts: tuple[str, str, int],
    first: datetime | None,
    last: datetime | None,
) -> Row:
    message, source, count = texts
    meta: Meta = event.metadata
    cells: tuple[Cell, ...] = (
        seconds(last or first or meta.creation_timestamp),
        event.type,
        event.reason,
        f"{about.kind.lower()}/{about.name}",
        message.strip(),
        max(count, 1),  # an event that was never counted happened once
        source,
        about.field_path,
        seconds(first or meta.creation_timestamp),
        about.uid,
    )
    return row(meta, WARNING if event.type == "Warning" else OK, cells)


COLUMNS: Final = (
    Column("last_seen", "Last seen", "time"),
    Column("type", "Type", "status"),
    Column("reason", "Reason"),
    Column("object", "Object"),
    Column("message", "Message"),
    Column("count", "Count", "number"),
    Column("source", "Source", wide=True),
    Column("subobject", "Subobject", wide=True),
    Column("first_seen", "First seen", "time", wide=True),
    Column("object_uid", "Object uid", wide=True),
)

CORE_EVENTS: Final = Projection(
    group="",
    versions=("v1",),
    resource="events",
    kind="Event",
    namespaced=True,
    type=CoreEvent,
    columns=COLUMNS,
    project=project_core,
    status=1,
)

NEW_EVENTS: Final = Projection(
    group="events.k8s.io",
    versions=("v1",),
    resource="events",
    kind="Event",
    namespaced=True,
    type=NewEvent,
    columns=COLUMNS,
    project=project_new,
    status=1,
)
