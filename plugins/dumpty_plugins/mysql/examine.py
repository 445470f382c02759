"""Reads a dump to its end without a database: every statement, every row, the last line, and the evidence."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from dumpty import Evidence, IntegrityError, ObjectEvidence, require_same_evidence
from dumpty_plugins.mysql.loading.dump_reader import DumpReader, row_count

if TYPE_CHECKING:
    from collections.abc import Callable

    from dumpty import Dump
    from dumpty_plugins.mysql.loading.allowlist import Statement


def examine(dump: Dump, watch: Callable[[Statement], None] | None = None) -> Evidence:
    """Read ``dump`` to its end, and compare what it holds with its evidence; ``watch`` sees every statement.

    Raises:
        IntegrityError: it is cut short, says what no dump of ours says, or holds other tables or rows.
    """
    rows: dict[str, int] = {}
    with contextlib.closing(DumpReader(dump)) as reader:
        for statement in reader:
            if watch is not None:
                watch(statement)
            if statement.kind == "TABLE":
                rows[statement.name] = 0
            elif statement.kind == "INSERT":
                if statement.name not in rows:
                    raise IntegrityError(f"the dump holds rows of {statement.name}, but not that table before them")
                rows[statement.name] += row_count(statement)
    counted = len(rows), sum(rows.values())
    if counted != (reader.totals.tables, reader.totals.rows):
        raise IntegrityError(
            f"the dump holds {counted[0]} tables with {counted[1]} rows, and its last line says otherwise"
        )
    # A table made of others has rows, but none of its own: nobody counted them.
    uncounted = {o.path for o in dump.evidence.objects if o.rows is None}
    objects = tuple(ObjectEvidence(path=p, rows=None if p in uncounted else n) for p, n in sorted(rows.items()))
    evidence = Evidence(objects=objects, versions=dump.versions)
    require_same_evidence(expected=dump.evidence, found=evidence, subject="the dump")
    return evidence
