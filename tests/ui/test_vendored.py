"""Files of other projects are what the manifest says, and nothing else is beside them."""

import hashlib
import json
from pathlib import Path

ROOT = Path(__file__).parents[2]
MANIFEST = ROOT / "ui/static/vendor/manifest.json"
LICENCES = {"0BSD", "MIT", "Apache-2.0", "MPL-2.0"}


def test_every_vendored_file_has_the_hash_of_the_manifest() -> None:
    entries = json.loads(MANIFEST.read_text())

    assert entries
    for entry in entries:
        content = (ROOT / entry["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == entry["sha256"], entry["file"]


def test_nothing_is_vendored_that_the_manifest_does_not_name() -> None:
    named = {ROOT / entry["file"] for entry in json.loads(MANIFEST.read_text())} | {MANIFEST}
    found = {path for path in MANIFEST.parent.rglob("*") if path.is_file()}

    assert found <= named


def test_licences_are_known_and_the_copyleft_one_is_not_shipped() -> None:
    entries = json.loads(MANIFEST.read_text())

    assert {entry["licence"] for entry in entries} <= LICENCES
    assert all(entry["file"].startswith("tests/") for entry in entries if entry["licence"] == "MPL-2.0")
