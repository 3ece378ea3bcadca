"""PostgreSQL and Valkey from wheels as child processes: start, own, stop, recover. Knows nothing of the product."""
