"""Which Host headers are ours, and which Origin belongs to each. Pure."""

import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit

import msgspec

from app.settings import Settings, SettingsError

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
DEFAULT_PORTS: Final = {"http": 80, "https": 443}
# One host and at most one port: anything else (user@, paths, lists, blanks) is nobody's.
_HOST: Final = re.compile(r"(?P<name>[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::(?P<port>[0-9]{1,5}))?")


class Origins(msgspec.Struct, frozen=True):
    """The hosts that this server answers to.

    Loopback names are answered on any port: a container's port may be mapped to another one, and no page from
    elsewhere can send such a Host header. All other names must be given by the `public_url` setting.
    scheme, name, port: of the public URL; name "" when there is none.
    """

    scheme: str = "http"
    name: str = ""
    port: int = 80

    def of(self, host: str) -> str | None:
        """The Origin of pages served under this Host header, e.g. "https://kn.example"; None when it is not ours."""
        match = _HOST.fullmatch(host)
        if match is None:
            return None
        name = match["name"].lower()
        if name == self.name and int(match["port"] or DEFAULT_PORTS[self.scheme]) == self.port:
            return _origin(self.scheme, name, self.port)
        if name in LOOPBACK:
            return _origin("http", name, int(match["port"] or 80))
        return None


def origins(settings: Settings) -> Origins:
    """By the settings `public_url`, else `host` and `port`; raises `SettingsError` for a URL that is no origin."""
    if not settings.public_url:
        host = settings.host if _is_address(settings.host) else ""
        return Origins("http", host.lower(), settings.port) if host else Origins()
    parts = urlsplit(settings.public_url)
    try:
        port = parts.port
    except ValueError:
        port = -1
    whole = parts.scheme in DEFAULT_PORTS and parts.hostname and parts.path in {"", "/"}
    if not whole or parts.username or parts.query or parts.fragment or port == -1:
        raise SettingsError('public_url must be like "https://kubenexus.example" or "http://10.0.0.5:8420"')
    name = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    return Origins(parts.scheme, name.lower(), port or DEFAULT_PORTS[parts.scheme])


def _is_address(host: str) -> bool:
    # A wildcard address is no name that a browser could use; it then takes public_url.
    try:
        return not ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return True


def _origin(scheme: str, name: str, port: int) -> str:
    return f"{scheme}://{name}" if DEFAULT_PORTS[scheme] == port else f"{scheme}://{name}:{port}"
