"""A filtered, sorted page of 50 rows in one process, beside a linear scan in Python; and what a change costs."""

import random
import time
from collections.abc import Callable

from app.authz.visibility import Scope
from app.views.query import Query, parse
from app.views.table import Table
from app.watch.schemas import Column, Row
from bench.report import Result, at_least, at_most, figure

COLUMNS = [
    Column("ready", "Ready", "ratio"),
    Column("status", "Status", "status"),
    Column("restarts", "Restarts", "number"),
    Column("node", "Node"),
    Column("ip", "IP"),
]
EVERYTHING = Scope(all=True, bindings=(), key="all")
ASKED = {
    "equal": ("status=pending", "-age"),
    "substring with hits": ("web", "-restarts"),
    "substring with no hit": ("zzzznothing", "name"),
    "number": ("restarts>2", "-restarts"),
}
GATES_MS = {100_000: 2.0, 500_000: 5.0}


def measure(*, quick: bool) -> list[Result]:
    """CPU ms of a page at two sizes, by query; the count beside it; CPU µs of an upsert."""
    results: list[Result] = []
    for size in (100_000,) if quick else (100_000, 500_000):
        table = filled(size)
        for name, (text, sort) in ASKED.items():
            query = Query(*parse(text, sort, COLUMNS))
            page = p99(lambda query=query, table=table: table.window(EVERYTHING, query, 0, 50), 20 if quick else 100)
            results.append(at_most(f"page of 50, {name}, {size:,} rows", page * 1e3, "ms CPU", gate=GATES_MS[size]))
            count = p99(lambda query=query, table=table: table.count(EVERYTHING, query), 5)
            results.append(figure(f"count, {name}, {size:,} rows", count * 1e3, "ms CPU"))
        results.append(beside_a_scan(table, size))
        results.append(upserts(table, size))
    return results


def p99(work: Callable[[], object], rounds: int) -> float:
    """CPU seconds of the slowest but a hundredth, after one call that makes indexes."""
    work()
    taken = []
    for _ in range(rounds):
        before = time.process_time()
        work()
        taken.append(time.process_time() - before)
    return sorted(taken)[min(rounds - 1, int(rounds * 0.99))]


def row(number: int, rng: random.Random) -> Row:
    name = f"{rng.choice(['web', 'api', 'pay', 'db'])}-{rng.randrange(16**9):09x}-{number:05x}"
    status = rng.choice(["Running"] * 30 + ["Pending", "CrashLoopBackOff"])
    cells = ("1/1", status, rng.choice([0] * 20 + [1, 2, 3, 50]), f"node-{number % 500}", f"10.0.{number % 251}.7")
    created = 1_700_000_000 + rng.randrange(10**7)
    return Row(f"u{number}", f"ns-{number % 300}", name, created, 1, cells, "app=web,tier=front")


def filled(size: int) -> Table:
    rng, table = random.Random(1), Table(COLUMNS)
    for cluster in range(10):
        table.adopt(f"c{cluster}", COLUMNS)
        for first in range(0, size // 10, 2_000):
            last = min(first + 2_000, size // 10)
            table.apply(f"c{cluster}", [row(n, rng) for n in range(first, last)], ())
    return table


def beside_a_scan(table: Table, size: int) -> Result:
    """A page of a substring with hits, against a loop over tuples that finds and sorts the same."""
    rows = [shown.values for shown in table.everything(EVERYTHING, Query())]

    def scan() -> object:
        found = [v for v in rows if any(isinstance(cell, str) and "web" in cell.lower() for cell in v)]
        return sorted(found, key=lambda v: (-(v[6] or 0), v[2], v[0], v[1]))[:50]  # type: ignore[operator]

    query = Query(*parse("web", "-restarts", COLUMNS))
    ours, theirs = p99(lambda: table.window(EVERYTHING, query, 0, 50), 20), p99(scan, 3)
    name = f"pages a CPU-second, {size:,} rows"
    return at_least(name, 1 / ours, "1/s", beside="a linear scan", beside_value=1 / theirs, gate=20, goal=50)


def upserts(table: Table, size: int) -> Result:
    rng = random.Random(2)
    fresh = [row(n, rng) for n in range(2_000)]
    before = time.process_time()
    for first in range(0, len(fresh), 50):
        table.apply("c0", fresh[first : first + 50], ())
    return figure(f"a changed row, {size:,} rows", (time.process_time() - before) / len(fresh) * 1e6, "µs CPU")
