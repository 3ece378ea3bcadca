"""JSON or console events with redaction: `log.info("watch.relisted", cluster=…, objects=…)`.

Whatever comes from a cluster is hostile text: control characters are escaped before they reach a terminal
or a file (security.md S51). Values under a key that names a secret are replaced.
"""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Final

import structlog

SECRET_KEYS: Final = re.compile(
    r"password|token|secret|authorization|cookie|kubeconfig|private|credential|api_?key", re.IGNORECASE
)
CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def configure(level: str, form: str) -> None:
    """Set the process's logging up once; `form` is "console" or "json"."""
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info if form == "json" else _keep,
            redact,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=max(logging.WARNING, getattr(logging, level.upper())), format="%(name)s %(message)s")


def redact(_logger: object, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace what a key calls a secret and escape control characters in every text."""
    for key, value in event.items():
        if SECRET_KEYS.search(key) and value:
            event[key] = "[redacted]"
        elif isinstance(value, str):
            event[key] = CONTROL.sub(_escape, value)
    return event


def _escape(match: re.Match[str]) -> str:
    return f"\\x{ord(match[0]):02x}"


def _keep(_logger: object, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return event
