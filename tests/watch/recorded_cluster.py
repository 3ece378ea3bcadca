"""A cluster that answers with recorded bytes: discovery, lists of many kinds, and watches that a test can feed."""

import asyncio
import json
from collections import defaultdict
from typing import Any

from tests.kube.fault_apiserver import Exchange, FaultServer, refuse, status
from tests.watch import recordings

LISTS = {
    "/api/v1/pods": "pods-all-namespaces",
    "/api/v1/nodes": "nodes",
    "/api/v1/namespaces": "namespaces",
    "/api/v1/events": "events-core-v1",
    "/api/v1/services": "services",
    "/api/v1/persistentvolumeclaims": "persistentvolumeclaims",
    "/apis/apps/v1/deployments": "deployments",
    "/apis/apps/v1/replicasets": "replicasets",
    "/apis/apps/v1/statefulsets": "statefulsets",
    "/apis/apps/v1/daemonsets": "daemonsets",
    "/apis/batch/v1/jobs": "jobs",
    "/apis/batch/v1/cronjobs": "cronjobs",
    "/apis/networking.k8s.io/v1/ingresses": "ingresses",
    "/apis/autoscaling/v2/horizontalpodautoscalers": "horizontalpodautoscalers",
    "/apis/discovery.k8s.io/v1/endpointslices": "endpointslices",
}
EMPTY = {"/api/v1/persistentvolumes": "PersistentVolumeList", "/api/v1/configmaps": "ConfigMapList"}


class RecordedCluster(FaultServer):
    """forbidden: paths refused with 403. away: paths that answer 404. documents: what stands in for a recording."""

    def __init__(self, identity: str = "uid-of-kube-system") -> None:
        super().__init__()
        self.identity = identity
        self.forbidden: set[str] = set()
        self.away: set[str] = set()
        self.documents: dict[str, Any] = {}
        self.bookmark_s = 0.2
        self._feeds: dict[str, list[bytes]] = defaultdict(list)
        self._watchers: set[asyncio.Event] = set()
        self.always("any", self._play)

    def lists(self, path: str) -> list[str | None]:
        """Accept headers of the lists of a path so far."""
        return [each.headers.get("accept") for each in self.requests if each.path == path and each.kind == "list"]

    def feed(self, path: str, change: str, made: dict[str, Any]) -> None:
        """Let all watches of this path send one event."""
        self._feeds[path].append(json.dumps({"type": change, "object": made}, separators=(",", ":")).encode() + b"\n")
        for waker in self._watchers:
            waker.set()

    async def _play(self, exchange: Exchange) -> None:
        path = exchange.request.path
        if path in self.away:
            await refuse(404)(exchange)
        elif path in self.forbidden:
            await refuse(403, status(403, "Forbidden", "no"))(exchange)
        elif exchange.request.kind == "streaming":
            await refuse(422, status(422, "Invalid", "sendInitialEvents is forbidden for watch"))(exchange)
        elif exchange.request.kind == "watch":
            await self._watch(exchange, path)
        else:
            await exchange.answer(200, self._document(path))

    def _document(self, path: str) -> Any:
        if path in self.documents:
            return self.documents[path]
        if path == "/api/v1/namespaces/kube-system":
            return {"kind": "Namespace", "metadata": {"name": "kube-system", "uid": self.identity}}
        if path in LISTS:
            return recordings.read(f"lists/{LISTS[path]}.json")
        named = {"/api": "api-aggregated", "/apis": "apis-aggregated", "/version": "version"}
        if path in named:
            return recordings.read(f"discovery/{named[path]}.json")
        return {
            "kind": EMPTY.get(path, "Status"),
            "apiVersion": "v1",
            "metadata": {"resourceVersion": "1"},
            "items": [],
        }

    async def _watch(self, exchange: Exchange, path: str) -> None:
        await exchange.start()
        sent, waker = len(self._feeds[path]), asyncio.Event()
        self._watchers.add(waker)
        try:
            while True:
                for line in self._feeds[path][sent:]:
                    await exchange.chunk(line)
                    sent += 1
                waker.clear()
                await waker.wait()
        finally:
            self._watchers.discard(waker)
