"""What pytest imports at every start: options, fixtures, and the end of the session. Nothing else of dumpty's."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from typing import Any

    from dumpty.pytest_plugin.client import Client
    from dumpty.pytest_plugin.messages import LentDatabase
    from dumpty.pytest_plugin.source import RestoreSource

_CLIENT: pytest.StashKey[Client] = pytest.StashKey()
_SESSION: pytest.StashKey[tuple[str, int]] = pytest.StashKey()
_WORKER_KEY = "dumpty_session"
_SOCKET_BYTES = 80
"""How long the path of a socket's directory may be: the kernel takes 104 bytes for the socket itself."""

SETTINGS = (
    ("backup", "ID", "a backup: its id, or latest, latest-verified, latest:DATABASE"),
    ("dir", "REPO", "the repository that it is in: a directory, or a URL (default: $DUMPTY_DIR)"),
    ("dump", "PATH", "a copy of DatabaseBackup's: its name behind the directory's path, or the file"),
    ("url", "URL", "a live database, which is backed up once: its URL, or env:NAME, file:PATH, cmd:PROGRAM…"),
    ("on", "URL", "a server to restore on, instead of a private one; as dumpty_url"),
)
LISTS = (
    ("identity", "FILE", "what opens an encrypted backup: a file, env:NAME, file:PATH or cmd:PROGRAM…"),
    ("option", "KEY=VALUE", "an option of the driver's, as dumpty drill -o has it"),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what says which database ``dumpty_database`` is restored from, on the command line and in the ini-file."""
    group = parser.getgroup("dumpty", "dumpty: the fixture dumpty_database is restored from")
    for name, metavar, help_text in SETTINGS:
        parser.addini(f"dumpty_{name}", help_text, default="")
        group.addoption(f"--dumpty-{name}", metavar=metavar, help=help_text, default=None)
    for name, metavar, help_text in LISTS:
        parser.addini(f"dumpty_{name}", help_text, type="linelist", default=[])
        group.addoption(f"--dumpty-{name}", metavar=metavar, help=help_text, default=None, action="append")


@pytest.hookimpl(optionalhook=True)  # there is none where pytest runs without pytest-xdist
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of pytest-xdist where to ask for what its fellows use, too. Nothing is there yet."""
    node.workerinput[_WORKER_KEY] = [*_own_session(node.config), _machine()]


def pytest_unconfigure(config: pytest.Config) -> None:
    """Let go of the databases; in the process that outlives the others wait until everything of them is gone."""
    client = config.stash.get(_CLIENT, None)
    if client is not None:
        client.close()
    directory, owner = config.stash.get(_SESSION, ("", 0))
    if owner == os.getpid() and os.path.isdir(directory):
        from dumpty.pytest_plugin.client import end

        end(directory)


@pytest.fixture(scope="session")
def dumpty_source(pytestconfig: pytest.Config) -> RestoreSource:
    """What dumpty_database is restored from: the settings say it. Override it in a conftest.py for another."""
    from dumpty.pytest_plugin.source import configured

    with _failures():
        return configured(pytestconfig)


@pytest.fixture(scope="session")
def dumpty_clone(pytestconfig: pytest.Config) -> Callable[[RestoreSource], AbstractContextManager[LentDatabase]]:
    """Lend databases from any source, in a with statement: call it with a dumpty.pytest_plugin.RestoreSource."""

    def clone(source: RestoreSource) -> AbstractContextManager[LentDatabase]:
        return _lent(pytestconfig, source)

    return clone


@pytest.fixture
def dumpty_database(pytestconfig: pytest.Config, dumpty_source: RestoreSource) -> Iterator[LentDatabase]:
    """A private database for this test, as it was backed up; url, path, environment lead there. Gone afterwards."""
    with _lent(pytestconfig, dumpty_source) as database:
        yield database


@pytest.fixture(scope="session")
def dumpty_shared_database(pytestconfig: pytest.Config, dumpty_source: RestoreSource) -> Iterator[LentDatabase]:
    """One private database for all tests of this process that only read it. Gone after the last."""
    with _lent(pytestconfig, dumpty_source) as database:
        yield database


@contextlib.contextmanager
def _lent(config: pytest.Config, source: RestoreSource) -> Iterator[LentDatabase]:
    from dumpty.pytest_plugin.client import Client

    if _CLIENT not in config.stash:
        config.stash[_CLIENT] = Client(*_session(config), str(config.rootpath))
    client = config.stash[_CLIENT]
    with _failures():
        database = client.lend(source)
    try:
        yield database
    finally:
        with _failures():
            client.give_back(database)


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    """Fail the test that uses a fixture by dumpty's one line, without the frames of dumpty."""
    from dumpty.errors import DumptyError

    try:
        yield
    except DumptyError as error:
        raise pytest.fail.Exception(f"dumpty: {error}", pytrace=False) from None


def _session(config: pytest.Config) -> tuple[str, int]:
    """Return where to ask for databases, and the process that they end with."""
    told = getattr(config, "workerinput", {}).get(_WORKER_KEY)
    # A worker on another machine, or whose controller is not its parent, is a session of its own.
    if told is not None and told[1:] == [os.getppid(), _machine()]:
        return told[0], told[1]
    return _own_session(config)


def _own_session(config: pytest.Config) -> tuple[str, int]:
    """Return the name of a directory that is not made before a test asks for a database, and this process."""
    if _SESSION not in config.stash:
        import secrets
        import tempfile

        name = f"dumpty-pytest-{secrets.token_hex(8)}"
        directory = os.path.join(tempfile.gettempdir(), name)
        if len(os.fsencode(directory)) > _SOCKET_BYTES:
            directory = os.path.join("/tmp", name)  # noqa: S108 - a name that nobody guesses, and it is claimed by mkdir
        config.stash[_SESSION] = directory, os.getpid()
    return config.stash[_SESSION]


def _machine() -> str:
    return os.uname().nodename
