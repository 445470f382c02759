"""Which files a glob means: found by their names and kinds alone, for no file of a database may be opened to look."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty import database_files
from dumpty_plugins.sqlite.files.connection import SIBLINGS, file_path

if TYPE_CHECKING:
    from dumpty import Source


def find_files(source: Source) -> list[Source]:
    """Return the files that the glob in ``source`` means; one that is no database is for its backup to refuse.

    Raises:
        MalformedURL: the URL asks for something that this driver does not do.
        SourceError: a directory that would have to be looked through cannot be.
    """
    file_path(source)  # of which only what it refuses is wanted
    return database_files(source=source, siblings=SIBLINGS)
