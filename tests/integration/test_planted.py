"""Names that somebody else planted where dumpty works: nothing hangs, nothing is written or removed through them.

Everything runs in a process of its own, whose end is waited for: what hangs fails.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

PART_MARK = "dumpty-" + "0123456789abcdef" * 2
NOBODY = 65534


@pytest.fixture
def place(tmp_path):
    """A directory with a small database, ``shop.db``, and one backup of it in ``backups``."""
    with sqlite3.connect(tmp_path / "shop.db") as database:
        database.execute("CREATE TABLE t (a)")
        database.execute("INSERT INTO t VALUES (1)")
    database.close()
    assert run(tmp_path, "backup", "sqlite:///shop.db").returncode == 0
    return tmp_path


def run(place, *argv, code=""):
    program = ["-c", code] if code else ["-m", "dumpty"]
    return subprocess.run(
        [sys.executable, *program, *argv], cwd=place, capture_output=True, text=True, timeout=120, check=False
    )


def data(place):
    [path] = (p for p in (place / "backups").rglob("*") if p.name.endswith(".gz"))
    return path


def pipe(path):
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def link(path):
    outside = (
        next(p for p in path.parents if p.name not in {"backups", "named"} and not p.name.startswith("shop-"))
        / "outside"
    )
    outside.write_bytes(b"another's")
    path.unlink(missing_ok=True)
    path.symlink_to(outside)


def test_a_named_backup_writes_through_no_holders_link_and_waits_for_no_pipe(place):
    (place / "named").mkdir()
    for plant in (link, pipe):
        plant(place / "named" / ".dumpty~catalog.holder")
        process = run(place, code=NAMED_BACKUP)
        assert process.returncode == 0, process.stderr
        assert (place / "outside").read_bytes() == b"another's"


@pytest.mark.parametrize(("plant", "description"), [(link, "a symbolic link"), (pipe, "a named pipe")])
def test_a_lock_that_was_planted_is_refused_by_name(place, plant, description):
    (place / "named").mkdir()
    plant(place / "named" / ".dumpty~catalog.lock")
    process = run(place, code=NAMED_BACKUP)
    assert process.returncode == 1
    assert f".dumpty~catalog.lock: it is {description}, not a file" in process.stderr
    assert not (place / "outside").exists() or (place / "outside").read_bytes() == b"another's"


@pytest.mark.parametrize(("plant", "description"), [(link, "a symbolic link"), (pipe, "a named pipe")])
@pytest.mark.parametrize(
    "verb", [("verify",), ("restore", "--to", "sqlite:///new.db"), ("drill",), ("verify", "--level", "structure")]
)
def test_data_that_was_planted_is_not_read(place, plant, description, verb):
    identity = run(place, "list", "--json").stdout.split('"id": "')[1][:36]
    plant(data(place))
    process = run(place, verb[0], identity, *verb[1:])
    assert process.returncode in {1, 4}, process
    assert f"it is {description}" in process.stdout + process.stderr
    assert not (place / "new.db").exists()


@pytest.mark.parametrize("plant", [link, pipe])
def test_proofs_and_pins_that_were_planted_stop_nothing_and_change_nothing(place, plant):
    stem = str(data(place)).removesuffix(".db.gz")
    plant(Path(stem + ".proof-20260101T000000Z-01234567"))
    process = run(place, "verify", "latest")
    assert process.returncode == 0, process
    plant(Path(stem + ".pin-01234567"))
    process = run(place, "list")
    assert process.returncode == 0
    assert ("it is a symbolic link" in process.stderr) == (plant is link)
    assert (place / "outside").read_bytes() == b"another's" if plant is link else True


def test_a_manifest_that_is_a_link_is_told_and_one_that_is_a_pipe_is_not_waited_for(place):
    [manifest] = (place / "backups").rglob("*.manifest.json")
    text = manifest.read_bytes()
    link(manifest)
    process = run(place, "list")
    assert process.returncode == 0
    assert "it is a symbolic link, not a file" in process.stderr
    pipe(manifest)
    assert run(place, "list").returncode == 0
    manifest.unlink()
    manifest.write_bytes(text)
    assert run(place, "verify", "latest").returncode == 0


NAMED_BACKUP = """
import sys
from dumpty import DatabaseBackup
try:
    backups = DatabaseBackup("named")
    backups.backup_sqlite("shop.db", "one")
    print(backups.prune(0, 0))
except Exception as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


@pytest.mark.parametrize(("plant", "description"), [(link, "a symbolic link"), (pipe, "a named pipe")])
def test_the_named_manifest_that_was_planted_is_an_error(place, plant, description):
    (place / "named").mkdir()
    plant(place / "named" / "backup_manifest.json")
    process = run(place, code=NAMED_BACKUP)
    assert process.returncode == 1
    assert f"backup_manifest.json: it is {description}, not a file" in process.stderr


def test_parts_that_were_planted_are_left_and_take_nothing_with_them(place):
    folder = data(place).parent
    data_file = folder / "20260101T000000Z-0123456789ab-01234567.sql.gz"
    data_file.write_bytes(b"another's")
    planted = [f"{data_file.name}~{PART_MARK}.part", f"other~{PART_MARK}.part"]
    for name in planted:
        os.mkfifo(folder / name)
    if os.geteuid() == 0:
        foreign = folder / f"{data_file.name}~dumpty-{'f' * 32}.part"
        foreign.write_bytes(b"")
        os.chown(foreign, NOBODY, NOBODY)
        planted.append(foreign.name)
    assert run(place, "backup", "sqlite:///shop.db").returncode == 0
    assert data_file.read_bytes() == b"another's"
    assert set(planted) <= set(os.listdir(folder))


@pytest.mark.parametrize("plant", [link, pipe])
@pytest.mark.parametrize("end", ["-journal", "-wal", "-shm"])
def test_what_was_planted_beside_a_sqlite_file_is_refused(place, plant, end):
    plant(place / "backups" / f"shop.db{end}")  # one further down, for the link's sake
    os.rename(place / "backups" / f"shop.db{end}", place / f"shop.db{end}")
    content_before = (place / "shop.db").read_bytes()
    for argv in (
        ("backup", "sqlite:///shop.db"),
        ("restore", "latest", "--to", "sqlite:///shop.db", "--overwrite"),
    ):
        process = run(place, *argv)
        assert process.returncode == 1, process
        assert f"shop.db{end} is not a regular file" in process.stdout + process.stderr
    assert f"shop.db{end} is not a regular file" in run(place, "doctor", "sqlite:///shop.db").stdout
    assert (place / "shop.db").read_bytes() == content_before
    assert run(place, "restore", "latest", "--to", "sqlite:///new.db").returncode == 0


def test_what_was_planted_beside_a_target_is_neither_swept_nor_waited_for(place):
    outside = place / "outside"
    planted = [place / f"new.db.dumpty-part-{digit * 8}" for digit in "0123"]
    os.mkfifo(planted[0])
    planted[1].write_bytes(b"another's")
    planted[2].symlink_to(outside)
    directories = [outside]
    if os.geteuid() == 0:
        directories.append(planted[3])
    for directory in directories:
        directory.mkdir()
        (directory / "new").write_bytes(b"another's")
        os.chown(directory, *((NOBODY, NOBODY) if directory == planted[3] else (-1, -1)))
    assert run(place, "restore", "latest", "--to", "sqlite:///new.db").returncode == 0
    assert [(directory / "new").read_bytes() for directory in directories] == [b"another's"] * len(directories)
    assert planted[0].is_fifo()
    assert planted[1].read_bytes() == b"another's"
    assert planted[2].is_symlink()


DRILL = """
import sys, tempfile
from pathlib import Path
from dumpty_plugins.mysql.server.private_server import _clear
from dumpty_plugins.postgres.server.private_server import remove_abandoned
_clear(sys.argv[1])
remove_abandoned(sys.argv[1])
"""


@pytest.mark.parametrize("prefix", ["dumpty-drill-mysql-", "dumpty-drill-pg-"])
@pytest.mark.parametrize("name", ["owner", "lock"])
def test_drills_sweep_no_planted_directory_and_wait_for_no_pipe(tmp_path, prefix, name):
    with tempfile.TemporaryDirectory() as top:
        planted = Path(top, prefix + "planted1")
        planted.mkdir()
        os.mkfifo(planted / name)
        (planted / "data").write_bytes(b"another's")
        Path(top, prefix + "planted2").symlink_to(tmp_path)
        (tmp_path / name).write_bytes(b"")
        if os.geteuid() == 0:
            os.chown(planted, NOBODY, NOBODY)
        process = run(tmp_path, top, code=DRILL)
        assert process.returncode == 0, process
        if os.geteuid() == 0:
            assert (planted / "data").exists()
        assert (tmp_path / name).exists()


def test_a_directory_that_everybody_may_write_to_is_warned_of(place):
    for verb in (("backup", "sqlite:///shop.db"), ("list",), ("verify", "latest")):
        os.chmod(place / "backups", 0o1777)
        process = run(place, *verb)
        assert process.returncode == 0
        assert process.stderr.count("every user of this machine may write to the backup directory") == 1
        ran_as_json = run(place, *verb, "--json")
        assert "chmod o-w" in ran_as_json.stdout.split('"warnings": ')[1]
        os.chmod(place / "backups", 0o755)
        assert "every user" not in run(place, *verb).stderr
