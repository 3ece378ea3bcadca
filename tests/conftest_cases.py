"""A pytest plugin: notes the result of each test that carries `@pytest.mark.case("W01")`, and merges it into a file.

Parametrized variants of a test count as one test, which failed when one of them failed. A test that was
collected but not run yet (a slow one) is noted as "not run" until it is.
"""

import json
import os
from pathlib import Path
from typing import Final

import pytest

RESULTS: Final = ".cases.json"


def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    config.stash[_SEEN] = {}
    for item in items:
        for mark in item.iter_markers("case"):
            for row in mark.args:
                config.stash[_SEEN].setdefault(row, {})[_name(item)] = "not run"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    outcome = yield
    report = outcome.get_result()
    seen = item.config.stash.get(_SEEN, {})
    for mark in item.iter_markers("case"):
        for row in mark.args:
            tests = seen.setdefault(row, {})
            known = tests.get(_name(item), "not run")
            if report.failed:
                tests[_name(item)] = "failed"
            elif report.when == "call" and known != "failed":
                tests[_name(item)] = report.outcome


def pytest_sessionfinish(session: pytest.Session) -> None:
    seen = session.config.stash.get(_SEEN, None)
    if not seen or hasattr(session.config, "workerinput"):
        return
    path = Path(session.config.rootpath) / RESULTS
    results = json.loads(path.read_text()) if path.exists() else {}
    for row, tests in seen.items():
        merged = results.setdefault(row, {})
        for name, verdict in tests.items():
            if verdict != "not run" or name not in merged:
                merged[name] = verdict
    scratch = path.with_suffix(f".{os.getpid()}")
    scratch.write_text(json.dumps(results, indent=1, sort_keys=True))
    scratch.replace(path)


def _name(item: pytest.Item) -> str:
    return item.nodeid.partition("[")[0]


_SEEN: Final = pytest.StashKey[dict[str, dict[str, str]]]()
