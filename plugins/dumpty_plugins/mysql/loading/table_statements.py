"""Chooses the statements of some tables from those of a dump, and gives them names that are free in the target.

Tables keep their names while they are loaded beside the target: moving them gives them their new ones, and the server
then changes all that follows them, such as the names that it made for constraints. Changed in the statements are names
of constraints and triggers that something in the target has, and where a default finds its sequence.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dumpty import IntegrityError, SourceError
from dumpty.process import masks
from dumpty_plugins.mysql.loading.allowlist import Statement
from dumpty_plugins.mysql.loading.dump_reader import row_count
from dumpty_plugins.mysql.schema.statement_edits import TriggerHead, trigger_head
from dumpty_plugins.mysql.schema.table_edits import (
    constraint,
    is_merged,
    renamed_constraint,
    with_parts,
    with_sequences_in,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from dumpty_plugins.mysql.loading.target_names import TargetNames
    from dumpty_plugins.mysql.schema.character_sets import CharacterSets

_COLLATION = re.compile(rb"\bCOLLATE = (\w+)")
_LOCAL_SETTINGS = (b"character_set_client", b"collation_connection")


@dataclass(frozen=True)
class _Trigger:
    table: str
    charset: str


class TableStatements:
    """Chooses the statements of some tables.

    ``paths`` has those that were found, by their names in the dump; ``tables_read`` and ``rows_read`` count what the
    dump has of all tables; ``notes`` says what of the chosen ones is not as it was.

    Args:
        tables: the tables by their paths in the backup, each with its name in the target.
        names: what names the target has.
        charsets: encodes names.
        triggers: whether to choose triggers.
        collation: that of the target, "" where it will have that of the dump.
        fold: whether the server ignores case in names of tables.
    """

    def __init__(
        self,
        tables: Mapping[str, str],
        names: TargetNames,
        charsets: CharacterSets,
        *,
        triggers: bool,
        collation: str,
        fold: bool,
    ) -> None:
        self._tables = tables
        self._names = names
        self._charsets = charsets
        self._wants_triggers = triggers
        self._target_collation = collation
        self._collation = collation
        self._fold = fold
        self._all: set[str] = set()
        self._triggers: dict[str, _Trigger] = {}
        self._renamed_triggers: dict[str, str] = {}
        self._database_begun = False
        self.paths: dict[str, str] = {}
        self.tables_read = 0
        self.rows_read = 0
        self.notes: dict[str, None] = {}

    def choose(self, statements: Iterable[Statement]) -> Iterator[Statement]:
        """Yield what is to be executed, settings only where something comes after them that they are of.

        Raises:
            IntegrityError: the dump says what no dump of ours says.
            SourceError: the target lacks a sequence, or a table cannot be restored alone.
        """
        settings: dict[bytes, Statement] = {}
        for statement in statements:
            if statement.kind == "SET":
                _keep(settings, statement)
            elif statement.kind == "DATABASE":
                match = _COLLATION.search(statement.text)
                self._collation = match[1].decode() if match else self._collation
                if not self._database_begun:  # the others are for single stored objects
                    self._database_begun = True
                    yield statement
            elif (chosen := self._chosen(statement)) is not None:
                yield from settings.values()
                settings.clear()
                yield chosen

    def new_name(self, name: str) -> str:
        """Return the name in the target of a table of the dump that was found."""
        path = self.paths[name]
        return name if self._tables[path] == path else self._tables[path]

    def in_target(self, trigger: Statement) -> Statement:
        """Return the statement of a chosen trigger for the table that has its name in the target.

        Raises:
            SourceError: that name cannot be said in the character set of the statement.
        """
        known, head = self._triggers[trigger.name], self._head(trigger)
        new = self.new_name(known.table)
        if new == known.table:
            return trigger
        encoded = self._charsets.encode(new.encode("utf-8", "surrogateescape"), known.charset)
        if encoded is None:
            raise SourceError(
                f"trigger {trigger.name} of the dump is written in the character set {known.charset}, which cannot say "
                f"{new}: give the table another name, or leave triggers out with the option triggers=off"
            )
        return replace(trigger, text=head.renamed(name=head.name, table=encoded, neighbour=head.neighbour))

    def _chosen(self, statement: Statement) -> Statement | None:
        if statement.kind == "INSERT":
            self.rows_read += row_count(statement)
            return statement if statement.name in self.paths else None
        if statement.kind == "TABLE":
            self.tables_read += 1
            self._all.add(statement.name)
            path = self._path(statement.name)
            return None if path is None else self._table(statement, path)
        return self._trigger(statement) if statement.kind == "TRIGGER" else None

    def _path(self, name: str) -> str | None:
        """Return the path of that of our tables which has a name, perhaps with a secret in it that is masked."""
        return name if name in self._tables else next((path for path in self._tables if masks(path, name)), None)

    def _table(self, statement: Statement, path: str) -> Statement:
        if path in self.paths.values():
            raise IntegrityError(f"the dump makes the table {path} twice: it was altered, or made by another program")
        self.paths[statement.name] = path
        if is_merged(statement.text):
            raise SourceError(
                f"table {path} has no rows of its own, but those of other tables: it comes back with all of the backup"
            )
        text = with_parts(statement.text, lambda part: self._part(statement.name, part))
        if b"val(" in text.lower():
            text = self._with_sequences(statement.name, text)
        return replace(statement, text=text)

    def _part(self, table: str, part: bytes) -> bytes | None:
        """Return a part of a table's definition as it is to be; None where it refers to what does not come along."""
        found = constraint(part)
        if found is None:
            return part
        name = found.name.decode("utf-8", "surrogateescape")
        if found.kind == "FOREIGN KEY" and not self._comes_along(found.references, table):
            other = ".".join(n.decode("utf-8", "replace") for n in found.references)
            self._note(f"{table}: the foreign key {name} was left out, for it refers to {other}")
            return None
        if not name:
            return part
        final = self._final(name, table)
        free = self._names.free(found.kind, final)
        if free == final:
            return part
        kind = "foreign key" if found.kind == "FOREIGN KEY" else "check"
        self._note(f"{table}: the {kind} {name} is called {free}, for there is another {final} in the target")
        return renamed_constraint(part, free.encode("utf-8", "surrogateescape"))

    def _comes_along(self, references: tuple[bytes, ...], table: str) -> bool:
        if len(references) != 1:
            return False
        name = references[0].decode("utf-8", "surrogateescape")
        names = {table, *self._tables, *self.paths}
        return name in names or (self._fold and name.casefold() in {n.casefold() for n in names})

    def _final(self, name: str, table: str) -> str:
        """Return the name of a constraint after its table was moved: one that the server made follows the table's."""
        path = self.paths[table]
        new = table if self._tables[path] == path else self._tables[path]
        for kind in ("ibfk", "chk"):
            if name.startswith(start := f"{table}_{kind}_"):
                return f"{new}_{kind}_{name.removeprefix(start)}"
        return name

    def _with_sequences(self, table: str, create: bytes) -> bytes:
        text, sequences = with_sequences_in(self._names.database.encode("utf-8", "surrogateescape"), create)
        names = [name.decode("utf-8", "surrogateescape") for name in sequences]
        if missing := sorted({name for name in names if not self._names.has_sequence(name)}):
            raise SourceError(
                f"table {table} takes numbers from the sequence {', '.join(missing)}, which {self._names.database} "
                "lacks, so nothing was restored: create it there first, or restore all of the backup into a new "
                "database"
            )
        return text

    def _trigger(self, statement: Statement) -> Statement | None:
        head = self._head(statement)
        table = self._table_called(self._charsets.decode(head.table, statement.charset))
        if table is None:
            return None
        if not self._wants_triggers:
            self._note("triggers were left out, as asked")
            return None
        old = self._charsets.decode(head.name, statement.charset)
        name = self._names.free("TRIGGER", old)
        self._renamed_triggers[old] = name
        if name != old:
            self._note(f"{table}: the trigger {old} is called {name}, for there is another {old} in the target")
        if self._collation != self._target_collation and self._target_collation:
            self._note(
                f"{table}: the trigger {name} was made in a database whose collation is {self._collation}, and is made "
                f"in one whose collation is {self._target_collation}"
            )
        self._triggers[name] = _Trigger(table, statement.charset)
        return Statement(self._with_names(head, old, name, statement.charset), "TRIGGER", name)

    def _with_names(self, head: TriggerHead, old: str, name: str, charset: str) -> bytes:
        neighbour = self._charsets.decode(head.neighbour, charset)
        new_neighbour = self._renamed_triggers.get(neighbour, neighbour)
        texts = {head.name: head.name if name == old else head.name + name.removeprefix(old).encode()}
        if not name.startswith(old):  # a long name was cut
            texts[head.name] = self._charsets.encode(name.encode("utf-8", "surrogateescape"), charset) or head.name
        after = head.neighbour
        if new_neighbour != neighbour:
            after = self._charsets.encode(new_neighbour.encode("utf-8", "surrogateescape"), charset) or after
        return head.renamed(name=texts[head.name], table=head.table, neighbour=after)

    def _head(self, trigger: Statement) -> TriggerHead:
        head = trigger_head(trigger.text)
        if head is None:
            raise IntegrityError(
                f"the dump says what trigger {trigger.name} is of in a way in which no dump by this driver says it: it "
                "was altered, or made by another program; leave triggers out of a restore of all of it, if you trust it"
            )
        return head

    def _table_called(self, name: str) -> str | None:
        """Return that of the chosen tables which a trigger calls by a name: where case is ignored it may differ."""
        if name in self._all:
            return name if name in self.paths else None
        return next((table for table in self.paths if table.casefold() == name.casefold()), None)

    def _note(self, text: str) -> None:
        self.notes[text] = None


def _keep(settings: dict[bytes, Statement], statement: Statement) -> None:
    """Add a setting to those in force; a later one of the same name comes in its place, and after the others."""
    name = statement.text.split()[1].partition(b"=")[0].lower()
    for overridden in (name, *(_LOCAL_SETTINGS if name == b"names" else ())):
        settings.pop(overridden, None)
    settings[name] = statement
