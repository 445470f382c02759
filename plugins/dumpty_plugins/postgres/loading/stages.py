"""In which order an archive is loaded: what pg_restore may do side by side, and what only behind all rows.

pg_restore makes what belongs to a table wait for that table's rows. It does not know that a partition has the triggers
and constraints of its partitioned table, a child the checks of the table that it inherits from, a column those of its
domain: by several jobs it makes them as soon as the table is there, and then the rows to come fire these triggers, and
break checks that were NOT VALID because rows did. (By one job, or as a script, it goes in the dump's order.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dumpty_plugins.postgres.dumping.archive import Contents, Entry

__all__ = ["sections", "stages"]

_BEFORE_DATA, _DATA, _BEHIND_DATA = 2, 3, 4
_KEYS = {"CONSTRAINT", "FK CONSTRAINT"}
_PARALLEL_KINDS = {"INDEX", "INDEX ATTACH", *_KEYS}
_PARTITIONED, _NOT_VALID = "\nPARTITION BY ", " NOT VALID;"


def sections(contents: Contents) -> tuple[list[int], list[int], list[int]]:
    """Return what of an archive stands before its rows, those, and all else: what has no section comes last."""
    before = [e.dump_id for e in contents.entries if e.section == _BEFORE_DATA]
    data = [e.dump_id for e in contents.entries if e.section == _DATA]
    rest = [e.dump_id for e in contents.entries if e.section not in (_BEFORE_DATA, _DATA)]
    return before, data, rest


def stages(contents: Contents) -> tuple[list[int], list[int], list[int]]:
    """Return what of an archive to load one after another, then side by side, then behind all that.

    Side by side goes what takes time, data and indexes, unless it concerns the rows of other tables than its own, or
    waits for something of the last stage.
    """
    before = [e.dump_id for e in contents.entries if e.section == _BEFORE_DATA]
    partitioned = {e.dump_id for e in contents.entries if e.kind == "TABLE" and _PARTITIONED in e.definition}
    deferred = {e.dump_id for e in contents.entries if e.section not in (_BEFORE_DATA, _DATA)}
    parallel = []
    for entry in contents.entries:
        is_parallel = entry.section == _DATA or _is_of_its_table_alone(entry, partitioned)
        if is_parallel and not deferred & (set(entry.dependencies) - {entry.dump_id}):
            parallel.append(entry.dump_id)
            deferred.discard(entry.dump_id)
    staged = {*parallel, *before}
    return before, parallel, [e.dump_id for e in contents.entries if e.dump_id not in staged]


def _is_of_its_table_alone(entry: Entry, partitioned: set[int]) -> bool:
    """Return whether an entry behind the data takes time, and locks and concerns no table but its own."""
    if entry.section != _BEHIND_DATA or entry.kind not in _PARALLEL_KINDS:
        return False
    if entry.kind not in _KEYS:
        return True
    is_not_null = entry.kind == "CONSTRAINT" and entry.definition.rstrip().endswith(_NOT_VALID)
    return not is_not_null and not partitioned & set(entry.dependencies)
