"""The store ``file``: disks that are full, may not be written, or allow no more."""

from __future__ import annotations

import os
import subprocess
import tempfile

import pytest
from support.store_files import NOW, files, names, write
from support.toys import open_directory, python

from dumpty import Cap, NotPermitted, StoreError
from dumpty_plugins.file import upload as upload_module

LIMITED = """
import resource, signal, sys
from dumpty import StoreError
from support.toys import open_directory
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = open_directory(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
upload = store.upload("a/big")
try:
    upload.write(bytes(300_000))
except StoreError as error:
    print(error)
upload.abort()
"""


def test_a_file_that_may_not_grow_is_an_error_and_leaves_nothing(top):
    output = python(LIMITED, top).stdout
    assert output.startswith(f"cannot write {top}/a/big: File too large")
    assert files(top) == []


def test_a_full_disk_is_an_error_with_advice_and_leaves_the_old_object(small_disk, store, top, monkeypatch):
    if small_disk is None:  # the device that is always full serves
        with open("/dev/full", "wb", buffering=0) as full:
            monkeypatch.setattr(upload_module.os, "write", lambda _, data: full.write(data))
            with pytest.raises(StoreError, match="No space left on device; free some space and run it again"):
                store.put("a/b", b"x")
        assert files(top) == []
        return
    store = open_directory(small_disk)
    store.put("a/a", b"old")
    upload = store.upload("b/b")
    full = r"cannot write .*/b: No space left on device; free some space and run it again"
    with pytest.raises(StoreError, match=full):
        upload.write(bytes(1 << 20))
    upload.abort()
    for new in (True, False):
        with pytest.raises(StoreError, match=full):
            store.put("a/b", bytes(1 << 20), new=new)
    assert files(small_disk) == ["a/a"]
    write(store, "a/c")


def test_a_directory_that_cannot_be_written_is_an_error_and_still_reads(small_disk):
    if small_disk is None:
        pytest.skip("no file system can be mounted here")
    store = open_directory(small_disk)
    store.put("a/a", b"old")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    store = open_directory(small_disk)
    for call in (
        lambda: store.put("a/b", b""),
        lambda: store.put("a/a", b"", new=False),
        lambda: store.upload("c/b"),
        lambda: store.delete(["a/a"]),
        lambda: store.workspace().__enter__(),
    ):
        with pytest.raises(NotPermitted, match="Read-only file system"):
            call()
    with pytest.raises(StoreError, match="Read-only file system"):
        open_directory(small_disk / "sub")
    assert store.capabilities() == Cap.LOCAL | Cap.STRONG_LIST
    assert store.get("a/a") == b"old"
    assert names(store) == ["a/a"]
    assert store.stat("a/a").modified <= store.now()
    store.sweep(NOW)
    store.delete(["a/none"])


AS_ANOTHER = """
import os, sys
from dumpty import NotPermitted
from support.toys import open_directory
store = open_directory(sys.argv[1])
os.setgid(12345)
os.setuid(12345)
try:
    store.delete(["a/b"])
except NotPermitted as error:
    print(error)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_what_may_not_be_removed_is_not_permitted_and_names_it():
    with tempfile.TemporaryDirectory(prefix="dumpty-") as directory:
        os.chmod(directory, 0o755)
        store = open_directory(f"{directory}/backups")
        store.put("a/b", b"")
        for folder in ("backups", "backups/a"):
            os.chmod(os.path.join(directory, folder), 0o755)
        output = python(AS_ANOTHER, f"{directory}/backups").stdout
        assert output == f"cannot remove {directory}/backups/a/b: Permission denied\n"
        assert names(store) == ["a/b"]
