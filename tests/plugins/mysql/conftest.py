from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.mariadb_server import MariaDBServer

from dumpty_plugins.mysql.dumping import plan, script_writer
from dumpty_plugins.mysql.loading import parallel
from dumpty_plugins.mysql.schema import columns
from dumpty_plugins.mysql.schema.indexes import Deferral
from dumpty_plugins.mysql.server.session import Session

_NUMBERS = itertools.count()


@pytest.fixture(autouse=True)
def _programs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a drill of a MySQL dump find MySQL's own program."""
    if "server" in request.fixturenames and request.getfixturevalue("server").kind == "mysql":
        programs = Path(request.getfixturevalue("mysql").program("server")).parent
        monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test on both servers, but for one that asks for one of them by its name."""
    if "server" in metafunc.fixturenames:
        kinds = [kind for kind in ("mariadb", "mysql") if kind in metafunc.fixturenames]
        metafunc.parametrize("server", kinds or ["mariadb", "mysql"], indirect=True, scope="session")


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> MariaDBServer:
    """The server that the test runs on: a MariaDB server and, in a test of its own, a MySQL server."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def database(server: MariaDBServer) -> Iterator[Callable[..., str]]:
    """Makes names of databases, and databases that hold what the given statements make; drops them afterwards."""
    names: list[str] = []

    def make(*statements: str, create: bool = True) -> str:
        name = f"d{next(_NUMBERS)}_ä"
        names.append(name)
        if create:
            server.run(f"CREATE DATABASE `{name}`", f"USE `{name}`", *statements)
        return name

    yield make
    for name in names:
        for database_name in (name, f"{name}__dumpty_new", f"{name}__dumpty_old"):
            server.run("SET FOREIGN_KEY_CHECKS=0", f"DROP DATABASE IF EXISTS `{database_name}`")


@pytest.fixture
def account(server: MariaDBServer) -> Iterator[Callable[..., str]]:
    """Makes accounts with the given grants; drops them afterwards."""
    names: list[str] = []

    def make(*grants: str) -> str:
        name = f"u{next(_NUMBERS)}"
        names.append(name)
        server.run(f"CREATE USER {name}@localhost", *(f"GRANT {g} TO {name}@localhost" for g in grants))
        return name

    yield make
    for name in names:
        server.run(f"DROP USER {name}@localhost")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets every row be a statement and every statement a transaction: two rows make a table large."""
    monkeypatch.setattr(script_writer, "STATEMENT_BYTES", 100)
    monkeypatch.setattr(parallel, "BATCH_BYTES", 1)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the format parallel, every table comes in parts of its own, and one of a few rows in several."""
    monkeypatch.setattr(plan, "LARGE_BYTES", 1)
    monkeypatch.setattr(plan, "RANGE_BYTES", (4096, 1 << 20))


@pytest.fixture(params=[False, True], ids=["escaped there", "escaped here"])
def raw_texts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once with the server's literals of texts, and once with texts that come as they are, however short."""
    monkeypatch.setattr(columns, "LONG_ROW_BYTES", 0 if request.param else 1 << 40)


@pytest.fixture
def indexed_later(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tables whose indexes were made after their rows."""
    names: list[str] = []
    add = Deferral.add

    def noting(self: Deferral, session: Session) -> None:
        add(self, session)
        names.append(self._table)

    monkeypatch.setattr(Deferral, "add", noting)
    return names
