"""The store ``file``: of all that give an object one name, one wins, and what is there is there for good."""

from __future__ import annotations

import concurrent.futures
import errno
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from support.store_files import PART, files, names, parts, write

from dumpty import Cap, Exists, StoreError
from dumpty_plugins.file import files as files_module
from dumpty_plugins.file import publishing

PUT = """
import os, sys
from support.toys import open_directory
from dumpty import Exists
store = open_directory(sys.argv[1])
number, large = sys.argv[2], sys.argv[3] == "upload"
def no_links(*_, **__):
    raise PermissionError(1, "Operation not permitted")
if sys.argv[4] == "rename":
    os.link = no_links
sys.stdin.readline()
for name in range(40):
    try:
        if large:
            upload = store.upload(f"a/{name}")
            try:
                upload.write(number.encode() * 5000)
                upload.commit()
            finally:
                upload.abort()
        else:
            store.put(f"a/{name}", number.encode() * 5000)
        print(name)
    except Exists:
        pass
"""


def no_links(monkeypatch, number=errno.EPERM):
    """Let the file system have no hard links, as FAT has none."""

    def link(source, *_, **__):
        raise OSError(number, os.strerror(number), source)

    monkeypatch.setattr(os, "link", link)


def no_exclusive_rename(monkeypatch):
    def rename_new(*_):
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr(publishing, "rename_new", rename_new)


def test_nothing_is_visible_before_commit_and_nothing_else_after(top, store):
    upload = store.upload("a/b.sql")
    assert upload.write(memoryview(b"abcd").cast("I")) == 4
    (part,) = files(top)
    assert re.fullmatch(rf"a/b\.sql{PART}", part)
    assert stat.S_IMODE((top / part).stat().st_mode) == 0o600
    assert names(store) == []
    upload.commit()
    upload.abort()
    assert files(top) == names(store) == ["a/b.sql"]
    assert (top / "a/b.sql").stat().st_nlink == 1
    assert store.get("a/b.sql") == b"abcd"


def test_an_upload_that_is_dropped_leaves_nothing_nor_the_folders_it_made(top, store):
    for use in (lambda u: u.write(b"new"), lambda u: (u.directory() / "x").write_bytes(b"1")):
        upload = store.upload("a/b/c")
        use(upload)
        upload.abort()
        upload.abort()
        assert files(top) == []
    with pytest.raises(ValueError, match="has ended"):
        upload.write(b"x")


def test_of_two_uploads_of_one_name_the_second_is_told(top, store):
    first, second = store.upload("a/b"), store.upload("a/b")
    first.write(b"one")
    second.write(b"two")
    second.commit()
    with pytest.raises(Exists, match=r"cannot write .*a/b: there is an object of that name already"):
        first.commit()
    first.abort()
    assert store.get("a/b") == b"two"
    assert files(top) == ["a/b"]


@pytest.mark.parametrize("how", ["put", "upload"])
@pytest.mark.parametrize("mechanism", ["link", "rename"])
def test_of_all_processes_that_make_one_name_exactly_one_wins(top, store, how, mechanism):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    children = [
        subprocess.Popen(
            [sys.executable, "-c", PUT, str(top), number, how, mechanism],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )
        for number in "1234"
    ]
    with concurrent.futures.ThreadPoolExecutor(len(children)) as pool:
        won = [output.split() for output, _ in pool.map(lambda child: child.communicate("\n"), children)]
    assert [child.returncode for child in children] == [0] * 4
    assert sorted(int(name) for mine in won for name in mine) == list(range(40))
    for number, mine in zip("1234", won, strict=True):
        for name in mine:
            assert store.get(f"a/{name}") == number.encode() * 5000
    assert parts(top) == []


def test_without_hard_links_a_rename_that_replaces_nothing_does(top, store, monkeypatch):
    no_links(monkeypatch)
    assert Cap.CREATE_NEW in store.capabilities()
    store.put("a/b", b"one")
    with pytest.raises(Exists):
        store.put("a/b", b"two")
    write(store, "a/c")
    store.put("a/b", b"three", new=False)
    assert store.get("a/b") == b"three"
    assert files(top) == ["a/b", "a/c"]


def test_without_either_create_new_is_not_claimed_and_objects_can_be_written(top, store, monkeypatch):
    no_links(monkeypatch)
    no_exclusive_rename(monkeypatch)
    assert store.capabilities() == Cap.LOCAL | Cap.DELETE | Cap.STRONG_LIST
    store.put("a/b", b"one")
    write(store, "a/c")
    with pytest.raises(Exists):
        store.put("a/b", b"two")
    assert store.get("a/b") == b"one"
    assert files(top) == ["a/b", "a/c"]


def test_what_was_claimed_is_kept_or_is_an_error(top, store, monkeypatch):
    assert Cap.CREATE_NEW in store.capabilities()
    no_links(monkeypatch)
    no_exclusive_rename(monkeypatch)  # another file system is mounted there now
    with pytest.raises(StoreError, match=r"cannot write .*a/b: "):
        store.put("a/b", b"x")
    assert files(top) == []


@pytest.mark.parametrize("mistake", ["replaces", "copies"])
def test_a_file_system_that_only_pretends_is_found_out(top, store, monkeypatch, mistake):
    def link(source, target, *, src_dir_fd, dst_dir_fd, follow_symlinks):
        if mistake == "replaces":
            os.rename(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        else:
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY, dir_fd=dst_dir_fd))

    monkeypatch.setattr(os, "link", link)
    assert Cap.CREATE_NEW not in store.capabilities()
    assert files(top) == []


@pytest.mark.parametrize("error", [errno.EEXIST, errno.EIO, errno.ETIMEDOUT, errno.EPERM])
@pytest.mark.parametrize("done", [True, False])
def test_where_an_answer_is_lost_it_is_looked_up_what_became_of_it(top, store, monkeypatch, error, done):
    link = os.link

    def lost(*arguments, **options):
        if done:
            link(*arguments, **options)
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "link", lost)
    if done or error == errno.EPERM:  # then a rename does it
        store.put("a/b", b"one")
        assert store.get("a/b") == b"one"
        assert files(top) == ["a/b"]
    elif error == errno.EEXIST:
        (top / "a").mkdir()
        (top / "a/b").write_bytes(b"another's")
        with pytest.raises(Exists):
            store.put("a/b", b"one")
        assert store.get("a/b") == b"another's"
    else:
        with pytest.raises(StoreError, match=os.strerror(error)):
            store.put("a/b", b"one")
        assert files(top) == []


def test_a_replacement_whose_answer_is_lost_is_looked_up_too(top, store, monkeypatch):
    rename = os.rename

    def lost(*arguments, **options):
        rename(*arguments, **options)
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))  # what NFS says to the second sending

    monkeypatch.setattr(os, "rename", lost)
    store.put("a/b", b"one", new=False)
    assert store.get("a/b") == b"one"


def test_content_is_on_the_disk_before_the_name_and_the_names_before_the_end(top, store, monkeypatch):
    steps = []
    fsync, link = os.fsync, os.link

    def note_flush(descriptor):
        path = os.path.relpath(os.readlink(f"/proc/self/fd/{descriptor}"), top)
        steps.append(f"flush {path.partition('~')[0]}")
        fsync(descriptor)

    def note_link(source, target, **options):
        steps.append(f"name {target}")
        link(source, target, **options)

    monkeypatch.setattr(os, "fsync", note_flush)
    monkeypatch.setattr(os, "link", note_link)
    store.put("a/b/c", b"x")
    assert steps == ["flush a/b/c", "name c", "flush a/b", "flush a", "flush ."]
    steps.clear()
    store.delete(["a/b/c"])
    assert steps[0] == "flush a/b"


def test_a_file_system_that_cannot_flush_directories_does_all_the_same(top, store, monkeypatch):
    fsync = os.fsync

    def fails(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fails)
    store.put("a/b", b"x")
    store.delete(["a/b"])
    assert files(top) == []


def test_flushing_means_the_disk_itself_where_the_system_has_a_call_for_that(top, store, monkeypatch):
    flushed = []
    monkeypatch.setattr(files_module.fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(files_module.fcntl, "fcntl", lambda descriptor, what: flushed.append(what))
    store.put("a/b", b"x")
    assert flushed == [51] * 3
