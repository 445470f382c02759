"""What a database holds, in a form that two databases can be compared by: the evidence of dump and restore."""

from __future__ import annotations

import functools
import hashlib
from typing import TYPE_CHECKING

import duckdb

from dumpty import Evidence, IntegrityError, ObjectEvidence
from dumpty_duckdb.connection import first_line, identifier

if TYPE_CHECKING:
    from collections.abc import Iterable

_ALGORITHM = f"duckdb-{duckdb.__version__}"
_CURRENT = "database_name = current_database()"

# Everything a database can hold: kind, and where its schema, name and definition stand. A database has its own only.
_DEFINITIONS = (
    ("schema", "'', schema_name, ''", "duckdb_schemas() WHERE NOT internal AND"),
    ("table", "schema_name, table_name, sql", "duckdb_tables() WHERE NOT internal AND"),
    ("view", "schema_name, view_name, sql", "duckdb_views() WHERE NOT internal AND"),
    ("index", "schema_name, index_name, sql", "duckdb_indexes() WHERE"),
    ("sequence", "schema_name, sequence_name, sql", "duckdb_sequences() WHERE"),
    ("type", "schema_name, type_name, row(logical_type, labels)::VARCHAR", "duckdb_types() WHERE NOT internal AND"),
    (
        "macro",
        "schema_name, concat(function_name, parameters::VARCHAR), row(function_type, macro_definition)::VARCHAR",
        "duckdb_functions() WHERE NOT internal AND",
    ),
    ("trigger", "schema_name, trigger_name, sql", "duckdb_triggers() WHERE"),
    ("comment on table", "schema_name, table_name, comment", "duckdb_tables() WHERE comment IS NOT NULL AND"),
    ("comment on view", "schema_name, view_name, comment", "duckdb_views() WHERE comment IS NOT NULL AND"),
    (
        "comment on column",
        "schema_name, concat(table_name, '.', column_name), comment",
        "duckdb_columns() WHERE NOT internal AND comment IS NOT NULL AND",
    ),
)


def tables(database: duckdb.DuckDBPyConnection) -> list[tuple[str, str]]:
    """Return schema and name of every table."""
    query = f"SELECT schema_name, table_name FROM duckdb_tables() WHERE {_CURRENT} AND NOT internal ORDER BY ALL"
    return [(str(s), str(t)) for s, t in database.execute(query).fetchall()]


@functools.cache
def knows_triggers() -> bool:
    """Return whether this DuckDB is new enough to have triggers."""
    with duckdb.connect() as scratch:
        query = "SELECT 1 FROM duckdb_functions() WHERE function_name = 'duckdb_triggers'"
        return scratch.execute(query).fetchone() is not None


def is_empty(database: duckdb.DuckDBPyConnection) -> bool:
    """Return whether the database holds nothing that anybody put there."""
    return not any(_definitions(database))


def evidence(database: duckdb.DuckDBPyConnection) -> Evidence:
    """Count and fingerprint every table, and take down every other object.

    A table's fingerprint adds up a hash of each row and one of each row's text: the same for any order of rows, and
    within one version of DuckDB, which is why that stands before it.
    """
    definitions = {(kind, path): _digest(text) for kind, path, text in _definitions(database)}
    objects = [
        ObjectEvidence(path=f"{kind} {path}", fingerprint=f"{_ALGORITHM}:{digest}")
        for (kind, path), digest in definitions.items()
        if kind != "table"
    ]
    for schema, table in tables(database):
        rows, by_value, by_text = database.execute(
            "SELECT count(*), coalesce(sum(hash(t)::HUGEINT), 0), coalesce(sum(hash(t::VARCHAR)::HUGEINT), 0) "
            f"FROM {identifier(schema)}.{identifier(table)} AS t"
        ).fetchone() or (0, 0, 0)
        path = f"{schema}.{table}"
        fingerprint = f"{_ALGORITHM}:{definitions['table', path]}:{by_value:x}:{by_text:x}"
        objects.append(ObjectEvidence(path=path, rows=rows, fingerprint=fingerprint))
    return Evidence(objects=tuple(objects), versions={"duckdb": duckdb.__version__})


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _definitions(database: duckdb.DuckDBPyConnection) -> Iterable[tuple[str, str, str]]:
    for kind, columns, catalog in _DEFINITIONS:
        if kind == "trigger" and not knows_triggers():
            continue
        for schema, name, text in sorted(database.execute(f"SELECT {columns} FROM {catalog} {_CURRENT}").fetchall()):
            yield kind, f"{schema}.{name}" if schema else name, str(text)


def damaged(error: duckdb.Error, path: str) -> IntegrityError:
    """Return the error for a copy that DuckDB cannot read."""
    return IntegrityError(f"the copy of {path} cannot be read: {first_line(error)}; is the database itself sound?")
