"""The one jinja2 environment: escaping always on, unknown names are errors, and the few filters that pages share.

A value that is not known is drawn as a dash by `known`, never as 0.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

import jinja2
from markupsafe import Markup

from ui import assets

_environment: Final = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)


def render(template: str, **context: Any) -> Markup:
    """The text of a template, e.g. "fleet/index.html". It is markup, so that another template may hold it as it is."""
    # What the templates made of their values is escaped already; this is the one place that says so.
    return Markup(_environment.get_template(template).render(context))  # noqa: S704


def known(value: object) -> object:
    """The value, or a dash that says it is not known."""
    if value is None or value == "":
        return Markup('<span class="unknown" title="Not known yet">&ndash;</span>')
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else value


def instant(value: object) -> str:
    """ISO 8601 in UTC of seconds since 1970, of a datetime or of such text; "" for None and for nonsense."""
    try:
        if isinstance(value, int | float):
            value = datetime.fromtimestamp(value, UTC)
        if isinstance(value, datetime):
            return value.astimezone(UTC).isoformat(timespec="seconds")
        return datetime.fromisoformat(str(value)).astimezone(UTC).isoformat(timespec="seconds") if value else ""
    except (ValueError, OverflowError, OSError):
        return ""


def web_address(text: object) -> str:
    """The text when it is an http(s) URL that may be a link, else ""."""
    try:
        parts = urlsplit(str(text))
    except ValueError:
        return ""
    # Blanks and controls make browsers read another scheme than urlsplit does.
    plain = str(text).isprintable() and " " not in str(text)
    return str(text) if plain and parts.scheme in {"http", "https"} and parts.netloc else ""


def segment(text: object) -> str:
    """The text as one segment of a path."""
    return quote(str(text), safe="")


def object_url(cluster_id: str, key: str, namespace: str, name: str) -> str:
    """Where the page of an object is."""
    return f"/clusters/{segment(cluster_id)}/{segment(key)}/{segment(namespace or '-')}/{segment(name)}"


_environment.filters.update(known=known, instant=instant, web_address=web_address, segment=segment)
_environment.globals.update(static=assets.url, object_url=object_url)
