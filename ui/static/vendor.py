"""Fetch the front-end files of other projects and record package, version, member, hash and licence in a manifest.

Run by `make vendor` with npm installed, never by the product: what it wrote is in the tree, and a test hashes it again.
An entry whose version did not change must not change its hash either; then this stops and writes nothing.
"""

import hashlib
import io
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
MANIFEST = Path(__file__).parent / "vendor" / "manifest.json"


def pack(package: str, version: str, directory: str) -> bytes:
    """The package's archive, as npm's own client fetches and verifies it."""
    command = ["npm", "pack", "--silent", "--pack-destination", directory, f"{package}@{version}"]
    name = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip().splitlines()[-1]  # noqa: S603 - fixed words and our own manifest
    return (Path(directory) / name).read_bytes()


def fetch(entry: dict[str, Any], archive: bytes) -> bytes:
    """One member of the archive; raises `SystemExit` when it is not what the manifest says."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        member = files.extractfile(f"package/{entry['member']}")
        if member is None:
            raise SystemExit(f"{entry['package']} has no file {entry['member']}")
        content = member.read()
    digest = hashlib.sha256(content).hexdigest()
    if entry.get("sha256") not in {None, digest}:
        raise SystemExit(f"{entry['file']} is not what it was at {entry['version']}: expected {entry['sha256']}")
    entry["sha256"] = digest
    return content


def main() -> None:
    """Fetch all entries; a new one is written without its hash, an update with a new version and no hash."""
    entries: list[dict[str, Any]] = json.loads(MANIFEST.read_text())
    archives: dict[str, bytes] = {}
    contents: dict[Path, bytes] = {}
    with tempfile.TemporaryDirectory() as directory:
        for entry in entries:
            name = f"{entry['package']}@{entry['version']}"
            if name not in archives:
                archives[name] = pack(entry["package"], entry["version"], directory)
            contents[ROOT / entry["file"]] = fetch(entry, archives[name])
    for path, content in contents.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    MANIFEST.write_text(json.dumps(entries, indent=2) + "\n")
    sys.stdout.write(f"{len(contents)} files\n")


if __name__ == "__main__":
    main()
