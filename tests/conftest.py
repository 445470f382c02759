"""Fixtures of the whole suite."""

from __future__ import annotations

import gc
import os
import signal
import tempfile

import coverage
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


# What these run of the core is run by other tests, too, line by line; and counting lines doubles a test's time.
_UNCOUNTED = (
    *(f"tests/plugins/{name}/" for name in ("gcs", "mysql", "objectstore", "postgres", "s3", "sftp")),
    *(f"tests/plugins/test_{name}_" for name in ("gcs", "mysql", "objectstore", "postgres", "s3", "sftp")),
    "tests/faults/",
    "tests/repository/protocol/test_interleavings.py",
    "tests/repository/protocol/test_places.py",
)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Count no lines where that would only cost time.

    pytest-cov's own mark would not do: in a process of pytest-xdist two countings run, one within the other, and it
    stops but one of them.
    """
    stopped = []
    while item.nodeid.startswith(_UNCOUNTED) and (counting := coverage.Coverage.current()):
        counting.stop()
        stopped.append(counting)
    try:
        return (yield)
    finally:
        for counting in reversed(stopped):
            counting.start()


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over what eleven thousand tests consist of: each of its rounds would look at all."""
    gc.collect()
    gc.freeze()


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
