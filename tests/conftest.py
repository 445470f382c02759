"""Fixtures of the whole suite."""

pytest_plugins: list[str] = ["support.postgres_server", "support.mariadb_server"]
