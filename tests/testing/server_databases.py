"""Databases on a real server for the conformance tests of its driver, gone after each test."""

from __future__ import annotations

import itertools
from urllib.parse import quote, unquote

from support.mariadb_server import PASSWORD

from dumpty.testing.databases import unreachable_url

NUMBERS = itertools.count()


class Databases:
    """Makes names and databases on one server, and drops them all."""

    shop: tuple[str, ...]
    large: tuple[str, ...]

    def __init__(self, server):
        self.server = server
        self.names = []

    def name(self):
        self.names.append(f"conform_{next(NUMBERS)}")
        return self.names[-1]

    def missing(self):
        return self.server.url(self.name())

    def filled(self, *statements):
        name = self.name()
        self.create(name, *statements)
        return self.server.url(name)

    def unreachable(self):
        """Return the URL of a server that is not there, with a password."""
        return unreachable_url(f"{self.scheme}://tester@127.0.0.1/none")

    def of(self, url):
        return unquote(url.partition("?")[0].rpartition("/")[2])


class PostgresDatabases(Databases):
    scheme = "postgresql"
    shop = (
        "CREATE TABLE item (id serial PRIMARY KEY, name text NOT NULL, price numeric, tags text[])",
        "INSERT INTO item (name, price, tags) SELECT 'it''s ' || g, g / 7.0, ARRAY['a', g::text] FROM generate_series(1, 500) g",
        'CREATE TABLE "odd \'name" (a int, b bytea)',
        "CREATE VIEW cheap AS SELECT * FROM item WHERE price < 1",
    )
    large = (
        "CREATE TABLE item (id int PRIMARY KEY, name text)",
        """INSERT INTO item SELECT g, (SELECT string_agg(md5((g * 40 + h)::text), '') FROM generate_series(1, 40) h)
        FROM generate_series(1, 12000) g""",
    )

    def create(self, name, *statements):
        self.server.create(name)
        for statement in statements:
            self.server.execute(statement, database=name)

    def content(self, url):
        return self.server.dump(self.of(url)).splitlines()

    def rows(self, url):
        name = self.of(url)
        query = "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname = 'public'"
        tables = [row[0] for row in self.server.execute(query, database=name)]
        return {t: self.server.execute(f"SELECT count(*) FROM {t}", database=name)[0][0] for t in tables}

    def kill(self, url):
        self.server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", self.of(url))

    def databases(self, url):
        return self.server.databases()

    def drop_one(self, url):
        self.server.drop(self.of(url))

    def drop(self):
        for name in self.server.databases():
            if any(name.startswith(prefix) for prefix in self.names):
                self.server.drop(name)


class MariaDBDatabases(Databases):
    scheme = "mysql"
    shop = (
        "CREATE TABLE item (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(50) NOT NULL, price DOUBLE, picture BLOB)",
        "INSERT INTO item SELECT seq, CONCAT('it''s ', seq), seq / 7, UNHEX(HEX(seq)) FROM seq_1_to_500",
        "CREATE TABLE `odd ``name` (a INT, b TEXT)",
        "CREATE VIEW cheap AS SELECT id, name FROM item WHERE price < 1",
    )
    large = (
        "CREATE TABLE item (id INT PRIMARY KEY, name TEXT)",
        "INSERT INTO item SELECT seq, REPEAT(SHA2(seq, 256), 16) FROM seq_1_to_60000",
    )

    def create(self, name, *statements):
        self.server.run(f"CREATE DATABASE `{name}`", f"USE `{name}`", *statements)

    def content(self, url):
        return self.server.dump(self.of(url)).splitlines()

    def rows(self, url):
        name = self.of(url)
        tables = self.server.run("SHOW FULL TABLES WHERE Table_type = 'BASE TABLE'", database=name)
        quoted = {t: t.replace("`", "``") for t, _ in tables}
        return {t: self.server.run(f"SELECT count(*) FROM `{q}`", database=name)[0][0] for t, q in quoted.items()}

    def kill(self, url):
        for (number,) in self.server.run(
            f"SELECT id FROM information_schema.processlist WHERE db = '{self.of(url)}' AND id <> CONNECTION_ID()"
        ):
            self.server.run(f"KILL {number}")

    def databases(self, url):
        return [name for (name,) in self.server.run("SHOW DATABASES")]

    def drop_one(self, url):
        self.server.run(f"DROP DATABASE `{self.of(url)}`")

    def with_password(self, url):
        """Return the URL of the same database by the account that has a password, over TCP."""
        return f"mysql://tcp:{quote(PASSWORD, safe='')}@127.0.0.1:{self.server.port}/{self.of(url)}"

    def drop(self):
        for (name,) in self.server.run("SHOW DATABASES"):
            if any(name.startswith(prefix) for prefix in self.names):
                self.server.run("SET FOREIGN_KEY_CHECKS=0", f"DROP DATABASE `{name}`")
