"""A watcher process of its own, for tests that kill or stop it: prints a line of JSON for each change of its leases.

usage: python -m tests.watch.holder DATABASE_URL HOLDER CLUSTER...
"""

import asyncio
import json
import sys
import time
from collections.abc import Mapping

from app.settings import Secret, Settings
from app.storage import postgres
from app.watch.assignment import Assignment, Terms


async def main(url: str, holder: str, clusters: list[str]) -> None:
    def changed(held: Mapping[str, int]) -> None:
        print(json.dumps({"at": time.monotonic(), "held": dict(held)}), flush=True)

    terms = Terms(ttl_s=float(clusters[0]), renew_s=float(clusters[0]) / 5)
    engine = postgres.engine(Settings(database_url=Secret(url)))
    assignment = Assignment(engine, holder, lambda: clusters[1:], changed, terms=terms)
    await assignment.run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
