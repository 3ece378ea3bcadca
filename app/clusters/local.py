"""The kubeconfig of whoever runs the server on their own machine: what it offers, and one context of it on demand.

It is this person's file, so it is offered to this person alone: when the server listens on loopback and the request
came over loopback by a loopback name and through no proxy. Only names and addresses are shown; nothing is imported
unless it is asked for by name.
"""

import ipaddress
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from app.clusters.documents import LARGEST_BYTES
from app.problems import NotFound
from app.settings import Settings

FORWARDED: Final = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip")


def path_of(environ: Mapping[str, str] = os.environ) -> Path:
    """The file that kubectl reads: the first one that KUBECONFIG names, else `~/.kube/config`."""
    named = environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    return Path(named) if named else Path.home() / ".kube" / "config"


def is_offered(settings: Settings, *, peer: str, host: str, headers: Iterable[str]) -> bool:
    """Whether a request from `peer` for the Host `host`, with headers of these names, is by who sits at the machine."""
    name = host.partition("]")[0].strip("[") if host.startswith("[") else host.partition(":")[0]
    return (
        _is_loopback(settings.host)
        and _is_loopback(peer)
        and _is_loopback(name)
        and not any(header.lower() in FORWARDED for header in headers)
    )


def read(path: Path) -> str:
    """The file's text; "" when there is none. Raises `NotFound` with a sentence when it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(LARGEST_BYTES + 1).decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise NotFound(f"The kubeconfig of this machine cannot be read: {error.strerror}.") from error


def _is_loopback(name: str) -> bool:
    if name.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
