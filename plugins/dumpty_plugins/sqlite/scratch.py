"""A scratch database for a drill: a file in the dump's workspace."""

from __future__ import annotations

import contextlib
import os
import secrets
from typing import TYPE_CHECKING

from dumpty import IntegrityError, NotProvable, OptionError, Source
from dumpty.process import find_program
from dumpty_plugins.sqlite.dumping.image import copy_file
from dumpty_plugins.sqlite.files.connection import connect, remove_database, translate_errors
from dumpty_plugins.sqlite.schema import checks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dumpty import Dump, Evidence

_SHOWN = 3


@contextlib.contextmanager
def scratch_file(dump: Dump, on: Source | None) -> Iterator[_ScratchFile]:
    """Yield a file that does not exist yet; what was made of it is removed.

    Raises:
        OptionError: a server was named, and SQLite has none.
    """
    if on is not None:
        raise OptionError(f"SQLite has no server to restore on: drill without {on.url}")
    path = os.path.join(dump.workspace(), "drill.db")
    try:
        yield _ScratchFile(path, dump.evidence)
    finally:
        remove_database(path)


class _ScratchFile:
    """A database file that lives for one drill."""

    def __init__(self, path: str, evidence: Evidence) -> None:
        self._path = path
        self._evidence = evidence
        self.target = Source(scheme="sqlite", database=path)

    @property
    def versions(self) -> Mapping[str, str]:
        return checks.versions()

    def check(self) -> tuple[str, ...]:
        """Run SQLite's checks. Rows that broke the schema's own rules when they were dumped still may.

        Raises:
            IntegrityError: a check found something.
            NotProvable: they found nothing, but an index needs what only its application has.
        """
        with translate_errors(self._path), contextlib.closing(connect(self._path, "ro")) as database:
            missing = checks.check_integrity(database)
            references = checks.dangling_references(database)
            recorded = self._evidence.properties.get(checks.DANGLING, [])
            if references != recorded:
                raise IntegrityError(
                    f"foreign_key_check finds in the restored database: {'; '.join(references[:_SHOWN]) or 'nothing'};"
                    f" but when it was dumped: {'; '.join(recorded[:_SHOWN]) or 'nothing'}"
                )
        if missing:
            raise NotProvable(
                f"every page and row is sound, but indexes need what only their application has ({'; '.join(missing)});"
                " restore the backup, and let the application run PRAGMA integrity_check on it"
            )
        note = f" ({'; '.join(references[:_SHOWN])}: as in the original)" if references else ""
        return "integrity_check", f"foreign_key_check{note}"

    def shell(self) -> tuple[str, ...]:
        """Return the arguments of SQLite's own shell. What the file's views and triggers call is no function of that.

        Raises:
            CommandError: it is not installed.
        """
        program = find_program("sqlite3", install="apt-get install sqlite3")
        return program, "-cmd", "PRAGMA trusted_schema=OFF", self._path

    @contextlib.contextmanager
    def clone(self) -> Iterator[_ScratchFile]:
        """Yield a copy of the file, beside it."""
        path = os.path.join(os.path.dirname(self._path), f"clone-{secrets.token_hex(8)}.db")
        try:
            copy_file(self._path, path)
            yield _ScratchFile(path, self._evidence)
        finally:
            remove_database(path)

    def ask(self, statement: str) -> list[tuple[object, ...]]:
        """Run a query, which can only read."""
        with translate_errors(self._path), contextlib.closing(connect(self._path, "ro")) as database:
            database.text_factory = lambda data: data.decode("utf-8", "replace")
            database.execute("PRAGMA query_only=ON")
            return database.execute(statement).fetchall()
