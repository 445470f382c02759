"""The statements that make a schema: what EXPORT DATABASE leaves out, and an order in which they load."""

from __future__ import annotations

import duckdb

from dumpty import SourceError
from dumpty_duckdb.connection import OFFLINE, first_line, identifier, literal
from dumpty_duckdb.content import knows_triggers

_CURRENT = "database_name = current_database()"

_COMMENTED = (
    ("TABLE", "duckdb_tables", "schema_name, table_name"),
    ("VIEW", "duckdb_views", "schema_name, view_name"),
    ("INDEX", "duckdb_indexes", "schema_name, index_name"),
    ("SEQUENCE", "duckdb_sequences", "schema_name, sequence_name"),
    ("TYPE", "duckdb_types", "schema_name, type_name"),
    ("MACRO", "duckdb_functions", "schema_name, function_name"),
    ("COLUMN", "duckdb_columns", "schema_name, table_name, column_name"),
)
_SKIP = {kind: "false" if kind in {"INDEX", "SEQUENCE"} else "internal" for kind, _, _ in _COMMENTED}


def split(script: str) -> list[str]:
    """Return the statements of a script, each ended by a semicolon."""
    return [s.query.strip().rstrip(";") + ";" for s in duckdb.extract_statements(script) if s.query.strip(" ;\n")]


def comments(database: duckdb.DuckDBPyConnection) -> list[str]:
    """Return a COMMENT statement for everything that has a comment and can have one."""
    statements = []
    for kind, catalog, name in _COMMENTED:
        query = (
            f"SELECT {name}, comment FROM {catalog}() WHERE {_CURRENT} AND NOT {_SKIP[kind]} AND comment IS NOT NULL"
        )
        for *path, text in sorted(database.execute(query).fetchall()):
            statements.append(f"COMMENT ON {kind} {'.'.join(map(identifier, path))} IS {literal(text)};")
    return statements


def triggers(database: duckdb.DuckDBPyConnection) -> list[str]:
    """Return the statements that make the triggers; they are to run when the data is there."""
    if not knows_triggers():
        return []
    rows = database.execute(f"SELECT sql FROM duckdb_triggers() WHERE {_CURRENT} AND NOT temporary ORDER BY ALL")
    return [str(sql).rstrip(";") + ";" for (sql,) in rows.fetchall()]


def in_order(statements: list[str]) -> list[str]:
    """Return the statements in an order in which they run, found by running them in an empty database in memory.

    Raises:
        SourceError: some cannot run in another database at all; the text has the first.
    """
    ordered: list[str] = []
    remaining = statements
    with duckdb.connect(config=OFFLINE) as scratch:
        while remaining:
            refused = [(s, reason) for s in remaining if (reason := _refusal(scratch, s))]
            if len(refused) == len(remaining):
                statement, reason = refused[0]
                raise SourceError(
                    f"the parquet format cannot carry {' '.join(statement.split())[:120]!r} ({reason}); "
                    "take the native one (--format native)"
                )
            ordered += [s for s in remaining if s not in dict(refused)]
            remaining = [s for s, _ in refused]
    return ordered


def _refusal(scratch: duckdb.DuckDBPyConnection, statement: str) -> str:
    try:
        scratch.execute(statement)
    except duckdb.Error as error:
        return first_line(error)
    return ""
