"""The rule of nouns: a feature has the same name everywhere. An exception is a line here, with its reason."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOMES = ("app/{}", "ui/pages/{}.py", "ui/templates/{}", "tests/{}", "e2e/test_{}.py", "docs/{}.md")
FEATURES = ("clusters", "resources")
ELSEWHERE = {
    "e2e/test_clusters.py": "registering is one story with the fleet that shows the cluster: e2e/test_pages.py",
    "e2e/test_resources.py": "the page is a frame around the table: e2e/test_live_table.py",
}
PAGES_WITHOUT_FEATURE = {
    "fleet": "the fleet is app.views' and app.watch's: it has no verbs of its own",
    "objects": "one object is app.resources'",
    "sign_in": "accounts are app.authn's",
    "containers": "a part of the object page",
}


@pytest.mark.parametrize("feature", FEATURES)
def test_a_feature_has_its_six_homes(feature: str) -> None:
    missing = [home.format(feature) for home in HOMES if not (ROOT / home.format(feature)).exists()]

    assert sorted(set(missing) - ELSEWHERE.keys()) == []


def test_every_page_belongs_to_a_feature_or_says_why_not() -> None:
    pages = {path.stem for path in (ROOT / "ui/pages").glob("*.py")} - {"__init__"}

    assert sorted(pages - set(FEATURES) - PAGES_WITHOUT_FEATURE.keys()) == []
    assert sorted(PAGES_WITHOUT_FEATURE.keys() - pages) == [], "gone: remove the line"
