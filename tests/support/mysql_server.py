"""One real MySQL server for the whole run, of the programs that ``fetch_mysql.sh`` provides."""

from __future__ import annotations

import contextlib
import functools
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.mariadb_server import PASSWORD, MariaDBServer, data_directory, start, stop

_SEQUENCE = re.compile(r"\bseq_(\d+)_to_(\d+)\b")


def _counted(match: re.Match[str]) -> str:
    """Return a table with the column ``seq`` that counts, as MariaDB has it by such a name."""
    start, end = match.groups()
    rows = f"SELECT {start} AS seq UNION ALL SELECT seq + 1 FROM c WHERE seq < {end}"
    return f"(WITH RECURSIVE c AS ({rows}) SELECT seq FROM c) AS {match[0]}"


def _translated(statement: str | bytes) -> str | bytes:
    return statement if isinstance(statement, bytes) else _SEQUENCE.sub(_counted, statement)


@functools.cache
def mysqld() -> str:
    """Return the path of the server's program; what is not there is fetched, and what cannot be had ends the run."""
    script = Path(__file__).with_name("fetch_mysql.sh")
    process = subprocess.run(["sh", str(script)], capture_output=True, check=False)
    if process.returncode:
        pytest.fail(process.stderr.decode(), pytrace=False)
    return process.stdout.decode().strip()


def without_charsets(text: str) -> str:
    """Return definitions of tables without the character sets that their collations say again.

    MySQL shows them for some columns and not for others, and for more of them after each reading of what it showed.
    """
    return re.sub(r" CHARACTER SET \w+(?= COLLATE )", "", text)


class MySQLServer(MariaDBServer):
    """A running MySQL server: root over ``socket`` without password, ``tcp``/``PASSWORD`` over 127.0.0.1:``port``."""

    kind = "mysql"
    program_name = "mysql"
    foreign_comment = "/*M!"
    sees_routines = "SHOW_ROUTINE ON *.*"

    def run(self, *statements: str, database: str | None = None) -> list[tuple]:
        """Execute every statement in one session and return the last one's rows; MariaDB's sequence tables are had."""
        return super().run(*map(_translated, statements), database=database)

    def program(self, role: str) -> str:
        """Return the path of the server's own ``client``, ``dump`` or ``server``."""
        return str(Path(mysqld()).with_name({"client": "mysql", "dump": "mysqldump", "server": "mysqld"}[role]))

    def dump(self, database: str, *arguments: str) -> str:
        """Return what mysqldump writes of ``database``, without lines that differ from run to run."""
        return without_charsets(super().dump(database, "--set-gtid-purged=OFF", *arguments))


def _initialize(directory: Path, user: str) -> Path:
    data = directory / "data"
    argv = [mysqld(), "--no-defaults", "--initialize-insecure", f"--datadir={data}", f"--user={user}"]
    argv += ["--skip-log-bin", "--innodb-doublewrite=0", "--innodb-flush-log-at-trx-commit=0"]
    process = subprocess.run(argv, capture_output=True, check=False, cwd=directory)
    if process.returncode:
        pytest.fail(f"mysqld --initialize failed: {(process.stdout + process.stderr).decode()[-2000:]}", pytrace=False)
    return data


@contextlib.contextmanager
def running_mysql(*more_options: str) -> Iterator[MariaDBServer]:
    """Start a server of its own, with ``more_options``, and stop it on the way out."""
    with data_directory() as (directory, user):
        # The X plugin would open a network port and a socket that anybody may write to.
        # The binary log is on as MySQL comes, and asks rights for functions and triggers; nobody waits for its disk.
        options = ["--mysqlx=0", f"--log-bin={directory / 'log-bin'}", "--sync-binlog=0", "--server-id=1"]
        options += [f"--secure-file-priv={directory}", "--cte-max-recursion-depth=10000000", *more_options]
        server = start(MySQLServer, mysqld(), directory, _initialize(directory, user), user, *options)
        try:
            server.run(f"CREATE USER tcp@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'", "GRANT ALL ON *.* TO tcp@'127.0.0.1'")
            yield server
        finally:
            stop(server)


@pytest.fixture(scope="session")
def mysql() -> Iterator[MariaDBServer]:
    """A MySQL server, once per run."""
    with running_mysql() as server:
        yield server
