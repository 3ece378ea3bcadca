"""Docs as tests: every setting is in docs/reference.md with its default, and every command in the README or there."""

import re
from pathlib import Path

from app.settings import Secret, Settings

ROOT = Path(__file__).parents[2]


def test_every_setting_is_documented_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| `?([^`|]*?)`? \|", (ROOT / "docs/reference.md").read_text(), re.MULTILINE))

    settings = Settings()
    expected = {}
    for name in settings.__struct_fields__:
        value = getattr(settings, name)
        if value in (Secret(""), ""):
            expected[name] = "empty"
        elif isinstance(value, bool):
            expected[name] = str(value).lower()
        else:
            expected[name] = f"{value:g}" if isinstance(value, float) else str(value)
    assert rows == expected
