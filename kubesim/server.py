"""The HTTP side of one simulated API server: authentication, authorization, dispatch, streams. On aiohttp's server."""

import asyncio
import contextlib
import gzip
import json
import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import msgspec
from aiohttp import web

from kubesim import discovery, errors, lists, openapi, patch, rbac, requests, reviews, table, writes
from kubesim.kinds import Kind
from kubesim.lists import Shape
from kubesim.rbac import ANONYMOUS, Attributes, User
from kubesim.requests import Request
from kubesim.store import Store
from kubesim.watches import Watch

Object = dict[str, Any]
GZIP_BYTES: Final = 128 * 1024
LINES_PER_WRITE: Final = 100
BODY_BYTES: Final = 3 * 1024 * 1024
ALWAYS_ALLOWED: Final = ("/api", "/apis", "/healthz", "/livez", "/readyz", "/openapi", "/version")
LogSource = Callable[[str, str, dict[str, str]], AsyncIterator[bytes]]
_encode: Final = msgspec.json.Encoder().encode


class ApiServer:
    """Serves `store` on a loopback port. tokens: bearer token to user. logs: (namespace, pod, parameters) to chunks."""

    def __init__(self, store: Store, *, tokens: dict[str, User], minor: int, logs: LogSource) -> None:
        self.store = store
        self.port = 0
        self.requests = 0
        self._tokens = tokens
        self._minor = minor
        self._logs = logs
        self._rng = random.Random(minor)
        self._runner: web.AppRunner | None = None

    async def start(self, context: ssl.SSLContext | None, port: int = 0) -> None:
        app = web.Application(client_max_size=BODY_BYTES)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.2)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port, ssl_context=context, backlog=1024)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _handle(self, http: web.Request) -> web.StreamResponse:
        self.requests += 1
        try:
            return await self._answer(http)
        except errors.ApiError as error:
            body, media = error.encoded()
            return _response(body, error.code, media, error.headers)

    async def _answer(self, http: web.Request) -> web.StreamResponse:
        params = dict(http.query)
        user = self._user(http)
        found = requests.parse(http.method, http.path, params)
        if found is None:
            self._authorize_path(user, http)
            return await self._document(http)
        self._authorize(user, found)
        if (review := reviews.answer(self.store, user, found)) is not None:
            return _json(await review(http), 201)
        resource = self.store.resource(found.key)
        kind = resource.kind
        if found.subresource:
            return await self._subresource(http, kind, found, params)
        return await self._verbs[found.verb](self, http, kind, found, params)

    # -- who, and whether --------------------------------------------------------------------------------------------

    def _user(self, http: web.Request) -> User:
        scheme, _, token = http.headers.get("Authorization", "").partition(" ")
        if not scheme:
            user = ANONYMOUS
        elif scheme.lower() == "bearer" and token in self._tokens:
            user = self._tokens[token]
        else:
            raise errors.unauthorized()
        if wanted := http.headers.get("Impersonate-User"):
            asked = Attributes("impersonate", "", "users", name=wanted)
            if not rbac.allowed(self.store, user, asked):
                raise _no_impersonation(user, requests.parse(http.method, http.path, dict(http.query)))
            groups = tuple(http.headers.getall("Impersonate-Group", ()))
            return User(wanted, (*groups, "system:authenticated"))
        return user

    def _authorize(self, user: User, found: Request) -> None:
        namespace = (found.namespace or "") if found.resource != "namespaces" else ""
        asked = Attributes(found.verb, found.group, found.checked, namespace, found.name)
        if found.group.endswith("authorization.k8s.io") and found.resource.startswith("selfsubject"):
            return
        if found.resource == "selfsubjectreviews" or rbac.allowed(self.store, user, asked):
            return
        raise errors.forbidden(found.resource, found.group, found.name, rbac.refusal(user, asked))

    def _authorize_path(self, user: User, http: web.Request) -> None:
        asked = Attributes(http.method.lower(), path=http.path)
        if user is not ANONYMOUS and http.path.startswith(ALWAYS_ALLOWED):
            return
        if http.path in {"/healthz", "/livez", "/readyz", "/version"} or rbac.allowed(self.store, user, asked):
            return
        message = f'forbidden: User "{user.name}" cannot {asked.verb} path "{asked.path}"'
        raise errors.status(403, "Forbidden", message, {})

    # -- documents ---------------------------------------------------------------------------------------------------

    async def _document(self, http: web.Request) -> web.StreamResponse:
        path = http.path.rstrip("/")
        if path in {"/healthz", "/livez", "/readyz"}:
            return _response(_health(verbose="verbose" in http.query, name=path[1:]), 200, "text/plain; charset=utf-8")
        if path == "/version":
            return _response(json.dumps(discovery.server_version(self._minor), indent=2).encode(), 200)
        if path in {"/api", "/apis"}:
            if "apidiscovery.k8s.io" in http.headers.get("Accept", "") and self._minor >= 27:
                body = discovery.aggregated(self.store, core=path == "/api")
                return _response(_encode(body), 200, discovery.AGGREGATED, {"Cache-Control": "public"})
            address = f"127.0.0.1:{self.port}"
            return _json(discovery.api_versions(address) if path == "/api" else discovery.group_list(self.store))
        if path.startswith("/openapi/v3"):
            return _json(openapi.answer(self.store, path.removeprefix("/openapi/v3").strip("/")))
        return _json(self._described(path))

    def _described(self, path: str) -> Object:
        """A discovery document of one group or version. Raises `ApiError` 404."""
        parts = path.split("/")[1:]
        if parts == ["api", "v1"] or (parts[0] == "apis" and len(parts) == 3):
            group, version = ("", "v1") if parts[0] == "api" else (parts[1], parts[2])
            if (listed := discovery.resource_list(self.store, group, version)) is not None:
                return listed
        if parts[0] == "apis" and len(parts) == 2 and (found := discovery.groups(self.store).get(parts[1])):
            return {"kind": "APIGroup", "apiVersion": "v1", **discovery.api_group(parts[1], list(found))}
        raise errors.page_not_found()

    # -- verbs -------------------------------------------------------------------------------------------------------

    async def _get(self, http: web.Request, kind: Kind, found: Request, _params: dict[str, str]) -> web.StreamResponse:
        entry = self.store.entry(kind.key, (found.namespace or "") if kind.namespaced else "", found.name)
        shape = requests.shape(http.headers.get("Accept", ""))
        if shape == "PartialObjectMetadata":
            return _json(table.partial(entry.object))
        if shape == "Table":
            asked = lists.query(kind, found.namespace, found.name, {}, "Table")
            return _response(lists.body(self.store, kind, [entry], _version(entry.object), asked), 200)
        return _response(entry.json, 200)

    async def _list(self, http: web.Request, kind: Kind, found: Request, params: dict[str, str]) -> web.StreamResponse:
        shape = requests.shape(http.headers.get("Accept", ""))
        asked = lists.query(kind, found.namespace if kind.namespaced else None, "", params, shape)
        body = lists.page(self.store, self.store.resource(kind.key), asked)
        if len(body) > GZIP_BYTES and "gzip" in http.headers.get("Accept-Encoding", ""):
            body = await asyncio.to_thread(gzip.compress, body, 1)
            return _response(body, 200, headers={"Content-Encoding": "gzip", "Vary": "Accept-Encoding"})
        return _response(body, 200)

    async def _watch(self, http: web.Request, kind: Kind, found: Request, params: dict[str, str]) -> web.StreamResponse:
        shape: Shape = requests.shape(http.headers.get("Accept", "").replace(";stream=watch", ""))
        asked = lists.query(kind, found.namespace if kind.namespaced else None, found.name, params, shape)
        initial = requests.is_true(params, "sendInitialEvents")
        if initial and asked.match != "NotOlderThan":
            why = "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
            cause = ("resourceVersionMatch", "FieldValueForbidden", why)
            raise errors.invalid("ListOptions", "meta.k8s.io", "", [cause])
        watch = Watch(
            self.store,
            self.store.resource(kind.key),
            asked,
            bookmarks=requests.is_true(params, "allowWatchBookmarks"),
            initial=initial,
        )
        timeout_s = float(params.get("timeoutSeconds") or self._rng.uniform(1800, 3600))
        response = web.StreamResponse(headers=_HEADERS)
        response.content_type = "application/json"
        response.enable_chunked_encoding()
        await response.prepare(http)
        with contextlib.suppress(ConnectionError):
            async for lines in watch.lines(timeout_s):
                for first in range(0, len(lines), LINES_PER_WRITE):
                    await response.write(b"".join(lines[first : first + LINES_PER_WRITE]))
            await response.write_eof()
        return response

    async def _create(
        self, http: web.Request, kind: Kind, found: Request, params: dict[str, str]
    ) -> web.StreamResponse:
        body = writes.read_body(await http.read(), http.headers.get("Content-Type", ""))
        return _json(writes.create(self.store, kind, found, body, params), 201)

    async def _update(
        self, http: web.Request, kind: Kind, found: Request, params: dict[str, str]
    ) -> web.StreamResponse:
        body = writes.read_body(await http.read(), http.headers.get("Content-Type", ""))
        return _json(writes.update(self.store, kind, found, body, params))

    async def _patch(self, http: web.Request, kind: Kind, found: Request, params: dict[str, str]) -> web.StreamResponse:
        if not found.name:
            raise errors.method_not_allowed()
        existed = self.store.find(kind.key, (found.namespace or "") if kind.namespaced else "", found.name)
        media = http.headers.get("Content-Type", "")
        body = writes.patched(self.store, kind, found, await http.read(), media, params)
        return _json(body, 200 if existed else 201)

    async def _delete(
        self, http: web.Request, kind: Kind, found: Request, params: dict[str, str]
    ) -> web.StreamResponse:
        raw = await http.read()
        options = writes.read_body(raw, http.headers.get("Content-Type", "")) if raw else {}
        return _json(writes.delete(self.store, kind, found, options, params))

    async def _delete_collection(
        self, _http: web.Request, kind: Kind, found: Request, params: dict[str, str]
    ) -> web.StreamResponse:
        return _json(writes.delete_collection(self.store, kind, found, params))

    async def _subresource(
        self, http: web.Request, kind: Kind, found: Request, params: dict[str, str]
    ) -> web.StreamResponse:
        name, verb = found.subresource, found.verb
        if name not in kind.subresources:
            raise errors.no_such_resource()
        if name == "log" and verb == "get":
            return await self._log(http, found, params)
        if name == "status" and verb in self._verbs:
            return await self._verbs[verb](self, http, kind, found, params)
        if name == "scale" and verb in {"get", "update", "patch"}:
            return await self._scale(http, kind, found, params)
        if name == "eviction" and verb == "create":
            return _json(writes.evict(self.store, found), 201)
        if name == "binding" and verb == "create":
            body = writes.read_body(await http.read(), http.headers.get("Content-Type", ""))
            return _json(writes.bind(self.store, found, body), 201)
        raise errors.method_not_allowed()

    async def _scale(self, http: web.Request, kind: Kind, found: Request, params: dict[str, str]) -> web.StreamResponse:
        now = writes.scale(self.store, kind, found)
        if found.verb == "get":
            return _json(now)
        media = http.headers.get("Content-Type", "")
        change = writes.read_body(await http.read(), media)
        if found.verb == "patch":
            change = patch.json_patch(now, change) if "json-patch" in media else patch.merge(now, change)
        return _json(writes.rescale(self.store, kind, found, change, params))

    async def _log(self, http: web.Request, found: Request, params: dict[str, str]) -> web.StreamResponse:
        self.store.get("pods", found.namespace or "", found.name)
        source = self._logs(found.namespace or "", found.name, params)
        first = await anext(source, b"")  # a refusal comes before the head
        response = web.StreamResponse(headers=_HEADERS)
        response.content_type = "text/plain"
        await response.prepare(http)
        with contextlib.suppress(ConnectionError):
            await response.write(first)
            async for chunk in source:
                await response.write(chunk)
            await response.write_eof()
        return response

    _verbs: Final[dict[str, Callable[..., Awaitable[web.StreamResponse]]]] = {
        "get": _get,
        "list": _list,
        "watch": _watch,
        "create": _create,
        "update": _update,
        "patch": _patch,
        "delete": _delete,
        "deletecollection": _delete_collection,
    }


_HEADERS: Final = {"Cache-Control": "no-cache, private"}


def _response(
    body: bytes, code: int, media: str = "application/json", headers: dict[str, str] | None = None
) -> web.Response:
    return web.Response(body=body, status=code, headers={"Content-Type": media, **_HEADERS, **(headers or {})})


def _json(body: Object, code: int = 200) -> web.Response:
    return _response(_encode(body), code)


def _no_impersonation(user: User, found: Request | None) -> errors.ApiError:
    """The refusal of a 1.36 server, which names what was asked for."""
    if found is None:
        return errors.forbidden("users", "", "", f'User "{user.name}" cannot impersonate at the cluster scope')
    what = f'resource "{found.resource}" in API group "{found.group}" at the cluster scope'
    message = f'User "{user.name}" cannot impersonate-on:user-info:{found.verb} {what}'
    return errors.forbidden(found.resource, found.group, found.name, message)


def _version(obj: Object) -> Object:
    return {"resourceVersion": obj["metadata"]["resourceVersion"]}


def _health(*, verbose: bool, name: str) -> bytes:
    if not verbose:
        return b"ok"
    checks = ("ping", "log", "etcd", "poststarthook/rbac/bootstrap-roles")
    return ("".join(f"[+]{check} ok\n" for check in checks) + f"{name} check passed\n").encode()
