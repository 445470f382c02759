"""Backups in words and in JSON values: what ``backup``, ``list`` and ``show`` have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dumpty.cli.output import Line, Table, count, moment, seconds, size

if TYPE_CHECKING:
    from dumpty.results import Backup

__all__ = ["contents", "details", "fields", "form", "warnings"]


def fields(backup: Backup) -> dict[str, Any]:
    """Return what is known of a backup, as JSON values."""
    evidence = backup.evidence
    return {
        "id": backup.id,
        "database": backup.database_name,
        "database_url": backup.database_url,
        "source": backup.source,
        "driver": backup.driver,
        "format": backup.format,
        "stages": list(backup.stages),
        "timestamp": backup.timestamp.isoformat(),
        "ended": backup.ended.isoformat() if backup.ended else None,
        "size_bytes": backup.size_bytes,
        "plain_size_bytes": backup.plain_size_bytes,
        "checksum": backup.checksum,
        "digests": dict(backup.digests),
        "file_path": backup.file_path,
        "evidence": {
            "objects": [{"path": o.path, "rows": o.rows, "fingerprint": o.fingerprint} for o in evidence.objects],
            "snapshot": evidence.snapshot,
            "consistent": evidence.consistent,
            "versions": dict(evidence.versions),
            "notes": list(evidence.notes),
            "properties": dict(evidence.properties),
        },
    }


def form(backup: Backup) -> str:
    """Return format and stages: ``native+gzip``."""
    return "+".join((backup.format, *backup.stages))


def contents(backup: Backup) -> str:
    """Return how much was counted: ``12 objects, 3,456 rows``."""
    objects = backup.evidence.objects
    if not objects:
        return "nothing was counted"
    counted = [o.rows for o in objects if o.rows is not None]
    uncounted = len(objects) - len(counted)
    text = count(len(objects), "object")
    if counted:
        text += f", {count(sum(counted), 'row')}"
    return text + (f" ({uncounted} not counted)" if uncounted and counted else "")


def warnings(backup: Backup) -> list[str]:
    """Return what whoever relies on this backup should know."""
    first = [] if backup.evidence.consistent else [f"the backup of {backup.database_name} is not of one moment"]
    return first + list(backup.evidence.notes)


def details(backup: Backup) -> list[Line]:
    """Return everything that is known of a backup, line by line."""
    evidence = backup.evidence
    duration = f" (took {seconds(backup.ended - backup.timestamp)})" if backup.ended else ""
    pairs = [
        ("id", backup.id),
        ("database", backup.database_name),
        ("url", backup.database_url),
        ("source", backup.source),
        ("taken", moment(backup.timestamp) + duration),
        ("driver", backup.driver),
        ("format", form(backup)),
        ("file", backup.file_path),
        (
            "size",
            f"{backup.size_bytes:,} bytes stored ({size(backup.size_bytes)}), {backup.plain_size_bytes:,} as dumped",
        ),
        ("sha256", backup.checksum),
        *backup.digests.items(),
        *((f"{name} version", version) for name, version in evidence.versions.items()),
        ("snapshot", evidence.snapshot or "(has no name)"),
        ("consistent", "yes, of one moment" if evidence.consistent else "NO: not of one moment"),
        *(("note", note) for note in evidence.notes),
        ("contents", contents(backup)),
    ]
    width = max(len(label) for label, _ in pairs)
    lines: list[Line] = [f"{label.ljust(width)}  {value}" for label, value in pairs]
    if evidence.objects:
        rows = [
            (o.path, "not counted" if o.rows is None else f"{o.rows:,}", o.fingerprint or "") for o in evidence.objects
        ]
        prints = any(o.fingerprint for o in evidence.objects)
        columns = ("OBJECT", "ROWS", "FINGERPRINT") if prints else ("OBJECT", "ROWS")
        lines += ["", Table(columns, [r[: len(columns)] for r in rows], frozenset({1}))]
    return lines
