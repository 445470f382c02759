"""What a server keeps of a database's code and definitions, byte for byte: dumps of two databases may lie alike."""

from __future__ import annotations

from support.mariadb_server import MariaDBServer

_KEYS = {
    "TABLES": ("TABLE_SCHEMA", "TABLE_NAME"),
    "COLUMNS": ("TABLE_SCHEMA", "TABLE_NAME, COLUMN_NAME"),
    "CHECK_CONSTRAINTS": ("CONSTRAINT_SCHEMA", "CONSTRAINT_NAME"),
    "PARTITIONS": ("TABLE_SCHEMA", "TABLE_NAME, PARTITION_NAME"),
    "STATISTICS": ("TABLE_SCHEMA", "TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX"),
    "VIEWS": ("TABLE_SCHEMA", "TABLE_NAME"),
    "TRIGGERS": ("TRIGGER_SCHEMA", "TRIGGER_NAME"),
    "ROUTINES": ("ROUTINE_SCHEMA", "ROUTINE_TYPE, ROUTINE_NAME"),
    "PARAMETERS": ("SPECIFIC_SCHEMA", "SPECIFIC_NAME, ORDINAL_POSITION"),
    "EVENTS": ("EVENT_SCHEMA", "EVENT_NAME"),
}
_PASSING = {
    *("CREATE_TIME", "UPDATE_TIME", "CHECK_TIME", "CREATED", "LAST_ALTERED", "LAST_EXECUTED", "ORIGINATOR", "STARTS"),
    *("EVENT_OBJECT_SCHEMA", "INDEX_SCHEMA", "AVG_ROW_LENGTH", "DATA_LENGTH", "INDEX_LENGTH", "DATA_FREE"),
    *("TABLE_ROWS", "CARDINALITY", "AUTO_INCREMENT"),
}
"""When a thing was made, where it lies, and what is estimated."""
_GARBLED = {"GENERATION_EXPRESSION"}
"""What MySQL shows there in the character set of whoever made the table, and in its definition as it is."""
# Tables of the server's own where MariaDB keeps more than it shows.
_STORED = {"proc": {"created", "modified"}, "event": {"created", "modified", "last_executed", "originator", "starts"}}


def definitions(server: MariaDBServer, database: str) -> dict[tuple[str, ...], tuple[bytes | None, ...]]:
    """Return every value of every definition, as bytes, with the database's own name made the same everywhere."""
    connection = server.connect(database, use_unicode=False)
    values_by_object: dict[tuple[str, ...], tuple[bytes | None, ...]] = {}
    try:
        with connection.cursor() as cursor:

            def read(source: str, schema: str, keys: str, passing: set[str]) -> None:
                cursor.execute(f"SHOW COLUMNS FROM {source}")
                names = [n for n in (r[0].decode() for r in cursor.fetchall()) if n not in {schema, *passing}]
                values = ",".join(f"CAST({n} AS BINARY)" for n in names)
                cursor.execute(f"SELECT CONCAT_WS('.', {keys}), {values} FROM {source} WHERE {schema}=%s", (database,))
                for key, *row in cursor.fetchall():
                    values_by_object[source, key.decode()] = tuple(
                        v.replace(f"`{database}`.".encode(), b"") if v else v for v in row
                    )

            passing = _PASSING if server.kind == "mariadb" else _PASSING | _GARBLED
            for view, (schema, keys) in _KEYS.items():
                read(f"information_schema.{view}", schema, keys, passing)
            for table, left_out in _STORED.items() if server.kind == "mariadb" else ():
                read(f"mysql.{table}", "db", "name, type" if table == "proc" else "name", left_out)
            values_by_object |= _shown(cursor, database)
    finally:
        connection.close()
    return values_by_object


def _shown(cursor, database: str) -> dict[tuple[str, ...], tuple[bytes | None, ...]]:
    """Return the stored statements of triggers, views and tables: what SHOW CREATE gives where nothing is converted."""
    statements = {}
    cursor.execute("SET character_set_results=binary")
    for kind, column, source, schema in (
        ("TRIGGER", "TRIGGER_NAME", "TRIGGERS", "TRIGGER_SCHEMA"),
        ("VIEW", "TABLE_NAME", "VIEWS", "TABLE_SCHEMA"),
        ("TABLE", "TABLE_NAME", "TABLES", "TABLE_TYPE='BASE TABLE' AND TABLE_SCHEMA"),
    ):
        cursor.execute(f"SELECT {column} FROM information_schema.{source} WHERE {schema}=%s", (database,))
        for (name,) in cursor.fetchall():
            cursor.execute(b"SHOW CREATE %b `%b`" % (kind.encode(), name))
            statements["SHOW", name.decode()] = tuple(v for v in cursor.fetchone() if isinstance(v, bytes))  # no time
    return statements
