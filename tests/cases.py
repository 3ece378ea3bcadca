"""`make cases`: every checklist row of the design pages, the tests that prove it, and their last result.

Rows are due when their issue is in work: DUE below. Fails for a due row without a test. The last results come
from `.cases.json`, which the pytest plugin in tests/conftest_cases.py writes.
"""

import json
import sys
from pathlib import Path
from typing import Final

from tests.conftest_cases import RESULTS

DUE: Final = {
    "W": [f"W{n:02d}" for n in range(1, 41)],
    "F": [f"F{n:02d}" for n in range(1, 13)],
}


def main() -> int:
    """Print the table; 1 when a due row has no test or its last run failed."""
    path = Path(RESULTS)
    results: dict[str, dict[str, str]] = json.loads(path.read_text()) if path.exists() else {}
    due = [row for rows in DUE.values() for row in rows]
    extra = sorted(set(results) - set(due))
    missing, failed = [], []
    for row in due + extra:
        tests = results.get(row, {})
        verdicts = set(tests.values())
        verdict = "no test" if not tests else "failed" if "failed" in verdicts else "/".join(sorted(verdicts))
        if not tests and row in due:
            missing.append(row)
        if "failed" in verdicts:
            failed.append(row)
        print(f"{row:5} {verdict:16} {', '.join(sorted(tests)) or '-'}")
    print(f"{len(due) - len(missing)} of {len(due)} due rows have tests; {len(missing)} without, {len(failed)} failing")
    if missing:
        print("without a test:", " ".join(missing))
    return 1 if missing or failed else 0


if __name__ == "__main__":
    sys.exit(main())
