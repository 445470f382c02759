"""The store ``file``: what others could see, or had for a moment, whatever comes up then."""

from __future__ import annotations

import errno
import os
import stat

import pytest
from support.store_files import files, names, parts

from dumpty import Exists, StoreError


def no_links(monkeypatch):
    def link(*_, **__):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)


def fail_to_flush_directories(monkeypatch, error):
    fsync = os.fsync

    def fails(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise error
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fails)


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("error", [OSError(errno.EIO, os.strerror(errno.EIO)), KeyboardInterrupt()])
def test_a_name_that_others_could_see_is_never_taken_back_and_no_part_stays(top, store, monkeypatch, links, error):
    if not links:
        no_links(monkeypatch)
    fail_to_flush_directories(monkeypatch, error)
    expected = StoreError if isinstance(error, OSError) else KeyboardInterrupt
    for new in (True, False):
        with pytest.raises(expected) as caught:
            store.put(f"a/put-{new}", b"x", new=new)
        assert expected is KeyboardInterrupt or str(caught.value) == f"cannot write {top}/a/put-{new}: {error.strerror}"
    upload = store.upload("a/upload")
    upload.write(b"x")
    with pytest.raises(expected):
        upload.commit()
    upload.abort()
    assert files(top) == names(store) == ["a/put-False", "a/put-True", "a/upload"]
    assert {store.get(name) for name in names(store)} == {b"x"}


@pytest.mark.parametrize("error", [OSError(errno.EIO, os.strerror(errno.EIO)), KeyboardInterrupt()])
def test_a_directory_that_others_could_see_is_never_taken_back_either(top, store, monkeypatch, error):
    upload = store.upload("a/b")
    (upload.directory() / "x").write_bytes(b"1")
    rename = os.rename

    def then_fails(*arguments, **options):
        rename(*arguments, **options)
        fail_to_flush_directories(monkeypatch, error)

    monkeypatch.setattr(os, "rename", then_fails)
    with pytest.raises(StoreError if isinstance(error, OSError) else KeyboardInterrupt):
        upload.commit()
    upload.abort()
    assert names(store) == ["a/b"]
    assert (top / "a/b/x").read_bytes() == b"1"
    assert parts(top) == []


@pytest.mark.parametrize("kind", ["put", "upload", "directory"])
def test_a_name_that_was_taken_and_is_free_again_is_taken_all_the_same(top, store, monkeypatch, kind):
    def rival(call):
        def first_rival(source, target, **options):
            target_path = top / "a" / target
            target_path.mkdir()
            (target_path / "x").touch()
            try:
                call(source, target, **options)
            finally:
                (target_path / "x").unlink()
                target_path.rmdir()

        return first_rival

    upload = store.upload("a/b")
    if kind == "directory":
        (upload.directory() / "x").write_bytes(b"1")
    monkeypatch.setattr(os, "link", rival(os.link))
    monkeypatch.setattr(os, "rename", rival(os.rename))
    with pytest.raises(Exists, match=r"cannot write .*a/b: there was an object of that name, which is gone by now"):
        store.put("a/b", b"x") if kind == "put" else upload.commit()
    if kind == "put":
        with pytest.raises(StoreError, match="a directory had its name a moment ago") as caught:
            store.put("a/b", b"x", new=False)
        assert not isinstance(caught.value, Exists)
    upload.abort()
    assert files(top) == []
