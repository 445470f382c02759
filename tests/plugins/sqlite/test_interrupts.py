"""Ctrl-C while SQLite checks or counts, and disks that fill up."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sqlite3
import threading
import time

import pytest
from plugins.sqlite.contents import dumped, make, restored

from dumpty import SourceError
from dumpty_plugins.sqlite.dumping import image
from dumpty_plugins.sqlite.files import connection

ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"


def send_slowly(database, work):
    connection.interruptible(database, work, meanwhile=lambda: time.sleep(20))


@pytest.mark.parametrize("wait", [send_slowly, connection.interruptible])
def test_ctrl_c_ends_what_sqlite_is_doing(tmp_path, wait):
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    with contextlib.closing(connection.connect(str(make(tmp_path / "x.db", "")), "rw")) as database:
        began = time.monotonic()
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            wait(database, lambda: database.execute(ENDLESS).fetchall())
    timer.join()
    assert time.monotonic() - began < 10


def test_full_disk_under_a_restored_image_names_the_place(tmp_path):
    make(tmp_path / "x.db", "CREATE TABLE t(a); INSERT INTO t VALUES(zeroblob(300000));")
    made = dumped(tmp_path / "x.db", tmp_path / "dump", "native")
    (tmp_path / "place").mkdir()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(SourceError, match=r"place/t\.db\S+ cannot be written: File too large.*free some space"):
            restored(made, tmp_path / "place" / "t.db")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir(tmp_path / "place") == []


def test_full_workspace_under_an_image_names_the_place_and_not_the_source(tmp_path, monkeypatch):
    make(tmp_path / "x.db", "CREATE TABLE t(a); INSERT INTO t VALUES(zeroblob(300000));")
    connect = sqlite3.connect

    def small(path, *args, **kwargs):
        database = connect(path, *args, **kwargs)
        if str(path).endswith("image.db"):
            database.execute("PRAGMA max_page_count=3")  # SQLite's own way to be full
        return database

    monkeypatch.setattr(image.sqlite3, "connect", small)
    with pytest.raises(SourceError, match=r"no room for the copy .*dump\.space/image\.db: free some space") as caught:
        dumped(tmp_path / "x.db", tmp_path / "dump", "native")
    assert "x.db" not in str(caught.value)
