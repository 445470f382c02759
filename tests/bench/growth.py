"""How time and memory grow with the data, and what the smallest and the fullest cost."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path

from measure import Figures, measured
from msgspec.structs import replace

SIZES = (10, 50, 200, 700, 2000)
BACKUPS = 10_000
FORMS = {
    "sqlite": "dumpty sqlite native gzip",
    "postgres": "dumpty postgres native gzip",
    "mysql": "dumpty mysql sql gzip",
}
FAR_TARGETS = {
    "show latest, cold": 1.0,
    "list, cold": 10.0,
    "list, warm": 2.0,
    "show latest": 1.0,
    "prune nine tenths": 5.0,
}
DUMPTY = (sys.executable, "-m", "dumpty")


def grown(
    results: Mapping[int, Mapping[tuple[str, str, str], Figures]],
) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Return the lines of the chart from results by megabytes, and by engine, verb and job."""
    panels: dict[str, dict[str, list[tuple[float, float]]]] = {"time": {}, "memory": {}}
    for megabytes, figures_by_job in sorted(results.items()):
        for (engine, verb, _), figures in figures_by_job.items():
            panels["time"].setdefault(f"{engine} {verb}", []).append((megabytes, figures.median))
            panels["memory"].setdefault(f"{engine} {verb}", []).append((megabytes, figures.peak_bytes / 1e6))
    return panels


def fixed(top: Path, backups: int) -> Iterator[tuple[str, float, float]]:
    """Yield what costs the same whatever the data, and ``backups``: ``(what, seconds, target in seconds)``."""
    yield "import dumpty", _best([sys.executable, "-c", "import dumpty"]) - _best([sys.executable, "-c", "0"]), 0.06
    yield "dumpty --help", _best([*DUMPTY, "--help"]), 0.25
    yield "backup of an empty SQLite database, flushes apart", _empty(top), 0.01
    full(top / "many", backups)
    for verb in (["list"], ["show", "latest"], ["prune", "--dry-run", "--keep-daily", "7"]):
        yield (
            f"dumpty {' '.join(verb)}, {backups:,} backups",
            _best([*DUMPTY, *verb, "-d", str(top / "many")], times=3),
            1.0,
        )
    yield from _many(top, backups // 10)


def _many(top: Path, databases: int) -> Iterator[tuple[str, float, float]]:
    """Yield what one run of a job takes for each of many small databases, and to say how all of them are."""
    files = top / "small"
    files.mkdir()
    for number in range(databases):
        with contextlib.closing(sqlite3.connect(files / f"{number}.db")) as connection, connection:
            connection.execute("CREATE TABLE t (a INTEGER, b TEXT)")
            connection.executemany("INSERT INTO t VALUES (?, ?)", [(row, "x" * 40) for row in range(150)])
    configuration = top / "dumpty.toml"
    configuration.write_text(f'[jobs.all]\nsource = "sqlite:///{files}/*.db"\nrepository = "{top}/each"\n')
    configuration.chmod(0o600)
    each = _best([*DUMPTY, "run", "--config", str(configuration)], times=3) / databases
    yield f"dumpty run, each of {databases:,} SQLite databases of 10 KB", each, 0.02
    said = _best([*DUMPTY, "metrics", "--config", str(configuration), "--output", str(top / "all.prom")], times=3)
    yield f"dumpty metrics, {databases:,} databases", said, 2.0


def _best(argv: list[str], times: int = 7) -> float:
    figures = Figures()
    for _ in range(times):
        measured(argv, figures, cwd=Path.cwd())
    return min(figures.seconds)


def _empty(top: Path) -> float:
    """Return the median seconds of a backup through the API, without those that the kernel spent in fsync."""
    code = (
        "import os, sqlite3, sys, time\n"
        "from dumpty import BackupManager\n"
        "spent, real = [0.0], os.fsync\n"
        "def fsync(descriptor):\n"
        "    begun = time.perf_counter(); real(descriptor); spent[0] += time.perf_counter() - begun\n"
        "os.fsync = fsync\n"
        "manager = BackupManager(sys.argv[1])\n"
        "took = []\n"
        "for _ in range(30):\n"
        "    spent[0], begun = 0.0, time.perf_counter()\n"
        "    assert manager.create_backup('sqlite:///' + sys.argv[2]).success\n"
        "    took.append(time.perf_counter() - begun - spent[0])\n"
        "print(sorted(took)[len(took) // 2])\n"
    )
    database = top / "empty.db"
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA user_version=1")
    process = subprocess.run(
        [sys.executable, "-c", code, str(top / "few"), str(database)], capture_output=True, text=True, check=True
    )
    return statistics.median([float(process.stdout)])


def full(top: Path, number: int) -> None:
    """Fill a directory with ``number`` backups: one that is real, and manifests and data like it, an hour apart."""
    from dumpty import BackupManager
    from dumpty.repository import manifest
    from dumpty.repository.protocol.layout import MANIFEST, new_stem

    database = top.with_suffix(".db")
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.executescript("CREATE TABLE a (x); INSERT INTO a VALUES (1); CREATE TABLE b (x)")
    result = BackupManager(str(top)).create_backup(f"sqlite:///{database}")
    assert result.backup is not None, result.error
    [path] = top.rglob(f"*{MANIFEST}")
    record = manifest.decode(path.read_bytes(), str(path))
    data = (top / record.file).read_bytes()
    for hours in range(1, number):
        moment, backup_id = record.started - timedelta(hours=hours), str(uuid.uuid4())
        stem = new_stem(path.parent.name, moment, backup_id)
        entry = replace(record.objects[0], name=f"{stem}.sql.gz")
        copy = replace(record, id=backup_id, objects=(entry,), started=moment, ended=moment)
        (top / entry.name).write_bytes(data)
        (top / f"{stem}{MANIFEST}").write_bytes(manifest.encode(copy))
    os.sync()
    time.sleep(1)


def far(top: Path, backups: int) -> Iterator[tuple[str, float, float]]:
    """Yield what looking at, and removing from, a store 30 ms away takes that holds ``backups``; as ``fixed`` does.

    Each is measured in a process of its own, the calls to the store beside it.
    """
    full(top / "far", backups)
    environment = {**os.environ, "XDG_CACHE_HOME": str(top / "caches")}
    for what, target in FAR_TARGETS.items():
        argv = [sys.executable, str(Path(__file__).with_name("far.py")), what, str(top / "far")]
        process = subprocess.run(argv, capture_output=True, text=True, check=True, env=environment)
        seconds, calls = process.stdout.split()
        yield f"{what} of {backups:,} backups 30 ms away, {calls} calls", float(seconds), target
