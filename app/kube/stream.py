"""One streaming response of an API server, line by line, with back-pressure and a read deadline.

Its own protocol over asyncio (or uvloop), because a general HTTP client costs half of the events per CPU second
(docs/decisions). One connection a stream, HTTP/1.1, never reused. Never decodes a line.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final, Self, cast

from app.kube import errors
from app.kube.lines import BadFraming, Head, LineTooLong, Response

Sink = Callable[[list[bytes]], None]

RECEIVE_BYTES: Final = 128 << 10  # one read; a TLS record is 16 KiB, under load many arrive in one turn of the loop
KEEP_BYTES: Final = 4 << 20
QUEUE_BYTES: Final = 1 << 20  # received and not yet taken: above it the socket is not read
HEAD_S: Final = 30.0  # an API server answers a watch at once; a streaming list when its cache is ready


class StreamCut(errors.Unreachable):
    sentence = "The connection to the API server broke."


class StreamMute(errors.Unreachable):
    sentence = "The API server sent nothing for too long."


class LineRefused(errors.TooLarge):
    sentence = "The API server sent an event larger than 64 MiB, which we refuse."


class Receiver(asyncio.BufferedProtocol):
    """Feeds a `Response` from a buffer that all streams of a loop share.

    Sharing is safe since a loop fills the buffer and calls `buffer_updated` in one step; should it ever not, the
    stream fails instead of reading another's bytes.
    """

    def __init__(self, buffer: "SharedBuffer", line_bytes: int) -> None:
        self.response = Response(line_bytes)
        self.failure: Exception | None = None
        self.sink: Sink | None = None
        self.closed = False
        self.last_line_s = 0.0
        self.received = 0
        self._buffer = buffer
        self._transport: asyncio.Transport | None = None
        self._lines: list[bytes] = []
        self._queued = 0
        self._paused = False
        self._waiter: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.last_line_s = self._loop.time()

    def get_buffer(self, _sizehint: int) -> memoryview:
        self._buffer.owner = self
        return self._buffer.view

    def buffer_updated(self, nbytes: int) -> None:
        self.received += nbytes
        if self._buffer.owner is not self:
            self.fail(StreamCut())
            return
        try:
            lines = self.response.feed(self._buffer.bytes, nbytes)
        except BadFraming:
            self.fail(errors.NotKubernetes("The API server's answer is not HTTP/1.1 as we understand it."))
            return
        except LineTooLong:
            self.fail(LineRefused())
            return
        if lines:
            self.last_line_s = self._loop.time()
        if lines and self.sink is not None:
            self._give(lines)
        elif lines:
            self._lines += lines
            self._queued += nbytes
            if self._queued > QUEUE_BYTES and self._transport is not None:
                self._paused = True
                self._transport.pause_reading()
        if self.sink is None or self.response.ended:
            self._wake()

    def eof_received(self) -> None:
        self._finish()

    def connection_lost(self, exc: Exception | None) -> None:
        self._finish(exc)

    def send(self, request: bytes) -> None:
        if self._transport is not None:
            self._transport.write(request)

    def fail(self, failure: Exception) -> None:
        """End the stream with `failure`; what was received before stays readable."""
        self.failure = self.failure or failure
        self.abort()
        self._wake()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def check(self) -> None:
        """Raise what ended the stream, if anything did."""
        if self.failure is not None:
            raise self.failure

    async def changed(self) -> None:
        """Wait until more was received, or the stream ended."""
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def take(self) -> list[bytes]:
        """The lines received since the last call."""
        lines, self._lines, self._queued = self._lines, [], 0
        if self._paused and self._transport is not None:
            self._paused = False
            self.last_line_s = self._loop.time()
            self._transport.resume_reading()
        return lines

    @property
    def is_paused(self) -> bool:
        return self._paused

    def _give(self, lines: list[bytes]) -> None:
        try:
            cast("Sink", self.sink)(lines)
        except Exception as failure:  # noqa: BLE001 - raised again by the task that waits in `pump`
            self.fail(failure)

    def _finish(self, exc: Exception | None = None) -> None:
        if not self.closed:
            self.closed = True
            whole = self.response.eof()
            if not whole or exc is not None:
                self.failure = self.failure or StreamCut()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class SharedBuffer:
    """Bytes that one stream at a time is filling."""

    def __init__(self, size: int = RECEIVE_BYTES) -> None:
        # glibc gives memory above 128 KiB back at once and faults it in again with each read; once a larger block was
        # freed it keeps twice that. Halves the cost of receiving.
        bytes(KEEP_BYTES)
        self.bytes = bytearray(size)
        self.view = memoryview(self.bytes)
        self.owner: Receiver | None = None


class Stream:
    """A response whose head was read: an async context manager whose end closes the connection.

    idle_s: how long the server may go without a whole line before `read` raises `StreamMute`; bytes alone do not
        count, or a server could keep us for ever with one a second.
    """

    def __init__(self, receiver: Receiver, head: Head, idle_s: float) -> None:
        self.head = head
        self._receiver = receiver
        self._idle_s = idle_s
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = self._loop.call_later(idle_s, self._watch_silence)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    @property
    def received(self) -> int:
        """Bytes received so far, the head's included."""
        return self._receiver.received

    async def read(self) -> list[bytes]:
        """The lines that have arrived, at least one; none at the end of a whole response.

        Raises `StreamCut`, `StreamMute`, `LineRefused` or `NotKubernetes` after the last line was given.
        """
        receiver = self._receiver
        while True:
            if lines := receiver.take():
                return lines
            receiver.check()
            if receiver.response.ended or receiver.closed:
                return []
            await receiver.changed()

    async def pump(self, sink: Sink) -> None:
        """Give the lines of each read to `sink`, in the read itself, until the response is whole.

        A line is still in the processor's cache then: twice as fast as `read`. Raises what `read` raises, and what
        `sink` raised, which ends the stream.
        """
        receiver = self._receiver
        receiver.sink = sink
        try:
            if lines := receiver.take():
                sink(lines)
            while not (receiver.response.ended or receiver.closed or receiver.failure):
                await receiver.changed()
            receiver.check()
        finally:
            receiver.sink = None

    def fail(self, failure: Exception) -> None:
        """End the stream: whoever reads it is raised `failure`."""
        self._receiver.fail(failure)

    async def body(self, most: int) -> bytes:
        """The whole body, for the short answer of an error; cut at `most` bytes or where the connection broke."""
        pieces: list[bytes] = []
        size = 0
        try:
            while size < most and (lines := await self.read()):
                pieces += lines
                size += sum(map(len, lines))
        except errors.KubeError:
            pass  # an error answer that breaks off is still that error
        pieces.append(self._receiver.response.rest)
        return b"\n".join(pieces)[:most]

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._receiver.abort()

    def _watch_silence(self) -> None:
        """One timer a stream, moved on when it fires and not with each line."""
        silent_s = 0.0 if self._receiver.is_paused else self._loop.time() - self._receiver.last_line_s
        if silent_s >= self._idle_s:
            self._timer = None
            self._receiver.fail(StreamMute())
        else:
            self._timer = self._loop.call_later(self._idle_s - silent_s, self._watch_silence)


async def started(receiver: Receiver, request: bytes, *, idle_s: float, head_s: float = HEAD_S) -> Stream:
    """Send `request` and wait for the response's head; raises `KubeError` and closes when there is none."""
    try:
        receiver.send(request)
        async with asyncio.timeout(head_s):
            while (head := receiver.response.head) is None:
                receiver.check()
                await receiver.changed()
    except TimeoutError as error:
        receiver.abort()
        raise errors.Unreachable(f"The API server did not answer within {head_s:.0f} s.") from error
    except BaseException:
        receiver.abort()
        raise
    return Stream(receiver, head, idle_s)


def request_head(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    """The bytes that ask; `target` and `headers` must be free of line ends."""
    fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    if "\r" in target or "\n" in target or fields.count("\n") != len(headers):
        raise ValueError("a request must not hold a line end")
    return f"{method} {target} HTTP/1.1\r\n{fields}\r\n".encode("latin-1")
