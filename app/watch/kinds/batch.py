"""Jobs and cron jobs. Pure. Job words are kubectl's printJob's."""

from datetime import datetime
from typing import Final

import msgspec

from app.watch.kinds.workloads import Template, images
from app.watch.projection import (
    ERROR,
    OK,
    PROGRESS,
    WARNING,
    Condition,
    LabelSelector,
    Object,
    Projection,
    Slim,
    condition,
    is_true,
    row,
    seconds,
    selector_text,
)
from app.watch.schemas import Cell, Column, Row


class JobSpec(Slim):
    completions: int | None = None
    parallelism: int | None = None
    selector: LabelSelector | None = None
    template: Template = msgspec.field(default_factory=Template)


class JobStatus(Slim):
    active: int = 0
    succeeded: int = 0
    failed: int = 0
    start_time: datetime | None = None
    completion_time: datetime | None = None
    conditions: list[Condition] | None = None


class Job(Object):
    spec: JobSpec
    status: JobStatus = msgspec.field(default_factory=JobStatus)


_LEVELS: Final = {"Complete": OK, "Failed": ERROR, "FailureTarget": ERROR, "Suspended": OK}


def _word(job: Job) -> str:
    conditions = job.status.conditions
    for name in ("Complete", "Failed"):
        if is_true(conditions, name):
            return name
    if job.metadata.deletion_timestamp is not None:
        return "Terminating"
    for name in ("Suspended", "FailureTarget"):
        if is_true(conditions, name):
            return name
    return "Running"


def _level(job: Job, word: str) -> int:
    if word == "Running" and job.status.failed:
        return WARNING
    return _LEVELS.get(word, PROGRESS)


def _completions(job: Job) -> str:
    if job.spec.completions is not None:
        return f"{job.status.succeeded}/{job.spec.completions}"
    parallelism = job.spec.parallelism or 0
    return f"{job.status.succeeded}/1 of {parallelism}" if parallelism > 1 else f"{job.status.succeeded}/1"


def project_job(job: Job, _now: float) -> Row:
    """The row of one job; `reason` is that of its failure."""
    word, status = _word(job), job.status
    decisive = condition(status.conditions, word)
    failed = condition(status.conditions, "Failed")
    since = decisive.last_transition_time if decisive is not None else status.start_time
    cells: tuple[Cell, ...] = (
        word,
        _completions(job),
        failed.reason if failed is not None else "",
        seconds(status.start_time),
        seconds(status.completion_time or (failed.last_transition_time if failed is not None else None)),
        status.active,
        status.failed,
        images(job.spec.template),
        selector_text(job.spec.selector),
        seconds(since),
    )
    return row(job.metadata, _level(job, word), cells)


JOBS: Final = Projection(
    group="batch",
    versions=("v1",),
    resource="jobs",
    kind="Job",
    namespaced=True,
    type=Job,
    columns=(
        Column("status", "Status", "status"),
        Column("completions", "Completions", "ratio"),
        Column("reason", "Reason"),
        Column("started", "Started", "time"),
        Column("finished", "Finished", "time"),
        Column("active", "Active", "number"),
        Column("failed", "Failed pods", "number"),
        Column("images", "Images", wide=True),
        Column("selector", "Selector", wide=True),
        Column("since", "In this state since", "time", wide=True),
    ),
    project=project_job,
    status=0,
    since=9,
)


class JobTemplateSpec(Slim):
    template: Template = msgspec.field(default_factory=Template)


class JobTemplate(Slim):
    spec: JobTemplateSpec = msgspec.field(default_factory=JobTemplateSpec)


class CronJobSpec(Slim):
    schedule: str = ""
    suspend: bool = False
    concurrency_policy: str = ""
    time_zone: str = ""
    job_template: JobTemplate = msgspec.field(default_factory=JobTemplate)


class Reference(Slim):
    name: str = ""


class CronJobStatus(Slim):
    active: list[Reference] | None = None
    last_schedule_time: datetime | None = None
    last_successful_time: datetime | None = None


class CronJob(Object):
    spec: CronJobSpec
    status: CronJobStatus = msgspec.field(default_factory=CronJobStatus)


def project_cronjob(cron: CronJob, _now: float) -> Row:
    """The row of one cron job."""
    spec, status = cron.spec, cron.status
    active = len(status.active or ())
    cells: tuple[Cell, ...] = (
        spec.schedule,
        "Suspended" if spec.suspend else "Active" if active else "Waiting",
        active,
        seconds(status.last_schedule_time),
        seconds(status.last_successful_time),
        spec.time_zone,
        spec.concurrency_policy,
        images(spec.job_template.spec.template),
    )
    return row(cron.metadata, OK, cells)


CRONJOBS: Final = Projection(
    group="batch",
    versions=("v1",),
    resource="cronjobs",
    kind="CronJob",
    namespaced=True,
    type=CronJob,
    columns=(
        Column("schedule", "Schedule"),
        Column("status", "Status", "status"),
        Column("active", "Active", "number"),
        Column("last_schedule", "Last schedule", "time"),
        Column("last_success", "Last success", "time"),
        Column("time_zone", "Time zone", wide=True),
        Column("concurrency", "Concurrency", wide=True),
        Column("images", "Images", wide=True),
    ),
    project=project_cronjob,
    status=1,
)
