"""PostgreSQL's regression database comes back, in each format, as PostgreSQL's own pg_dump and pg_restore bring it back."""

from __future__ import annotations

import re
import subprocess
from collections import Counter

import pytest
from support.postgres_regress import DATABASE, regression_server

from dumpty import BackupManager


@pytest.fixture(scope="module")
def server():
    server = regression_server()
    yield server
    server.stop()


# The rows of the materialized views that have some: pg_dump writes none of them, a restore computes them anew.
VIEWS = """
SELECT string_agg(format('SELECT %L || v::text FROM %s v', relation || ': ', relation), ' UNION ALL ') || ' ORDER BY 1'
FROM (SELECT oid::regclass::text AS relation FROM pg_class WHERE relkind = 'm' AND relispopulated) AS views
"""


def described(server, database: str) -> list[str]:
    """Return what pg_dump says of a database, line by line; the rows of each table sorted, for parts come in any order."""
    lines: list[str] = []
    rows: list[str] | None = None
    for line in server.dump(database).split("\n"):
        if rows is None:
            lines.append(line)
            rows = [] if re.fullmatch(r"COPY .* FROM stdin;", line) else None
        elif line == r"\.":
            lines += [*sorted(rows), line]
            rows = None
        else:
            rows.append(line)
    [(views,)] = server.execute(VIEWS, database=database)
    return lines + [row for (row,) in server.execute(views, database=database)]


@pytest.fixture(scope="module")
def expected(server, tmp_path_factory):
    """What is expected of a copy: what the copy is that pg_dump and pg_restore make.

    It is not what pg_dump says of the original: a restore gives some tables that inherit columns another order of them.
    """
    archive = str(tmp_path_factory.mktemp("archive") / "whole.dump")
    copy = server.create(options="TEMPLATE template0")
    pg_dump, pg_restore = str(server.bindir / "pg_dump"), str(server.bindir / "pg_restore")
    subprocess.run([pg_dump, "-Fc", "-Z0", "-f", archive, server.url(DATABASE)], check=True)
    subprocess.run([pg_restore, "--exit-on-error", "-d", server.url(copy), archive], check=True)
    described_copy = described(server, copy)
    server.drop(copy)
    return described_copy


def assert_same(actual: list[str], expected: list[str]) -> None:
    """Tell the first lines that differ: to show all of half a million takes pytest longer than the whole test."""
    if actual != expected:
        missing, added = Counter(expected) - Counter(actual), Counter(actual) - Counter(expected)
        number = next((n for n, (a, b) in enumerate(zip(actual, expected, strict=False)) if a != b), -1)
        context = "\n".join(actual[max(number - 10, 0) : number + 5])
        pytest.fail(f"missing: {list(missing)[:20]}\nadded: {list(added)[:20]}\nfrom line {number}:\n{context}", False)


@pytest.mark.parametrize("form", ["native", "sql", "parallel"])
def test_it_comes_back(server, expected, tmp_path, form):
    manager = BackupManager(tmp_path / "backups", compressor=None)
    options = {"bindir": str(server.bindir)}
    backup = manager.create_backup(server.url(DATABASE), format=form, **options).raise_for_error()
    copy = f"copy_{form}"
    assert (len(backup.files) > 300) == (form == "parallel"), "the rows of all tables that have some come in parts"
    manager.restore(backup.id, server.url(copy), **options).raise_for_error()
    assert_same(described(server, copy), expected)
    server.drop(copy)
