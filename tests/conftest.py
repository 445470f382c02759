"""Fixtures of the whole suite."""

from __future__ import annotations

import os
import signal
import tempfile

import pytest
from hypothesis import HealthCheck, settings
from support.side_by_side import Scheduling

pytest_plugins: list[str] = [
    "support.postgres_server",
    "support.reacher",
    "support.mariadb_server",
    "support.mysql_server",
    "support.azure_server",
    "support.google_server",
    "support.s3_server",
    "support.sftp_server",
    "support.containers",
    "support.chromium",
]

# How fast an example runs says something of the machine, not of dumpty.
settings.register_profile("dumpty", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("dumpty")

# What the machine keeps of repositories elsewhere, and its own key, is no test's to read, or to leave behind.
_caches = tempfile.TemporaryDirectory(prefix="dumpty-caches-")
os.environ["XDG_CACHE_HOME"] = _caches.name
os.environ["XDG_DATA_HOME"] = f"{_caches.name}/data"
os.environ["XDG_STATE_HOME"] = f"{_caches.name}/state"
os.environ.pop("DUMPTY_MACHINE_KEY", None)

# A shell's background job begins with signals ignored, and every program that the tests start would go on ignoring
# them, as it should: then no test could interrupt anything. What Python handles, its children begin with as usual.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
for number in (signal.SIGHUP, signal.SIGTERM):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)


@pytest.hookimpl(optionalhook=True)  # there is none where pytest runs without pytest-xdist
def pytest_xdist_make_scheduler(config, log) -> Scheduling:
    """Choose who runs what, where the suite runs in several processes."""
    return Scheduling(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """Show bytes that are no text escaped: pytest-xdist sends reports as UTF-8, and ends the whole run where it cannot."""
    report = yield
    report.sections = [
        tuple(part.encode("utf-8", "backslashreplace").decode() for part in section) for section in report.sections
    ]
    return report
