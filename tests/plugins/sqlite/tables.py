"""A small shop, and single tables of its backups put back through the public surface."""

from __future__ import annotations

from plugins.sqlite.contents import rows_of

SHOP = """
CREATE TABLE customers (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE COLLATE NOCASE);
CREATE TABLE orders (
  id INTEGER PRIMARY KEY, customer INTEGER REFERENCES customers ON DELETE CASCADE, what TEXT, paid REAL,
  twice REAL AS (paid * 2) STORED, CHECK (orders.paid >= 0), UNIQUE (customer, what)
);
CREATE TABLE log (at, what);
CREATE INDEX by_paid ON orders (paid) WHERE paid > 1;
CREATE INDEX by_what ON orders (lower(what), twice);
CREATE VIEW paid AS SELECT * FROM orders WHERE paid > 0;
CREATE TRIGGER logged AFTER INSERT ON orders BEGIN INSERT INTO log SELECT new.id, count(*) FROM orders; END;
CREATE TRIGGER renamed AFTER UPDATE OF name ON customers BEGIN UPDATE orders SET what = what WHERE customer = new.id; END;
INSERT INTO customers VALUES (1, 'ann'), (7, 'bob'), (9, 'gone');
DELETE FROM customers WHERE id = 9;
INSERT INTO orders (id, customer, what, paid) VALUES (1, 1, 'egg', 1.5), (5, 7, 'it''s', 0.1), (6, NULL, x'00ff', 2);
"""


def backed_up(manager, path, form="sql", **options):
    made = manager.create_backup(f"sqlite:///{path}", format=form, **options)
    assert made.success, made.error
    return made.backup.id


def put_back(manager, backup, path, tables, **options):
    result = manager.restore(backup, f"sqlite:///{path}", tables=tables, **options)
    assert result.success, result.error


def refused(manager, backup, path, tables, error, **options) -> str:
    """Restore, and see that it is refused, and that the target and its folder are as they were."""
    before = path.read_bytes() if path.exists() else None
    names = sorted(entry.name for entry in path.parent.iterdir())
    result = manager.restore(backup, f"sqlite:///{path}", tables=tables, **options)
    assert not result.success
    assert isinstance(result.exception, error), result.error
    assert "\n" not in result.error
    assert (path.read_bytes() if path.exists() else None) == before
    assert sorted(entry.name for entry in path.parent.iterdir()) == names
    return result.error


def definitions(path) -> dict[str, str]:
    return dict(rows_of(path, "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"))


def cells(path, table):
    return rows_of(path, f'SELECT * FROM "{table}" ORDER BY rowid')
