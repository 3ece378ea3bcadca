"""`python -m bench run [--quick] [--only ingest,query]` measures; `python -m bench table` prints the last results."""

import argparse
import importlib
import importlib.util
import json
import sys
from collections.abc import Callable

import msgspec

from bench.report import RESULTS, Result, table, write

SUITES = ("ingest", "cache", "fanout", "push", "query", "end_to_end", "browser", "startup")


def main() -> int:
    """0 when every gate that was measured is met, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="bench")
    parser.add_argument("command", choices=["run", "table"])
    parser.add_argument("--quick", action="store_true", help="smaller counts and fewer rounds: for a look, not a claim")
    parser.add_argument("--only", default="", help="suites, by commas: " + ", ".join(available()))
    options = parser.parse_args()
    if options.command == "table":
        known = json.loads((RESULTS / "latest.json").read_text())
        print(table([msgspec.convert(r, Result) for r in known]))
        return 0
    chosen = [name for name in options.only.split(",") if name] or available()
    results: list[Result] = []
    for name in chosen:
        print(f"==> {name}", file=sys.stderr, flush=True)
        measure: Callable[..., list[Result]] = importlib.import_module(f"bench.{name}").measure
        found = measure(quick=options.quick)
        results += found
        write(found)
        print(table(found), flush=True)
    missed = [r.name for r in results if r.met is False]
    if missed:
        print("below the gate:", "; ".join(missed))
    return 1 if missed else 0


def available() -> list[str]:
    """The suites that exist, in the order they run."""
    return [name for name in SUITES if importlib.util.find_spec(f"bench.{name}")]


if __name__ == "__main__":
    sys.exit(main())
