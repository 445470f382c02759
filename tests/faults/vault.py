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

from dumpty import BackupManager

OWN = (".part", ".removed", ".pending", ".old")
ROWS = 400


@dataclass(frozen=True)
class Ended:
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

    def run(self, *argv: object, **order: object) -> Ended:
        """Run a command line with a fault, and return how it ended."""
        out, err = self._scratch / "out", self._scratch / "err"
        told = {"argv": [str(a) for a in argv], "out": str(out), "err": str(err), **order}
        self._process.stdin.write(json.dumps(told) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return Ended(**answer, out=out.read_text(), err=err.read_text())

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


def leftovers(top: Path) -> list[str]:
    """Return the names of half-done things in a directory."""
    return [n for n in os.listdir(top) if n.endswith(OWN)]


class Vault:
    """One backup directory, the database it is of, and the version that each backup in it holds."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.top = place / "backups"
        self.database = create(place / "shop.db")
        self.url = f"sqlite:///{self.database}"
        self.version = 0
        self.known: dict[str, int] = {}
        self.back = place / "back.db"

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
        self.known[result.backup.id] = self.version
        return result.backup.id

    def check(self, what: str, *, every: bool = False) -> list[str]:
        """Check that all older backups are listed, and all that is listed is whole; return the new ids.

        The newest and the oldest are restored and compared, with ``every`` all of them.
        """
        own = self.manager()
        assert own.listing().problems == [], what
        listed = [backup.id for backup in own.list_backups()]
        for one in self.known:
            if one not in listed:
                LEDGER.lose(f"{one} after {what}")
        new = [one for one in listed if one not in self.known]
        for one in new:
            self.known[one] = self.version
        for one in listed:
            try:
                own.verify(one)
            except Exception as error:
                (LEDGER.lie if one in new else LEDGER.lose)(f"{one} after {what}: {error}")
        for one in listed if every else {*listed[:1], *listed[-1:]}:
            self.restores(own, one, what)
        return new

    def restores(self, own: BackupManager, one: str, what: str) -> None:
        """Check that a backup restores to what it was made of."""
        with contextlib.suppress(FileNotFoundError):
            self.back.unlink()
        result = own.restore(one, f"sqlite:///{self.back}")
        if not result.success:
            LEDGER.lie(f"{one} is listed and verified but does not restore after {what}: {result.error}")
        if version_of(self.back) != self.known[one]:
            LEDGER.lie(f"{one} restored to other content after {what}")
        LEDGER.restored += 1

    def next_run(self, what: str, *, orphans: str | None = None) -> None:
        """Check that the next backup works and leaves no half-done thing, its own or another's.

        ``orphans`` says why data may be left that no manifest names.
        """
        self.backup()
        assert leftovers(self.top) == [], what
        names = [n for n in os.listdir(self.top) if not n.startswith(".")]
        assert sum(n.endswith(".manifest.json") for n in names) == len(self.known), (what, names)
        if orphans is None:
            assert sum(not n.endswith(".json") for n in names) == len(self.known), (what, names)

    def thin(self, most: int = 3) -> None:
        """Remove all but the newest backups, to keep rounds cheap."""
        own = self.manager()
        for one in [b.id for b in own.list_backups()][:-most]:
            own.remove(one)
            del self.known[one]
