"""Structure as tests: sizes, nouns, tasks, templates. An exception is a line here, with its reason."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULE_LINES = 400
FUNCTION_LINES = 50
LONG_MODULES: dict[str, str] = {}
LONG_FUNCTIONS: dict[str, str] = {}
BANNED_WORDS = {"utils", "util", "helpers", "helper", "base", "manager", "data", "info", "common", "misc"}


def sources(*packages: str) -> Iterator[Path]:
    for package in packages:
        yield from sorted((ROOT / package).rglob("*.py"))


def code_lines(text: str, first: int = 1, last: int | None = None) -> int:
    """Lines between `first` and `last` that are neither blank, comment nor docstring."""
    tree = ast.parse(text)
    prose: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            prose.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = text.splitlines()
    return sum(
        1
        for number, line in enumerate(lines[first - 1 : last], first)
        if line.strip() and not line.strip().startswith("#") and number not in prose
    )


@pytest.mark.parametrize("path", list(sources("app", "ui", "kubesim")), ids=lambda p: str(p.relative_to(ROOT)))
def test_modules_and_functions_stay_small(path: Path) -> None:
    text, name = path.read_text(), str(path.relative_to(ROOT))

    if name not in LONG_MODULES:
        assert code_lines(text) <= MODULE_LINES, f"{name} is too long: split it by subject"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and f"{name}:{node.name}" not in LONG_FUNCTIONS:
            length = code_lines(text, node.lineno, node.end_lineno)
            assert length <= FUNCTION_LINES, f"{name}:{node.name} has {length} lines"


def test_exceptions_to_the_size_budget_still_exist() -> None:
    for name in LONG_MODULES:
        assert (ROOT / name).exists(), f"{name} is gone: remove its exception"
    for name in LONG_FUNCTIONS:
        assert f"def {name.partition(':')[2]}(" in (ROOT / name.partition(":")[0]).read_text()


def test_every_module_says_what_it_is() -> None:
    silent = [str(p) for p in sources("app", "ui", "kubesim") if not ast.get_docstring(ast.parse(p.read_text()))]

    assert silent == []


def test_no_module_is_named_after_nothing() -> None:
    vague = [str(p) for p in sources("app", "ui", "kubesim") if {p.stem, *p.stem.split("_")} & BANNED_WORDS]

    assert vague == []


def test_logs_are_events_and_keys_not_prose() -> None:
    found = []
    for path in sources("app", "ui"):
        found += [f"{path}: {m[0]}" for m in re.finditer(r"\blog\.\w+\(\s*f[\"']", path.read_text())]

    assert found == []


def test_templates_never_switch_escaping_off() -> None:
    found = [
        f"{path}: {m[0]}"
        for path in sorted((ROOT / "ui").rglob("*.html"))
        for m in re.finditer(r"\|\s*safe\b|autoescape\s+false|\bon[a-z]+=|hx-on|\bjs:|style=\"", path.read_text())
    ]

    assert found == []


def test_page_templates_extend_the_layout() -> None:
    pages = [p for p in (ROOT / "ui/templates").rglob("*.html") if not p.name.startswith("_")]
    naked = [str(p) for p in pages if p.name != "layout.html" and "{% extends" not in p.read_text()]

    assert pages, "there are no templates: this test would prove nothing"
    assert naked == []
