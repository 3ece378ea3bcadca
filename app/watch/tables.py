"""Who watches what, at rest: one lease a cluster, and the watchers that are alive. Times are the database's."""

from piccolo.columns import BigInt, Timestamptz, Varchar
from piccolo.table import Table


class Lease(Table, tablename="watch_lease"):
    """The right to watch one cluster and to publish what is seen.

    token: rises with each change of holder and is never used twice; channels refuse a lower one. It starts from the
    time in milliseconds, so that it rises also over a database that was restored from an old backup.
    """

    cluster_id = Varchar(length=64, primary_key=True)
    holder = Varchar(length=64)
    token = BigInt()
    expires_at = Timestamptz()


class Watcher(Table, tablename="watcher"):
    """A watcher process; one that was not seen for a lease's time does not count when clusters are shared out."""

    id = Varchar(length=64, primary_key=True)
    seen_at = Timestamptz()
