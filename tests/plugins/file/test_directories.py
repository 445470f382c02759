"""The store ``file``: directories as objects, and what deleting does."""

from __future__ import annotations

import errno
import os
import stat

import pytest
from support.store_files import NOW, files, names, parts
from support.toys import open_directory, python

from dumpty import Exists, StoreError


def test_a_directory_is_committed_whole_once_and_deleted_whole(top, store):
    upload = store.upload("a/dump.dir")
    directory = upload.directory()
    assert upload.directory() == directory
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    (directory / "sub").mkdir()
    (directory / "sub" / "a").write_bytes(b"12")
    (directory / "b").write_bytes(b"345")
    assert names(store) == []
    upload.commit()
    assert [f for f in files(top) if "~" not in f] == ["a/dump.dir/b", "a/dump.dir/sub/a"]
    assert list(store.list()) == [store.stat("a/dump.dir")]
    assert store.stat("a/dump.dir").size == 5
    assert (store.path("a/dump.dir") / "sub" / "a").read_bytes() == b"12"
    with pytest.raises(StoreError, match="it is a directory, not a file"):
        store.open("a/dump.dir")
    second = store.upload("a/dump.dir")
    (second.directory() / "c").write_bytes(b"")
    for rival in (second.commit, lambda: store.put("a/dump.dir", b"")):
        with pytest.raises(Exists):
            rival()
    second.abort()
    with pytest.raises(StoreError, match="a directory of files, which is not replaced"):
        store.put("a/dump.dir", b"", new=False)
    with pytest.raises(StoreError, match="is a backup, not a folder"):
        store.put("a/dump.dir/d", b"")
    store.delete(["a"])
    assert store.stat("a/dump.dir").size == 5
    store.delete(["a/dump.dir"])
    assert files(top) == []


def test_a_directory_takes_no_files_place_and_no_folders(top, store):
    store.put("a/b", b"kept")
    store.put("a/c/d", b"kept")
    for name, error in (("a/b", "there is an object"), ("a/c", "it is a folder")):
        upload = store.upload(name)
        (upload.directory() / "x").write_bytes(b"")
        with pytest.raises(StoreError, match=error):
            upload.commit()
        upload.abort()
    assert files(top) == ["a/b", "a/c/d"]


def test_a_directory_with_something_else_in_it_is_not_committed(top, store, tmp_path):
    upload = store.upload("a/b")
    (upload.directory() / "link").symlink_to(tmp_path)
    os.mkfifo(upload.directory() / "pipe")
    with pytest.raises(StoreError, match=r"it is a (symbolic link|named pipe|directory), not a file"):
        upload.commit()
    upload.abort()
    assert files(top) == []


def test_a_directory_that_is_removed_in_part_is_gone_and_the_rest_is_swept(top, store):
    upload = store.upload("a/b")
    for number in range(3):
        (upload.directory() / str(number)).write_bytes(b"")
    upload.commit()
    python(
        "import os, shutil, sys; from support.toys import open_directory;"
        "shutil.rmtree = lambda *a, **k: os._exit(9); open_directory(sys.argv[1]).delete(['a/b'])",
        top,
        check=False,
    )
    assert names(store) == []
    assert len(parts(top)) == 1
    open_directory(top).sweep(NOW)
    assert files(top) == []


def test_deleting_goes_on_past_what_fails_and_what_is_gone_and_says_what_failed(top, store, monkeypatch):
    objects = ["a/1", "a/2", "b/1", "b/2"]
    for name in objects:
        store.put(name, b"")
    unlink = os.unlink

    def fails(path, **options):
        if path == "1":
            number = errno.EACCES if os.readlink(f"/proc/self/fd/{options['dir_fd']}").endswith("/b") else errno.EIO
            raise OSError(number, os.strerror(number), path)
        unlink(path, **options)

    monkeypatch.setattr(os, "unlink", fails)
    with pytest.raises(PermissionError, match=r"cannot remove .*/b/1: Permission denied \(and 2 more"):
        store.delete(iter(["../x", "none/1", *objects, "a/3"]))
    assert names(store) == ["a/1", "b/1"]
    with pytest.raises(StoreError, match=r"cannot remove .*/a/1: Input/output error") as caught:
        store.delete(["a/1"])
    assert not isinstance(caught.value, PermissionError)
    monkeypatch.undo()
    store.delete([*objects, *objects])
    assert files(top) == []
    store.delete([])
