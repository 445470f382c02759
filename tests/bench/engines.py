"""The databases that hold the data: one of each engine, on a server of its own where it has one."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import data


class Engine:
    """One database that holds the data, and the way to databases beside it."""

    def __init__(self, top: Path, size: data.Size) -> None:
        self.top = top
        self.size = size

    @property
    def held(self) -> dict[str, int]:
        """How many rows each table has."""
        return self.size.counts

    def server_processes(self) -> Sequence[int]:
        """Return the ids of the server's processes; their children are theirs, too."""
        return ()

    def close(self) -> None:
        """Stop what was started."""


class SQLite(Engine):
    def __init__(self, top: Path, size: data.Size) -> None:
        super().__init__(top, size)
        self.placeholders = {"source": str(top / "shop.db")}
        data.fill_sqlite(top / "shop.db", size)

    def url(self, name: str) -> str:
        return f"sqlite:///{name}"

    source = property(lambda self: self.url(self.placeholders["source"]))

    def fresh(self, name: str, *, prepared: bool) -> str:
        self.drop(str(self.top / name))
        return str(self.top / name)

    def drop(self, name: str) -> None:
        Path(name).unlink(missing_ok=True)

    def counts(self, name: str, tables: Sequence[str]) -> dict[str, int]:
        with contextlib.closing(sqlite3.connect(name)) as connection:
            return {t: connection.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in tables}


class Postgres(Engine):
    def __init__(self, top: Path, size: data.Size) -> None:
        from support.postgres_server import PostgresServer, _debian

        super().__init__(top, size)
        self.server = PostgresServer(_debian())
        self.server.create("shop")
        self.server.execute("CREATE ROLE tcp SUPERUSER LOGIN PASSWORD 'tcp'")
        self.placeholders = {"source": "shop", "host": str(self.server.sockets), "port": str(self.server.port)}
        with contextlib.closing(self.server.connect("shop")) as connection:
            data.fill_postgres(connection, size)

    def url(self, name: str) -> str:
        return self.server.url(name)

    def url_over_tcp(self, name: str, port: int) -> str:
        """Return the URL of a database for who reaches the server's port through another one."""
        return f"postgresql://tcp:tcp@127.0.0.1:{port}/{name}"

    source = property(lambda self: self.url("shop"))

    def fresh(self, name: str, *, prepared: bool) -> str:
        self.drop(name)
        if prepared:
            self.server.create(name)
        return name

    def drop(self, name: str) -> None:
        self.server.drop(name)

    def counts(self, name: str, tables: Sequence[str]) -> dict[str, int]:
        return {t: self.server.execute(f"SELECT count(*) FROM {t}", database=name)[0][0] for t in tables}

    def server_processes(self) -> Sequence[int]:
        return [int((self.server.data / "postmaster.pid").read_text().split()[0])]

    def close(self) -> None:
        self.server.stop()


class FourTables(Postgres):
    """A database of four tables, each as large as the others: as many processes may restore it at once."""

    def __init__(self, top: Path, size: data.Size) -> None:
        super().__init__(top, size)
        self.server.script(
            "shop",
            "".join(
                f"CREATE TABLE shop_{n} AS SELECT o.*, c.name, c.email, c.profile, d.title, d.body, d.attachment FROM orders o"
                f" LEFT JOIN customers c ON c.id = o.id LEFT JOIN documents d ON d.id = o.id WHERE o.id % 4 = {n};"
                f"ALTER TABLE shop_{n} ADD PRIMARY KEY (id); CREATE INDEX ON shop_{n} (placed);"
                for n in range(4)
            )
            + "DROP TABLE orders, customers, documents, returned; VACUUM ANALYZE",
        )

    @property
    def held(self) -> dict[str, int]:
        tables = [f"shop_{n}" for n in range(4)]
        return self.counts("shop", tables)


class MySQL(Engine):
    def __init__(self, top: Path, size: data.Size) -> None:
        from support import mariadb_server

        super().__init__(top, size)
        self._stack = contextlib.ExitStack()
        self.server = self._stack.enter_context(mariadb_server.running_server())
        self.server.run("CREATE DATABASE shop")
        self.placeholders = {"source": "shop", "socket": self.server.socket}
        with contextlib.closing(self.server.connect("shop")) as connection:
            data.fill_mysql(connection, size)

    def url(self, name: str) -> str:
        return self.server.url(name)

    def url_over_tcp(self, name: str, port: int) -> str:
        """Return the URL of a database for who reaches the server's port through another one."""
        from support import mariadb_server

        return f"mysql://tcp:{quote(mariadb_server.PASSWORD, safe='')}@127.0.0.1:{port}/{name}"

    source = property(lambda self: self.url("shop"))

    def fresh(self, name: str, *, prepared: bool) -> str:
        self.drop(name)
        if prepared:
            self.server.run(f"CREATE DATABASE {name}")
        return name

    def drop(self, name: str) -> None:
        self.server.run(f"DROP DATABASE IF EXISTS {name}")

    def counts(self, name: str, tables: Sequence[str]) -> dict[str, int]:
        return {t: self.server.run(f"SELECT count(*) FROM {t}", database=name)[0][0] for t in tables}

    def server_processes(self) -> Sequence[int]:
        return [int((self.server.directory / "pid").read_text())]

    def close(self) -> None:
        self._stack.close()


ENGINES = {"sqlite": SQLite, "postgres": Postgres, "postgres-four": FourTables, "mysql": MySQL}
