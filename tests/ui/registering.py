"""A cluster in the registry without an API server behind it: pages must work for one that is away."""

from datetime import UTC, datetime
from uuid import uuid4

import msgspec

from app.clusters.schemas import Cluster
from app.clusters.tables import Cluster as Clusters


async def insert(service, name: str, **fields) -> Cluster:
    now = datetime.now(UTC)
    cluster = Cluster(id=uuid4().hex, name=name, server="https://127.0.0.1:1", created_at=now, updated_at=now, **fields)
    columns = msgspec.structs.asdict(cluster)
    await Clusters({**columns, "labels": msgspec.json.encode(cluster.labels).decode()}).save()
    return await service.get(cluster.id)
