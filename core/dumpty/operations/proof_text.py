"""What a proof says that it compared, and what it did not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty.operations.evidence import summarize_paths

if TYPE_CHECKING:
    from dumpty.registry.plugin import Plugin
    from dumpty.toolkit.evidence import Comparison
    from dumpty.types import Evidence

__all__ = ["contents_text", "counts_text", "missing_fingerprints_text"]


def counts_text(comparison: Comparison) -> str:
    """Say how much was compared."""
    return f"{_quantity(comparison.counted, 'object')} and {_quantity(comparison.rows, 'row')}"


def contents_text(found: Evidence) -> str:
    """Say how much a reader of the dump has found."""
    counted = [entry.rows for entry in found.objects if entry.rows is not None]
    if not found.objects:
        return "it counted nothing"
    rows = _quantity(sum(counted), "row") if counted else "rows not counted"
    return f"{_quantity(len(found.objects), 'object')}, {rows}"


def missing_fingerprints_text(driver: Plugin, comparison: Comparison) -> str:
    """Say which values were compared by no fingerprint, and what would give them one."""
    offered = any(o.name == "fingerprint" and "backup" in o.verbs for o in driver.described.options)
    advice = " (back up with -o fingerprint=on)" if offered else ""
    if comparison.fingerprinted:
        return f"every value of {summarize_paths(comparison.unfingerprinted)}: no fingerprints to compare"
    return f"that every value is the same: the backup has no fingerprints{advice}"


def _quantity(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
