"""Requests that other sites make a browser send: refused before any handler runs (security.md S26, S27, S29).

What changes something, and every WebSocket, must come from a page of ours. Browsers say where a request comes from
in `Origin` and `Sec-Fetch-Site`, which a page cannot set; clients that are no browser send neither and no cookie.
"""

from typing import Final

from litestar.datastructures import Headers
from litestar.types import ASGIApp, Receive, Scope, Send

from app.gateway.origins import Origins
from app.gateway.scopes import is_http, is_lifespan, is_websocket
from app.problems import Forbidden, Misdirected, Problem, UnsupportedMedia

SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
PROBES: Final = frozenset({"/livez", "/readyz"})  # asked for by address, by whatever keeps us running
# What a form of another site can send without asking first, less the two that our own forms use.
PLAIN: Final = frozenset({"text/plain", ""})


class AllowedHosts:
    """Refuses a Host header that is not ours, which is what DNS rebinding and forged links need."""

    def __init__(self, app: ASGIApp, *, origins: Origins) -> None:
        self._app = app
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not is_lifespan(scope) and scope["path"] not in PROBES:
            hosts = Headers.from_scope(scope).getall("host", [])
            own = self._origins.of(hosts[0]) if len(hosts) == 1 else None
            if own is None:
                raise Misdirected(
                    "This server is not known by that name. Use the address that it printed at its start, or set "
                    "KUBENEXUS_PUBLIC_URL to the one that you use."
                )
            scope.setdefault("state", {})["origin"] = own
        await self._app(scope, receive, send)


class SameOrigin:
    """Refuses what another site's page sent."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        acts = is_websocket(scope) or (is_http(scope) and scope["method"] not in SAFE)
        if acts and (problem := _fault(scope, Headers.from_scope(scope))) is not None:
            raise problem
        await self._app(scope, receive, send)


def _fault(scope: Scope, headers: Headers) -> Problem | None:
    came_from, site = headers.getall("origin", []), headers.get("sec-fetch-site")
    if came_from:
        if came_from != [scope["state"].get("origin")]:
            return Forbidden("This was sent by a page of another site. Use the pages of this server itself.")
    elif is_websocket(scope) or site not in {None, "same-origin"}:
        return Forbidden("This was not sent by a page of this server.")
    elif site is None and "cookie" in headers:
        return Forbidden("A request with a cookie must say where it comes from: send an Origin header, or no cookie.")
    has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    if has_body and headers.get("content-type", "").partition(";")[0].strip().lower() in PLAIN:
        return UnsupportedMedia("Say what the body is by a Content-Type, such as application/json.")
    return None
