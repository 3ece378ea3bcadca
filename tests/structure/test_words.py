"""What must not stand in the tree: paths of one machine, registry hosts in locks, unpinned requirements."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def tracked() -> list[Path]:
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / n for n in names.split("\0") if n and (ROOT / n).is_file()]


def test_locks_pin_every_requirement_with_hashes_and_name_no_registry() -> None:
    locks = sorted((ROOT / "requirements").glob("*.lock"))
    assert locks
    for lock in locks:
        text = lock.read_text()
        assert not re.search(r"https?://|--index|--find-links", text), lock.name
        entries = re.split(r"\n(?=\S)", text.strip())
        assert all("==" in e and "--hash=sha256:" in e for e in entries), lock.name


def test_no_path_of_one_machine_is_in_the_tree() -> None:
    here = re.compile(r"/(?:work|root)/(?:main|shared|\.)|\.pyenv")
    found = []
    for path in tracked():
        if "fixtures" in path.parts or path == Path(__file__) or path.suffix in {".lock", ".png", ".bin"}:
            continue
        text = path.read_text(errors="ignore")
        found += [f"{path.relative_to(ROOT)}: {m[0]}" for m in here.finditer(text)]

    assert found == []
