"""The watcher role: mirrors the clusters whose leases this process holds, until SIGTERM or SIGINT."""

import asyncio
import signal

from app import tasks
from app.roles import services
from app.roles.collector import spare_collector
from app.settings import Settings
from app.watch.watcher import Watcher


async def serve(settings: Settings) -> None:
    """Run the role; on a signal the leases are given back, so that another watcher takes over at once."""
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with services.opened(settings) as found:
        watcher = Watcher(settings, found.engine, found.redis, found.clusters)
        spare_collector()
        async with tasks.running("watcher", tasks.supervise("watcher", watcher.run)):
            await stopping.wait()
