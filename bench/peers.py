"""The peers, each as a process of its own: `python -m bench.peers NAME PORT [CA]`.

Prints events, bytes, CPU microseconds and peak RSS in kB.
"""

import asyncio
import resource
import sys
from pathlib import Path


def used() -> tuple[int, int]:
    """CPU microseconds (user + system) and peak RSS in kB of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return int((usage.ru_utime + usage.ru_stime) * 1e6), usage.ru_maxrss


def say(events: int, size: int, before: tuple[int, int]) -> None:
    cpu, rss = used()
    print(events, size, cpu - before[0], rss)


async def kubernetes_asyncio_watch(port: int, ca: Path | None) -> None:
    """kubernetes-asyncio's own Watch with its model objects: what a program written after its README does."""
    from kubernetes_asyncio import client, watch

    configuration = client.Configuration()
    configuration.host = f"{'https' if ca else 'http'}://127.0.0.1:{port}"
    if ca:
        configuration.ssl_ca_cert = str(ca)
    async with client.ApiClient(configuration) as api:
        core = client.CoreV1Api(api)
        events = 0
        before = used()
        async with watch.Watch() as w:
            async for _ in w.stream(core.list_pod_for_all_namespaces, timeout_seconds=1):
                events += 1
        say(events, 0, before)


PEERS = {"kubernetes_asyncio": kubernetes_asyncio_watch}


def main() -> None:
    name, port, *rest = sys.argv[1:]
    asyncio.run(PEERS[name](int(port), Path(rest[0]) if rest else None))


if __name__ == "__main__":
    main()
