"""The metadata of installed distributions, read without a parser of mail."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["metadata_field", "metadata_fields"]


def metadata_field(read_text: Callable[[str], str | None], name: str) -> str:
    """Return the field ``name`` of a distribution's metadata, "" where there is none; as ``metadata_fields``."""
    return next(iter(metadata_fields(read_text, name)), "")


def metadata_fields(read_text: Callable[[str], str | None], name: str) -> list[str]:
    """Return every field ``name`` of a distribution's metadata; it is one that fits one line.

    ``read_text`` is that of an ``importlib_metadata.Distribution``.

    ``Distribution.metadata`` parses all of them as a mail message, and importing what that takes is a good part of the
    start of a short command. Fields stand before the first empty line
    (https://packaging.python.org/en/latest/specifications/core-metadata/).
    """
    text = read_text("METADATA") or read_text("PKG-INFO") or ""
    head = re.split(r"\r?\n\r?\n", text, maxsplit=1)[0]
    return re.findall(rf"(?mi)^{re.escape(name)}[ \t]*:[ \t]*(.*?)[ \t\r]*$", head)
