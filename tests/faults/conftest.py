"""What the fault harness shares: the figures, the forking process, a backup directory to attack."""

from __future__ import annotations

import random
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from faults.ledger import LEDGER
from faults.vault import Vault, Zygote
from support.places import memory

_FIGURES = "figures of the fault harness"
_HANDED_OVER = pytest.StashKey[str]()


def pytest_sessionfinish(session) -> None:
    """Hand the figures over to the process that prints, where this is not that one."""
    worker_output = getattr(session.config, "workeroutput", None)
    if worker_output is not None and LEDGER.counted:
        worker_output[_FIGURES] = LEDGER.summary()


@pytest.hookimpl(optionalhook=True)  # there is none where pytest runs without pytest-xdist
def pytest_testnodedown(node) -> None:
    """Take the figures from the one process that has them; one that broke down has none."""
    figures = getattr(node, "workeroutput", {}).get(_FIGURES, "")
    node.config.stash[_HANDED_OVER] = figures or node.config.stash.get(_HANDED_OVER, "")


def pytest_terminal_summary(terminalreporter, config) -> None:
    """Print the figures as one line."""
    figures = LEDGER.summary() if LEDGER.counted else config.stash.get(_HANDED_OVER, "")
    if figures:
        terminalreporter.write_line(f"fault harness: {figures}")


def pytest_collection_modifyitems(items) -> None:
    """Let the reckoning come after everything that it reckons."""
    items.sort(key=lambda item: item.path.name == "test_reckoning.py")


@pytest.fixture(scope="session")
def zygote(tmp_path_factory):
    """Run command lines in forked processes, with faults."""
    running = Zygote(tmp_path_factory.mktemp("zygote"))
    yield running
    running.stop()


@pytest.fixture
def place():
    """An empty directory, in memory where there is room."""
    path = Path(tempfile.mkdtemp(prefix="dft", dir=memory()))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def vault(place):
    """A backup directory with two good backups."""
    directory = Vault(place)
    for _ in range(2):
        directory.advance()
        directory.backup()
    directory.advance()
    return directory


@pytest.fixture
def elsewhere():
    """The words before a command that run it as on another machine: other host name, other process numbers.

    Empty where that is not permitted; then the other machine is this one.
    """
    argv = ["unshare", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]
    if shutil.which("unshare") is None or subprocess.run([*argv, "true"], capture_output=True, check=False).returncode:
        return []
    return argv


@pytest.fixture
def dice(request):
    """Random numbers that are the same in every run of one test."""
    return random.Random(request.node.nodeid)


@pytest.fixture
def template(place):
    (place / "template").mkdir()
    vault = Vault(place / "template")
    for _ in range(2):
        vault.advance()
        vault.backup()
    vault.advance()
    return vault
