"""Fixtures of the whole suite."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

pytest_plugins: list[str] = ["support.postgres_server", "support.mariadb_server"]

# How fast an example runs says something of the machine, not of dumpty.
settings.register_profile("dumpty", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("dumpty")
