"""The store ``file``: writers, sweeps and deletions that come between each other's steps."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support.store_files import NOW, files, names, parts
from support.toys import open_directory

from dumpty import lock_if_free
from dumpty_plugins.file import parts as parts_module


def before_the_lock(monkeypatch, work):
    """Let ``work`` happen once between the making of a part and its locking; ``work`` is given its path."""
    pending = [work]

    def lock(descriptor, name, *, dir_fd):
        if pending:
            pending.pop()(os.path.join(os.readlink(f"/proc/self/fd/{dir_fd}"), name))
        return lock_if_free(descriptor, name, dir_fd=dir_fd)

    monkeypatch.setattr(parts_module, "lock_if_free", lock)


def beginnings(store, tmp):
    """Return, by what is made, how it is begun and how it ends well."""

    def file():
        upload = store.upload("a/b")
        return upload, upload.commit

    def directory():
        upload = store.upload("a/b")
        upload.directory().joinpath("x").write_bytes(b"1")
        return upload, upload.commit

    def workspace():
        scope = store.workspace()
        scope.__enter__().joinpath("x").write_bytes(b"1")
        return scope, lambda: scope.__exit__(None, None, None)

    def small():
        store.put("a/b", b"1")
        return None, lambda: None

    return {"file": file, "directory": directory, "workspace": workspace, "small": small}


@pytest.mark.parametrize("made", ["file", "directory", "workspace", "small"])
def test_a_sweep_between_making_a_part_and_locking_it_costs_only_another_part(top, store, monkeypatch, made, tmp_path):
    swept = []

    def sweep(path):
        open_directory(top).sweep(NOW)
        swept.append(os.path.lexists(path))

    if made == "directory":  # its file part comes first
        store.upload = lambda name, begin=store.upload: (begin(name), before_the_lock(monkeypatch, sweep))[0]
    else:
        before_the_lock(monkeypatch, sweep)
    _, end = beginnings(store, tmp_path)[made]()
    end()
    assert swept == [False]
    assert names(store) == ([] if made == "workspace" else ["a/b"])
    assert parts(top) == []


@pytest.mark.parametrize("made", ["file", "directory", "workspace", "small"])
def test_nobody_waits_for_a_sweep_that_has_locked_a_part_and_stops(top, store, monkeypatch, made, tmp_path):
    held = []

    def hold(path):
        held.append(os.open(path, os.O_RDONLY))
        fcntl.flock(held[0], fcntl.LOCK_EX)

    before_the_lock(monkeypatch, hold)
    _, end = beginnings(store, tmp_path)[made]()
    end()
    assert held
    os.close(held[0])
    assert names(store) == ([] if made == "workspace" else ["a/b"])
    assert parts(top) == []


def test_writers_and_sweeps_at_once_lose_nothing(top, store):
    code = """
import sys
from datetime import timedelta
from support.toys import open_directory
store = open_directory(sys.argv[1])
for _ in range(300):
    store.sweep(timedelta(0))
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    sweeper = subprocess.Popen([sys.executable, "-c", code, str(top)], env=environment)
    try:
        for number in range(120):
            store.put(f"a/{number}", b"%d" % number)
            upload = store.upload(f"b/{number}")
            upload.write(b"%d" % number)
            if number % 3 == 0:
                (upload.directory() / "x").write_bytes(b"x")
            upload.commit()
    finally:
        sweeper.kill() if sys.exc_info()[0] else None
        assert sweeper.wait() == 0
    assert len(names(store)) == 240
    assert parts(top) == []


def test_a_folder_that_is_removed_for_being_empty_is_made_again_by_whoever_writes(top, store):
    ended = threading.Event()
    errors = []

    def delete():
        other_store = open_directory(top)
        while not ended.is_set():
            try:
                other_store.delete([f"a/b/{n}" for n in range(3)])
            except Exception as error:
                errors.append(error)
                return

    thread = threading.Thread(target=delete)
    thread.start()
    try:
        for number in range(300):
            store.put(f"a/b/{number % 3}", b"", new=False)
            store.upload("a/b/x").abort()
    finally:
        ended.set()
        thread.join()
    assert errors == []
    store.delete([f"a/b/{n}" for n in range(3)])
    assert files(top) == []


def test_a_listing_has_what_stays_whatever_comes_and_goes_meanwhile(top, store):
    stay = {f"a/{number}" for number in range(300)} | {"a/b/c/d", "z"}
    for name in stay:
        store.put(name, b"")
    ended = threading.Event()
    errors = []

    def come_and_go(folder):
        other_store = open_directory(top)
        try:
            while not ended.is_set():
                names_here = [f"{folder}/x{number}" for number in range(20)]
                for name in names_here:
                    other_store.put(name, b"")
                other_store.delete(names_here)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=come_and_go, args=(folder,)) for folder in ("a", "a/b/e", "f/g")]
    for thread in threads:
        thread.start()
    try:
        for _ in range(60):
            listed = names(store)
            assert stay <= {*listed}
            assert len({*listed}) == len(listed)
            assert stay - {"z"} <= {*names(store, "a")}
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert errors == []
