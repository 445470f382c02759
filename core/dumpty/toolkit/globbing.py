"""The files that a glob means, for drivers whose databases are files."""

from __future__ import annotations

import fnmatch
import glob
import os
import stat
from typing import TYPE_CHECKING

from dumpty.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from dumpty.types import Source

__all__ = ["database_files"]


def database_files(*, source: Source, siblings: Collection[str] = (), directories: bool = False) -> list[Source]:
    """Return the databases that a glob means, ordered by path: what ``databases`` of a driver of files returns.

    ``source.database`` is the glob: ``*``, ``?`` and ``[…]`` match within a name, and one that begins with a dot only
    where the pattern does; ``**`` is folders of any depth, links to folders not followed. Regular files match, none of
    them opened, each under one name, whatever links lead to it. A link that leads nowhere matches, too: what it is for
    may not be mounted, which its backup then says. ``siblings`` end the names of what lies beside a database; with
    ``directories`` a database is a directory, and no file matches::

        return database_files(source=source, siblings=("-journal", "-wal", "-shm"))

    Raises:
        SourceError: a folder cannot be looked into: what there may be in it would be missed in silence.
    """
    pattern = source.database or ""
    top, parts = "/" if pattern.startswith("/") else "", [part for part in pattern.split("/") if part]
    names: dict[str, str] = {}
    for path in sorted(_matching(top, parts)) if parts else ():
        if not _is_sibling(path, siblings) and _may_be_database(path, directories):
            real = os.path.realpath(path)
            if real not in names or os.path.abspath(path) == real:
                names[real] = path
    return [source.replace(database=path) for path in sorted(names.values())]


def _is_sibling(path: str, siblings: Collection[str]) -> bool:
    return any(path.endswith(s) and os.path.lexists(path.removesuffix(s)) for s in siblings)


def _may_be_database(path: str, directories: bool) -> bool:
    try:
        mode = os.stat(path).st_mode
        return stat.S_ISDIR(mode) if directories else stat.S_ISREG(mode)
    except OSError:  # a link without its file, or not ours to look at; one that is gone meanwhile is not missed
        return os.path.lexists(path)


def _matching(directory: str, parts: list[str]) -> Iterator[str]:
    """Yield the paths below ``directory`` that match; unlike the standard library, never silent about a folder."""
    first, *rest = parts
    if first == "**":
        yield from _matching_at_any_depth(directory, rest or ["*"])
    elif not glob.has_magic(first):
        path = os.path.join(directory, first)
        if rest:
            yield from _matching(path, rest)
        elif os.path.lexists(path):
            yield path
    else:
        for entry in _entries(directory, hidden=first.startswith(".")):
            if fnmatch.fnmatchcase(entry.name, first):
                if not rest:
                    yield os.path.join(directory, entry.name)
                elif entry.is_dir():
                    yield from _matching(os.path.join(directory, entry.name), rest)


def _matching_at_any_depth(directory: str, rest: list[str]) -> Iterator[str]:
    while rest[0] == "**":
        rest = rest[1:] or ["*"]
    pending = [directory]
    while pending:
        current = pending.pop()
        yield from _matching(current, rest)
        # Links are not followed here: they lead to what is found elsewhere, or in circles.
        entries = _entries(current, hidden=False)
        pending += [os.path.join(current, e.name) for e in entries if e.is_dir(follow_symlinks=False)]


def _entries(directory: str, *, hidden: bool) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory or ".") as entries:
            return [entry for entry in entries if hidden or not entry.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise SourceError(
            f"cannot look for databases in {directory}: {error.strerror}; give this account the right to read that "
            "directory, or write a pattern that does not lead there"
        ) from error
