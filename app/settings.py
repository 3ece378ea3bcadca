"""The settings of one process: environment and file into one frozen struct.

Never reads anything but the environment it is given and the file that this names. Secrets are kept
as `Secret`, whose repr and str are redacted, so that a settings object can be logged or printed.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

PREFIX: Final = "KUBENEXUS_"


class SettingsError(Exception):
    """A setting is missing, unknown or has a value that it cannot have; the message names it."""


class Secret:
    """Text that must not reach a log, a page or an error; `reveal()` is the only way to it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "Secret(redacted)" if self._text else "Secret(empty)"

    __str__ = __repr__


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All that an operator can set. Durations are seconds.

    data_dir: holds the embedded servers' data, the generated key and the recordings.
    database_url: `postgresql://…`; empty means the embedded PostgreSQL under `data_dir`.
    redis_url: `redis://…`, `rediss://…` or `unix://…`; empty means the embedded Valkey.
    encryption_key: 32 bytes, base64, the key-encryption key; empty means `data_dir/encryption.key`,
        made at the first start.
    public_url: where browsers reach us, for links, cookies and the Origin check; empty means the
        address that the server listens on.
    allow_loopback_clusters: whether a cluster's API server may be on this machine's loopback.
        On for `kubenexus run`'s own demo fleet; production leaves it off (security.md S05).
    on_demand_idle_s: how long a kind that no projection watches stays watched after its last viewer.
    """

    data_dir: Path = Path(".kubenexus")
    database_url: Secret = Secret("")
    redis_url: Secret = Secret("")
    encryption_key: Secret = Secret("")
    host: str = "127.0.0.1"
    port: int = 8420
    public_url: str = ""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["console", "json"] = "console"
    session_idle_s: float = 1800.0
    session_absolute_s: float = 12 * 3600.0
    allow_loopback_clusters: bool = False
    watch_tick_s: float = 0.03
    view_tick_s: float = 0.05
    on_demand_idle_s: float = 300.0
    lease_ttl_s: float = 5.0
    lease_renew_s: float = 1.0


def load(environ: Mapping[str, str], file: Path | None = None) -> Settings:
    """Read `file` (TOML), then `environ` (`KUBENEXUS_<NAME>`), which wins.

    Raises `SettingsError` for an unknown name or a value of the wrong type.
    """
    if file is None and (named := environ.get(PREFIX + "CONFIG")):
        file = Path(named)
    values: dict[str, Any] = _read_file(file) if file else {}
    for key, text in environ.items():
        if key.startswith(PREFIX) and key != PREFIX + "CONFIG":
            values[key.removeprefix(PREFIX).lower()] = text
    try:
        return msgspec.convert(values, Settings, strict=False, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{error}. Settings are listed in docs/reference.md") from error


def from_process() -> Settings:
    """The settings of the running process."""
    return load(os.environ)


def redacted(settings: Settings) -> dict[str, object]:
    """Every setting by name, secrets as `Secret(redacted)` or `Secret(empty)`."""
    return {name: _show(getattr(settings, name)) for name in settings.__struct_fields__}


def _show(value: object) -> object:
    return value if isinstance(value, bool | int | float) else str(value)


def _decode(kind: type, value: Any) -> Any:
    if kind is Secret and isinstance(value, str):
        return Secret(value)
    if issubclass(kind, Path) and isinstance(value, str):
        return Path(value)
    raise msgspec.ValidationError(f"cannot read {type(value).__name__} as {kind.__name__}")


def _read_file(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text())
    except OSError as error:
        raise SettingsError(f"cannot read the settings file {file}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{file} is not TOML: {error}") from error
