"""All tables of KubeNexus and the place of their migrations, for Piccolo; the only importer of every `tables`."""

from pathlib import Path

from piccolo.conf.apps import AppConfig

from app.authn.tables import SetupStep, User
from app.authz.tables import RoleBinding
from app.clusters.tables import Cluster, ClusterCredential, ClusterRegistry
from app.watch.tables import Lease, Watcher

APP_CONFIG = AppConfig(
    app_name="kubenexus",
    migrations_folder_path=str(Path(__file__).parent / "piccolo_migrations"),
    table_classes=[User, SetupStep, RoleBinding, Cluster, ClusterRegistry, ClusterCredential, Lease, Watcher],
)
