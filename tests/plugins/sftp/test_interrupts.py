"""Ctrl-C while a server says nothing any more: the program ends soon, and leaves nothing that counts."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from dumpty import BackupManager

PATIENCE = 60
BOUND = 5 + 25
"""Seconds: dumpty ends within five on an idle machine."""


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE item (data BLOB)")
        connection.executemany("INSERT INTO item VALUES (?)", [(os.urandom(1 << 20),) for _ in range(24)])
    connection.close()
    return path


@pytest.fixture
def command(tmp_path):
    """Start the command line as a program of its own, in which Ctrl-C is not ignored."""
    started = []

    def start(*argv):
        with (tmp_path / "output").open("w") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "dumpty", *map(str, argv)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.parametrize("after", [0, 30_000, 8 << 20], ids=["at once", "before the upload", "in the upload"])
def test_ctrl_c_ends_a_backup_to_a_server_that_has_stalled(ssh_server, proxy, database, command, tmp_path, after):
    url = ssh_server.url(tmp_path / "store", port=proxy.port)
    if after:
        proxy.stall_after(after)
    else:
        proxy.stall()
    process = command("backup", f"sqlite:///{database}", "-d", url)
    assert proxy.stalled.wait(PATIENCE)
    end = time.monotonic() + PATIENCE
    while not proxy.accepted and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(1)  # it waits by now, for what does not come
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    try:
        status = process.wait(BOUND)
    except subprocess.TimeoutExpired:
        pytest.fail(f"it still waits: {(tmp_path / 'output').read_text()}")
    assert status == 130, (tmp_path / "output").read_text()
    if (tmp_path / "store").exists():
        assert BackupManager(ssh_server.url(tmp_path / "store")).list_backups() == []


def test_ctrl_c_ends_a_restore_from_a_server_that_has_stalled(ssh_server, proxy, database, command, tmp_path):
    top = tmp_path / "store"
    assert BackupManager(ssh_server.url(top)).create_backup(f"sqlite:///{database}").success
    proxy.stall_after(8 << 20)
    target = tmp_path / "copy.db"
    process = command(
        "restore", "latest:shop", "--to", f"sqlite:///{target}", "-d", ssh_server.url(top, port=proxy.port)
    )
    assert proxy.stalled.wait(PATIENCE)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    assert process.wait(BOUND) == 130, (tmp_path / "output").read_text()
    assert not target.exists()
