"""What a backup recorded of its database against what a database holds now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dumpty.errors import IntegrityError, PluginError
from dumpty.redaction import masks

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Literal

    from dumpty.registry.host import Host
    from dumpty.registry.plugin import Plugin
    from dumpty.types import Evidence, ObjectEvidence, Options, Source

__all__ = ["Comparison", "ask_evidence", "compare", "count_differences", "summarize_differences", "summarize_paths"]

_MAX_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How far two evidences could be compared, and agreed.

    ``objects`` is their number, ``rows`` how many rows were counted on both sides. ``uncounted`` are the objects whose
    rows nobody counted, ``unfingerprinted`` those without a fingerprint on one side, or of another algorithm.
    """

    objects: int
    rows: int
    uncounted: tuple[str, ...]
    unfingerprinted: tuple[str, ...]

    @property
    def counted(self) -> int:
        """How many objects have the same rows on both sides."""
        return self.objects - len(self.uncounted)

    @property
    def fingerprinted(self) -> int:
        """How many objects have the same fingerprint on both sides."""
        return self.objects - len(self.unfingerprinted)


def compare(expected: Evidence, found: Evidence) -> Comparison:
    """Compare the objects of two evidences by path: none missing, none more, no other rows, no other content.

    Raises:
        IntegrityError: they differ; the text names the first differences.
    """
    before = _by_path(expected)
    after = _align_masked_paths(_by_path(found), before)
    differences = count_differences(expected, found)
    differences += [f"{path} is there, which the backup does not know" for path in after if path not in before]
    pairs = [(old, after[path]) for path, old in before.items() if path in after]
    differences += [
        f"{old.path} has as many rows, but another content than when it was dumped"
        for old, new in pairs
        if not _miscounted(old, new) and _comparable(old, new) and old.fingerprint != new.fingerprint
    ]
    if differences:
        raise IntegrityError(
            f"what was restored is not what was dumped: {summarize_differences(differences)}; "
            "do not rely on this backup"
        )
    return Comparison(
        objects=len(pairs),
        rows=sum(old.rows for old, new in pairs if old.rows is not None and new.rows is not None),
        uncounted=tuple(old.path for old, new in pairs if None in (old.rows, new.rows)),
        unfingerprinted=tuple(old.path for old, new in pairs if not _comparable(old, new)),
    )


def count_differences(expected: Evidence, found: Evidence) -> list[str]:
    """Return in words what is missing in ``found``, and what has another number of rows there, where both counted."""
    before = _by_path(expected)
    after = _align_masked_paths(_by_path(found), before)
    differences = [f"{path} is missing" for path in before if path not in after]
    for path, old in before.items():
        new = after.get(path)
        if new is not None and _miscounted(old, new):
            differences.append(f"{path} has {_rows_text(new.rows)}, and had {_rows_text(old.rows)} when it was dumped")
    return differences


def summarize_differences(differences: list[str]) -> str:
    """Return the first of ``differences``, and how many more there are."""
    remainder = f" (and {len(differences) - _MAX_SHOWN} more)" if len(differences) > _MAX_SHOWN else ""
    return "; ".join(differences[:_MAX_SHOWN]) + remainder


def ask_evidence(
    host: Host, driver: Plugin, source: Source, options: Options, level: Literal["counts", "fingerprint"]
) -> Evidence | None:
    """Ask a driver what the tables of a database hold now; None where it does not declare that it can be asked.

    Raises:
        PluginError: it declares that, and gave nothing.
    """
    declared = any(o.name == "evidence" and "inspect" in o.verbs for o in driver.described.options)
    if not declared or not host.can(driver, "inspect"):
        return None
    evidence = host.inspect(driver, source=source, options={**options, "evidence": level}).evidence
    if evidence is None:
        raise PluginError(
            f"{driver} was asked for the evidence of what was restored, and gave none",
            plugin=str(driver),
            hook="inspect",
        )
    return evidence


def summarize_paths(paths: Iterable[str]) -> str:
    """Return the first of ``paths``, and how many more there are."""
    all_paths = list(paths)
    remainder = f" and {len(all_paths) - _MAX_SHOWN} more" if len(all_paths) > _MAX_SHOWN else ""
    return ", ".join(all_paths[:_MAX_SHOWN]) + remainder


def _by_path(evidence: Evidence) -> dict[str, ObjectEvidence]:
    return {entry.path: entry for entry in evidence.objects}


def _align_masked_paths(after: dict[str, ObjectEvidence], before: Iterable[str]) -> dict[str, ObjectEvidence]:
    """Return ``after`` by the paths of ``before``, where one of the two shows a path with a secret masked."""
    expected_paths = set(before)
    for path in expected_paths - set(after):
        same_path = next((p for p in after if p not in expected_paths and (masks(path, p) or masks(p, path))), None)
        if same_path is not None:
            after[path] = after.pop(same_path)
    return after


def _miscounted(old: ObjectEvidence, new: ObjectEvidence) -> bool:
    return None not in (old.rows, new.rows) and old.rows != new.rows


def _comparable(old: ObjectEvidence, new: ObjectEvidence) -> bool:
    if old.fingerprint is None or new.fingerprint is None:
        return False
    return old.fingerprint.partition(":")[0] == new.fingerprint.partition(":")[0]


def _rows_text(count: int | None) -> str:
    return f"{count:,} row" + ("" if count == 1 else "s")
