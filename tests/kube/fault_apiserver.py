"""An API server that plays scripted faults: raw HTTP/1.1 over TCP or TLS, over a truth held in memory.

`World` is the truth: objects, their history and what of it is compacted. `FaultServer` serves it as a real API server
does, notes every request in order, and lets a test put a fault in the place of an answer:
`server.on("watch", reset_after(1))`. A fault is an async function that is given the `Exchange` and plays it.
"""

import asyncio
import contextlib
import json
import socket
import ssl
import struct
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

HEAD = "HTTP/1.1 200 OK\r\nContent-Type: {type}\r\nTransfer-Encoding: chunked\r\n\r\n"


class Feed:
    """The changes that one open watch has still to send: compaction takes nothing from it."""

    def __init__(self, waiting: list[tuple[int, str, dict[str, Any]]]) -> None:
        self.waiting = deque(waiting)
        self.wake = asyncio.Event()


class World:
    """Config maps by name, each with the version of its last change."""

    def __init__(self, version: int = 1000) -> None:
        self.version = version
        self.objects: dict[str, dict[str, Any]] = {}
        self.history: list[tuple[int, str, dict[str, Any]]] = []
        self.compacted = version
        self.kept: dict[str, dict[str, Any]] = {}  # as of the compaction
        self.log: list[tuple[int, str, str]] | None = None  # of all changes ever, when a test wants it
        self.births = 0
        self.feeds: set[Feed] = set()

    def put(self, name: str, **data: str) -> dict[str, Any]:
        """Create or change."""
        self.version += 1
        known = self.objects.get(name)
        if known is None:
            self.births += 1
        uid = known["metadata"]["uid"] if known else f"uid-{name}-{self.births}"
        metadata = {"name": name, "namespace": "shop", "uid": uid, "resourceVersion": str(self.version)}
        made = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, "data": data}
        self.objects[name] = made
        self._record("MODIFIED" if known else "ADDED", made)
        return made

    def delete(self, name: str) -> None:
        self.version += 1
        last = self.objects.pop(name)
        metadata = {**last["metadata"], "resourceVersion": str(self.version)}
        self._record("DELETED", {**last, "metadata": metadata})

    def fill(self, count: int) -> None:
        for number in range(count):
            self.put(f"object-{number:05}")

    def compact(self) -> None:
        """Forget all history, as etcd does every five minutes."""
        self.compacted = self.version
        self.kept = dict(self.objects)
        self.history.clear()

    def versions(self) -> dict[str, str]:
        """uid -> resourceVersion: what a mirror must hold."""
        return {o["metadata"]["uid"]: o["metadata"]["resourceVersion"] for o in self.objects.values()}

    def at(self, version: int) -> list[dict[str, Any]]:
        """The objects as they were at a version that is not compacted."""
        found = dict(self.kept)
        for of_version, type_, made in self.history:
            if of_version <= version:
                name = made["metadata"]["name"]
                if type_ == "DELETED":
                    found.pop(name)
                else:
                    found[name] = made
        return [*found.values()]

    def _record(self, type_: str, made: dict[str, Any]) -> None:
        self.history.append((self.version, type_, made))
        if self.log is not None:
            self.log.append((self.version, type_, made["metadata"]["uid"]))
        for feed in self.feeds:
            feed.waiting.append((self.version, type_, made))
            feed.wake.set()


class Request:
    def __init__(self, method: str, target: str, headers: dict[str, str], body: bytes, at_s: float) -> None:
        parts = urlsplit(target)
        self.method = method
        self.path = parts.path
        self.params = dict(parse_qsl(parts.query, keep_blank_values=True))
        self.headers = headers
        self.body = body
        self.at_s = at_s

    @property
    def kind(self) -> str:
        if self.params.get("watch") != "1":
            return "list"
        return "streaming" if "sendInitialEvents" in self.params else "watch"

    @property
    def version(self) -> str | None:
        return self.params.get("resourceVersion")


class Exchange:
    """One request and the ways to answer it."""

    def __init__(self, server: "FaultServer", request: Request, writer: asyncio.StreamWriter) -> None:
        self.server = server
        self.world = server.world
        self.request = request
        self.writer = writer

    async def send(self, raw: bytes) -> None:
        self.writer.write(raw)
        await self.writer.drain()

    async def answer(
        self, status: int, body: Any = b"", headers: dict[str, str] | None = None, type_: str = "application/json"
    ) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        fields = {"Content-Type": type_, "Content-Length": str(len(content)), **(headers or {})}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        await self.send(f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode() + content)

    async def start(self, type_: str = "application/json") -> None:
        await self.send(HEAD.format(type=type_).encode())

    async def chunk(self, content: bytes) -> None:
        await self.send(b"%x\r\n%s\r\n" % (len(content), content))

    async def line(self, type_: str, made: Any) -> None:
        await self.chunk(json.dumps({"type": type_, "object": made}, separators=(",", ":")).encode() + b"\n")

    async def bookmark(self, *, version: int | None = None, ends_list: bool = False) -> None:
        metadata: dict[str, Any] = {"resourceVersion": str(version or self.world.version)}
        if ends_list:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        await self.line("BOOKMARK", {"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata})

    async def end(self) -> None:
        await self.send(b"0\r\n\r\n")
        self.writer.close()

    async def close(self) -> None:
        """Close without ending the body."""
        self.writer.close()

    async def reset(self) -> None:
        """A TCP reset."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def mute(self) -> None:
        """Never another byte."""
        await asyncio.Event().wait()

    # --- as a real one does --------------------------------------------------------------------------------------

    async def normal(self) -> None:
        """What a healthy server answers."""
        match self.request.kind:
            case "list":
                await self.list()
            case "watch":
                await self.watch()
            case _:
                await self.streaming()

    async def list(self) -> None:
        world, params = self.world, self.request.params
        version = self.request.version or ""
        if version.isdecimal() and int(version) > world.version:
            await self.answer(504, TOO_LARGE)
            return
        if params.get("resourceVersionMatch") == "Exact" and version.isdecimal():
            if int(version) < world.compacted:
                await self.answer(410, gone("The resourceVersion for the provided list is too old."))
            else:
                await self.answer(200, listing(world.at(int(version)), {"resourceVersion": version}))
            return
        token = params.get("continue", "")
        start = 0
        if token:
            of_version, _, offset = token.partition("-")
            if int(of_version) < world.compacted or token in self.server.expired:
                await self.answer(410, gone("The provided continue parameter is too old"))
                return
            start = int(offset)
        snapshot = self.server.snapshots.setdefault(token.partition("-")[0], []) if token else [*world.objects.values()]
        at = token.partition("-")[0] or str(world.version)
        limit = int(params.get("limit", "0")) or len(snapshot)
        if version == "0" and not self.server.pages_from_cache:
            limit = len(snapshot)
        metadata = {"resourceVersion": at}
        if start + limit < len(snapshot):
            self.server.snapshots[at] = snapshot
            metadata["continue"] = f"{at}-{start + limit}"
        await self.answer(200, listing(snapshot[start : start + limit], metadata))

    async def watch(self, *, most: int | None = None) -> None:
        """Events after the version asked for, then what happens; `most` ends the call, not the connection."""
        version = self.request.version
        if version in {None, "", "0"}:
            await self.start()
            for sent, made in enumerate([*self.world.objects.values()], 1):
                await self.line("ADDED", made)
                if sent == most:
                    return
            await self.live(self.world.version)
            return
        if int(version) < self.world.compacted:
            await self.start()
            await self.line("ERROR", gone("too old resource version"))
            await self.end()
            return
        await self.start()
        await self.live(int(version), most=most)

    async def streaming(self) -> None:
        if not self.server.streaming:
            await self.answer(422, status(422, "Invalid", "sendInitialEvents is forbidden for watch"))
            return
        await self.start()
        at = self.world.version
        for made in [*self.world.objects.values()]:
            await self.line("ADDED", made)
        await self.bookmark(version=at, ends_list=True)
        await self.live(at)

    async def live(self, after: int, *, most: int | None = None) -> None:
        """Changes after a version as they happen, and bookmarks, until the watch's time is over."""
        sent = 0
        if after < self.world.compacted:  # it may have been compacted since the request came
            await self.line("ERROR", gone("too old resource version"))
            await self.end()
            return
        feed = Feed([entry for entry in self.world.history if entry[0] > after])
        self.world.feeds.add(feed)
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + float(self.request.params.get("timeoutSeconds", "300")) * self.server.second_s
        try:
            while (left_s := ends_s - loop.time()) > 0:
                feed.wake.clear()
                while feed.waiting:
                    version, type_, made = feed.waiting.popleft()
                    if version <= after:  # a version in our future: nothing happened since
                        continue
                    await self.line(type_, made)
                    sent += 1
                    if sent == most:
                        return
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(left_s, self.server.bookmark_s)):
                        await feed.wake.wait()
                if not feed.waiting and self.server.bookmarks and self.request.params.get("allowWatchBookmarks"):
                    await self.bookmark(version=max(after, self.world.version))
            await self.end()
        finally:
            self.world.feeds.discard(feed)


Fault = Callable[[Exchange], Awaitable[None]]


class FaultServer:
    """Serves a `World`. second_s: how long a second of `timeoutSeconds` lasts; bookmark_s: between bookmarks."""

    def __init__(
        self, world: World | None = None, *, tls: ssl.SSLContext | None = None, streaming: bool = False
    ) -> None:
        self.world = world or World()
        self.requests: list[Request] = []
        self.connections = 0
        self.streaming = streaming
        self.bookmarks = True
        self.bookmark_s = 0.5
        self.second_s = 1.0
        self.pages_from_cache = False
        self.snapshots: dict[str, list[dict[str, Any]]] = {}
        self.expired: set[str] = set()
        self.port = 0
        self._tls = tls
        self._script: dict[str, deque[Fault]] = {}
        self._always: dict[str, Fault] = {}
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def on(self, kind: str, *faults: Fault) -> None:
        """Answer the next requests of `kind` ("list", "watch", "streaming", "any") by `faults`, one each."""
        self._script.setdefault(kind, deque()).extend(faults)

    def always(self, kind: str, fault: Fault) -> None:
        """Answer every request of `kind` by `fault`, until `heal`."""
        self._always[kind] = fault

    def heal(self) -> None:
        self._always.clear()
        self._script.clear()

    def of(self, kind: str) -> list[Request]:
        return [request for request in self.requests if request.kind == kind]

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen; at the same port as before when there was one."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self._tls, limit=1 << 20)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and drop every connection: new ones are refused."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.drop()
        for task in [*self._tasks]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def drop(self) -> None:
        """Drop every open connection."""
        for writer in [*self._open]:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open.add(writer)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while (request := await _read_request(reader)) is not None:
                self.requests.append(request)
                exchange = Exchange(self, request, writer)
                await self._answer(exchange)
                if writer.is_closing():
                    break
        except (ConnectionError, asyncio.IncompleteReadError, TimeoutError, ssl.SSLError):
            pass
        except asyncio.CancelledError:  # the server stops: asyncio's callback would log it as an error
            pass
        finally:
            self._tasks.discard(task)
            self._open.discard(writer)
            writer.close()
            with contextlib.suppress(Exception, asyncio.CancelledError):
                await writer.wait_closed()

    async def _answer(self, exchange: Exchange) -> None:
        kind = exchange.request.kind
        for key in (kind, "any"):
            if script := self._script.get(key):
                await script.popleft()(exchange)
                return
            if key in self._always:
                await self._always[key](exchange)
                return
        await exchange.normal()


async def _read_request(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *fields = head[:-4].decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method, target, headers, body, asyncio.get_running_loop().time())


# --- faults ----------------------------------------------------------------------------------------------------------


def status(code: int, reason: str = "", message: str = "", **more: Any) -> dict[str, Any]:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
        **more,
    }


def gone(message: str, reason: str = "Expired") -> dict[str, Any]:
    return status(410, reason, message)


TOO_LARGE = status(
    504,
    "Timeout",
    "Timeout: Too large resource version: 99999999, current: 1681",
    details={
        "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
        "retryAfterSeconds": 1,
    },
)


def listing(items: list[dict[str, Any]], metadata: dict[str, str]) -> dict[str, Any]:
    return {"kind": "ConfigMapList", "apiVersion": "v1", "metadata": metadata, "items": items}


def refuse(code: int, body: Any = None, **headers: str) -> Fault:
    """Answer with an HTTP status; header names with _ for -."""

    async def play(exchange: Exchange) -> None:
        await exchange.answer(
            code,
            status(code) if body is None else body,
            {name.replace("_", "-"): value for name, value in headers.items()},
        )

    return play


def error_event(failure: dict[str, Any]) -> Fault:
    """A 200 whose stream says that it failed."""

    async def play(exchange: Exchange) -> None:
        await exchange.start()
        await exchange.line("ERROR", failure)
        await exchange.end()

    return play


def raw_lines(*lines: bytes) -> Fault:
    """A stream of these lines, then as usual."""

    async def play(exchange: Exchange) -> None:
        await exchange.start()
        for line in lines:
            await exchange.chunk(line + b"\n")
        await exchange.live(int(exchange.request.version or 0))

    return play


def ends_at_once() -> Fault:
    """200 and an empty body."""

    async def play(exchange: Exchange) -> None:
        await exchange.start()
        await exchange.end()

    return play


def after(events: int, how: Callable[[Exchange], Awaitable[None]]) -> Fault:
    """Watch normally for so many events, then `how`, e.g. Exchange.reset."""

    async def play(exchange: Exchange) -> None:
        await exchange.watch(most=events)
        await how(exchange)

    return play


def half_a_line(how: Callable[[Exchange], Awaitable[None]]) -> Fault:
    """Wait for a change, send half of its event, then `how`."""

    async def play(exchange: Exchange) -> None:
        await exchange.start()
        await exchange.chunk(b'{"type":"MODIFIED","object":{"kind":"ConfigMap","metadata":{"name":"caf\xc3')
        await how(exchange)

    return play
