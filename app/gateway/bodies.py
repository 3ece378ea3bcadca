"""How much a request may send, and how slowly: bounded before anything reads it."""

import asyncio
from typing import Final

from litestar.datastructures import Headers
from litestar.types import ASGIApp, Receive, ReceiveMessage, Scope, Send

from app.gateway.scopes import is_http
from app.problems import RequestTimeout, TooLarge

# A kubeconfig of 1 MiB in a form, where every third character may be percent-encoded.
LARGEST_BYTES: Final = 4 * 2**20
SLOWEST_S: Final = 30.0  # for the whole body: a client of 150 kB/s still fits


class BoundedBody:
    """Refuses a body that is too large as soon as that is known, and one that takes too long."""

    def __init__(self, app: ASGIApp, *, largest: int = LARGEST_BYTES, slowest_s: float = SLOWEST_S) -> None:
        self._app = app
        self._largest = largest
        self._slowest_s = slowest_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not is_http(scope):
            await self._app(scope, receive, send)
            return
        length = Headers.from_scope(scope).get("content-length", "0")
        if not length.isascii() or not length.isdigit() or int(length[:20]) > self._largest:
            raise self._too_large()
        got, more = 0, True
        deadline = asyncio.get_running_loop().time() + self._slowest_s

        async def bounded() -> ReceiveMessage:
            nonlocal got, more
            if not more:
                # What follows a body is the client's leaving, which may take as long as the answer does.
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError as error:
                raise RequestTimeout(f"The request's body did not arrive within {self._slowest_s:g} s.") from error
            if message["type"] == "http.request":
                got += len(message["body"])
                more = message["more_body"]
                if got > self._largest:
                    raise self._too_large()
            return message

        await self._app(scope, bounded, send)

    def _too_large(self) -> TooLarge:
        return TooLarge(f"A request may hold {self._largest // 2**20} MiB at most.")
