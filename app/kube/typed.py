"""kubernetes_asyncio's typed client on an `ApiServer`: its session, its TLS context, its address checks.

The library's own REST client is replaced: it reads proxies and netrc from the environment, writes keys to files, and
loads the system's authorities for each client (70 ms and 800 kB).
"""

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kubernetes_asyncio.client import ApiClient, Configuration
from kubernetes_asyncio.client.rest import RESTClientObject

from app.kube import errors

if TYPE_CHECKING:
    from app.kube.client import ApiServer

DEADLINE_S = 30.0


class _Reply:
    """What ApiClient reads of an answer."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes, reason: str = "") -> None:
        self.status = status
        self.reason = reason
        self.data = body
        self._headers = dict(headers)

    def getheaders(self) -> dict[str, str]:
        return self._headers

    def getheader(self, name: str, default: str | None = None) -> str | None:
        return self._headers.get(name.lower(), default)


class _Rest(RESTClientObject):
    """Sends through `ApiServer.request`, so bounds, deadlines and errors are the same for typed calls."""

    def __init__(self, api: "ApiServer") -> None:
        # Not super().__init__: it builds a session and a TLS context of its own.
        self._api = api

    async def close(self) -> None:
        """The session belongs to the ApiServer."""

    async def request(
        self,
        method: str,
        url: str,
        query_params: Any = None,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
        post_params: Any = None,
        _preload_content: bool = True,  # noqa: FBT001, FBT002 - the library's signature
        _request_timeout: Any = None,
    ) -> _Reply:
        """As the library's; streams (`_preload_content=False`) and forms are not sent this way."""
        if not _preload_content or post_params:
            raise errors.Invalid("Streams are opened by ApiServer.open_stream.")
        sent = {name: value for name, value in (headers or {}).items() if name.lower() != "authorization"}
        kind = sent.setdefault("Content-Type", "application/json")
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode() if re.search("json|yaml", kind) else str(body).encode()
        answer = await self._api.request(
            method.upper(),
            url.removeprefix(self._api.url),
            params=[(name, str(value)) for name, value in query_params or ()],
            headers=sent,
            body=body,
            deadline_s=float(_request_timeout) if isinstance(_request_timeout, int | float) else DEADLINE_S,
        )
        return _Reply(answer.status, answer.headers, answer.body)


class Typed(ApiClient):
    """An ApiClient whose calls go through an `ApiServer`; errors are those of `app.kube.errors`.

    E.g. `CoreV1Api(Typed(api))`.
    """

    def __init__(self, api: "ApiServer") -> None:
        # Not super().__init__, for the same reason as `_Rest`.
        self.configuration = Configuration(host=api.url)
        self.rest_client = _Rest(api)
        self.default_headers: dict[str, str] = {}
        self.cookie = ""
        self.client_side_validation = False
        self.pool_threads = 1
        self._pool = None
