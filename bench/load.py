"""A simulated cluster whose pods' restart counts say when they were written, in tenths of a millisecond since `base`.

`python -m bench.load DIRECTORY PODS CHANGES` prints a line of JSON, kubeconfig and base (seconds since 1970). Runs for
ever.
"""

import asyncio
import json
import random
import sys
import time
from pathlib import Path
from typing import Any

import uvloop

from kubesim.fleet import Fleet, Plan

TURN_S = 0.005


async def main(directory: Path, pods: int, changes: float) -> None:
    async with Fleet(Plan(clusters=1, pods=pods, changes_per_s=0, incidents=False), directory) as fleet:
        store, rng, base = fleet.clusters[0].store, random.Random(7), time.time()
        places = [entry.object["metadata"] for entry in store.entries("pods")]
        print(json.dumps({"kubeconfig": fleet.kubeconfig(), "base": base}), flush=True)
        began, done = time.monotonic(), 0
        while True:
            while done < (time.monotonic() - began) * changes:
                done += 1
                meta = rng.choice(places)
                pod = store.find("pods", meta["namespace"], meta["name"])
                if pod is not None:
                    store.change("pods", pod, status=stamped(pod["status"], base))
            await asyncio.sleep(TURN_S)


def stamped(status: dict[str, Any], base: float) -> dict[str, Any]:
    containers = status.get("containerStatuses")
    if not containers:
        return status
    first = {**containers[0], "restartCount": int((time.time() - base) * 10_000)}
    return {**status, "containerStatuses": [first, *({**each, "restartCount": 0} for each in containers[1:])]}


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
