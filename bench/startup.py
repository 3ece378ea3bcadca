"""The web role from `exec` to its first answer, and what it holds then."""

import asyncio
import importlib.util
import resource
import subprocess
import sys
import time

from bench import process
from bench.installation import installed
from bench.report import Result, at_most, figure


def measure(*, quick: bool) -> list[Result]:
    """Wall and CPU seconds until /livez answers, memory; the import of scikit-learn beside it where installed."""
    rounds = asyncio.run(starts(2 if quick else 5))
    wall_s = min(r[0] for r in rounds)
    cpu_s = min(r[1] for r in rounds)
    results = [
        at_most("web role: until it answers", wall_s, "s", gate=2, note=f"best of {len(rounds)}, wall time"),
        at_most("web role: CPU until it answers", cpu_s, "CPU-s", gate=2),
        at_most("web role: memory when it answers", max(r[2] for r in rounds), "MB", gate=130),
    ]
    if importlib.util.find_spec("sklearn"):
        results.append(figure("import of scikit-learn alone, which the web role does not do", imported(), "CPU-s"))
    return results


async def starts(count: int) -> list[tuple[float, float, float]]:
    """(wall seconds, CPU seconds, MB) of each start."""
    found = []
    async with installed() as place:
        for _ in range(count):
            began = time.monotonic()
            with place.role("web") as web:
                await asyncio.to_thread(place.ready)
                wall_s = time.monotonic() - began
                found.append((wall_s, process.cpu_s(web.pid), process.rss_bytes(web.pid) / 1e6))
    return found


def imported() -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", "import sklearn.ensemble"], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
