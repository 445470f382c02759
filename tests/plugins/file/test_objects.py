"""The store ``file``: objects as files of one directory, whatever else is in it."""

from __future__ import annotations

import collections
import contextlib
import functools
import os
import stat
from datetime import UTC, datetime

import pytest
from support.store_files import NOW, files, names, read, write
from support.toys import open_directory

from dumpty import Cap, DirectoryUpload, Exists, LocalStore, MissingFile, StoreError
from dumpty_plugins.file import filesystem


def test_it_is_a_local_store_and_takes_directories(store):
    assert isinstance(store, LocalStore)
    upload = store.upload("a/x")
    assert isinstance(upload, DirectoryUpload)
    upload.abort()


def test_on_a_file_system_of_this_machine_it_claims_what_it_has_tried(store, top):
    assert store.capabilities() == Cap.CREATE_NEW | Cap.STRONG_LIST | Cap.DELETE | Cap.LOCAL
    assert files(top) == []


@pytest.mark.parametrize("form", ["{}", "file://{}", "FILE_RELATIVE", "file://{}%20x"])
def test_a_directory_is_created_readable_by_its_owner_alone(tmp_path, form, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if form == "FILE_RELATIVE":
        url, path = "a/b", tmp_path / "a/b"
    else:
        path = tmp_path / "a/b"
        url = form.format(path)
        path = path.with_name("b x") if "%20" in form else path
    store = open_directory(url)
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert store.locate("") == str(path)
    write(open_directory(url), "a/x")
    assert files(path) == ["a/x"]
    assert stat.S_IMODE((path / "a").stat().st_mode) == 0o700
    assert stat.S_IMODE((path / "a/x").stat().st_mode) == 0o600


def test_a_file_in_place_of_the_directory_is_an_error(tmp_path):
    (tmp_path / "file").write_bytes(b"kept")
    for path in (tmp_path / "file", tmp_path / "file" / "sub"):
        with pytest.raises(StoreError, match=r"file.*(not a backup directory|cannot create)|cannot create"):
            open_directory(path)
    assert (tmp_path / "file").read_bytes() == b"kept"


def test_an_existing_directory_keeps_its_mode(tmp_path):
    (tmp_path / "open").mkdir(mode=0o755)
    open_directory(tmp_path / "open")
    assert stat.S_IMODE((tmp_path / "open").stat().st_mode) == 0o755


def test_a_directory_that_is_gone_is_an_error_of_ours_and_not_made_anew(top, store):
    top.rename(top.with_name("elsewhere"))
    for call in (
        lambda: list(store.list()),
        lambda: store.put("a/b", b""),
        lambda: store.upload("a/b"),
        lambda: store.get("a/b"),
        lambda: store.stat("a/b"),
        lambda: store.delete(["a/b"]),
        lambda: store.sweep(NOW),
        store.now,
        store.capabilities,
        lambda: store.workspace().__enter__(),
    ):
        with pytest.raises(StoreError, match="backups is gone; mount it or put it back"):
            call()
    assert not top.exists()


def test_a_small_object_is_put_read_and_replaced_and_nothing_else_is_left(top, store):
    store.put("a/b", b"one")
    with pytest.raises(Exists, match=r"cannot write \S+/a/b: there is an object of that name already"):
        store.put("a/b", b"two")
    assert store.get("a/b") == b"one"
    store.put("a/b", b"three", new=False)
    store.put("a/c", b"", new=False)
    assert (store.get("a/b"), store.get("a/c")) == (b"three", b"")
    assert files(top) == ["a/b", "a/c"]
    assert (top / "a/b").stat().st_nlink == 1


def test_a_folder_and_an_object_cannot_share_a_name_and_neither_is_harmed(top, store):
    store.put("a/b", b"kept")
    for new in (True, False):
        with pytest.raises(StoreError, match="/a: it is a folder") as caught:
            store.put("a", b"x", new=new)
        assert not isinstance(caught.value, Exists)
        with pytest.raises(StoreError, match="/a/b is a file, not a folder"):
            store.put("a/b/c", b"x", new=new)
    for missing in ("a", "a/b/c"):
        for look in (store.get, store.open, store.stat):
            with pytest.raises(MissingFile):
                look(missing)
    assert list(store.list("a/b")) == []
    store.delete(["a", "a/b/c"])
    assert files(top) == ["a/b"]


def test_reading_begins_at_an_offset_and_missing_objects_are_missing(store):
    write(store, "a/b", b"0123456789")
    reader = store.open("a/b", 3)
    assert reader.read(2) == b"34"
    assert reader.read() == b"56789"
    assert reader.read(1) == b""
    reader.close()
    reader.close()
    assert read(store, "a/b", 10) == b""
    with pytest.raises(StoreError, match="from byte 11 on: it has 10"):
        store.open("a/b", 11)
    for name in ("a/x", "x/y"):
        for look in (store.get, store.open, store.stat):
            with pytest.raises(MissingFile, match=f"cannot read .*/{name}: it does not exist"):
                look(name)


def test_a_file_that_is_cut_while_it_is_read_is_an_error_and_never_an_end(top, store):
    write(store, "a/b", bytes(1000))
    for size in (100, -1):
        reader = store.open("a/b")
        assert reader.read(300) == bytes(300)
        os.truncate(top / "a/b", 500)
        with pytest.raises(StoreError, match="it had 1000 bytes, and ends now after 500"):
            collections.deque(iter(functools.partial(reader.read, size), b""), maxlen=0)
        reader.close()
        os.truncate(top / "a/b", 1000)


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/..", "..", ".", "", "a\0b", "a//b", "a/", "a/b/c/d/e", "ä"])
def test_what_is_no_name_reaches_nothing(top, store, name):
    store.put("a/b", b"kept")
    (top.parent / "x").write_bytes(b"kept")
    for call in (
        lambda: store.put(name, b""),
        lambda: store.upload(name),
        lambda: store.get(name),
        lambda: store.open(name),
        lambda: store.stat(name),
        lambda: store.delete([name]),
        lambda: store.path(name),
        *([lambda: list(store.list(name)), lambda: store.locate(name)] if name else []),
    ):
        with pytest.raises(StoreError, match="no name of an object"):
            call()
    assert (top.parent / "x").read_bytes() == b"kept"
    assert files(top) == ["a/b"]


def test_the_longest_names_can_be_written(top, store):
    longest = "/".join(["a" * 99, "b" * 99, "c", "d" * 198])
    assert len(longest) == 400
    for name in (longest, "x" * 200):
        write(store, name)
        assert store.get(name) == b"data"
    store.delete([longest, "x" * 200])
    assert files(top) == []


def test_a_listing_is_of_one_folder_or_of_all_and_has_only_what_can_be_an_object(top, store):
    objects = ["a/b", "a/c/d/e", "ab/c", ".runs/x/1.claim-0", "single"]
    for name in objects:
        store.put(name, name.encode())
    for path in ("a/film~1", "lost+found/x", "a/c/d/e5/too/deep", "a/ä"):
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_bytes(b"nobody's")
    os.mkfifo(top / "a/pipe")
    (top / "a/nowhere").symlink_to("not/there")
    (top / "a/loop").symlink_to("loop")
    upload = store.upload("a/unfinished")
    assert names(store) == sorted(objects)
    assert names(store, "a") == ["a/b", "a/c/d/e"]
    assert names(store, "a/c") == names(store, "a/c/d") == ["a/c/d/e"]
    assert names(store, "a/c/d/e") == names(store, "none") == names(store, "b") == []
    assert all(found == store.stat(found.name) for found in store.list())
    upload.abort()


def test_a_folder_that_cannot_be_read_is_an_error_and_no_short_listing(top, store, monkeypatch):
    store.put("a/b", b"")
    real = os.open

    def denied(path, *arguments, **options):
        if path == "a":
            raise PermissionError(13, "Permission denied", path)
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "open", denied)
    for folder in ("", "a"):
        with pytest.raises(StoreError, match=r"cannot list .*: Permission denied"):
            list(store.list(folder))


def test_a_place_of_somebody_elses_is_not_even_looked_at(top, store, monkeypatch):
    """A file system may not say what an entry is: then it is asked for, and a dead mount has no answer."""
    store.put("a/b", b"")
    (top / "not ours").mkdir()
    real = os.scandir

    class Unknown:
        def __init__(self, entry):
            self.name = entry.name
            self.is_dir = entry.is_dir
            self.stat = entry.stat
            if self.name == "not ours":
                self.is_dir = self.stat = pytest.fail

    @contextlib.contextmanager
    def scan(directory):
        with real(directory) as entries:
            yield map(Unknown, entries)

    monkeypatch.setattr(os, "scandir", scan)
    assert names(store) == ["a/b"]


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, 2 << 20])
def test_what_is_added_while_a_file_is_read_is_read_too(top, store, size):
    store.put("a/b", bytes(size))
    with contextlib.closing(store.open("a/b")) as reader:
        with open(top / "a/b", "ab") as file:
            file.write(b"more")
        assert reader.read() == bytes(size) + b"more"
        assert reader.read() == b""


def test_a_link_is_listed_and_says_what_it_is_when_it_is_opened(top, store, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"kept")
    store.put("a/b", b"")
    (top / "a/link").symlink_to(outside / "secret")
    (top / "linked").symlink_to(outside)
    assert {f.name: f.size for f in store.list()} == {"a/b": 0, "a/link": 0, "linked": 0}
    for look in (store.get, store.open, store.stat):
        with pytest.raises(StoreError, match="it is a symbolic link, not a file"):
            look("a/link")
        with pytest.raises(StoreError, match="linked is a symbolic link, not a folder"):
            look("linked/secret")
    for write_there in (lambda: store.put("linked/x", b""), lambda: store.delete(["linked/secret"])):
        with pytest.raises(StoreError, match="linked is a symbolic link, not a folder"):
            write_there()
    with pytest.raises(StoreError, match="symbolic link"):
        list(store.list("linked"))
    store.delete(["a/link", "linked"])
    assert files(outside) == ["secret"]
    assert names(store) == ["a/b"]


def test_devices_and_pipes_are_never_opened(top, store):
    store.put("a/b", b"")
    os.mkfifo(top / "a/pipe")
    for look in (store.get, store.open, store.stat):
        with pytest.raises(StoreError, match="it is a named pipe, not a file"):
            look("a/pipe")
    assert (top / "a/pipe").is_fifo()


def test_a_tag_changes_with_the_object_and_what_is_told_is_never_older(top, store):
    other_store = open_directory(top)
    tags = set()
    for content in (b"one", b"two", b"other"):
        store.put("a/b", content, new=False)
        found = other_store.stat("a/b")
        assert found.size == len(content)
        assert list(other_store.list()) == [found]
        tags.add(found.tag)
    (top / "a/b").write_bytes(b"OTHER")
    tags.add(other_store.stat("a/b").tag)
    assert len(tags) == 4


def test_the_stores_time_is_that_of_its_files_and_not_this_machines(top, store, monkeypatch):
    store.put("a/b", b"")
    utime = os.utime
    long_ago = datetime(2001, 2, 3, tzinfo=UTC)
    monkeypatch.setattr(os, "utime", lambda file: utime(file, (long_ago.timestamp(),) * 2))
    assert store.now() == long_ago
    monkeypatch.undo()
    assert store.stat("a/b").modified <= store.now()
    assert store.now().tzinfo is UTC
    assert files(top) == ["a/b"]


def test_where_nothing_can_be_written_the_time_is_this_machines_if_the_files_are(store, monkeypatch):
    def denied(*_):
        raise PermissionError(30, "Read-only file system")

    monkeypatch.setattr(os, "utime", denied)
    assert abs((store.now() - datetime.now(UTC)).total_seconds()) < 3600
    monkeypatch.setattr(filesystem, "is_local", lambda _: False)
    with pytest.raises(StoreError, match=r"cannot tell the time in .*backups: Read-only file system"):
        store.now()


@pytest.mark.parametrize("year", [-1_000_000_000_000, 1_000_000_000_000])
def test_a_time_that_no_calendar_has_does_not_hide_the_rest(top, store, year):
    store.put("a/b", b"")
    store.put("a/c", b"")
    try:
        os.utime(top / "a/b", (year, year))
    except OSError:
        pytest.skip("the file system cannot keep such a time")
    assert names(store) == ["a/b", "a/c"]
