"""The cookie that holds a session's secret, and where a sign-in may lead afterwards. Pure."""

import re
from typing import Final

TLS_COOKIE: Final = "__Host-kubenexus"  # the prefix makes a browser insist on Secure, Path=/ and no Domain
PLAIN_COOKIE: Final = "kubenexus"  # http is for loopback and trusted networks; __Host- would not be stored there
# One slash, then nothing that a browser could take for the beginning of a host, and no control or blank anywhere.
_LOCAL: Final = re.compile(r"/(?![/\\])[!#-\[\]-~]*")


def cookie_name(origin: str) -> str:
    """The name that belongs to pages of `origin`; the other one is never read there."""
    return TLS_COOKIE if origin.startswith("https://") else PLAIN_COOKIE


def local_path(wanted: str) -> str:
    """`wanted` when it is a path of this server, else "/": a sign-in page must not lead elsewhere (security.md S67)."""
    if not _LOCAL.fullmatch(wanted) or wanted.startswith(("/sign-in", "/sign-out")):
        return "/"
    return wanted
