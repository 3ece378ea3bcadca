"""Clusters: the list, registering one, and one cluster with what may be changed about it.

Forms answer with fragments and never repeat a kubeconfig or a token: what was typed stays in the browser.
"""

import asyncio
from typing import Annotated, Any, Final

import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.enums import MediaType
from litestar.params import FromPath, URLEncodedBody
from litestar.response import Redirect

from app.authz.guards import requires
from app.authz.identity import Identity
from app.authz.permissions import Permission
from app.authz.visibility import Scope, scope
from app.clusters import local
from app.clusters.kubeconfig import Candidate
from app.clusters.schemas import (
    LONGEST_KUBECONFIG,
    Cluster,
    ClusterChange,
    Connection,
    Details,
    Registration,
    Step,
)
from app.clusters.service import ClusterService
from app.problems import Conflict, Forbidden, InvalidInput, NotFound, Problem
from app.settings import Settings
from app.views.fleet import Fleet
from ui.live.patches import render_patch
from ui.pages import fleet as fleet_pages
from ui.shell import AnyRequest, page, shell
from ui.templating import render

Registry = NamedDependency[ClusterService]
Who = NamedDependency[Identity]
Configured = NamedDependency[Settings]
REGISTER: Final = [requires("clusters:register", everywhere=True)]
FIELDS: Final = (
    "kubeconfig",
    "context",
    "server",
    "ca_pem",
    "token",
    "accept_insecure",
    "name",
    "environment",
    "description",
    "colour",
    "labels",
    "namespaces",
)
STEP_TITLES: Final = {
    "address": "Address",
    "reachable": "Reachable",
    "tls": "Certificate",
    "kubernetes": "Kubernetes",
    "credential": "Credential",
    "identity": "Identity",
    "namespaces": "Rights",
}
STEP_LEVELS: Final = {"passed": "ok", "warning": "warning", "failed": "error", "skipped": "unknown"}


class RegisterForm(msgspec.Struct, frozen=True):
    """The fields of the page; a checkbox that is off is not sent. labels: "a=b, c=d". namespaces: "x, y"."""

    kubeconfig: Annotated[str, msgspec.Meta(max_length=LONGEST_KUBECONFIG)] = ""
    context: str = ""
    server: str = ""
    ca_pem: str = ""
    token: str = ""
    accept_insecure: str = ""
    name: str = ""
    environment: str = ""
    description: str = ""
    colour: str = ""
    labels: str = ""
    namespaces: str = ""


class ChangeForm(msgspec.Struct, frozen=True):
    version: int
    name: str = ""
    environment: str = ""
    description: str = ""
    labels: str = ""
    namespaces: str = ""


class PauseForm(msgspec.Struct, frozen=True):
    paused: bool


class RemoveForm(msgspec.Struct, frozen=True):
    confirm: str


class CredentialForm(msgspec.Struct, frozen=True):
    kubeconfig: str
    context: str = ""


class LocalForm(msgspec.Struct, frozen=True):
    context: str


@get("/clusters", guards=[requires("clusters:read")], include_in_schema=False)
async def list_page(
    request: AnyRequest, identity: Who, clusters: Registry, fleet: NamedDependency[Fleet]
) -> Response[str]:
    """All registrations that the caller may see."""
    visible = scope(identity)
    cards = {c.cluster.id: c for c in fleet_pages.cards_of(fleet, visible)}
    surroundings = await _surroundings(request, identity, clusters, fleet)
    return page("clusters/index.html", surroundings, cards=cards)


@get("/clusters/new", guards=REGISTER, include_in_schema=False)
async def new_page(
    request: AnyRequest, identity: Who, clusters: Registry, fleet: NamedDependency[Fleet], settings: Configured
) -> Response[str]:
    """The form to register a cluster."""
    surroundings = await _surroundings(request, identity, clusters, fleet)
    found, fault = await local_contexts(request, settings, clusters)
    return page("clusters/new.html", surroundings, local=found, local_fault=fault)


@post("/clusters/contexts", guards=REGISTER, include_in_schema=False, status_code=200)
async def contexts_fragment(data: URLEncodedBody[RegisterForm], clusters: Registry) -> Response[str]:
    """The contexts of the kubeconfig in the form, to choose one."""
    if not data.kubeconfig.strip():
        return _html(_faults({}) + render_patch("register", "contexts", ""))
    try:
        found = await clusters.contexts(data.kubeconfig)
    except InvalidInput as problem:
        return _refused(problem, "kubeconfig")
    return _html(_faults({}) + render_patch("register", "contexts", render("clusters/_contexts.html", contexts=found)))


@post("/clusters/validate", guards=REGISTER, include_in_schema=False, status_code=200)
async def validate_fragment(data: URLEncodedBody[RegisterForm], clusters: Registry) -> Response[str]:
    """Try the connection in the form: its steps."""
    try:
        steps = [step async for step in clusters.validate(_connection(data), _names(data.namespaces))]
    except InvalidInput as problem:
        return _refused(problem, "kubeconfig")
    return _html(_faults({}) + render_patch("register", "steps", _steps(steps)))


@post("/clusters/new", guards=REGISTER, include_in_schema=False, status_code=200)
async def register_form(data: URLEncodedBody[RegisterForm], clusters: Registry) -> Response[str]:
    """Try it, keep it and go to its page."""
    try:
        details = Details(
            name=data.name.strip(),
            environment=data.environment.strip(),
            description=data.description.strip(),
            colour=data.colour,
            labels=_labels(data.labels),
            namespaces=_names(data.namespaces),
        )
        cluster = await clusters.register(Registration(_connection(data), details))
    except InvalidInput as problem:
        return _refused(problem, "kubeconfig")
    return Response("", media_type=MediaType.HTML, headers={"hx-redirect": f"/clusters/{cluster.id}"})


@post("/clusters/local", guards=REGISTER, include_in_schema=False)
async def local_form(
    request: AnyRequest, data: URLEncodedBody[LocalForm], clusters: Registry, settings: Configured
) -> Redirect:
    """Register one context of the kubeconfig on the server's machine."""
    if not _at_the_machine(request, settings):
        raise Forbidden("This is for a browser on the machine that the server runs on. Paste the kubeconfig instead.")
    text = await asyncio.to_thread(local.read, local.path_of())
    cluster = await clusters.register(Registration(Connection(kubeconfig=text, context=data.context)))
    return Redirect(f"/clusters/{cluster.id}", status_code=303)


@get("/clusters/{cluster_id:str}", guards=[requires("clusters:read")], include_in_schema=False)
async def cluster_page(
    request: AnyRequest,
    cluster_id: FromPath[str],
    identity: Who,
    clusters: Registry,
    fleet: NamedDependency[Fleet],
) -> Response[str]:
    """One cluster: its state, what is mirrored of it, and its settings."""
    cluster = await _seen(cluster_id, scope(identity), clusters)
    return await _cluster_page(request, identity, clusters, fleet, cluster)


@post(
    "/clusters/{cluster_id:str}",
    guards=[requires("clusters:edit", cluster="cluster_id")],
    include_in_schema=False,
)
async def change_form(
    request: AnyRequest,
    cluster_id: FromPath[str],
    data: URLEncodedBody[ChangeForm],
    identity: Who,
    clusters: Registry,
    fleet: NamedDependency[Fleet],
) -> Response[str] | Redirect:
    """Change what is said of it; with faults the page comes again with sentences beside the fields."""
    try:
        change = ClusterChange(
            name=data.name.strip(),
            environment=data.environment.strip(),
            description=data.description.strip(),
            labels=_labels(data.labels),
            namespaces=_names(data.namespaces),
            version=data.version,
        )
        await clusters.change(cluster_id, change)
    except (InvalidInput, Conflict) as problem:
        cluster = await clusters.get(cluster_id)
        return await _cluster_page(request, identity, clusters, fleet, cluster, problem, msgspec.structs.asdict(data))
    return Redirect(f"/clusters/{cluster_id}", status_code=303)


@post(
    "/clusters/{cluster_id:str}/pause",
    guards=[requires("clusters:edit", cluster="cluster_id")],
    include_in_schema=False,
)
async def pause_form(cluster_id: FromPath[str], data: URLEncodedBody[PauseForm], clusters: Registry) -> Redirect:
    """Stop or resume watching."""
    await clusters.change(cluster_id, ClusterChange(paused=data.paused))
    return Redirect(f"/clusters/{cluster_id}", status_code=303)


@post(
    "/clusters/{cluster_id:str}/approve",
    guards=[requires("clusters:rotate", cluster="cluster_id")],
    include_in_schema=False,
)
async def approve_form(
    request: AnyRequest,
    cluster_id: FromPath[str],
    identity: Who,
    clusters: Registry,
    fleet: NamedDependency[Fleet],
) -> Response[str] | Redirect:
    """Accept that another cluster answers at this one's address now."""
    try:
        await clusters.approve(cluster_id)
    except Problem as problem:
        cluster = await clusters.get(cluster_id)
        return await _cluster_page(request, identity, clusters, fleet, cluster, problem)
    return Redirect(f"/clusters/{cluster_id}", status_code=303)


@post(
    "/clusters/{cluster_id:str}/credential",
    guards=[requires("clusters:rotate", cluster="cluster_id")],
    include_in_schema=False,
)
async def credential_form(
    request: AnyRequest,
    cluster_id: FromPath[str],
    data: URLEncodedBody[CredentialForm],
    identity: Who,
    clusters: Registry,
    fleet: NamedDependency[Fleet],
) -> Response[str] | Redirect:
    """Validate another credential for the same cluster, and keep it instead of the present one."""
    try:
        await clusters.replace_credential(
            cluster_id, Connection(kubeconfig=data.kubeconfig, context=data.context.strip())
        )
    except Problem as problem:
        cluster = await clusters.get(cluster_id)
        return await _cluster_page(request, identity, clusters, fleet, cluster, problem)
    return Redirect(f"/clusters/{cluster_id}", status_code=303)


@post(
    "/clusters/{cluster_id:str}/remove",
    guards=[requires("clusters:remove", cluster="cluster_id")],
    include_in_schema=False,
)
async def remove_form(
    request: AnyRequest,
    cluster_id: FromPath[str],
    data: URLEncodedBody[RemoveForm],
    identity: Who,
    clusters: Registry,
    fleet: NamedDependency[Fleet],
) -> Response[str] | Redirect:
    """Forget it, once its name was typed."""
    cluster = await clusters.get(cluster_id)
    if data.confirm.strip() != cluster.name:
        wrong = f'This is not its name. Type "{cluster.name}" to remove it.'
        problem = InvalidInput(wrong, errors={"confirm": wrong})
        return await _cluster_page(request, identity, clusters, fleet, cluster, problem)
    await clusters.remove(cluster_id)
    return Redirect("/clusters", status_code=303)


async def local_contexts(
    request: AnyRequest, settings: Settings, clusters: ClusterService
) -> tuple[list[Candidate], str]:
    """The contexts of this machine's kubeconfig for who sits at it, and a sentence when it cannot be read."""
    if not _at_the_machine(request, settings):
        return [], ""
    try:
        text = await asyncio.to_thread(local.read, local.path_of())
        return (await clusters.contexts(text) if text else []), ""
    except Problem as problem:
        return [], problem.detail


async def _cluster_page(
    request: AnyRequest,
    identity: Identity,
    clusters: ClusterService,
    fleet: Fleet,
    cluster: Cluster,
    problem: Problem | None = None,
    entered: dict[str, Any] | None = None,
) -> Response[str]:
    visible = scope(identity)
    found = next((c for c in fleet.cards(visible) if c.cluster.id == cluster.id), None)
    status = found.status if found is not None else None
    surroundings = await _surroundings(request, identity, clusters, fleet, cluster.id)
    values = {
        "name": cluster.name,
        "environment": cluster.environment,
        "description": cluster.description,
        "labels": ", ".join(f"{k}={v}" for k, v in cluster.labels.items()),
        "namespaces": ", ".join(cluster.namespaces or ()),
        **(entered or {}),
        "version": cluster.version,
    }
    errors = problem.errors or {"": problem.detail} if problem is not None else {}
    return page(
        "clusters/detail.html",
        surroundings,
        status=problem.status if problem is not None else 200,
        cluster=cluster,
        card=fleet_pages.card(cluster, status, found.stale_since if found is not None else None, visible),
        resources=status.resources if status is not None and visible.namespaces(cluster.id) is None else [],
        values=values,
        errors=errors,
        may_edit=identity.may(Permission.CLUSTERS_EDIT, cluster.id),
        may_rotate=identity.may(Permission.CLUSTERS_ROTATE, cluster.id),
        replaced=status is not None and status.phase == "replaced",
        may_remove=identity.may(Permission.CLUSTERS_REMOVE, cluster.id),
    )


async def _surroundings(
    request: AnyRequest, identity: Identity, clusters: ClusterService, fleet: Fleet, cluster: str = ""
) -> Any:
    available = fleet_pages.available(fleet, scope(identity))
    return await shell(request, identity, clusters, here="clusters", available=available, cluster=cluster)


async def _seen(cluster_id: str, visible: Scope, clusters: ClusterService) -> Cluster:
    if not visible.sees_cluster(cluster_id):
        raise NotFound("There is no such cluster. It may have been removed.")
    return await clusters.get(cluster_id)


def _at_the_machine(request: AnyRequest, settings: Settings) -> bool:
    peer = request.client.host if request.client else ""
    return local.is_offered(settings, peer=peer, host=request.headers.get("host", ""), headers=request.headers.keys())


def _connection(form: RegisterForm) -> Connection:
    return Connection(
        kubeconfig=form.kubeconfig,
        context=form.context,
        server=form.server.strip(),
        ca_pem=form.ca_pem,
        token=form.token.strip(),
        accept_insecure=bool(form.accept_insecure),
    )


def _labels(text: str) -> dict[str, str]:
    """Labels typed as "a=b, c=d"; raises `InvalidInput`."""
    found: dict[str, str] = {}
    for part in (piece.strip() for piece in text.replace("\n", ",").split(",")):
        if not part:
            continue
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            wrong = f'Write labels as name=value, separated by commas: "{part[:60]}" is not one.'
            raise InvalidInput(wrong, errors={"labels": wrong})
        found[key.strip()] = value.strip()
    return found


def _names(text: str) -> list[str] | None:
    names = [name for name in text.replace(",", " ").split() if name]
    return names or None


def _steps(steps: list[Step]) -> str:
    return render("clusters/_steps.html", steps=steps, titles=STEP_TITLES, levels=STEP_LEVELS)


def _refused(problem: InvalidInput, where: str) -> Response[str]:
    """Sentences beside their fields; what belongs to none of them stands under the buttons."""
    errors = problem.errors or {where: problem.detail}
    beside = {field: sentence for field, sentence in errors.items() if field in FIELDS}
    failed = [
        Step(name, "failed", sentence)  # type: ignore[arg-type]
        for name, sentence in errors.items()
        if name in STEP_TITLES and name not in FIELDS
    ]
    other = [s for name, s in errors.items() if name not in FIELDS and name not in STEP_TITLES]
    text = _steps(failed) if failed else ""
    text += "".join(render("problems/_sentence.html", sentence=sentence) for sentence in other)
    return _html(_faults(beside) + render_patch("register", "steps", text), status=422)


def _faults(errors: dict[str, str]) -> str:
    """Every field's place for a sentence, filled or emptied."""
    return "".join(
        render_patch(
            "register",
            f"fault-{field}",
            render("problems/_sentence.html", sentence=errors[field]) if field in errors else "",
        )
        for field in FIELDS
    )


def _html(text: str, *, status: int = 200) -> Response[str]:
    return Response(text, media_type=MediaType.HTML, status_code=status)
