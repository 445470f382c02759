"""Outputs that are full or closed: what was done stays done, its status too, and no backup gets what was meant for them."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys

import pytest

from dumpty import BackupManager

SHELL = {
    "full output": 'exec "$@" >/dev/full',
    "closed output": 'exec "$@" >&-',
    "closed errors": 'exec "$@" 2>&-',
    "full errors": 'exec "$@" 2>/dev/full',
    "both closed": 'exec "$@" >&- 2>&-',
    "both full": 'exec "$@" >/dev/full 2>/dev/full',
    "all closed": 'exec "$@" <&- >&- 2>&-',
}


@pytest.fixture
def place(tmp_path):
    """A directory with a small database, ``shop.db``, and three backups of it."""
    with sqlite3.connect(tmp_path / "shop.db") as database:
        database.execute("CREATE TABLE t (a)")
        database.executemany("INSERT INTO t VALUES (?)", [(n,) for n in range(1000)])
    database.close()
    manager = BackupManager(str(tmp_path / "backups"))
    assert all(manager.create_backup(f"sqlite:///{tmp_path}/shop.db").success for _ in range(3))
    return tmp_path


def run(place, output_state, *argv, program=("-m", "dumpty")):
    return subprocess.run(
        ["/bin/sh", "-c", SHELL[output_state], "sh", sys.executable, *program, *argv],
        cwd=place,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def backup_ids(place):
    return BackupManager(str(place / "backups")).list_backups()


@pytest.mark.parametrize(
    ("output_state", "json"),
    [*((output_state, ()) for output_state in SHELL), ("full output", ("--json",)), ("closed output", ("--json",))],
)
def test_what_was_done_stays_done_and_so_does_its_status(place, output_state, json):
    manager = BackupManager(str(place / "backups"))
    oldest, *newer = [b.id for b in manager.list_backups()]

    def check(*argv):
        process = run(place, output_state, *argv, *json)
        assert process.returncode == 0, (argv, process)
        assert "Traceback" not in process.stderr
        assert "touched" not in process.stderr
        message = "cannot write to the standard output"
        assert (message in process.stderr) == (output_state in {"full output", "closed output"})

    check("backup", "sqlite:///shop.db")
    assert [b.id for b in manager.list_backups()][:3] == [oldest, *newer]
    assert len(manager.list_backups()) == 4
    check("verify", "--all")
    assert all(b.verification_status.proven for b in manager.list_backups())
    check("pin", newer[0])
    assert manager.get_backup(newer[0]).pinned
    check("restore", newer[1], "--to", "sqlite:///new.db")
    with sqlite3.connect(place / "new.db") as database:
        assert database.execute("SELECT count(*) FROM t").fetchone() == (1000,)
    database.close()
    check("prune", "--keep", "1", "--yes")
    remaining = manager.list_backups()
    assert [b.id for b in remaining[:1]] == newer[:1]
    assert len(remaining) == 2


@pytest.mark.parametrize("output_state", ["full output", "closed errors", "both closed"])
def test_what_failed_keeps_its_status(place, output_state):
    for argv, status in (
        (("restore", "nope", "--to", "sqlite:///x.db"), 1),
        (("backup", "nonsense"), 2),
        (("list", "-d", "no"), 10),
    ):
        for json in ((), ("--json",)):
            process = run(place, output_state, *argv, *json)
            assert process.returncode == status, (argv, process)
            assert "Traceback" not in process.stderr


@pytest.mark.parametrize("output_state", ["full output", "both closed"])
@pytest.mark.parametrize(
    "argv",
    [
        ("list",),
        ("show", "latest"),
        ("list", "--json"),
        ("plugins",),
        ("doctor",),
        ("prune", "--keep", "1", "-n"),
        ("--help",),
        ("--version",),
    ],
)
def test_what_does_nothing_but_tell_has_failed(place, output_state, argv):
    process = run(place, output_state, *argv)
    assert process.returncode == 1, process
    if output_state.endswith("output"):
        assert "cannot write to the standard output" in process.stderr
        assert "this is a bug" not in process.stderr


# Writes to the numbers of both outputs while a backup is being written, as a C library would.
NOISY = """
import os, sys
from dumpty.cli import main
real = os.fsync
def noisy(descriptor):
    for number in (1, 2):
        try:
            os.write(number, b"noise")
        except OSError:
            pass
    return real(descriptor)
os.fsync = noisy
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("output_state", ["closed output", "closed errors", "all closed"])
def test_no_backup_gets_what_was_meant_for_an_output(place, output_state):
    for form in ("sql", "native"):
        process = run(
            place,
            output_state,
            "backup",
            "sqlite:///shop.db",
            "--format",
            form,
            "--compressor",
            "none",
            program=("-c", NOISY),
        )
        assert process.returncode == 0, process
        newest = backup_ids(place)[-1]
        with open(newest.file_path, "rb") as stream:
            assert b"noise" not in stream.read()
        assert BackupManager(str(place / "backups")).prove(newest.id, level="structure").ok


CHATTY = """
import sys
from dumpty.cli import main
from dumpty_plugins.sqlite.files import connection
real = connection.require_file
def chatty(*, path):
    print("chatter")
    sys.stdout.flush()
    return real(path=path)
connection.require_file = chatty
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("output_state", ["closed errors", "both full", "both closed"])
def test_what_a_plugin_cannot_say_fails_no_backup(place, output_state):
    process = run(place, output_state, "backup", "sqlite:///shop.db", program=("-c", CHATTY))
    assert process.returncode == 0, process
    assert len(backup_ids(place)) == 4


def test_a_terminal_that_is_gone_fails_no_backup(place):
    """The bar is drawn on a terminal whose other end is closed meanwhile."""
    import pty

    master, slave = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "dumpty", "backup", "sqlite:///shop.db"],
        cwd=place,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=slave,
        env={**os.environ, "TERM": "xterm"},
    ) as child:
        os.close(slave)
        os.close(master)
        output = child.stdout.read()
        assert child.wait(120) == 0, output
    assert len(backup_ids(place)) == 4
