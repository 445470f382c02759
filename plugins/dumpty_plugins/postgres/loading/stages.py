"""In which order an archive is loaded: what pg_restore may do side by side, and what only behind all rows.

pg_restore makes what belongs to a table wait for that table's rows. It does not know that a partition has the triggers
and constraints of its partitioned table, a child the checks of the table that it inherits from, a column those of its
domain: by several jobs it makes them as soon as the table is there, and then the rows to come fire these triggers, and
break checks that were NOT VALID because rows did. (By one job, or as a script, it goes in the dump's order.)

Nor does it know that of indexes that two sessions attach at the same moment, one to an index of a partitioned table and
one to an index below that, the server may leave the upper one invalid, though all are there (seen in PostgreSQL 15, one
in 70 restores by eight jobs): then no foreign key can refer to the table, or, where none does, nobody notices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dumpty_plugins.postgres.dumping.archive import Contents, Entry

__all__ = ["Stages", "sections", "stages"]

_BEFORE_DATA, _DATA, _BEHIND_DATA = 2, 3, 4
_KEYS = {"CONSTRAINT", "FK CONSTRAINT"}
_PARALLEL_KINDS = {"INDEX", *_KEYS}
_ATTACHMENT = "INDEX ATTACH"
_PARTITIONED, _NOT_VALID = "\nPARTITION BY ", " NOT VALID;"


def sections(contents: Contents) -> tuple[list[int], list[int], list[int]]:
    """Return what of an archive stands before its rows, those, and all else: what has no section comes last."""
    before = [e.dump_id for e in contents.entries if e.section == _BEFORE_DATA]
    data = [e.dump_id for e in contents.entries if e.section == _DATA]
    rest = [e.dump_id for e in contents.entries if e.section not in (_BEFORE_DATA, _DATA)]
    return before, data, rest


@dataclass(frozen=True)
class Stages:
    """The numbers of an archive's entries, in the order of their loading.

    before: what the rows need.
    parallel: what takes time, data and indexes, unless it concerns the rows of other tables than its own, or waits for
        something of a later stage.
    keys: those of partitioned tables, and of their partitions, which attachments need.
    attachments: indexes of partitions become parts of the index of the partitioned table; by one session.
    behind: all else.
    """

    before: list[int]
    parallel: list[int]
    keys: list[int]
    attachments: list[int]
    behind: list[int]


def stages(contents: Contents) -> Stages:
    """Return in which order to load an archive."""
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
    rest = [e for e in contents.entries if e.dump_id not in staged]
    attachments = {e.dump_id for e in rest if e.kind == _ATTACHMENT}
    needed = set(attachments)
    for entry in reversed(rest):  # what an entry needs stands before it
        if entry.dump_id in needed:
            needed.update(entry.dependencies)
    return Stages(
        before=before,
        parallel=parallel,
        keys=[e.dump_id for e in rest if e.dump_id in needed - attachments],
        attachments=[e.dump_id for e in rest if e.dump_id in attachments],
        behind=[e.dump_id for e in rest if e.dump_id not in needed],
    )


def _is_of_its_table_alone(entry: Entry, partitioned: set[int]) -> bool:
    """Return whether an entry behind the data takes time, and locks and concerns no table but its own."""
    if entry.section != _BEHIND_DATA or entry.kind not in _PARALLEL_KINDS:
        return False
    if entry.kind not in _KEYS:
        return True
    is_not_null = entry.kind == "CONSTRAINT" and entry.definition.rstrip().endswith(_NOT_VALID)
    return not is_not_null and not partitioned & set(entry.dependencies)
