"""The store ``file`` on a file system that several machines mount, and on the disk of the one that lets them."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import subprocess
import sys
from datetime import timedelta

import pytest
from support.store_files import NOW, files, names, parts, write
from support.toys import open_directory

from dumpty import Cap, MissingFile, StoreError
from dumpty_plugins.file import filesystem
from dumpty_plugins.file.sharing import SHARED

HOUR = timedelta(hours=1)
PART = f"a/x~dumpty-{'0' * 32}.part"

LOCKED = """
import fcntl, sys
file = open(sys.argv[1], "r+b")
fcntl.lockf(file, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def mounted(monkeypatch):
    """Let a test be the client, whose file system is another machine's; it is the server's own where that is undone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(filesystem, "is_local", lambda _: False)
        yield patch


def age(top, store, part):
    two_hours_ago = store.now().timestamp() - 7200
    os.utime(top / part, (two_hours_ago,) * 2)


def test_who_mounts_a_directory_says_so_before_he_writes_and_its_machine_knows_it_is_not_alone(top, store, mounted):
    assert Cap.STRONG_LIST not in store.capabilities()
    assert names(store) == []
    store.now()
    store.sweep(NOW)
    store.delete(["a/b"])
    assert files(top) == []
    upload = store.upload("a/b")
    assert [file for file in files(top) if "~dumpty-" not in file] == [SHARED]
    upload.abort()
    mounted.undo()
    for user in (store, open_directory(top)):
        assert user.capabilities() == Cap.CREATE_NEW | Cap.DELETE | Cap.LOCAL
        assert names(user) == []
    (top / SHARED).unlink()
    assert Cap.STRONG_LIST in open_directory(top).capabilities()


@pytest.mark.parametrize("kind", ["put", "directory", "workspace"])
def test_the_mark_is_on_the_disk_before_anything_else_is_there(top, store, mounted, monkeypatch, kind):
    steps = []
    real = {name: getattr(os, name) for name in ("fsync", "mkdir")}

    def note(name, descriptor):
        steps.append((name, os.path.relpath(os.readlink(f"/proc/self/fd/{descriptor}"), top), parts(top)))

    def fsync(descriptor):
        note("flush", descriptor)
        real["fsync"](descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    if kind == "workspace":
        with store.workspace():
            pass
    elif kind == "put":
        store.put("a/b", b"x")
    else:
        upload = store.upload("a/b")
        upload.directory()
        upload.commit()
    assert steps[:2] == [("flush", SHARED, []), ("flush", ".", [])]
    assert (top / SHARED).read_bytes()
    number = len(steps)
    store.put("a/c", b"x")
    assert SHARED not in [path for _, path, _ in steps[number:]]


def test_on_the_disk_of_a_machine_that_is_alone_no_mark_is_left(top, store):
    write(store, "a/b")
    with store.workspace():
        assert SHARED not in files(top)
    assert files(top) == ["a/b"]


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EEXIST])
def test_a_mark_that_cannot_be_left_is_an_error_unless_the_rights_are_lacking(top, store, mounted, monkeypatch, number):
    real = os.open

    def failing(path, *arguments, **options):
        if path == SHARED:
            raise OSError(number, os.strerror(number))
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "open", failing)
    if number == errno.ENOSPC:
        with pytest.raises(StoreError, match="No space left on device; free some space"):
            store.put("a/b", b"x")
    else:
        store.put("a/b", b"x")
        assert names(store) == ["a/b"]
    assert SHARED not in files(top)


def test_where_others_mount_its_disk_a_machine_removes_only_parts_that_are_older(top, store, mounted):
    store.put("a/kept", b"")
    mounted.undo()
    (top / PART).write_bytes(b"a client's, whose lock is not seen")
    directory = top / f"a/y~dumpty-{'1' * 32}.part"
    directory.mkdir()
    store.sweep(HOUR)
    assert (top / PART).exists()
    assert directory.exists()
    age(top, store, PART)
    age(top, store, directory)
    store.sweep(HOUR)
    assert parts(top) == []
    assert names(store) == ["a/kept"]


def test_a_part_that_is_locked_as_a_client_of_nfs_locks_it_is_in_use_whatever_its_age(top, store):
    store.put("a/kept", b"")
    (top / PART).write_bytes(b"x")
    argv = [sys.executable, "-c", LOCKED, str(top / PART)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
        assert client.stdout.readline() == b"locked\n"
        age(top, store, PART)
        store.sweep(HOUR)
        store.sweep(NOW)
        assert (top / PART).exists()
        client.communicate()
    store.sweep(NOW)
    assert files(top) == ["a/kept"]


def test_a_client_does_not_take_its_own_lock_for_another_ones(top, store, mounted, monkeypatch):
    """On NFS a lock by flock and one by lockf are of one kind, and refuse each other even within one process."""
    store.put("a/kept", b"")
    (top / PART).write_bytes(b"x")

    def lockf(*_):
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(fcntl, "lockf", lockf)
    age(top, store, PART)
    store.sweep(HOUR)
    assert parts(top) == []


def go_stale(monkeypatch, name, times, first=lambda: None):
    """Let NFS say that the folder ``name`` is stale, when it is opened and when it is read, so many times."""
    left = {"open": times, "scandir": times}
    real = {"open": os.open, "scandir": os.scandir}

    def call(function, concerns, *arguments, **options):
        if concerns and left[function]:
            left[function] -= 1
            first()
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return real[function](*arguments, **options)

    def scandir(path="."):
        concerns = isinstance(path, int) and os.readlink(f"/proc/self/fd/{path}").endswith(f"/{name}")
        return call("scandir", concerns, path)

    monkeypatch.setattr(os, "open", lambda path, *a, **o: call("open", path == name, path, *a, **o))
    monkeypatch.setattr(os, "scandir", scandir)
    return left


@pytest.mark.parametrize("folder", ["", "a", "a/b"])
@pytest.mark.parametrize("what", ["open", "scandir"])
def test_a_folder_that_another_machine_removed_is_none_and_one_that_is_there_is_read(
    top, store, monkeypatch, folder, what
):
    store.put("a/b/c", b"")
    store.put("a/c", b"")
    expected = {"": ["a/b/c", "a/c"], "a": ["a/b/c", "a/c"], "a/b": ["a/b/c"]}[folder]
    left = go_stale(monkeypatch, "b", 1)
    left["scandir" if what == "open" else "open"] = 0
    assert names(store, folder) == expected
    left[what] = 1
    store.sweep(NOW)
    left.update(open=0, scandir=0)
    left[what] = 2  # then it is no folder's removal
    with pytest.raises(StoreError, match=r"cannot list .*: Stale file handle"):
        names(store, folder)
    monkeypatch.undo()
    left = go_stale(monkeypatch, "b", 1, lambda: shutil.rmtree(top / "a/b", ignore_errors=True))
    left["scandir" if what == "open" else "open"] = 0
    assert names(store, folder) == [name for name in expected if name != "a/b/c"]


def test_an_object_whose_folder_another_machine_removed_while_it_was_listed_is_looked_for_by_name(
    top, store, monkeypatch
):
    for name in ("a/b", "a/gone"):
        store.put(name, b"")
    scandir = os.scandir

    class Stale:
        def __init__(self, entry):
            self._entry = entry

        def __getattr__(self, name):
            return getattr(self._entry, name)

        def stat(self, *, follow_symlinks):
            if self.name == "gone":
                (top / "a/gone").unlink()
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    class Entries(list):
        __enter__ = lambda self: self  # noqa: E731
        __exit__ = lambda *_: None  # noqa: E731

    monkeypatch.setattr(os, "scandir", lambda path: Entries(Stale(entry) for entry in scandir(path)))
    assert names(store) == ["a/b"]


def test_who_writes_where_another_machine_removes_the_folder_makes_it_anew(top, store, monkeypatch):
    left = go_stale(monkeypatch, "b", 3)
    left["scandir"] = 0
    store.put("a/b/c", b"x")
    assert left["open"] == 0
    assert files(top) == ["a/b/c"]


def test_what_a_network_remembers_of_an_object_is_not_what_is_told_of_it(top, store, mounted, monkeypatch):
    upload = store.upload("a/directory")
    (upload.directory() / "x").write_bytes(b"1")
    upload.commit()
    store.put("a/b", b"one")
    real, remembered = os.stat, {name: os.lstat(top / "a" / name) for name in ("b", "directory")}
    monkeypatch.setattr(os, "stat", lambda path, **options: remembered.get(path) or real(path, **options))
    store.put("a/b", b"three", new=False)
    assert store.stat("a/b").size == 5
    (top / "a/directory/x").write_bytes(b"12")
    os.utime(top / "a/directory", (7, 7))
    assert store.stat("a/directory").modified.timestamp() == 7
    (top / "a/b").unlink()
    with pytest.raises(MissingFile):
        store.stat("a/b")


def test_of_what_may_not_be_opened_it_is_told_what_the_network_says(top, store, mounted, monkeypatch):
    store.put("a/b", b"one")
    found = store.stat("a/b")
    real = os.open

    def denied(path, *arguments, **options):
        if path == "b":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "open", denied)
    assert store.stat("a/b") == found
