"""Several simulated clusters in one process: their servers, their worlds, and a kubeconfig that reaches them.

With a state directory the authority, the ports and the tokens stay the same from one start to the next.
"""

import asyncio
import base64
import json
import secrets
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final, Self

import msgspec
import yaml

from kubesim import tls
from kubesim.clock import Clock, WallClock
from kubesim.rbac import User
from kubesim.server import ApiServer
from kubesim.store import Store
from kubesim.world import logs
from kubesim.world.life import World

NAMES: Final = ("prod-eu", "prod-us", "staging")
MINORS: Final = (36, 35, 34)
USERS: Final = {
    "admin": User("kubernetes-admin", ("system:masters", "system:authenticated")),
    "viewer": User("viewer", ("system:authenticated",)),
    "two-namespaces": User("two-namespaces", ("system:authenticated",)),
    "nobody": User("nobody", ("system:authenticated",)),
}


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to simulate. pods and changes_per_s are for each cluster."""

    clusters: int = 3
    pods: int = 60
    changes_per_s: float = 3.0
    seed: int = 7
    port: int = 0
    incidents: bool = True


class Cluster:
    """One simulated cluster; `start` and `stop` leave its state alone."""

    def __init__(self, name: str, number: int, plan: Plan, tokens: dict[str, str], clock: Clock) -> None:
        self.name = name
        self.tokens = tokens
        self.store = Store(clock, plan.seed * 1000 + number, identity=identity(plan.seed, name))
        minor = MINORS[number % len(MINORS)]
        self.world = World(
            self.store,
            name=name,
            seed=plan.seed,
            pods=plan.pods,
            changes_per_s=plan.changes_per_s,
            minor=minor,
            troubled=number % 3 != 2 if plan.incidents else None,
        )
        users = {token: USERS[user] for user, token in tokens.items()}
        self.server = ApiServer(self.store, tokens=users, minor=minor, logs=self._logs)

    def _logs(self, namespace: str, pod: str, params: dict[str, str]) -> AsyncIterator[bytes]:
        return logs.read(self.store, namespace, pod, params)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.server.port}"


class Fleet:
    """An async context manager: all clusters serve and live while it is open."""

    def __init__(self, plan: Plan, directory: Path, clock: Clock | None = None) -> None:
        self.plan = plan
        self.clusters: list[Cluster] = []
        self._directory = directory
        self._clock = clock or WallClock()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        known = self._recall()
        context = tls.server_context(self._directory)
        for number in range(self.plan.clusters):
            name = NAMES[number] if number < len(NAMES) else f"cluster-{number + 1:03d}"
            was = known.get(name, {})
            tokens = was.get("tokens") or {user: secrets.token_urlsafe(24) for user in USERS}
            cluster = Cluster(name, number, self.plan, tokens, self._clock)
            port = was.get("port") or (self.plan.port + number if self.plan.port else 0)
            await cluster.server.start(context, port)
            self._stack.push_async_callback(cluster.server.stop)
            self.clusters.append(cluster)
        self._remember()
        group = await self._stack.enter_async_context(asyncio.TaskGroup())
        tasks = [group.create_task(cluster.world.run(), name=f"world {cluster.name}") for cluster in self.clusters]
        self._stack.callback(lambda: [task.cancel() for task in tasks])
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    def kubeconfig(self, users: tuple[str, ...] = ("admin",)) -> str:
        """YAML with a context for each cluster, and for each other user of it `<cluster>-<user>`."""
        authority = base64.b64encode((self._directory / "ca.crt").read_bytes()).decode()
        clusters, people, contexts = [], [], []
        for cluster in self.clusters:
            target = {"server": cluster.url, "certificate-authority-data": authority}
            clusters.append({"name": cluster.name, "cluster": target})
            for user in users:
                name = cluster.name if user == "admin" else f"{cluster.name}-{user}"
                people.append({"name": name, "user": {"token": cluster.tokens[user]}})
                contexts.append({"name": name, "context": {"cluster": cluster.name, "user": name}})
        found = {"apiVersion": "v1", "kind": "Config", "clusters": clusters, "users": people, "contexts": contexts}
        return yaml.safe_dump(found | {"current-context": contexts[0]["name"]}, sort_keys=False)

    def ready(self, kubeconfig: Path) -> str:
        """What a parent process is told, as one line of JSON."""
        clusters = [{"name": cluster.name, "server": cluster.url} for cluster in self.clusters]
        return json.dumps({"kubeconfig": str(kubeconfig), "clusters": clusters})

    def _recall(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self._directory / "state.json").read_text())
        except (OSError, ValueError):
            return {}
        return found

    def _remember(self) -> None:
        path = self._directory / "state.json"
        path.touch(mode=0o600)
        found = {c.name: {"port": c.server.port, "tokens": c.tokens} for c in self.clusters}
        path.write_text(json.dumps(found))


def identity(seed: int, name: str) -> str:
    """The uid of kube-system, the same at every start of the same cluster."""
    return str(uuid.uuid5(uuid.UUID(int=seed), name))
