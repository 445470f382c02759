"""What lies in a backup directory."""

from __future__ import annotations

from pathlib import Path


def stored_files(top) -> list[str]:
    """Return the names of the files in a repository, below ``top``, but those that are hidden."""
    top = Path(top)
    paths = (p.relative_to(top) for p in top.rglob("*") if not p.is_dir())
    return sorted(str(p) for p in paths if not any(part.startswith(".") for part in p.parts))


def left_over(top) -> list[str]:
    """Return the names of what a run that was ended has left: parts, intents and what announces a removal."""
    top = Path(top)
    signs = (".part", ".intent", ".beat-", "/doom-", "/go-", ".pending")
    names = (str(p.relative_to(top)) for p in top.rglob("*"))
    return sorted(n for n in names if any(sign in n for sign in signs))
