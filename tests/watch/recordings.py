"""Recorded answers of a real API server, as these tests read them."""

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1] / "fixtures" / "kubernetes-traffic"


def read(path: str) -> bytes:
    return (ROOT / path).read_bytes()


def lines(path: str) -> list[bytes]:
    return read(path).splitlines()


def document(path: str) -> Any:
    return json.loads(read(path))


def table(name: str) -> dict[str, list[Any]]:
    """The cells that the server printed, by uid."""
    return {row["object"]["metadata"]["uid"]: row["cells"] for row in document(f"tables/{name}.json")["rows"]}


TAKEN = 1795406289.0
"""When the lists and tables were taken: 2026-11-23T03:58:09Z, seconds since 1970."""
