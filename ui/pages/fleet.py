"""The fleet: every cluster with its health and what is broken in it, as it changes."""

from typing import Any, Final

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency

from app.authz.guards import requires
from app.authz.identity import Identity
from app.authz.permissions import Permission
from app.authz.visibility import Scope, scope
from app.clusters.schemas import Cluster
from app.clusters.service import ClusterService
from app.views.fleet import Fleet
from app.watch.schemas import ClusterStatus, ResourceRef, Trouble
from ui.live.patches import Parts
from ui.live.session import View
from ui.shell import AnyRequest, page, shell
from ui.templating import render

FRESH_S: Final = 5.0
TROUBLES_SHOWN: Final = 5
PHASES: Final = {
    "connecting": ("progress", "Connecting"),
    "live": ("ok", "Healthy"),
    "stale": ("warning", "Stale"),
    "unreachable": ("error", "Unreachable"),
    "unauthorized": ("error", "Refused"),
    "replaced": ("error", "Replaced"),
    "paused": ("unknown", "Paused"),
    "unwatched": ("unknown", "Waiting"),
}
AWAY: Final = frozenset({"stale", "unreachable", "unauthorized", "replaced"})
POD_LEVELS: Final = ("ok", "progress", "warning", "error", "unknown")
GROUPS: Final = ("none", "environment")


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """One cluster as the page draws it; None is unknown. word, level: its health in a word and its colour."""

    cluster: Cluster
    level: str
    word: str
    message: str
    version: str
    nodes: int | None
    nodes_ready: int | None
    pods: int | None
    pod_levels: list[tuple[str, int]]
    troubles: list[Trouble]
    more: int
    problems: int | None
    lag_s: float | None
    last_event: float | None
    stale_since: float | None


class Filter(msgspec.Struct, frozen=True):
    """What the page is asked to show. q: part of a name, a label or an environment."""

    q: str = ""
    group: str = "none"
    broken: bool = False


def card(cluster: Cluster, status: ClusterStatus | None, stale_since: float | None, visible: Scope) -> Card:
    """One cluster's card. stale_since: since when its status is not written any more, None while it is."""
    if status is None:
        waiting = "No watcher has reported on this cluster yet. It is taken up within seconds of being registered."
        return _card(cluster, "unwatched", waiting)
    # Counters are of the whole cluster: whoever sees only some namespaces must not learn of the others from them.
    counters = status.counters if visible.namespaces(cluster.id) is None else {}
    troubles = [t for t in status.troubles if visible.sees(cluster.id, t.resource, t.namespace)]
    phase = "stale" if stale_since is not None and status.phase in {"live", "connecting"} else status.phase
    found = _card(cluster, phase, status.message)
    errors = [v for k, v in counters.items() if k.endswith("_error")]
    problems = sum(errors) if errors else None
    if found.level == "ok" and troubles:
        found = msgspec.structs.replace(found, level="error", word=f"{problems or len(troubles)} broken")
    return msgspec.structs.replace(
        found,
        version=status.version,
        nodes=counters.get("nodes"),
        nodes_ready=counters.get("nodes_ready"),
        pods=counters.get("pods"),
        pod_levels=[(level, counters[key]) for level in POD_LEVELS if counters.get(key := f"pods_{level}")],
        troubles=troubles[:TROUBLES_SHOWN],
        more=max(0, len(troubles) - TROUBLES_SHOWN),
        problems=problems,
        lag_s=status.lag_s,
        last_event=status.last_event,
        stale_since=stale_since if stale_since is not None else (status.since if phase in AWAY else None),
    )


def _card(cluster: Cluster, phase: str, message: str) -> Card:
    level, word = PHASES[phase]
    return Card(
        cluster=cluster,
        level=level,
        word=word,
        message=message,
        version="",
        nodes=None,
        nodes_ready=None,
        pods=None,
        pod_levels=[],
        troubles=[],
        more=0,
        problems=None,
        lag_s=None,
        last_event=None,
        stale_since=None,
    )


def chosen(cards: list[Card], wanted: Filter) -> list[Card]:
    """The cards that pass the filter, the broken ones first, then by name."""
    q = wanted.q.casefold()
    found = [c for c in cards if q in _words(c) and (not wanted.broken or c.level in {"error", "warning"})]
    urgency = {"error": 0, "warning": 1, "progress": 2, "unknown": 2, "ok": 3}
    return sorted(found, key=lambda c: (urgency[c.level], c.cluster.name))


def _words(each: Card) -> str:
    labels = " ".join(f"{key}={value}" for key, value in each.cluster.labels.items())
    return f"{each.cluster.name} {each.cluster.environment} {labels}".casefold()


def grouped(cards: list[Card], wanted: Filter) -> list[tuple[str, list[Card]]]:
    """Cards under headings; one heading "" when they are not grouped."""
    if wanted.group != "environment":
        return [("", cards)]
    groups: dict[str, list[Card]] = {}
    for each in cards:
        groups.setdefault(each.cluster.environment or "No environment", []).append(each)
    return sorted(groups.items())


def parts(cards: list[Card], wanted: Filter) -> Parts:
    """The live regions of the page."""
    shown = chosen(cards, wanted)
    context: dict[str, Any] = {"cards": cards, "shown": shown, "groups": grouped(shown, wanted), "wanted": wanted}
    leaves = {f"card-{each.cluster.id}": render("fleet/_card.html", card=each) for each in shown}
    leaves["fleet-summary"] = render("fleet/_summary.html", **context)
    summary = {"fleet-summary": leaves["fleet-summary"]}
    return Parts(leaves, {**summary, "fleet-cards": render("fleet/_cards.html", **context)})


def cards_of(fleet: Fleet, visible: Scope) -> list[Card]:
    """All cards of a scope."""
    return [card(c.cluster, c.status, c.stale_since, visible) for c in fleet.cards(visible)]


def available(fleet: Fleet, visible: Scope) -> list[ResourceRef]:
    """The kinds that the clusters of a scope serve, each once."""
    found: dict[str, ResourceRef] = {}
    for each in fleet.cards(visible):
        for ref in each.status.available if each.status is not None else ():
            found.setdefault(ref.key, ref)
    return list(found.values())


def view(fleet: Fleet, identity: Identity, wanted: Filter) -> View:
    """The live view of this page for a caller."""
    visible = scope(identity, Permission.ROWS_READ)

    async def rendered() -> Parts:
        return parts(cards_of(fleet, visible), wanted)

    key = (visible.key, wanted.q, wanted.group, str(wanted.broken))
    return View("fleet", key, rendered, period_s=0.5)


def read_filter(request: AnyRequest) -> Filter:
    """The filter in a query; nonsense is no filter."""
    query = request.query_params
    group = query.get("group", "none")
    return Filter(query.get("q", "")[:100], group if group in GROUPS else "none", query.get("broken") == "1")


@get("/", guards=[requires("rows:read")], include_in_schema=False)
async def fleet_page(
    request: AnyRequest,
    identity: NamedDependency[Identity],
    clusters: NamedDependency[ClusterService],
    fleet: NamedDependency[Fleet],
) -> Response[str]:
    """The page at first load; patches follow."""
    visible, wanted = scope(identity), read_filter(request)
    surroundings = await shell(request, identity, clusters, here="fleet", available=available(fleet, visible))
    found = parts(cards_of(fleet, visible), wanted)
    return page("fleet/index.html", surroundings, whole=found.whole, wanted=wanted, empty=not surroundings.clusters)
