"""Clusters and their sealed credentials at rest."""

from piccolo.columns import JSONB, Array, BigInt, Boolean, Bytea, ForeignKey, Integer, Text, Timestamptz, Varchar
from piccolo.columns.base import OnDelete
from piccolo.table import Table


class Cluster(Table, tablename="cluster"):
    """identity: uid of its namespace kube-system, by which a cluster that was replaced is recognised.

    insecure_skip_tls_verify: an administrator's choice, shown on every page of the cluster.
    """

    id = Varchar(length=32, primary_key=True)
    name = Varchar(length=63, unique=True)
    server = Varchar(length=2048)
    environment = Varchar(length=63, default="")
    description = Text(default="")
    colour = Varchar(length=7, default="")
    labels = JSONB(default="{}")
    namespaces = Array(base_column=Varchar(length=63), null=True, default=None)
    paused = Boolean(default=False)
    insecure_skip_tls_verify = Boolean(default=False)
    identity = Varchar(length=64, default="")
    created_at = Timestamptz()
    updated_at = Timestamptz()
    version = Integer(default=1)


class ClusterRegistry(Table, tablename="cluster_registry"):
    """One row. revision: raised in the transaction of every change to clusters, so that readers can ask cheaply."""

    id = Integer(primary_key=True, default=1)
    revision = BigInt(default=0)


class ClusterCredential(Table, tablename="cluster_credential"):
    """The sealed endpoint of a cluster: address, authority and credential, by `app.storage.encryption`.

    version: counts replacements; it is part of what the seal binds to.
    """

    cluster = ForeignKey(references=Cluster, primary_key=True, on_delete=OnDelete.cascade)
    version = Integer(default=1)
    sealed = Bytea(secret=True)
    updated_at = Timestamptz()
