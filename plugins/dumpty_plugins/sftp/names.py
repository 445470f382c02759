"""Names of files that are no objects: ``~`` is in no object's name, and what other programs call a part is theirs."""

from __future__ import annotations

import re
import uuid

PART = re.compile(r"~dumpty-[0-9a-f]{32}\.part\Z")
"""The end of the name of an object on its way into the store, or out of it."""

FORMER = "~dumpty-former"
"""The end of the name of an object that is being replaced, on a server that takes two steps for that."""


def new_part(label: str) -> str:
    """Return the name of a file that nobody else has, and no object can have: 45 bytes longer than ``label``."""
    return f"{label}~dumpty-{uuid.uuid4().hex}.part"
