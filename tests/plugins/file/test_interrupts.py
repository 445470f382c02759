"""The store ``file``: a Ctrl-C between any two lines leaves an object whole or not at all, and no part."""

from __future__ import annotations

import contextlib
import gc
import linecache
import os
import sys
import traceback

import pytest
from support.store_files import NOW, files, names
from support.toys import open_directory

import dumpty_plugins.file
from dumpty.process import owned_directory

PLACES = (os.path.dirname(dumpty_plugins.file.__file__), owned_directory.__file__)
CLEARING = {"abort", "drop", "_drop", "_discard_parts", "discard", "remove", "close", "__exit__", "remove_if_empty"}
CLEARING |= {"for part in (first, second, name):", "part.drop()", "upload.abort()", "self._drop()"}
"""What removes a part: an interrupt in the midst of it may leave that to the next sweep."""


def put(store):
    store.put("a/b/c", b"x")


def replace(store):
    store.put("a/b/c", b"x", new=False)


def upload(store):
    upload = store.upload("a/b/c")
    try:
        upload.write(b"x")
        upload.commit()
    finally:
        upload.abort()


def upload_directory(store):
    upload = store.upload("a/b/c")
    try:
        (upload.directory() / "x").write_bytes(b"x")
        upload.commit()
    finally:
        upload.abort()


def workspace(store):
    with store.workspace() as path:
        (path / "x").write_bytes(b"x")


def others(store):
    store.now()
    store.capabilities()
    store.sweep(NOW)


def run_and_interrupt(work, number):
    """Run ``work``, and raise KeyboardInterrupt at its ``number``-th line; return in what, or None where it ended."""
    left = number
    where = None

    def trace(frame, event, argument):
        nonlocal left, where
        if not frame.f_code.co_filename.startswith(PLACES):
            return None
        if event == "line" and where is None:
            left -= 1
            callers = {f.f_code.co_name for f, _ in traceback.walk_stack(frame)} if left < 0 else set()
            if left < 0 and "__del__" not in callers:  # what is raised there reaches nobody
                where = callers | {linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()}
                raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        work()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(None)
    return where


def run_and_kill(work, number):
    """Run ``work`` in a process that ends before its ``number``-th call of the system; return its status."""
    process = os.fork()
    if process:
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    status, left = 1, number

    def count(frame, event, function):
        nonlocal left
        if event == "c_call" and function.__module__ in {"posix", "fcntl"}:
            left -= 1
            if left < 0:
                os._exit(9)

    try:
        sys.setprofile(count)
        work()
        sys.setprofile(None)
        status = 0
    finally:
        os._exit(status)


def close_as_the_end_of_a_process_does():
    gc.collect()
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if ".part" in os.readlink(f"/proc/self/fd/{descriptor}"):
                os.close(int(descriptor))


@pytest.fixture(autouse=True)
def no_flushing(monkeypatch):
    """Thousands of objects are written here, and no computer loses its power."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture(autouse=True)
def what_other_tests_have_made_is_no_garbage():
    """Garbage is collected hundreds of times here, in a process that holds what thousands of tests have made."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.parametrize("work", [put, replace, upload, upload_directory, workspace, others])
def test_an_interrupt_at_any_line_leaves_no_part_and_an_object_whole_or_not_at_all(tmp_path, work):
    top = tmp_path / "backups"
    open_directory(top).put("kept/x", b"kept")
    store = open_directory(top)
    for number in range(10_000):
        where = run_and_interrupt(lambda: work(store), number)
        left = [path for path in files(top) if "~dumpty-" in path.partition("/a/b/c/")[0] and ".part" in path]
        assert not left or where & CLEARING, (number, where, left)
        if left:
            close_as_the_end_of_a_process_does()
            store.sweep(NOW)
        assert [path for path in files(top) if ".part" in path] == [], (number, where)
        assert names(store) in (["kept/x"], ["a/b/c", "kept/x"]), (number, where)
        if "a/b/c" in names(store):
            content = (top / "a/b/c/x").read_bytes() if work is upload_directory else store.get("a/b/c")
            assert content == b"x"
        store.delete(["a/b/c"])
        if where is None:
            assert number > 30
            return
    raise AssertionError("it never ended")


def test_an_interrupted_deletion_leaves_each_object_whole_or_gone(tmp_path):
    top = tmp_path / "backups"
    store = open_directory(top)
    for number in range(10_000):
        store.put("a/x", b"x")
        upload_directory(store)
        where = run_and_interrupt(lambda: store.delete(["a/b/c", "a/x"]), number)
        store.sweep(NOW)
        for name in names(store):
            assert (store.path(name) / "x").exists() if name == "a/b/c" else store.get(name) == b"x"
        store.delete(["a/b/c", "a/x"])
        if where is None:
            return
    raise AssertionError("it never ended")


@pytest.mark.parametrize("work", [put, replace, upload, upload_directory])
def test_a_process_that_is_killed_at_any_step_leaves_an_object_whole_or_not_at_all_and_the_rest_to_a_sweep(
    tmp_path, work
):
    top = tmp_path / "backups"
    store = open_directory(top)
    for number in range(10_000):
        store.put("kept/x", b"kept", new=False)
        if work is replace:
            store.put("a/b/c", b"old")
        status = run_and_kill(lambda: work(store), number)
        assert status in {0, 9}, number
        present = names(store)
        assert present in (["kept/x"], ["a/b/c", "kept/x"]), number
        assert status == 9 or present == ["a/b/c", "kept/x"]
        if "a/b/c" in present:
            content = (top / "a/b/c/x").read_bytes() if work is upload_directory else store.get("a/b/c")
            assert content in {b"x", *[b"old"] * (work is replace)}
        assert work is not replace or "a/b/c" in present
        store.sweep(NOW)
        assert names(store) == present
        assert [path for path in files(top) if ".part" in path] == []
        store.delete(["a/b/c"])
        if status == 0:
            assert number > 20
            return
    raise AssertionError("it never ended")
