"""What a measurement says, and the files it goes to: `bench/results/latest.json` and a table."""

import json
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Final

import msgspec

RESULTS: Final = Path(__file__).parent / "results"


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One figure.

    beside: the peer's figure in the same run, None where there is none. ratio: ours against the peer's, the way
    round that `target` names. met: None where there is no target (the figure is for information).
    """

    name: str
    value: float
    unit: str
    beside: str = ""
    beside_value: float | None = None
    ratio: float | None = None
    target: str = ""
    met: bool | None = None
    note: str = ""


def at_least(
    name: str, value: float, unit: str, *, beside: str, beside_value: float, gate: float, goal: float, note: str = ""
) -> Result:
    """Higher is better: ours / peer must reach `gate` to count as met; `goal` is what we are after."""
    ratio = value / beside_value if beside_value else float("inf")
    return Result(
        name=name,
        value=round(value, 3),
        unit=unit,
        beside=beside,
        beside_value=round(beside_value, 3),
        ratio=round(ratio, 2),
        target=f">= {goal} x (gate {gate} x)",
        met=ratio >= gate,
        note=note,
    )


def at_most(name: str, value: float, unit: str, *, gate: float, goal: float | None = None, note: str = "") -> Result:
    """Lower is better, against a fixed bound in `unit`."""
    goal_text = f"<= {goal} (gate {gate})" if goal is not None and goal != gate else f"<= {gate}"
    return Result(name=name, value=round(value, 3), unit=unit, target=goal_text, met=value <= gate, note=note)


def figure(name: str, value: float, unit: str, note: str = "") -> Result:
    """A figure without a target."""
    return Result(name=name, value=round(value, 3), unit=unit, note=note)


def machine() -> dict[str, object]:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "cores": os.cpu_count(),
        "load": [round(x, 2) for x in os.getloadavg()],
        "python": platform.python_version(),
        "kernel": platform.release(),
        "commit": commit.stdout.strip(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def write(results: list[Result], directory: Path = RESULTS) -> None:
    """Merge into `latest.json` by name (so that `--only` keeps the rest) and write the table beside it."""
    directory.mkdir(exist_ok=True)
    path = directory / "latest.json"
    known = {r["name"]: r for r in json.loads(path.read_text())} if path.exists() else {}
    known.update({r.name: msgspec.to_builtins(r) for r in results})
    path.write_text(json.dumps(list(known.values()), indent=1) + "\n")
    (directory / "machine.json").write_text(json.dumps(machine(), indent=1) + "\n")
    (directory / "latest.md").write_text(table([msgspec.convert(r, Result) for r in known.values()]))


def table(results: list[Result]) -> str:
    lines = ["| what | ours | beside | ratio | target | met |", "|---|---|---|---|---|---|"]
    for r in results:
        beside = f"{r.beside}: {r.beside_value:,g}" if r.beside_value is not None else r.beside
        met = {True: "yes", False: "**no**", None: ""}[r.met]
        ratio = "" if r.ratio is None else f"{r.ratio:g} x"
        lines.append(f"| {r.name} | {r.value:,g} {r.unit} | {beside} | {ratio} | {r.target} | {met} |")
    return "\n".join(lines) + "\n"
