"""One connection to each cluster's API server, shared by all who look at objects, and the kinds that it serves.

Opened at the first use and again when the cluster's registration changed; bounded, the longest unused closes first.
"""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator
from typing import Final, Self

from app.clock import SYSTEM_CLOCK, Clock
from app.clusters.schemas import Cluster
from app.clusters.service import ClusterService
from app.kube import discovery
from app.kube.client import ApiServer
from app.watch.schemas import ResourceRef

MOST_OPEN: Final = 64
KINDS_FRESH_S: Final = 60.0


class _Open:
    """A cluster's connection as of one version of its registration. users: requests in it."""

    def __init__(self, version: int, api: ApiServer) -> None:
        self.version = version
        self.api = api
        self.users = 0
        self.kinds: dict[str, ResourceRef] = {}
        self.kinds_at = -KINDS_FRESH_S
        self.lock = asyncio.Lock()


class Connections:
    """An async context manager; what is open is closed at its end."""

    def __init__(self, clusters: ClusterService, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clusters = clusters
        self._clock = clock
        self._open: OrderedDict[str, _Open] = OrderedDict()
        self._opening = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        while self._open:
            await self._close(next(iter(self._open)))

    @contextlib.asynccontextmanager
    async def to(self, cluster: Cluster) -> AsyncIterator[ApiServer]:
        """The connection to a cluster, kept open for the next."""
        opened = await self._opened(cluster)
        opened.users += 1
        try:
            yield opened.api
        finally:
            opened.users -= 1

    async def kinds(self, cluster: Cluster) -> dict[str, ResourceRef]:
        """The kinds that the cluster serves, by key; a minute old at most. Raises `KubeError`."""
        opened = await self._opened(cluster)
        async with opened.lock:
            if self._clock.monotonic() - opened.kinds_at >= KINDS_FRESH_S:
                found = (await discovery.discover(opened.api)).resources
                refs = [ResourceRef(r.group, r.version, r.resource, r.kind, r.namespaced) for r in found]
                opened.kinds = {ref.key: ref for ref in refs}
                opened.kinds_at = self._clock.monotonic()
            return opened.kinds

    async def _opened(self, cluster: Cluster) -> _Open:
        async with self._opening:
            found = self._open.get(cluster.id)
            if found is not None and found.version != cluster.version:
                await self._close(cluster.id)
                found = None
            if found is None:
                api = ApiServer(await self._clusters.endpoint(cluster.id))
                await api.__aenter__()
                found = self._open[cluster.id] = _Open(cluster.version, api)
                await self._make_room()
            self._open.move_to_end(cluster.id)
            return found

    async def _make_room(self) -> None:
        idle = [key for key, opened in self._open.items() if not opened.users]
        for key in idle[: max(0, len(self._open) - MOST_OPEN)]:
            await self._close(key)

    async def _close(self, cluster_id: str) -> None:
        await self._open.pop(cluster_id).api.__aexit__(None, None, None)
