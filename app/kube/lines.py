"""Cuts the raw bytes of one HTTP/1.1 response into its head and the lines of its body. Pure.

Any cut of the bytes into pieces gives the same lines. A line is handed out once its line feed was seen, so half a
line at the end of a broken connection is never taken for an event.
"""

import re
from typing import Final

import msgspec

HEAD_BYTES: Final = 64 << 10
LINE_BYTES: Final = 64 << 20  # an object is at most some 1.5 MiB in etcd; a server that sends more than this is ill
SIZE_BYTES: Final = 1024  # of the line that opens a chunk
BORDER: Final = re.compile(rb"\r\n([0-9a-fA-F]{1,8})\r\n").match  # between two chunks
HEX: Final = re.compile(rb"[0-9a-fA-F]{1,8}").fullmatch


class Head(msgspec.Struct, frozen=True):
    """headers: names in lower case; of a repeated header the last."""

    status: int
    headers: dict[str, str]


class BadFraming(Exception):  # noqa: N818
    """These bytes are not the HTTP/1.1 that we understand."""


class LineTooLong(Exception):  # noqa: N818
    """A line passed the bound; nothing more of it was kept."""


class Response:
    """The state of one response. `head` is None until it was read, `ended` is True after the body's last byte."""

    __slots__ = ("_chunked", "_early", "_held", "_line_bytes", "_parts", "_remain", "_skip", "ended", "head")

    def __init__(self, line_bytes: int = LINE_BYTES) -> None:
        self.head: Head | None = None
        self.ended = False
        self._line_bytes = line_bytes
        self._early = b""  # of a head or of a chunk's size line that is not whole yet
        self._parts: list[bytes] = []  # of a line that is not whole yet
        self._held = 0
        self._chunked = False
        self._remain = 0  # bytes still to come in this chunk, or in the body
        self._skip = 0  # bytes of the line end that closes a chunk

    @property
    def rest(self) -> bytes:
        """What came after the last line feed."""
        return b"".join(self._parts)

    def feed(self, buffer: bytes | bytearray, size: int) -> list[bytes]:
        """Take in `buffer[:size]`; return copies of the lines that are whole now, without line feeds or blank lines."""
        if self.head is None:
            return self._open(self._early + bytes(memoryview(buffer)[:size]))
        if self._chunked:
            return self._chunks(buffer, size)
        return self._plain(buffer, size)

    def eof(self) -> bool:
        """Tell that the peer closed; return whether the response was whole."""
        if self.head is not None and not self._chunked and self._remain < 0:
            self.ended = True
        return self.ended

    def _open(self, received: bytes) -> list[bytes]:
        end = received.find(b"\r\n\r\n")
        if end < 0:
            if len(received) > HEAD_BYTES:
                raise BadFraming("the head is too long")
            self._early = received
            return []
        self._early = b""
        head = read_head(received[:end])
        rest = received[end + 4 :]
        if head.status < 200:  # 100 Continue and such come before the real head
            return self._open(rest)
        self.head = head
        self._chunked = head.headers.get("transfer-encoding", "").lower() == "chunked"
        if not self._chunked:
            length = head.headers.get("content-length", "")
            self._remain = int(length) if length.isdecimal() else -1  # -1: until the peer closes
            self.ended = self._remain == 0
        return self.feed(rest, len(rest)) if rest else []

    def _plain(self, buffer: bytes | bytearray, size: int) -> list[bytes]:
        if self._remain >= 0:
            size = min(size, self._remain)
            self._remain -= size
            self.ended = self._remain == 0
        lines: list[bytes] = []
        self._cut(buffer, memoryview(buffer), 0, size, lines)
        return lines

    def _chunks(self, buffer: bytes | bytearray, size: int) -> list[bytes]:
        lines: list[bytes] = []
        view = memoryview(buffer)
        find, border = buffer.find, BORDER
        parts, remain, position = self._parts, self._remain, 0
        while position < size and not self.ended:
            if not remain:
                # In one step where both line ends are here, which costs a third of the careful way below.
                found = border(buffer, position, size) if self._skip == 2 else None
                if found is not None and (remain := int(found[1], 16)):
                    position = found.end()
                else:
                    position, remain = self._chunk_size(buffer, position, size)
                    continue
            stop = position + remain
            end = stop if stop < size else size  # noqa: FURB136 - min() costs a tenth of the whole loop
            line_end = find(b"\n", position, end)
            if line_end == end - 1 > position + 1 and not parts:  # the usual case: one chunk is one event
                lines.append(bytes(view[position:line_end]))
            else:
                self._cut(buffer, view, position, end, lines)
            remain = stop - end
            position = end
            if not remain:
                self._skip = 2
        self._remain = remain
        return lines

    def _chunk_size(self, buffer: bytes | bytearray, position: int, size: int) -> tuple[int, int]:
        """Read past a chunk's end and the next one's size line: the position after it, and the size."""
        if self._skip:
            step = min(self._skip, size - position)
            self._skip -= step
            return position + step, 0
        end = buffer.find(b"\n", position, size)
        if end < 0:
            self._early += bytes(buffer[position:size])
            if len(self._early) > SIZE_BYTES:
                raise BadFraming("the size of a chunk is too long")
            return size, 0
        text = self._early + bytes(buffer[position:end])
        self._early = b""
        digits = text.partition(b";")[0].strip()
        if not HEX(digits):
            raise BadFraming("the size of a chunk is not a number")
        remain = int(digits, 16)
        self.ended = remain == 0
        return end + 1, remain

    def _cut(self, buffer: bytes | bytearray, view: memoryview, start: int, end: int, lines: list[bytes]) -> None:
        """Append the lines that end in `buffer[start:end]`, hold what follows them."""
        parts = self._parts
        while (line_end := buffer.find(b"\n", start, end)) >= 0:
            piece = bytes(view[start:line_end])
            if parts:
                parts.append(piece)
                piece = b"".join(parts)
                parts.clear()
                self._held = 0
            if piece and piece != b"\r":
                lines.append(piece)
            start = line_end + 1
        if start < end:
            self._held += end - start
            if self._held > self._line_bytes:
                parts.clear()
                raise LineTooLong
            parts.append(bytes(view[start:end]))


def read_head(text: bytes) -> Head:
    """The status and headers of a response's head, without its blank line."""
    first, *fields = text.decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    code = rest[:3]
    if version not in {"HTTP/1.1", "HTTP/1.0"} or not code.isdecimal() or len(code) != 3:
        raise BadFraming("the first line is not that of an HTTP/1.1 response")
    pairs = (field.partition(":") for field in fields)
    return Head(int(code), {name.strip().lower(): value.strip() for name, _, value in pairs})
