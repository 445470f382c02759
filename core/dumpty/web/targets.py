"""Where a backup can be restored without touching what exists: a new database beside the one that it is of."""

from __future__ import annotations

import os
import posixpath
from urllib.parse import parse_qsl, urlencode

from dumpty.errors import OptionError
from dumpty.redaction import names_secret
from dumpty.url import parse_url, with_database

__all__ = ["beside", "is_file", "require_free"]

_NAMES_DATABASE = {"dbname", "database", "db"}
"""Parameters that would name a database beside the one in the path."""
_BESIDE_FILES = ("-wal", "-journal", "-shm")
"""Ends of the names of files that SQLite keeps beside a database (https://sqlite.org/tempfiles.html)."""


def is_file(url: str) -> bool:
    """Return whether a database is a file, by what its driver says."""
    from dumpty.registry.host import default_host

    return default_host().driver(parse_url(url).scheme).described.files


def beside(url: str, name: str, *, keeps_secrets: bool = False) -> str:
    """Return the URL of a new database of a name: on the same server, or in the directory of the same file.

    A file keeps its suffix: what a directory is served for, or read by, often goes by that.

    Raises:
        OptionError: the file's whole path is not known, its new name is one that SQLite keeps for itself, or where it
            leads is written elsewhere.
    """
    if is_file(url):
        path = parse_url(url).database or ""
        if not posixpath.isabs(path) or ".." in path.split("/"):
            raise OptionError("where its file lay is not known in full: restore it by hand")
        folder, suffix = posixpath.dirname(path), posixpath.splitext(path)[1]
        if (name + suffix).endswith(_BESIDE_FILES):
            raise OptionError(f"{name + suffix!r} would be a file that belongs to another database: take another name")
        return with_database(url, posixpath.join(folder, name + suffix), slashes=True)
    base, _, query = with_database(url, name).partition("?")
    named = parse_qsl(query, keep_blank_values=True)
    if any(key.lower() == "service" for key, _ in named):
        raise OptionError("where its server is stands in a file of services: restore it by hand")
    kept = [
        (key, value)
        for key, value in named
        if key.lower() not in _NAMES_DATABASE and (keeps_secrets or not names_secret(key))
    ]
    return f"{base}?{urlencode(kept, safe='/')}" if kept else base


def require_free(url: str) -> None:
    """See that nothing lies where a file is to be made, nor what SQLite would take for a part of it.

    Raises:
        OptionError: something does.
    """
    path = parse_url(url).database or ""
    taken = [other for other in (path, *(path + suffix for suffix in _BESIDE_FILES)) if os.path.lexists(other)]
    if taken:
        raise OptionError(f"{taken[0]} is there already: take another name")
