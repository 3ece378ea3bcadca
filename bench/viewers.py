"""Dashboards: WebSocket clients of /live/data that read, acknowledge and time each frame. Runs as its own process.

`python -m bench.viewers PORT COUNT WARMUP SECONDS BASE` reads the cookie from its input, says "counting" when its
window begins, and at the end prints a line of JSON. Restart counts say when they were written, see `bench.load`.
"""

import asyncio
import json
import sys
import time
from typing import Any

import msgspec
import uvloop

MASKED_NOTHING = b"\x00\x00\x00\x00"  # a mask of zeros leaves the text as it is

Frame = dict[str, Any]


class Viewer(asyncio.Protocol):
    """One dashboard."""

    def __init__(self, port: int, cookie: str, tally: "Tally") -> None:
        self._head = (
            f"GET /live/data HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\n"
            f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            f"Sec-WebSocket-Version: 13\r\nCookie: {cookie}\r\n\r\n"
        )
        self._tally = tally
        self._open = False
        self._buffer = b""
        self._place = ""
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        transport.write(self._head.encode())

    def connection_lost(self, _exc: Exception | None) -> None:
        self._tally.lost += 1

    def data_received(self, data: bytes) -> None:
        now = time.time()
        self._buffer += data
        if not self._open:
            head, found, rest = self._buffer.partition(b"\r\n\r\n")
            if not found:
                return
            if b" 101 " not in head:
                raise SystemExit(head.decode())
            self._open, self._buffer = True, rest
            self._say({"op": "sub", "id": 1, "kind": "pods", "from": 0, "to": 160})
        while (text := self._next()) is not None:
            found = msgspec.json.decode(text)
            for frame in found if isinstance(found, list) else [found]:
                self._take(frame, len(text), now)

    def _next(self) -> bytes | None:
        held = self._buffer
        if len(held) < 2:
            return None
        size, at = held[1] & 127, 2
        if size == 126:
            size, at = int.from_bytes(held[2:4], "big"), 4
        elif size == 127:
            size, at = int.from_bytes(held[2:10], "big"), 10
        if len(held) < at + size:
            return None
        self._buffer = held[at + size :]
        return held[at : at + size] if held[0] & 15 == 1 else b"[]"

    def _take(self, frame: Frame, size: int, now: float) -> None:
        if "seq" in frame:
            self._say({"op": "ack", "id": 1, "seq": frame["seq"]})
        if "full" in frame:
            self._tally.loaded += 1
            keys = [column["key"] for column in frame["cols"]]
            self._place = str(keys.index("restarts")) if "restarts" in keys else ""
        elif self._tally.counting:
            changes = len(frame.get("u", ())) + len(frame.get("a", ())) + len(frame.get("x", ()))
            self._tally.frames += 1
            self._tally.changes += changes
            self._tally.bytes += size
            for _, _, cells in frame.get("u", ()):
                if self._place in cells:
                    self._tally.delays.append(now - self._tally.base - cells[self._place] / 10_000)

    def _say(self, message: Frame) -> None:
        text = msgspec.json.encode(message)
        self._transport.write(bytes([0x81, 0x80 | len(text)]) + MASKED_NOTHING + text)


class Tally:
    def __init__(self, base: float) -> None:
        self.base = base
        self.counting = False
        self.loaded = self.lost = self.frames = self.changes = self.bytes = 0
        self.delays: list[float] = []


async def main(port: int, count: int, warmup_s: float, seconds: float, base: float) -> None:
    cookie = sys.stdin.readline().strip()
    tally = Tally(base)
    loop = asyncio.get_running_loop()
    for _ in range(count):
        await loop.create_connection(lambda: Viewer(port, cookie, tally), "127.0.0.1", port)
    await asyncio.sleep(warmup_s)
    tally.counting = True
    print("counting", flush=True)
    await asyncio.sleep(seconds)
    tally.counting = False
    delays = sorted(tally.delays) or [float("inf")]
    found = {
        "loaded": tally.loaded,
        "lost": tally.lost,
        "frames": tally.frames,
        "changes": tally.changes,
        "bytes": tally.bytes,
        "p50_ms": delays[len(delays) // 2] * 1000,
        "p99_ms": delays[int(len(delays) * 0.99)] * 1000,
    }
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2]), *(float(word) for word in sys.argv[3:6])))
