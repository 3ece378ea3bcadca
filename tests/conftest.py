"""The clock and `settle`, where tests import them from; fixtures are in `tests.servers`."""

from tests.servers import ManualClock, settle

__all__ = ["ManualClock", "settle"]
