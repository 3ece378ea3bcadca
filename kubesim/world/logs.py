"""What containers print: requests, slow answers of what they need, a last word. Seeded by pod, made on demand."""

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any, Final

from kubesim import errors
from kubesim.clock import micro_stamp, seconds
from kubesim.store import Store
from kubesim.world.kubelet import hash_of

Object = dict[str, Any]
PERIOD_S: Final = 2.0
MOST_LINES: Final = 2_000
FOLLOW_S: Final = 0.5


def line(pod: Object, number: int) -> str:
    """Line `number` of a container's life; the same whenever it is asked for."""
    rng = random.Random(hash_of(pod["metadata"]["uid"]) + number)
    container = pod["spec"]["containers"][0]
    needs = [e["value"] for e in container.get("env") or () if e["name"].endswith("_URL")]
    if needs and rng.random() < 0.02:
        return f'level=warn msg="slow answer" upstream={rng.choice(needs)} duration_ms={rng.randrange(900, 4000)}'
    path = rng.choice(("/", "/items", "/items/42", "/healthz", "/search?q=shoes"))
    status = rng.choices((200, 201, 304, 404, 500), (90, 4, 3, 2, 0.3))[0]
    method = rng.choice(("GET", "GET", "GET", "POST"))
    return f"level=info method={method} path={path} status={status} duration_ms={rng.randrange(1, 90)}"


async def read(store: Store, namespace: str, name: str, params: dict[str, str]) -> AsyncIterator[bytes]:
    """The log of one container. Raises `ApiError` 400 as recorded, before the first chunk."""
    pod = store.get("pods", namespace, name)
    if "stream" in params:
        cause = ("stream", "FieldValueForbidden", "Forbidden: may not be specified")
        raise errors.invalid("PodLogOptions", "", name, [cause])
    status, state = _container(pod, params.get("container", ""))
    previous = params.get("previous") in {"1", "true"}
    if previous:
        ended = status.get("lastState", {}).get("terminated")
        if not ended:
            text = f'previous terminated container "{status["name"]}" in pod "{name}" not found'
            raise errors.bad_request(text)
        yield _render(pod, _span(ended["startedAt"], ended["finishedAt"]), params, ended)
        return
    if "waiting" in state:
        why = "trying and failing to pull image" if "Image" in state["waiting"]["reason"] else "ContainerCreating"
        text = f'container "{status["name"]}" in pod "{name}" is waiting to start: {why}'
        raise errors.bad_request(text)
    ended = state.get("terminated")
    start = (ended or state["running"])["startedAt"]
    times = _span(start, ended["finishedAt"] if ended else "", now=store.clock.now())
    yield _render(pod, times, params, ended)
    while params.get("follow") in {"1", "true"} and not ended:
        await asyncio.sleep(FOLLOW_S)
        fresh = [(n, at) for n, at in _span(start, "", now=store.clock.now()) if n > times[-1][0]]
        if fresh:
            yield "".join(_line(pod, n, at, params) for n, at in fresh).encode()
            times = fresh
        if store.find("pods", namespace, name) is None:
            return


def _container(pod: Object, wanted: str) -> tuple[Object, Object]:
    name = pod["metadata"]["name"]
    names = [c["name"] for c in pod["spec"]["containers"]]
    if wanted and wanted not in names:
        raise errors.bad_request(f"container {wanted} is not valid for pod {name}")
    statuses = {s["name"]: s for s in pod["status"].get("containerStatuses") or ()}
    status = statuses.get(wanted or names[0])
    if status is None:
        text = f'container "{wanted or names[0]}" in pod "{name}" is waiting to start: ContainerCreating'
        raise errors.bad_request(text)
    return status, status["state"]


def _span(start: str, end: str, *, now: float = 0.0) -> list[tuple[int, float]]:
    """Numbers and times of the lines between."""
    first, last = seconds(start), seconds(end) if end else now
    count = max(1, int((last - first) / PERIOD_S) + 1)
    return [(n, first + n * PERIOD_S) for n in range(max(0, count - MOST_LINES), count)]


def _render(pod: Object, times: list[tuple[int, float]], params: dict[str, str], ended: Object | None) -> bytes:
    if since := params.get("sinceSeconds"):
        latest = times[-1][1] if times else 0.0
        times = [(n, at) for n, at in times if at >= latest - int(since)]
    lines = [_line(pod, n, at, params) for n, at in times]
    if ended and ended.get("message"):
        lines += [text + "\n" for text in ended["message"].splitlines()]
    if "tailLines" in params:
        count = int(params["tailLines"])
        lines = lines[-count:] if count else []
    content = "".join(lines).encode()
    return content[: int(params["limitBytes"])] if "limitBytes" in params else content


def _line(pod: Object, number: int, at: float, params: dict[str, str]) -> str:
    lead = f"{micro_stamp(at)} " if params.get("timestamps") in {"1", "true"} else ""
    return f"{lead}{micro_stamp(at)[:19]}Z {line(pod, number)}\n"
