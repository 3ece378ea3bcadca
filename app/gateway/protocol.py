"""uvicorn's HTTP protocol with a deadline for a request's head: who connects and says nothing does not stay.

uvicorn counts idle time between requests only; a connection that never sends a whole head would stay for ever
(security.md S63). Pass it to the server as `uvicorn.Config(http=HeadDeadline)`.

It also offers requests the ASGI extension `DIRECT`: each layer that a frame passes costs as much as half a system call,
which a thousand viewers pay for each frame although layers only care for how a response begins and ends.
"""

import asyncio
from collections.abc import Callable
from typing import ClassVar, Final, cast

from litestar.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

DIRECT: Final = "kubenexus.direct"
Direct = Callable[[bytes], bool]
"""Writes a part of the body of a response that has begun; False when it could not, then use `send`, which waits."""


def direct_of(scope: Scope) -> Direct:
    """The request's direct way to the socket; under another server one that never can."""
    extensions = cast("dict[str, Direct]", scope.get("extensions") or {})
    return extensions.get(DIRECT, _never)


def _never(_part: bytes) -> bool:
    return False


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
        self.scope["extensions"] = {DIRECT: self._direct}  # type: ignore[dict-item]
        super().on_headers_complete()

    def _direct(self, part: bytes) -> bool:
        cycle = self.cycle
        if not part or cycle is None or not cycle.chunked_encoding or cycle.response_complete or cycle.disconnected:
            return False
        if self.flow.write_paused:
            return False
        self.transport.write(b"%x\r\n%b\r\n" % (len(part), part))
        return True

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
