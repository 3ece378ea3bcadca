"""The static files: served from memory, compressed once, named by content so that browsers keep them for a year.

`url("js/page.js")` carries the hash of what is in the file now; a request with that hash gets an immutable answer, one
without it (a module that another imports, the API page) is asked for again each time by its ETag.
"""

import asyncio
import gzip
import hashlib
from pathlib import Path
from typing import Any, Final

import msgspec
from litestar import Request, Response, get
from litestar.params import FromPath

from app.authz.guards import PUBLIC
from app.problems import NotFound

ROOT: Final = Path(__file__).parent / "static"
TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".json": "application/json",
    ".txt": "text/plain; charset=utf-8",
}
FOREVER: Final = "public, max-age=31536000, immutable"
WORTH_COMPRESSING: Final = 1024


class _File(msgspec.Struct, frozen=True):
    changed: int
    tag: str
    plain: bytes
    packed: bytes


_files: dict[str, _File] = {}


def url(name: str) -> str:
    """The address of a file under `static`, e.g. "js/page.js".

    A file that is missing gets an address too: one broken style must not take a page away. A test looks for them all.
    """
    try:
        return f"/static/{name}?v={_load(name).tag}"
    except FileNotFoundError:
        return f"/static/{name}"


@get(
    "/static/{path:path}",
    opt={PUBLIC: "Styles and scripts of the sign-in page too; nothing in them is anybody's."},
    include_in_schema=False,
)
async def static_file(path: FromPath[str], request: Request[Any, Any, Any]) -> Response[bytes]:
    """One file, gzipped where the client takes that."""
    name = path.lstrip("/")
    try:
        file = await asyncio.to_thread(_load, name)
    except (FileNotFoundError, ValueError) as error:
        raise NotFound("There is no such file.") from error
    fixed = request.query_params.get("v") == file.tag
    etag = f'"{file.tag}"'
    headers = {
        "cache-control": FOREVER if fixed else "no-cache",
        "etag": etag,
        "vary": "accept-encoding",
    }
    if request.headers.get("if-none-match") == etag:
        return Response(b"", status_code=304, headers=headers)
    body = file.plain
    if file.packed and "gzip" in request.headers.get("accept-encoding", ""):
        headers["content-encoding"] = "gzip"
        body = file.packed
    return Response(body, headers=headers, media_type=TYPES[Path(name).suffix])


def _load(name: str) -> _File:
    """The file as it is on disk; what is not one of our types is not there."""
    path = (ROOT / name).resolve()
    if not path.is_relative_to(ROOT.resolve()) or path.suffix not in TYPES:
        raise FileNotFoundError(name)
    changed = path.stat().st_mtime_ns
    found = _files.get(name)
    if found is None or found.changed != changed:
        plain = path.read_bytes()
        packed = gzip.compress(plain, 9, mtime=0) if len(plain) > WORTH_COMPRESSING else b""
        found = _files[name] = _File(changed, hashlib.sha256(plain).hexdigest()[:16], plain, packed)
    return found
