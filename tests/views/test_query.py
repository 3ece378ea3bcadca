"""The filter language: one table of cases, held by the server's table and by the browser's own filter."""

import contextlib
import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from playwright.async_api import async_playwright

from app.authz.visibility import Scope
from app.views.query import LONGEST, MOST_TERMS, Query, QueryError, Sort, parse
from app.views.table import Table, known
from app.watch.schemas import Column, Row

CASES = json.loads((Path(__file__).parent / "filter_cases.json").read_text())
COLUMNS = [Column(*column) for column in CASES["columns"]]
EVERYTHING = Scope(all=True, bindings=(), key="all")
FILTER_JS = Path(__file__).parents[2] / "ui/static/js/live-filter.js"


@pytest.fixture(scope="module")
def table():
    found = Table()
    now = int(time.time())
    for number, row in enumerate(CASES["rows"]):
        found.adopt(row["cluster"], COLUMNS)
        cells = tuple(row["cells"])
        made = Row(str(number), row["namespace"], row["name"], now - row["age"], 0, cells, row["labels"])
        found.apply(row["cluster"], [made], ())
    return found


def names(table, text):
    terms, order = parse(text, "", COLUMNS)
    return {row.values[2] for row in table.window(EVERYTHING, Query(terms, order), 0, 100)}


@pytest.mark.parametrize(("text", "expected"), CASES["finds"])
def test_a_filter_finds_its_rows_on_the_server(table, text, expected) -> None:
    assert names(table, text) == set(expected)
    terms, order = parse(text, "", COLUMNS)
    assert table.count(EVERYTHING, Query(terms, order)) == len(expected)


@pytest.mark.parametrize(("text", "message"), CASES["errors"])
def test_a_wrong_filter_is_refused_with_a_position(text, message) -> None:
    with pytest.raises(QueryError) as caught:
        parse(text, "", COLUMNS)
    assert message in str(caught.value)


def test_a_filter_that_is_too_long_is_refused() -> None:
    parse("x" * LONGEST, "", COLUMNS)
    with pytest.raises(QueryError, match="longer than"):
        parse("x" * (LONGEST + 1), "", COLUMNS)


async def test_a_filter_means_the_same_in_the_browser() -> None:
    now = int(time.time())
    rows = [
        [n, "id", 0, row["labels"], "", row["cluster"], row["namespace"], row["name"], now - row["age"]]
        + [known(cell) for cell in row["cells"]]
        for n, row in enumerate(CASES["rows"])
    ]
    common = [("cluster", "Cluster", "text"), ("namespace", "Namespace", "text"), ("name", "Name", "text")]
    columns = [{"key": k, "title": t, "type": y} for k, t, y in [*common, ("age", "Age", "time"), *CASES["columns"]]]
    texts = [text for text, _ in CASES["finds"] + CASES["errors"]] + ["x" * (LONGEST + 1)]
    script = """async ([source, columns, rows, texts]) => {
      const { matcher, QueryError } = await import("data:text/javascript;charset=utf-8," + encodeURIComponent(source));
      return texts.map((text) => {
        try { return rows.filter(matcher(text, columns, 5)).map((row) => row[7]); }
        catch (error) { if (error instanceof QueryError) return error.message; throw error; }
      });
    }"""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = await browser.new_page()
        found = dict(
            zip(texts, await page.evaluate(script, [FILTER_JS.read_text(), columns, rows, texts]), strict=True)
        )
        await browser.close()

    assert {text: found[text] for text, _ in CASES["finds"]} == dict(CASES["finds"])
    assert [text for text, message in CASES["errors"] if message not in found[text]] == []
    assert "longer than" in found["x" * (LONGEST + 1)]


def test_a_sort_order_names_a_column() -> None:
    assert parse("", "", COLUMNS)[1] == Sort("name")
    assert parse("", "-restarts", COLUMNS)[1] == Sort("restarts", descending=True)
    with pytest.raises(QueryError, match='no column "nobody" to sort by'):
        parse("", "nobody", COLUMNS)


@given(st.text(max_size=60))
def test_whatever_is_typed_is_a_query_or_a_refusal(text) -> None:
    with contextlib.suppress(QueryError):
        terms, _ = parse(text, "", COLUMNS)
        assert len(terms) <= MOST_TERMS
