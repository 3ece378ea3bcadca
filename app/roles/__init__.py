"""Which lifespans each process runs: web, watcher, and the supervisor that owns them all."""
