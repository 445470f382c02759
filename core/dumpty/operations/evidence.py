"""What a backup recorded of its database against what a database holds now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dumpty.errors import IntegrityError
from dumpty.redaction import masks

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dumpty.types import Evidence, ObjectEvidence

__all__ = ["Compared", "compare"]

_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class Compared:
    """How far two evidences could be compared, and agreed.

    ``objects`` is their number, ``rows`` how many rows were counted on both sides. ``uncounted`` are the objects whose
    rows nobody counted, ``unprinted`` those without a fingerprint on one side, or of another algorithm.
    """

    objects: int
    rows: int
    uncounted: tuple[str, ...]
    unprinted: tuple[str, ...]

    @property
    def counted(self) -> int:
        """How many objects have the same rows on both sides."""
        return self.objects - len(self.uncounted)

    @property
    def printed(self) -> int:
        """How many objects have the same fingerprint on both sides."""
        return self.objects - len(self.unprinted)


def compare(expected: Evidence, found: Evidence) -> Compared:
    """Compare the objects of two evidences by path: none missing, none more, no other rows, no other content.

    Raises:
        IntegrityError: they differ; the text names the first differences.
    """
    before = _by_path(expected)
    after = _aligned(_by_path(found), before)
    differences = [f"{path} is missing" for path in before if path not in after]
    differences += [f"{path} is there, which the backup does not know" for path in after if path not in before]
    both = [(one, after[path]) for path, one in before.items() if path in after]
    for old, new in both:
        if None not in (old.rows, new.rows) and old.rows != new.rows:
            differences.append(f"{old.path} has {_rows(new.rows)}, and had {_rows(old.rows)} when it was dumped")
        elif _comparable(old, new) and old.fingerprint != new.fingerprint:
            differences.append(f"{old.path} has as many rows, but another content than when it was dumped")
    if differences:
        more = f" (and {len(differences) - _SHOWN} more)" if len(differences) > _SHOWN else ""
        raise IntegrityError(
            f"what was restored is not what was dumped: {'; '.join(differences[:_SHOWN])}{more}; "
            "do not rely on this backup"
        )
    return Compared(
        objects=len(both),
        rows=sum(old.rows for old, new in both if old.rows is not None and new.rows is not None),
        uncounted=tuple(old.path for old, new in both if None in (old.rows, new.rows)),
        unprinted=tuple(old.path for old, new in both if not _comparable(old, new)),
    )


def named(paths: Iterable[str]) -> str:
    """Return the first of ``paths``, and how many there are beside them."""
    whole = list(paths)
    more = f" and {len(whole) - _SHOWN} more" if len(whole) > _SHOWN else ""
    return ", ".join(whole[:_SHOWN]) + more


def _by_path(evidence: Evidence) -> dict[str, ObjectEvidence]:
    return {one.path: one for one in evidence.objects}


def _aligned(after: dict[str, ObjectEvidence], before: Iterable[str]) -> dict[str, ObjectEvidence]:
    """Return ``after`` by the paths of ``before``, where one of the two shows a path with a secret masked."""
    known = set(before)
    for path in known - set(after):
        alike = next((p for p in after if p not in known and (masks(path, p) or masks(p, path))), None)
        if alike is not None:
            after[path] = after.pop(alike)
    return after


def _comparable(old: ObjectEvidence, new: ObjectEvidence) -> bool:
    if old.fingerprint is None or new.fingerprint is None:
        return False
    return old.fingerprint.partition(":")[0] == new.fingerprint.partition(":")[0]


def _rows(count: int | None) -> str:
    return f"{count:,} row" + ("" if count == 1 else "s")
