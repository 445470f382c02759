"""What is known of two databases, or of a dump and what came of it, compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dumpty.errors import IntegrityError
from dumpty.redaction import masks

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from dumpty.types import Evidence, ObjectEvidence

__all__ = [
    "Comparison",
    "Difference",
    "compare_evidence",
    "require_same_evidence",
    "summarize_differences",
]

_MAX_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One object that two evidences do not agree on; ``str()`` says it in words, with both counts.

    ``kind`` is ``missing`` (not found), ``rows`` (another number of them), ``content`` (as many rows, another
    fingerprint), ``added`` (found alone) or ``uncounted`` (its rows were expected, and nobody counted those found).
    ``expected`` and ``found`` are the rows, where they are known.
    """

    kind: str
    path: str
    expected: int | None = None
    found: int | None = None

    def __str__(self) -> str:
        had = "" if self.expected is None else f" had {_rows_text(self.expected)} when it was dumped"
        return {
            "missing": f"{self.path} is missing",
            "rows": f"{self.path} has {_rows_text(self.found or 0)}, and{had}",
            "content": f"{self.path} has as many rows, but another content than when it was dumped",
            "added": f"{self.path} is there, which the backup does not know",
            "uncounted": f"{self.path} was not counted, and{had}",
        }[self.kind]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Where two evidences differ, and how far they could be compared.

    ``objects`` is how many are on both sides, ``rows`` how many rows were counted on both. ``uncounted`` are the paths
    whose rows one side did not count, ``unfingerprinted`` those without a fingerprint on one side, or of another
    algorithm (which is what stands before a fingerprint's colon).
    """

    differences: tuple[Difference, ...]
    objects: int
    rows: int
    uncounted: tuple[str, ...]
    unfingerprinted: tuple[str, ...]

    @property
    def counted(self) -> int:
        """How many objects were counted on both sides."""
        return self.objects - len(self.uncounted)

    @property
    def fingerprinted(self) -> int:
        """How many objects have fingerprints on both sides that can be compared."""
        return self.objects - len(self.unfingerprinted)


def compare_evidence(*, expected: Evidence, found: Evidence) -> Comparison:
    """Compare the objects of two evidences by their paths. Nothing is raised: ``differences`` says what was found.

    A path with ``***`` in it, because a secret is part of its name, is the path that it masks::

        comparison = compare_evidence(expected=dump.evidence, found=evidence)
        notes = tuple(str(difference) for difference in comparison.differences)
    """
    before = {entry.path: entry for entry in expected.objects}
    after = _align_masked_paths({entry.path: entry for entry in found.objects}, before)
    pairs = [(old, after[path]) for path, old in before.items() if path in after]
    return Comparison(
        differences=tuple(_differences(before, after)),
        objects=len(pairs),
        rows=sum(old.rows for old, new in pairs if old.rows is not None and new.rows is not None),
        uncounted=tuple(old.path for old, new in pairs if None in (old.rows, new.rows)),
        unfingerprinted=tuple(old.path for old, new in pairs if not _comparable(old, new)),
    )


def require_same_evidence(
    *,
    expected: Evidence,
    found: Evidence,
    subject: str,
    advice: str = "restore another backup",
    ignore: Collection[str] = (),
) -> Comparison:
    """Check that what was loaded, or read, is what the backup counted: by tables, rows and fingerprints.

    An ``expected`` without objects, because nobody could count, is nothing to compare with. Call it before the swap::

        evidence = Evidence(objects=count_tables(database), versions=versions)
        require_same_evidence(expected=dump.evidence, found=evidence, subject="the restored database")
        replacement.put_in_place(replace=exists)

    Args:
        expected: what was recorded: ``dump.evidence``.
        found: what was counted now.
        subject: what that was counted in, for the message.
        advice: what to do where they differ.
        ignore: kinds of differences (see ``Difference``) that are none here: ``{"added"}`` where more may be found.

    Raises:
        IntegrityError: they differ; the text names the objects, and both counts.
    """
    comparison = compare_evidence(expected=expected, found=found)
    differences = [difference for difference in comparison.differences if difference.kind not in ignore]
    if expected.objects and differences:
        raise IntegrityError(f"{subject} is not what was dumped: {summarize_differences(differences)}; {advice}")
    return comparison


def summarize_differences(differences: Iterable[Difference]) -> str:
    """Return the first of ``differences`` in words, and how many more there are."""
    texts = [str(difference) for difference in differences]
    remainder = f" (and {len(texts) - _MAX_SHOWN} more)" if len(texts) > _MAX_SHOWN else ""
    return "; ".join(texts[:_MAX_SHOWN]) + remainder


def _differences(before: Mapping[str, ObjectEvidence], after: Mapping[str, ObjectEvidence]) -> Iterator[Difference]:
    for path, old in before.items():
        if path not in after:
            yield Difference(kind="missing", path=path, expected=old.rows)
    for path, old in before.items():
        new = after.get(path)
        if new is None or old.rows == new.rows or old.rows is None:
            continue
        kind: str = "uncounted" if new.rows is None else "rows"
        yield Difference(kind=kind, path=path, expected=old.rows, found=new.rows)
    for path, new in after.items():
        if path not in before:
            yield Difference(kind="added", path=path, found=new.rows)
    for path, old in before.items():
        new = after.get(path)
        same_rows = new is not None and (old.rows == new.rows or None in (old.rows, new.rows))
        if new is not None and same_rows and _comparable(old, new) and old.fingerprint != new.fingerprint:
            yield Difference(kind="content", path=path, expected=old.rows, found=new.rows)


def _align_masked_paths(after: dict[str, ObjectEvidence], before: Iterable[str]) -> dict[str, ObjectEvidence]:
    """Return ``after`` by the paths of ``before``, where one of the two shows a path with a secret masked."""
    expected_paths = set(before)
    for path in expected_paths - set(after):
        same_path = next((p for p in after if p not in expected_paths and (masks(path, p) or masks(p, path))), None)
        if same_path is not None:
            after[path] = after.pop(same_path)
    return after


def _comparable(old: ObjectEvidence, new: ObjectEvidence) -> bool:
    if old.fingerprint is None or new.fingerprint is None:
        return False
    return old.fingerprint.partition(":")[0] == new.fingerprint.partition(":")[0]


def _rows_text(count: int) -> str:
    return f"{count:,} row" + ("" if count == 1 else "s")
