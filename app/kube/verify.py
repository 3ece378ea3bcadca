"""Compares what a mirror holds with what the API server says it should, at one and the same version.

A watch that loses an event is otherwise never found out. Lists names and versions only, page by page, exactly at the
mirror's own version, so that nothing that changes meanwhile can look like a difference.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
import structlog

from app.clock import SYSTEM_CLOCK, Clock
from app.kube import errors
from app.kube.client import ApiServer
from app.kube.codec import LIST_ACCEPT, MetadataCodec
from app.kube.events import Unreadable
from app.kube.versions import is_comparable
from app.kube.watch import ListWatch

log = structlog.get_logger()

EVERY_S: Final = 600.0
PAGE: Final = 500

Held = Callable[[], Mapping[str, str]]
"""What a mirror holds now: uid -> resourceVersion."""


class Difference(msgspec.Struct, frozen=True):
    """uids: that only the server has, that only the mirror has, and that stand at another version."""

    missing: list[str]
    surplus: list[str]
    other: list[str]

    def __bool__(self) -> bool:
        return bool(self.missing or self.surplus or self.other)


async def differences(
    api: ApiServer, path: str, version: str, held: Mapping[str, str], params: Sequence[tuple[str, str]] = ()
) -> Difference | None:
    """How `held` differs from the server's objects at `version`; None when the server cannot tell any more."""
    if not is_comparable(version):
        return None
    try:
        true = await _listed(api, path, version, params)
    except (errors.Gone, errors.ServerFailed, errors.Throttled, errors.Invalid):
        return None
    return Difference(
        missing=sorted(true.keys() - held.keys()),
        surplus=sorted(held.keys() - true.keys()),
        other=sorted(uid for uid in true.keys() & held.keys() if true[uid] != held[uid]),
    )


async def verify(machine: ListWatch[Any], held: Held) -> Difference | None:
    """Compare once; a machine whose mirror differs lists again."""
    if not machine.is_whole:
        return None
    version, holds = machine.version, dict(held())  # one step: of the same moment
    found = await differences(machine.api, machine.path, version, holds, machine.params)
    if found:
        log.error(
            "watch.differs",
            path=machine.path,
            version=version,
            missing=len(found.missing),
            surplus=len(found.surplus),
            other=len(found.other),
        )
        machine.relist("What we showed differed from the cluster: all is read again.")
    return found


async def verify_always(
    machine: ListWatch[Any], held: Held, *, every_s: float = EVERY_S, clock: Clock = SYSTEM_CLOCK
) -> None:
    """Compare every `every_s` for ever; what fails is tried at the next turn."""
    while True:
        await clock.sleep(every_s)
        try:
            await verify(machine, held)
        except errors.KubeError as error:
            log.info("watch.not_verified", path=machine.path, error=str(error))


async def _listed(api: ApiServer, path: str, version: str, params: Sequence[tuple[str, str]]) -> dict[str, str]:
    codec = MetadataCodec()
    found: dict[str, str] = {}
    where = [("resourceVersion", version), ("resourceVersionMatch", "Exact")]
    while True:
        answer = await api.request(
            "GET",
            path,
            params=[*params, ("limit", str(PAGE)), *where],
            headers={"Accept": LIST_ACCEPT, "Accept-Encoding": "gzip"},
        )
        page = codec.page(answer.body)
        if isinstance(page, Unreadable):
            raise errors.NotKubernetes(reason=page.reason)
        found.update((event.uid, event.version) for event in page.events)
        if not page.continue_:
            return found
        where = [("continue", page.continue_)]
