"""Memory of a cached pod with its whole object recoverable, the pause of a full garbage collection, and a resync."""

import json

from bench import process
from bench.report import Result, at_least, at_most


def measure(*, quick: bool) -> list[Result]:
    """Bytes of RSS a pod; full GC in ms; CPU s of filling 150,000 (scaled in a quick run)."""
    many, few = (20_000, 4_000) if quick else (150_000, 15_000)
    ours = json.loads(process.python("bench.cached", "store", str(many)))
    peer = json.loads(process.python("bench.cached", "dicts", str(few)))
    resync_s = ours["cpu_s"] * 150_000 / many
    return [
        at_most(
            "memory of a cached pod, whole object kept", ours["bytes"], "B", goal=1000, gate=1500, note=f"{many} pods"
        ),
        at_least(
            "the same, times less than dicts",
            1 / ours["bytes"],
            "1/B",
            beside="dict of json.loads",
            beside_value=1 / peer["bytes"],
            gate=30,
            goal=40,
        ),
        at_most("objects that did not come back byte for byte", 0 if ours["exact"] else 1, "", gate=0),
        at_most(f"full garbage collection with {many:,} pods", ours["gc_ms"], "ms", gate=20),
        at_most("resync of 150,000 pods until queryable", resync_s, "CPU-s", gate=8, note=f"measured with {many}"),
    ]
