"""The registry of clusters: register, list, change, pause, replace a credential, approve an identity, remove.

Knows no framework and keeps no connection. A credential leaves only by `endpoint`, for `app.kube`. Every change raises
the registry's revision in its own transaction, which watchers and web processes poll.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final
from uuid import uuid4

import msgspec
import structlog

from app.clock import SYSTEM_CLOCK, Clock
from app.clusters import kubeconfig, validation
from app.clusters.credentials import seal, unseal
from app.clusters.details import check
from app.clusters.schemas import Cluster, ClusterChange, Connection, Details, Registration, Step
from app.clusters.tables import Cluster as Clusters
from app.clusters.tables import ClusterCredential, ClusterRegistry
from app.clusters.validation import Found
from app.kube.client import Endpoint
from app.problems import Conflict, InvalidInput, NotFound, Unavailable
from app.settings import Settings
from app.storage.encryption import Keyring, SealError
from app.storage.postgres import Engine

log = structlog.get_logger()
Candidates = list[kubeconfig.Candidate]
Namespaces = list[str] | None
VALIDATE_DEADLINE_S: Final = 60.0
INSECURE: Final = (
    "The kubeconfig asks not to check the API server's certificate, so anybody in between could take the credential. "
    "Give its certificate authority, or choose explicitly to go on without."
)


class ClusterService:
    """The registry on one database. It opens nothing: the engine's pool is its owner's."""

    def __init__(self, settings: Settings, engine: Engine, keyring: Keyring, clock: Clock = SYSTEM_CLOCK) -> None:
        self._allow_loopback = settings.allow_loopback_clusters
        self._engine = engine
        self._keyring = keyring
        self._clock = clock

    async def list(self) -> list[Cluster]:
        """All clusters by name."""
        return [_cluster(row) for row in await _rows().order_by(Clusters.name)]

    async def get(self, cluster_id: str) -> Cluster:
        """Raises `NotFound`."""
        rows = await _rows().where(Clusters.id == cluster_id)
        if not rows:
            raise NotFound("There is no such cluster. It may have been removed.")
        return _cluster(rows[0])

    async def revision(self) -> int:
        """A number that is another one after every change to any cluster; one cheap query."""
        row = await ClusterRegistry.select(ClusterRegistry.revision).first()
        return int(row["revision"]) if row else 0

    async def endpoint(self, cluster_id: str) -> Endpoint:
        """Where and how to connect, credential included. Raises `NotFound`, and `Unavailable` under another key."""
        row = await ClusterCredential.select().where(ClusterCredential.cluster == cluster_id).first()
        if row is None:
            raise NotFound("There is no such cluster. It may have been removed.")
        sealed, version = bytes(row["sealed"]), row["version"]
        try:
            return unseal(self._keyring, cluster_id, version, sealed, allow_loopback=self._allow_loopback)
        except SealError as error:
            log.error("cluster.credential_does_not_open", cluster=cluster_id, reason=str(error))  # noqa: TRY400
            raise Unavailable(
                "The stored credential of this cluster does not open with this server's encryption key. Start it with "
                "the key that it was sealed with, or give the cluster its credential again."
            ) from error

    async def contexts(self, text: str) -> Candidates:
        """The contexts of a kubeconfig, usable or with their refusals; in a thread, for it may be a large one."""
        return await asyncio.to_thread(kubeconfig.parse, text)

    async def validate(self, connection: Connection, namespaces: Namespaces = None) -> AsyncIterator[Step]:
        """Try a connection; every step as it ends. Raises `InvalidInput` for one that says not enough to try."""
        _, endpoint = await self._endpoint(connection)
        async for step in validation.steps(endpoint, namespaces):
            if isinstance(step, Step):
                yield step

    async def register(self, registration: Registration) -> Cluster:
        """Validate a connection and keep it. Raises `InvalidInput`, then nothing was kept."""
        context, endpoint = await self._endpoint(registration.connection)
        details = registration.details
        if not details.name:
            details = msgspec.structs.replace(details, name=context[:63])
        check(msgspec.structs.asdict(details))
        await self._check_free(details.name)
        found = await _require(endpoint, details.namespaces)
        cluster = self._new(details, endpoint, found)
        async with self._engine.transaction():
            await _bump()
            await self._check_free(details.name)
            await Clusters(_columns(cluster)).save()
            await self._keep(cluster.id, 1, endpoint)
        log.info("cluster.registered", cluster=cluster.id, name=cluster.name, version=found.version)
        return cluster

    async def change(self, cluster_id: str, change: ClusterChange) -> Cluster:
        """Change what people say of a cluster, or pause it. Raises `InvalidInput`, `Conflict`, `NotFound`."""
        fields = {name: value for name, value in msgspec.structs.asdict(change).items() if value is not msgspec.UNSET}
        expected = fields.pop("version", None)
        check(fields)
        async with self._engine.transaction():
            await _bump()
            now = await self._row(cluster_id)
            if expected is not None and expected != now.version:
                raise Conflict("Somebody else changed this cluster in the meantime. Look at it again, then change it.")
            if fields.get("name", now.name) != now.name:
                await self._check_free(fields["name"])
            changed = await self._write(now, fields)
        return changed  # noqa: RET504 - inside the block mypy takes it for one that may swallow errors

    async def replace_credential(self, cluster_id: str, connection: Connection) -> Cluster:
        """Validate another connection to the same cluster and keep it instead of the present one.

        Raises `Conflict` when another cluster answers there: that takes `approve`, or a registration of its own.
        """
        cluster = await self.get(cluster_id)
        _, endpoint = await self._endpoint(connection)
        found = await _require(endpoint, cluster.namespaces)
        if cluster.identity and found.identity and found.identity != cluster.identity:
            raise Conflict(
                f'Another cluster answers there than the one registered as "{cluster.name}". Register it as a new one.'
            )
        async with self._engine.transaction():
            await _bump()
            now = await self._row(cluster_id)
            row = await ClusterCredential.select().where(ClusterCredential.cluster == cluster_id).first()
            await self._keep(cluster_id, row["version"] + 1 if row else 1, endpoint)
            changed = await self._write(
                now,
                {
                    "server": endpoint.server,
                    "insecure_skip_tls_verify": endpoint.insecure_skip_tls_verify,
                    "identity": now.identity or found.identity,
                },
            )
        log.info("cluster.credential_replaced", cluster=cluster_id)
        return changed

    async def approve(self, cluster_id: str) -> Cluster:
        """Accept that another cluster now answers at this one's address: note its identity.

        Raises `InvalidInput` with the step that failed, when nothing answers there as it should.
        """
        found = await _require(await self.endpoint(cluster_id), None)
        async with self._engine.transaction():
            await _bump()
            changed = await self._write(await self._row(cluster_id), {"identity": found.identity})
        log.info("cluster.approved", cluster=cluster_id, identity=found.identity)
        return changed

    async def remove(self, cluster_id: str) -> None:
        """Forget a cluster and destroy its credential. Nothing happens in the cluster itself. Raises `NotFound`."""
        async with self._engine.transaction():
            await _bump()
            cluster = await self._row(cluster_id)
            await Clusters.delete().where(Clusters.id == cluster_id)
        log.info("cluster.removed", cluster=cluster_id, name=cluster.name)

    async def _endpoint(self, connection: Connection) -> tuple[str, Endpoint]:
        """A name for it and the endpoint that a connection describes; raises `InvalidInput`."""
        if connection.kubeconfig:
            chosen = kubeconfig.choose(await self.contexts(connection.kubeconfig), connection.context)
        else:
            chosen = kubeconfig.direct(connection.server, connection.ca_pem, connection.token)
        if chosen.insecure_skip_tls_verify and not connection.accept_insecure:
            raise InvalidInput(INSECURE, errors={"accept_insecure": INSECURE})
        return chosen.name, Endpoint(
            server=chosen.server,
            ca_pem=chosen.ca_pem,
            token=chosen.token,
            client_certificate_pem=chosen.client_certificate_pem,
            client_key_pem=chosen.client_key_pem,
            tls_server_name=chosen.tls_server_name,
            insecure_skip_tls_verify=chosen.insecure_skip_tls_verify,
            allow_loopback=self._allow_loopback,
        )

    def _new(self, details: Details, endpoint: Endpoint, found: Found) -> Cluster:
        now = self._clock.now()
        return Cluster(
            id=uuid4().hex,
            server=endpoint.server,
            insecure_skip_tls_verify=endpoint.insecure_skip_tls_verify,
            identity=found.identity,
            created_at=now,
            updated_at=now,
            **msgspec.structs.asdict(details),
        )

    async def _keep(self, cluster_id: str, version: int, endpoint: Endpoint) -> None:
        sealed = seal(self._keyring, cluster_id, version, endpoint)
        await ClusterCredential.delete().where(ClusterCredential.cluster == cluster_id)
        await ClusterCredential(cluster=cluster_id, version=version, sealed=sealed, updated_at=self._clock.now()).save()

    async def _check_free(self, name: str) -> None:
        if await Clusters.exists().where(Clusters.name == name):
            taken = f'There is a cluster "{name}" already. Give this one another name.'
            raise InvalidInput(taken, errors={"name": taken})

    async def _row(self, cluster_id: str) -> Cluster:
        rows = await _rows().where(Clusters.id == cluster_id)
        if not rows:
            raise NotFound("There is no such cluster. It may have been removed.")
        return _cluster(rows[0])

    async def _write(self, now: Cluster, fields: dict[str, Any]) -> Cluster:
        """Store `fields` beside what stands in the row; the cluster as it is then."""
        changed = msgspec.structs.replace(now, **fields, version=now.version + 1, updated_at=self._clock.now())
        await Clusters.update(_columns(changed)).where(Clusters.id == now.id)
        return changed


async def _require(endpoint: Endpoint, namespaces: Namespaces) -> Found:
    """Run the steps to their end; raises `InvalidInput` with the sentence of the one that failed."""
    found: Found | None = None
    try:
        async with asyncio.timeout(VALIDATE_DEADLINE_S):
            async for step in validation.steps(endpoint, namespaces):
                if isinstance(step, Found):
                    found = step
                elif step.state == "failed":
                    raise InvalidInput(step.message, errors={step.name: step.message})
    except TimeoutError:
        found = None
    if found is None:
        slow = f"The API server did not answer all questions within {VALIDATE_DEADLINE_S:.0f} s."
        raise InvalidInput(slow, errors={"reachable": slow})
    return found


def _rows() -> Any:
    return Clusters.select().output(load_json=True)


def _cluster(row: dict[str, Any]) -> Cluster:
    return Cluster(**{name: row[name] for name in Cluster.__struct_fields__})


def _columns(cluster: Cluster) -> dict[Any, Any]:
    fields = msgspec.structs.asdict(cluster)
    return {**fields, "labels": msgspec.json.encode(cluster.labels).decode()}


async def _bump() -> None:
    """Raise the revision, first in a transaction: the row it locks lets one writer in at a time."""
    await ClusterRegistry.raw(
        "INSERT INTO cluster_registry (id, revision) VALUES (1, 1) "
        "ON CONFLICT (id) DO UPDATE SET revision = cluster_registry.revision + 1"
    )
