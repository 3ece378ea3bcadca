"""uvicorn's HTTP protocol with a deadline for a request's head: who connects and says nothing does not stay.

uvicorn counts idle time between requests only; a connection that never sends a whole head would stay for ever
(security.md S63). Pass it to the server as `uvicorn.Config(http=HeadDeadline)`.
"""

import asyncio
from typing import ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class HeadDeadline(HttpToolsProtocol):
    """Closes a connection whose next request's head is not complete in time."""

    head_s: ClassVar[float] = 10.0
    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        self._await_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._forget()
        super().on_headers_complete()

    def _await_head(self) -> None:
        if self._waiting is None:
            self._waiting = self.loop.call_later(self.head_s, self._close)

    def _forget(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _close(self) -> None:
        self._waiting = None
        if not self.transport.is_closing():
            self.transport.close()
