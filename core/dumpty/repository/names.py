"""Names that people give, and the file names that are made of them."""

from __future__ import annotations

import re

from dumpty.errors import InvalidName

__all__ = ["NAMED_MANIFEST", "slug", "valid_name"]

NAMED_MANIFEST = "backup_manifest.json"
_NAME_LIMIT = 200
_SLUG_LIMIT = 60
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029\ud800-\udfff]")


def slug(text: str) -> str:
    """Return ``text`` with everything but plain letters, digits, ``_``, ``.`` and ``-`` replaced, and shortened."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", text)[:_SLUG_LIMIT].strip("._-") or "database"


def valid_name(name: object) -> str:
    """Return a backup's name if it may be one.

    Raises:
        TypeError: it is no str.
        InvalidName: it is empty, too long, holds a path separator, ``..`` or a control character, or is reserved.
    """
    if not isinstance(name, str):
        raise TypeError(f"a backup's name is a str, not {type(name).__name__}")
    problem = ""
    if not name.strip():
        problem = "is empty"
    elif len(name) > _NAME_LIMIT:
        problem = f"is longer than {_NAME_LIMIT} characters"
    elif set(name) & {"/", "\\"}:
        problem = "holds a path separator"
    elif ".." in name or name == ".":
        problem = "holds '..', or is '.'"
    elif _CONTROL.search(name):
        problem = "holds a control character"
    elif name.lower() == NAMED_MANIFEST:
        problem = "is reserved for the manifest"
    if problem:
        raise InvalidName(f"the backup name {name[:80]!r} {problem}; use letters, digits, spaces and punctuation")
    return name
