"""What `tests` and `e2e` share. Fixtures of the servers are here, so that both use the same ones in one run."""

pytest_plugins = ["tests.servers", "tests.conftest_cases"]
