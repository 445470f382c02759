"""A backup directory under attack, and what must be true of it after every attack."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from faults.ledger import LEDGER
from support.places import left_over, stored_files

from dumpty import BackupManager
from dumpty.repository.protocol.layout import TOMBSTONE

ROWS = 400


@dataclass(frozen=True)
class Outcome:
    """How a command line ended: ``status`` is negative for a signal; ``fired`` tells whether one was sent in time."""

    status: int
    seconds: float
    fired: bool
    out: str
    err: str


class Zygote:
    """The process that forks command lines."""

    def __init__(self, scratch: Path) -> None:
        tests = Path(__file__).absolute().parent.parent
        self._scratch = scratch
        self._process = subprocess.Popen(
            [sys.executable, "-m", "faults.zygote"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=scratch,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), os.environ.get("PYTHONPATH", "")])},
        )
        assert json.loads(self._process.stdout.readline()) == "ready"

    def run(self, *argv: object, **order: object) -> Outcome:
        """Run a command line with a fault, and return how it ended."""
        out, err = self._scratch / "out", self._scratch / "err"
        request = {"argv": [str(a) for a in argv], "out": str(out), "err": str(err), **order}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return Outcome(**answer, out=out.read_text(), err=err.read_text())

    def stop(self) -> None:
        """End it."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


def create(path: Path, rows: int = ROWS, journal: str = "DELETE") -> Path:
    """Make a database whose every row says which version of it this is: version 0."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA synchronous=OFF")
        database.execute(f"PRAGMA journal_mode={journal}")
        database.execute("CREATE TABLE t (i INTEGER PRIMARY KEY, version INTEGER, pad TEXT)")
        database.execute("CREATE TABLE u (version INTEGER, blob BLOB)")
        database.executemany("INSERT INTO t VALUES (?, 0, ?)", ((i, f"row {i} " * 6) for i in range(rows)))
        database.execute("INSERT INTO u VALUES (0, randomblob(9000))")
        database.commit()
    return path


def advance(path: Path, version: int) -> None:
    """Make every row say ``version``."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA synchronous=OFF")
        database.execute("UPDATE t SET version = ?", (version,))
        database.execute("UPDATE u SET version = ?", (version,))
        database.commit()


def version_of(path: Path, rows: int = ROWS) -> int:
    """Return the one version that a whole database is of; anything less than whole is an assertion."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert database.execute("SELECT count(*) FROM t").fetchone() == (rows,)
        [(version,)] = database.execute("SELECT DISTINCT version FROM t UNION SELECT version FROM u").fetchall()
    return version


def unfinished_files(top: Path) -> list[str]:
    """Return the names of half-done things in a directory."""
    return left_over(top)


class Vault:
    """One backup directory, the database it is of, and the version that each backup in it holds."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.top = place / "backups"
        self.database = create(place / "shop.db")
        self.url = f"sqlite:///{self.database}"
        self.version = 0
        self.versions: dict[str, int] = {}
        self.restored = place / "back.db"

    def manager(self, **options: object) -> BackupManager:
        """Open the directory as the next process would."""
        return BackupManager(str(self.top), **options)

    def advance(self) -> None:
        """Change the database, so that the next backup differs from all before."""
        self.version += 1
        advance(self.database, self.version)

    def backup(self, **options: object) -> str:
        """Make a backup without any fault, which must work; return its id."""
        result = self.manager().create_backup(self.url, **options)
        assert result.success, result.error
        self.versions[result.backup.id] = self.version
        return result.backup.id

    def check(self, event: str, *, restore_all: bool = False) -> list[str]:
        """Check that all older backups are listed, and all that is listed is whole; return the new ids.

        The newest and the oldest are restored and compared, with ``restore_all`` all of them.
        """
        manager = self.manager()
        assert manager.listing().problems == [], event
        backup_ids = [backup.id for backup in manager.list_backups()]
        for backup_id in self.versions:
            if backup_id not in backup_ids:
                LEDGER.record_lost_backup(f"{backup_id} after {event}")
        new_ids = [backup_id for backup_id in backup_ids if backup_id not in self.versions]
        for backup_id in new_ids:
            self.versions[backup_id] = self.version
        for backup_id in backup_ids:
            try:
                manager.verify(backup_id)
            except Exception as error:
                (LEDGER.record_false_success if backup_id in new_ids else LEDGER.record_lost_backup)(
                    f"{backup_id} after {event}: {error}"
                )
        for backup_id in backup_ids if restore_all else {*backup_ids[:1], *backup_ids[-1:]}:
            self.require_restore(manager, backup_id, event)
        return new_ids

    def require_restore(self, manager: BackupManager, backup_id: str, event: str) -> None:
        """Check that a backup restores to what it was made of."""
        with contextlib.suppress(FileNotFoundError):
            self.restored.unlink()
        result = manager.restore(backup_id, f"sqlite:///{self.restored}")
        if not result.success:
            LEDGER.record_false_success(
                f"{backup_id} is listed and verified but does not restore after {event}: {result.error}"
            )
        if version_of(self.restored) != self.versions[backup_id]:
            LEDGER.record_false_success(f"{backup_id} restored to other content after {event}")
        LEDGER.restored += 1

    def next_run(self, event: str, *, orphans: str | None = None) -> None:
        """Check that the next backup works and leaves no half-done thing, its own or another's.

        ``orphans`` says why data may be left that no manifest names.
        """
        self.backup()
        assert unfinished_files(self.top) == [], event
        names = stored_files(self.top)
        manifests = [n for n in names if n.endswith(".manifest.json") and (self.top / n).read_bytes() != TOMBSTONE]
        assert len(manifests) == len(self.versions), (event, names)
        if orphans is None:
            data = [n for n in names if not n.endswith(".manifest.json") and ".proof-" not in n and ".pin-" not in n]
            backups = self.manager().list_backups()
            assert sorted(data) == sorted(os.path.relpath(file, self.top) for b in backups for file in b.files), event

    def keep_newest(self, count: int = 3) -> None:
        """Remove all but the newest backups, to keep rounds cheap."""
        manager = self.manager()
        for backup_id in [b.id for b in manager.list_backups()][:-count]:
            if manager.remove(backup_id):  # not one that a reader protects who could not take that back
                del self.versions[backup_id]
