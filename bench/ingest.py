"""Ingest: the same bytes over the same kind of connection through our whole path, our receive path, and the peers.

Each variant is its own process; rounds are interleaved A B C A B C and the median is taken.
"""

import statistics
import tempfile
from pathlib import Path

from bench import lines, process
from bench.report import Result, at_least, figure


def measure(*, quick: bool) -> list[Result]:
    """Events per CPU second of the client process, from its own rusage."""
    rounds = 2 if quick else 5
    fast, slow = (8_000, 1_000) if quick else (20_000, 3_000)
    with tempfile.TemporaryDirectory() as scratch, process.compiled(Path(__file__).parent / "floor.c") as floor:
        directory = Path(scratch)
        many, few = directory / "many", directory / "few"
        many.write_bytes(b"".join(lines.watch_lines(fast)))
        few.write_bytes(b"".join(lines.watch_lines(slow)))
        with (
            process.serving("bench.replay", str(many), "--tls", scratch) as (_, many_tls),
            process.serving("bench.replay", str(few), "--tls", scratch) as (_, few_tls),
            process.serving("bench.replay", str(many)) as (_, many_plain),
        ):
            ca = str(directory / "tls.crt")
            variants = {
                "ours": lambda: _rate(process.python("bench.ours", "ingest", many_tls, ca)),
                "ours with blob": lambda: _rate(process.python("bench.ours", "ingest_blob", many_tls, ca)),
                "ours decode plain": lambda: _rate(process.python("bench.ours", "decode", many_plain)),
                "ours receive": lambda: _rate(process.python("bench.ours", "receive", many_plain)),
                "kubernetes_asyncio tls": lambda: _rate(
                    process.python("bench.peers", "kubernetes_asyncio", few_tls, ca)
                ),
            }
            if floor is not None:
                variants["floor"] = lambda: fast / int(process.run(str(floor), many_plain).split()[2]) * 1e6
            taken: dict[str, list[float]] = {name: [] for name in variants}
            for _ in range(rounds):
                for name, variant in variants.items():
                    taken[name].append(variant())
    return _results({name: statistics.median(rates) for name, rates in taken.items()})


def _rate(printed: str) -> float:
    """Events per CPU second from "events bytes cpu_us rss_kb"."""
    events, _, cpu_us, _ = (int(x) for x in printed.split())
    return events / cpu_us * 1e6


def _results(rate: dict[str, float]) -> list[Result]:
    peer = rate["kubernetes_asyncio tls"]
    beside = {"beside": "kubernetes-asyncio Watch with models, TLS", "beside_value": peer}
    unit = "events/CPU-s"
    results = [
        at_least("ingest, whole path, TLS", rate["ours"], unit, gate=40, goal=60, **beside),
        at_least(
            "ingest, whole path with full objects kept, TLS", rate["ours with blob"], unit, gate=28, goal=40, **beside
        ),
        at_least("ingest, decode only, plain", rate["ours decode plain"], unit, gate=100, goal=137, **beside),
    ]
    if "floor" in rate:
        results.append(
            at_least(
                "ingest, receive path without decode, plain",
                rate["ours receive"],
                unit,
                beside="C recv + memchr + copy",
                beside_value=rate["floor"],
                gate=0.6,
                goal=0.82,
            )
        )
    else:
        results.append(
            figure("ingest, receive path without decode, plain", rate["ours receive"], unit, "no C compiler")
        )
    return results
