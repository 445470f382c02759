"""PostgreSQL's own regression suite, run for the database that it leaves behind: objects of nearly every sort there is."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.postgres_server import PostgresServer, _debian, _wheel

DATABASE = "regression"

# What a database is at least that the whole suite was run in: it leaves some more of each, in any version since 15.
LEAST = {
    "tables": ("SELECT count(*) FROM pg_class WHERE relkind IN ('r', 'p') AND oid >= 16384", 500),
    "indexes": ("SELECT count(*) FROM pg_class WHERE relkind IN ('i', 'I') AND oid >= 16384", 400),
    "functions": ("SELECT count(*) FROM pg_proc WHERE oid >= 16384", 250),
    "functions in C": ("SELECT count(*) FROM pg_proc WHERE probin LIKE '%/regress%'", 10),
    "types": ("SELECT count(*) FROM pg_type WHERE oid >= 16384", 1000),
    "triggers": ("SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal", 20),
    "operators": ("SELECT count(*) FROM pg_operator WHERE oid >= 16384", 10),
    "foreign keys": ("SELECT count(*) FROM pg_constraint WHERE contype = 'f'", 20),
}


# Take longest and leave nothing: one rolls back what it does, the other works on temporary tables.
LEFT_OUT = {"join_hash", "tuplesort"}


def suite() -> Path:
    """Return the directory of the suite, named after its major version; what is missing is fetched, or ends the run."""
    script = Path(__file__).with_name("fetch_postgres_regress.sh")
    process = subprocess.run(["sh", str(script), sys.executable], capture_output=True, text=True, check=False)
    if process.returncode:
        pytest.fail(process.stderr, pytrace=False)
    return Path(process.stdout.strip())


def regression_server() -> PostgresServer:
    """Return a server that has the regression database.

    It is one of its own: the suite makes roles and tablespaces besides.
    """
    files = suite()
    installed = _debian()
    server = PostgresServer(installed if installed.parent.name == files.name else _wheel())
    try:
        _run(server, files)
    except BaseException:
        server.stop()
        raise
    return server


def _schedule(whole: str) -> str:
    """Return the schedule without the tests that are left out."""
    groups = (line.split()[1:] for line in whole.splitlines() if line.startswith("test:"))
    kept = ([name for name in group if name not in LEFT_OUT] for group in groups)
    return "".join(f"test: {' '.join(group)}\n" for group in kept if group)


def _run(server: PostgresServer, files: Path) -> None:
    """Run the suite as PostgreSQL's developers do.

    What it prints is compared with what they expect of it, but that is not what is tested here: some of it differs from
    build to build.
    """
    programs = server.bindir.parent / "lib"
    libraries, output = server.root / "libraries", server.root / "output"
    for directory in (libraries, output):
        directory.mkdir()
        directory.chmod(0o777)  # it is written into as the server's user
    for library in (files / "regress.so", programs / "refint.so", programs / "autoinc.so"):
        shutil.copy(library, libraries)
    schedule = output / "schedule"
    schedule.write_text(_schedule((files / "parallel_schedule").read_text()))
    schedule.chmod(0o644)
    process = server.attempt(
        programs / "pgxs" / "src" / "test" / "regress" / "pg_regress",
        f"--bindir={server.bindir}",
        f"--dlpath={libraries}",
        f"--inputdir={files}",
        f"--outputdir={output}",
        f"--schedule={schedule}",
        f"--host={server.sockets}",
        f"--port={server.port}",
        "--user=postgres",
        f"--dbname={DATABASE}",
        "--max-concurrent-tests=20",
    )
    if process.returncode not in (0, 1):  # 1: some of it differs
        pytest.fail(
            f"the regression suite did not run: {process.stdout[-2000:]}{process.stderr[-2000:]}", pytrace=False
        )
    counts = {what: server.execute(sql, database=DATABASE)[0][0] for what, (sql, _) in LEAST.items()}
    if any(counts[what] < least for what, (_, least) in LEAST.items()):
        differences = output / "regression.diffs"
        said = differences.read_text(errors="replace") if differences.exists() else process.stdout + process.stderr
        pytest.fail(f"that is not the regression database: {counts}\n{said[:4000]}", pytrace=False)
