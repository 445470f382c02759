"""What a URL may say to a driver."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from dumpty.url import MalformedURL

if TYPE_CHECKING:
    from collections.abc import Collection

    from dumpty.types import Source

__all__ = ["database_file", "refuse_unknown_parameters"]


def refuse_unknown_parameters(*, source: Source, known: Collection[str] = ()) -> None:
    """Refuse a URL with a parameter that the driver has no use for: it would be ignored in silence.

    ::

        refuse_unknown_parameters(source=source, known={"timeout", "ssl_ca"})

    Raises:
        MalformedURL: there is one; the text names it and the known ones.
    """
    unknown = sorted(set(source.query) - set(known))
    if unknown:
        valid = f"known are {', '.join(sorted(known))}" if known else f"{source.scheme} URLs take none"
        raise MalformedURL(f"unknown parameter {', '.join(unknown)} in {source.url}; {valid}")


def database_file(*, source: Source, parameters: Collection[str] = ()) -> str:
    """Return the path that a URL names, absolute and with links resolved: for databases that are files or directories.

    By SQLite's convention ``newdb:///x`` is relative and ``newdb:////x`` absolute; the path need not exist::

        path = database_file(source=source, parameters={"timeout"})

    Raises:
        MalformedURL: it names a host, a user or no file at all, or has a parameter other than ``parameters``.
    """
    scheme = source.scheme
    if source.host or source.port or source.username:
        path_text = source.url.partition("://")[2].lstrip("/")
        raise MalformedURL(
            f"{source.url} names a host, and {scheme} databases have none: a path stands behind three slashes, "
            f"{scheme}:///{path_text}, or, where it begins at the root, behind four, {scheme}:////{path_text}"
        )
    path = source.database or ""
    if not path or path.startswith(":memory:"):
        raise MalformedURL(
            f"{source.url} names no file: a database in memory cannot be reached; write {scheme}:///FILE"
        )
    if "\0" in path:
        raise MalformedURL(f"the path of a {scheme} database cannot hold a NUL character")
    refuse_unknown_parameters(source=source, known=parameters)
    return os.path.realpath(path)
