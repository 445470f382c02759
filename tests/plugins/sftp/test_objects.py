"""Objects and what lies beside them: parts, links, folders that go, tags."""

from __future__ import annotations

import os
import threading
import time
import uuid
from datetime import timedelta

import pytest

from dumpty import Exists, MissingFile, StoreError
from dumpty_plugins.sftp.names import new_part

DAY = 86_400


def test_the_name_of_a_part_fits_where_the_objects_does(store, files):
    upload = store.upload("x" * 200)
    (part,) = files()
    assert len(part) == 245
    upload.abort()
    assert files() == set()


def test_an_aborted_upload_leaves_neither_part_nor_folder(store, top):
    upload = store.upload("a/b/c")
    upload.write(bytes(3 << 20))
    upload.abort()
    assert list(top.iterdir()) == []


@pytest.mark.parametrize("name", ["link", "folder/file"])
def test_a_link_is_neither_listed_nor_followed(store, top, tmp_path, name):
    """Whoever may write to the directory could have put it there, to have another file read or removed."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").write_text("another's")
    store.put("own", b"x")
    (top / "link").symlink_to(elsewhere / "file")
    (top / "folder").symlink_to(elsewhere)
    assert [found.name for found in store.list()] == ["own"]
    for call in (store.open, store.get, store.stat):
        with pytest.raises(StoreError, match="symbolic link"):
            call(name)
    with pytest.raises(StoreError, match="symbolic link"):
        store.put("folder/new", b"x")
    if name == "folder/file":
        with pytest.raises(StoreError, match="symbolic link"):
            store.delete([name])
    with pytest.raises(Exists):
        store.put("link", b"x")
    assert sorted(os.listdir(elsewhere)) == ["file"]


def test_what_is_no_file_is_no_object(store, top):
    store.put("a/b", b"x")
    os.mkfifo(top / "pipe")
    (top / "an odd name").write_text("x")
    (top / "\udcff").write_text("x")
    (top / "a" / new_part("c")).write_text("x")
    (top / "b" / "c" / "d" / "e").mkdir(parents=True)
    (top / "b" / "c" / "d" / "e" / "f").write_text("too deep")
    assert [found.name for found in store.list()] == ["a/b"]
    with pytest.raises(StoreError, match="no regular file"):
        store.open("pipe")
    with pytest.raises(StoreError, match="is a file, not a folder"):
        store.put("a/b/c", b"x")
    with pytest.raises(MissingFile):
        store.get("a/b/c")


def test_a_directory_that_is_gone_is_no_empty_one(store, top):
    store.put("a/b", b"x")
    top.rename(top.with_name("unmounted"))
    for call in (lambda: list(store.list()), lambda: list(store.list("a")), lambda: store.get("a/b")):
        with pytest.raises(StoreError, match="is gone"):
            call()
    with pytest.raises(StoreError, match="is gone"):
        store.put("a/c", b"x")


def test_a_tag_differs_for_what_was_replaced_within_a_second(store):
    """Although SFTP tells sizes and seconds alone."""
    tags = set()
    for data in (b"one", b"two", b"six"):
        store.put("a", data, new=False)
        tags.add(store.stat("a").tag)
    assert len(tags) == 3


def test_a_tag_differs_where_the_clock_was_set_back(store, top):
    store.put("a", b"one")
    os.utime(top / "a", (2_000_000_000, 2_000_000_000))
    before = store.stat("a").tag
    store.put("a", b"two", new=False)
    assert store.stat("a").tag != before
    assert store.get("a") == b"two"


def test_the_clock_is_the_servers(store):
    before = int(time.time())
    assert before - 1 <= store.now().timestamp() <= time.time() + 1


def test_a_put_into_a_folder_that_others_remove_succeeds(open_store, ssh_server, top):
    """Each removal of the last object takes the folder along."""
    failures = []

    def work(number):
        store = open_store(ssh_server.url(top))
        try:
            for turn in range(40):
                store.put(f"a/b/{number}-{turn}", b"x")
                store.delete([f"a/b/{number}-{turn}"])
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert list(top.iterdir()) == []


def test_a_sweep_removes_what_has_not_been_written_to_for_a_day(store, top, files):
    store.put("a/b", b"x")
    (top / "c").mkdir()
    (top / "a" / f"note~dumpty-{uuid.uuid4().hex}.part.txt").write_text("a person's")
    old, young, lone = top / "a" / new_part("old"), top / "a" / new_part("young"), top / "c" / new_part("lone")
    for path, age in ((old, DAY + 99), (young, DAY - 99), (lone, DAY + 99)):
        path.write_text("half")
        os.utime(path, (time.time() - age,) * 2)
    store.sweep(timedelta(days=2))
    assert old.exists()
    store.sweep(timedelta(0))
    assert (old.exists(), young.exists(), (top / "c").exists()) == (False, True, False)
    assert "a/b" in files()


def test_reading_begins_in_the_midst_of_a_large_object(store):
    data = os.urandom(3_000_000)
    store.put("a", data)
    for offset in (0, 1, 999_999, len(data)):
        reader = store.open("a", offset)
        assert reader.read(-1) == data[offset:]
        reader.close()
    with pytest.raises(StoreError, match="from byte 3000001 on: it has 3000000"):
        store.open("a", 3_000_001)


def test_an_object_that_becomes_shorter_while_it_is_read_is_an_error(store, top):
    store.put("a", bytes(3_000_000))
    reader = store.open("a")
    reader.read(10)
    os.truncate(top / "a", 1_000_000)
    with pytest.raises(StoreError, match="it had 3000000 bytes, and ends now after 1000000"):
        reader.read(-1)
