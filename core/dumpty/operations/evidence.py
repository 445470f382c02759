"""What a database holds now, asked of its driver."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from dumpty.errors import PluginError
from dumpty.registry.calling import alterations

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Literal

    from dumpty.registry.host import Host
    from dumpty.registry.plugin import Plugin
    from dumpty.types import Evidence, Inspection, Options, Source

__all__ = ["ask_evidence", "divided_tables", "summarize_paths", "with_alterations"]

_MAX_SHOWN = 3


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


def divided_tables(evidence: Evidence) -> frozenset[str]:
    """Return the paths of tables whose rows have other names: they are counted in partitions, or in the outermost."""
    roots = {entry.part_of or entry.path for entry in evidence.objects if entry.rows is not None}
    uncounted = (entry for entry in evidence.objects if entry.rows is None)
    return frozenset(entry.path for entry in uncounted if roots & {entry.path, entry.part_of or entry.path})


def summarize_paths(paths: Iterable[str]) -> str:
    """Return the first of ``paths``, and how many more there are."""
    all_paths = list(paths)
    remainder = f" and {len(all_paths) - _MAX_SHOWN} more" if len(all_paths) > _MAX_SHOWN else ""
    return ", ".join(all_paths[:_MAX_SHOWN]) + remainder


def with_alterations(evidence: Evidence, inspection: Inspection) -> Evidence:
    """Return a backup's evidence whose notes also name the wrappers that altered what its driver said before it.

    What a database is called, and which one it is, goes into the manifest out of the inspection.
    """
    return replace(evidence, notes=tuple(dict.fromkeys((*evidence.notes, *alterations(inspection)))))
