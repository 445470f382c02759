"""Memory does not grow with the database."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from plugins.sqlite.contents import make, open_database

SCRIPT = """
import json, resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[4])
from plugins.sqlite.contents import dumped, restored
path, form, tmp = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
restored(dumped(path, tmp / f"dump-{path.stem}", form), tmp / "back.db", overwrite=True)
print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024))
"""


def peak(path, form, tmp_path) -> int:
    tests = Path(__file__).parents[2]
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(path), form, str(tmp_path), str(tests)], capture_output=True, check=True
    )
    return json.loads(process.stdout)


@pytest.mark.parametrize("form", ["sql", "native", "parallel"])
def test_peak_of_a_sixty_megabyte_database_is_flat(tmp_path, form):
    small = make(tmp_path / "small.db", "CREATE TABLE t(a, b); CREATE INDEX i ON t(b); INSERT INTO t VALUES(1, 2);")
    large = make(tmp_path / "large.db", "CREATE TABLE t(a, b); CREATE INDEX i ON t(b);")
    with open_database(large) as database:
        database.execute("PRAGMA synchronous=OFF")
        database.execute("BEGIN")
        database.executemany("INSERT INTO t VALUES(?, ?)", ((i, f"{i:x}" * 100) for i in range(70_000)))
        database.execute("COMMIT")
    assert large.stat().st_size > 60_000_000
    # SQLite's own cache for loading may fill, 32 MiB; the rest is blocks.
    assert peak(large, form, tmp_path) < peak(small, form, tmp_path) + 50
