"""Fixtures of the whole suite."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from support.side_by_side import Scheduling

pytest_plugins: list[str] = ["support.postgres_server", "support.mariadb_server", "support.mysql_server"]

# How fast an example runs says something of the machine, not of dumpty.
settings.register_profile("dumpty", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("dumpty")

# What the machine keeps of repositories elsewhere is no test's to read, or to leave behind.
_caches = tempfile.TemporaryDirectory(prefix="dumpty-caches-")
os.environ["XDG_CACHE_HOME"] = _caches.name

# A shell's background job begins with signals ignored, and every program that the tests start would go on ignoring
# them, as it should: then no test could interrupt anything. What Python handles, its children begin with as usual.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
for number in (signal.SIGHUP, signal.SIGTERM):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)

_ROUNDS = (
    "examples",
    "faults",
    "packaging",
    "plugins/file",
    "plugins/mysql",
    "plugins/postgres",
    "plugins/sqlite",
    "repository/protocol/test_interleavings.py",
    "testing/test_broken_plugins.py",
)
"""What runs the core hundreds of times, or in other processes, and not to see each of its lines run."""


def pytest_collection_modifyitems(config, items) -> None:
    """Measure coverage, which doubles what Python takes, where tests are about the core; $DUMPTY_COVER_ALL: always."""
    if config.pluginmanager.hasplugin("_cov") and not os.environ.get("DUMPTY_COVER_ALL"):
        rounds = tuple(Path(__file__).parent / name for name in _ROUNDS)
        for item in items:
            if any(item.path.is_relative_to(path) for path in rounds):
                item.add_marker("no_cover")


@pytest.hookimpl(optionalhook=True)  # there is none where pytest runs without pytest-xdist
def pytest_xdist_make_scheduler(config, log) -> Scheduling:
    """Choose who runs what, where the suite runs in several processes."""
    return Scheduling(config, log)
