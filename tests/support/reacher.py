"""A database of PostgreSQL and a role with a password, as they are reached by a way."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import pytest

SECRET = "s3cr3t-Marker 'x\""
ROWS = 60_000


def tcp(postgres, database: str, host: str = "localhost", **parameters: object) -> str:
    """Return the URL by which the role logs in over TCP."""
    query = "&".join(f"{name}={quote(str(value))}" for name, value in parameters.items())
    return f"postgresql://reacher:{quote(SECRET)}@{host}:{postgres.port}/{database}{'?' if query else ''}{query}"


def done(result):
    """Return the backup of a result that is a success."""
    assert result.success, result.error
    return result.backup


@pytest.fixture(scope="module")
def reacher(postgres) -> Iterator[None]:
    """A role of PostgreSQL that has a password."""
    postgres.execute("CREATE ROLE reacher LOGIN SUPERUSER PASSWORD '{}'".format(SECRET.replace("'", "''")))
    yield
    postgres.execute("DROP ROLE reacher")


@pytest.fixture(scope="module")
def shop(postgres, reacher) -> Iterator[str]:
    """A PostgreSQL database of some megabytes."""
    name = postgres.create()
    postgres.script(
        name,
        f"CREATE TABLE item AS SELECT g AS id, repeat(md5(g::text), 8) AS text FROM generate_series(1, {ROWS}) g;"
        "ALTER TABLE item ADD PRIMARY KEY (id); CREATE TABLE small AS SELECT 1 AS x;"
        "CREATE SEQUENCE numbers; SELECT nextval('numbers');",
    )
    yield name
    postgres.drop(name)


@pytest.fixture
def target(postgres) -> Iterator[str]:
    """The name of a database that is not there."""
    name = f"{postgres.create()}_to"
    yield name
    postgres.drop(name)
    postgres.drop(name.removesuffix("_to"))
