"""Note how each backup, restore and verification ended, and how long it took, and say so at the end.

An observer implements ``finished`` and nothing else: it is told when a backup is committed, or its failure known, by an
``Event`` without secrets, and cannot make anything fail. It is not a plugin of a kind, and never picked.

Run it: ``python examples/timing_observer.py``.
"""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from typing import TYPE_CHECKING

from dumpty import BackupManager, hookimpl

if TYPE_CHECKING:
    from dumpty import Event


class TimingObserver:
    name = "timing"

    def __init__(self) -> None:
        self.events: list[Event] = []

    @hookimpl
    def finished(self, event: Event) -> None:
        self.events.append(event)


def described(event: Event) -> str:
    outcome = "ok" if event.success else event.error_type
    size = f"{event.backup.size_bytes:,} bytes" if event.backup else "no backup"
    return f"{event.verb:8} {outcome:12} {event.duration_seconds * 1000:8.1f} ms  {size}"


def main() -> None:
    observer = TimingObserver()
    with tempfile.TemporaryDirectory() as directory:
        with contextlib.closing(sqlite3.connect(f"{directory}/shop.db")) as shop:
            shop.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT)")
            shop.executemany("INSERT INTO item (name) VALUES (?)", [(f"item {i}",) for i in range(50_000)])
            shop.commit()
        manager = BackupManager(f"{directory}/backups", plugins=[observer])
        backed_up = manager.create_backup(f"sqlite:///{directory}/shop.db")
        if backed_up.backup is None:
            raise SystemExit(backed_up.error)
        manager.verify(backed_up.backup.id)
        manager.restore(backed_up.backup.id, f"sqlite:///{directory}/again.db")
        manager.create_backup(f"sqlite:///{directory}/no-such.db")  # which is told, too
    for event in observer.events:
        print(described(event))


if __name__ == "__main__":
    main()
