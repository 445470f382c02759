"""The store ``file``: whatever goes wrong is an error of dumpty's, and what is no lack of rights is not taken for one."""

from __future__ import annotations

import errno
import os
import subprocess

import pytest
from support.store_files import NOW, files, write
from support.toys import open_directory

from dumpty import Cap, NotPermitted, StoreError
from dumpty_plugins.file import publishing

NUMBERS = [errno.EMFILE, errno.EIO, errno.EACCES, errno.ESTALE, errno.ENOSPC]
ALL = Cap.CREATE_NEW | Cap.STRONG_LIST | Cap.DELETE | Cap.LOCAL


def fail(monkeypatch, function, number, concerns=lambda *_: True):
    """Let a call of the system fail where it ``concerns`` its arguments."""
    real = getattr(os, function)

    def failing(*arguments, **options):
        if concerns(*arguments):
            raise OSError(number, os.strerror(number))
        return real(*arguments, **options)

    monkeypatch.setattr(os, function, failing)


def use(upload):
    upload.write(b"x")
    upload.directory()
    upload.commit()


METHODS = {
    "capabilities": lambda s: s.capabilities(),
    "put": lambda s: s.put("a/c", b""),
    "replace": lambda s: s.put("a/b", b"", new=False),
    "upload": lambda s: s.upload("a/c"),
    "get": lambda s: s.get("a/b"),
    "open": lambda s: s.open("a/b"),
    "stat": lambda s: s.stat("a/b"),
    "list": lambda s: list(s.list()),
    "list one": lambda s: list(s.list("a")),
    "delete": lambda s: s.delete(["a/b"]),
    "now": lambda s: s.now(),
    "sweep": lambda s: s.sweep(NOW),
    "workspace": lambda s: s.workspace().__enter__(),
}


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("method", METHODS)
def test_a_directory_that_cannot_be_opened_is_an_error_of_ours_in_every_method(store, monkeypatch, method, number):
    store.put("a/b", b"kept")
    fail(monkeypatch, "open", number)
    with pytest.raises(StoreError, match=os.strerror(number)) as caught:
        METHODS[method](store)
    assert isinstance(caught.value, NotPermitted) == (number == errno.EACCES)
    assert caught.value.__cause__.errno == number
    monkeypatch.undo()
    assert store.get("a/b") == b"kept"


@pytest.mark.parametrize("function", ["open", "stat", "mkdir", "unlink", "link", "rename", "fsync", "fstat", "utime"])
@pytest.mark.parametrize("method", [*METHODS, "commit", "use"])
def test_whatever_call_of_the_system_fails_is_an_error_of_ours(store, monkeypatch, method, function):
    store.put("a/b", b"kept")
    upload = store.upload("a/d")
    methods = {**METHODS, "commit": lambda _: upload.commit(), "use": lambda _: use(upload)}
    real = getattr(os, function)
    for number in range(200):
        left = number

        def failing(*arguments, **options):
            nonlocal left
            left -= 1
            if left == -1:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return real(*arguments, **options)

        monkeypatch.setattr(os, function, failing)
        try:
            methods[method](store)
        except StoreError:
            pass
        except ValueError:
            assert method in {"commit", "use"}  # it has ended
        monkeypatch.setattr(os, function, real)
        if left >= 0:
            return
    raise AssertionError("it never ended")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.EIO])
@pytest.mark.parametrize("function", ["open", "link", "unlink"])
def test_a_full_disk_is_no_lack_of_rights_and_is_not_remembered(top, store, monkeypatch, number, function):
    fail(monkeypatch, function, number, lambda path, *_: "probe" in path)
    with pytest.raises(StoreError, match=r"cannot find out what can be done in .*backups: ") as caught:
        store.capabilities()
    assert not isinstance(caught.value, NotPermitted)
    assert caught.value.__cause__.errno == number
    monkeypatch.undo()
    assert store.capabilities() == ALL
    store.sweep(NOW)
    assert files(top) == []


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_what_the_rights_do_not_suffice_for_is_not_claimed_until_they_do(store, monkeypatch, number):
    fail(monkeypatch, "unlink", number)
    assert store.capabilities() == ALL & ~Cap.DELETE
    fail(monkeypatch, "open", number, lambda path, *_: "probe" in path)
    assert store.capabilities() == Cap.STRONG_LIST | Cap.LOCAL
    monkeypatch.undo()
    assert store.capabilities() == ALL


def test_a_disk_without_inodes_is_no_lack_of_rights(small_disk):
    if small_disk is None:
        pytest.skip("no file system can be mounted here")
    subprocess.run(["mount", "-o", "remount,nr_inodes=40", str(small_disk)], check=True)
    store = open_directory(small_disk)
    store.put("a/b", b"kept")
    with pytest.raises(OSError, match="No space left"):
        [(small_disk / f"fill{number}").touch() for number in range(1000)]
    with pytest.raises(StoreError, match="No space left on device; free some space") as caught:
        store.capabilities()
    assert caught.value.__cause__.errno == errno.ENOSPC
    store.delete(["a/b"])
    for index in range(5):
        (small_disk / f"fill{index}").unlink()
    assert store.capabilities() == ALL
    write(store, "a/c")


def test_a_sweep_that_takes_the_probes_parts_is_no_lack_of_rights(top, store, monkeypatch):
    pending = [True]
    publish_new = publishing.publish_new

    def swept(folder, part, name, must):
        if pending:
            pending.pop()
            os.unlink(part.name, dir_fd=folder.descriptor)
        publish_new(folder, part, name, must)

    monkeypatch.setattr(publishing, "publish_new", swept)
    assert store.capabilities() == ALL
    assert not pending
    assert files(top) == []
