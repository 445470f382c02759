"""The store ``file``: what it promises for one object, and between processes."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import stat
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path

import pytest
from support.toys import open_directory, python

from dumpty import DirectoryUpload, Found, LocalStore, Locked, MissingFile, StoreError, open_regular
from dumpty_plugins.file import store as file_store


@pytest.fixture
def top(tmp_path):
    return tmp_path / "backups"


@pytest.fixture
def store(top):
    return open_directory(top)


def put(store, name, data=b"data"):
    upload = store.create(name)
    upload.write(data)
    upload.commit()
    upload.abort()


def content(store, name):
    with contextlib.closing(store.open(name)) as stream:
        return stream.read()


def parts(top):
    return [p.name for p in top.iterdir() if p.name.endswith(".part")]


def visible(top):
    return sorted(p.name for p in top.iterdir() if not p.name.startswith("."))


def test_it_is_a_local_store_and_takes_directories(store):
    assert isinstance(store, LocalStore)
    upload = store.create("x")
    assert isinstance(upload, DirectoryUpload)
    upload.abort()


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
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert store.locate("") == str(path)
    put(open_directory(url), "x")
    assert visible(path) == ["x"]


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


def test_nothing_is_visible_before_commit_and_nothing_else_after(top, store):
    upload = store.create("a.sql")
    assert upload.write(memoryview(b"abcd").cast("I")) == 4
    (part,) = parts(top)
    assert re.fullmatch(r"a\.sql\.dumpty-[0-9a-f]{32}\.part", part)
    assert stat.S_IMODE((top / part).stat().st_mode) == 0o600
    assert list(store.list()) == []
    upload.commit()
    assert visible(top) == ["a.sql"]
    assert list(store.list()) == [Found(name="a.sql", size=4)]
    assert stat.S_IMODE((top / "a.sql").stat().st_mode) == 0o600
    upload.abort()
    assert content(store, "a.sql") == b"abcd"


def test_an_upload_that_is_dropped_leaves_nothing_and_the_old_object(top, store):
    put(store, "a", b"old")
    upload = store.create("a")
    upload.write(b"new")
    assert (top / "a").read_bytes() == b"old"
    upload.abort()
    upload.abort()
    assert visible(top) == ["a"]
    assert (top / "a").read_bytes() == b"old"


def test_two_uploads_of_one_name_do_not_meet(top, store):
    first, second = store.create("a"), store.create("a")
    first.write(b"one")
    second.write(b"two")
    first.commit()
    second.commit()
    assert (top / "a").read_bytes() == b"two"
    assert visible(top) == ["a"]


def test_a_directory_is_committed_whole(top, store):
    upload = store.create("dump.dir")
    directory = upload.directory()
    assert upload.directory() == directory
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    (directory / "sub").mkdir()
    (directory / "sub" / "a").write_bytes(b"12")
    (directory / "b").write_bytes(b"345")
    assert list(store.list()) == []
    upload.commit()
    assert visible(top) == ["dump.dir"]
    assert store.stat("dump.dir") == Found(name="dump.dir", size=5)
    assert (store.path("dump.dir") / "sub" / "a").read_bytes() == b"12"
    store.rename("dump.dir", "other")
    store.delete("other")
    assert visible(top) == []


def test_a_directory_that_is_dropped_leaves_nothing(top, store):
    upload = store.create("dump.dir")
    (upload.directory() / "a").write_bytes(b"x")
    upload.abort()
    assert visible(top) == []


def test_a_directory_waits_for_the_lock_under_which_parts_are_cleared(top, store):
    upload = store.create("dump.dir")
    short_timeout_store = open_directory(top, lock_timeout=0.05)
    other = short_timeout_store.create("other.dir")
    with store.lock("parts"), pytest.raises(Locked):
        other.directory()
    upload.abort()
    other.abort()
    assert visible(top) == []


def test_reading_begins_at_an_offset_and_missing_objects_are_missing(store):
    put(store, "a", b"0123456789")
    stream = store.open("a", 3)
    assert stream.read(2) == b"34"
    assert stream.read() == b"56789"
    assert stream.read(1) == b""
    stream.close()
    stream.close()
    for call in (
        lambda: store.open("x"),
        lambda: store.stat("x"),
        lambda: store.delete("x"),
        lambda: store.rename("x", "y"),
    ):
        with pytest.raises(MissingFile, match="x does not exist"):
            call()


@pytest.mark.parametrize("name", ["../x", "a/b", "/etc/passwd", "..", ".", "", "a\0b"])
def test_a_name_that_is_not_bare_reaches_nothing(top, store, name):
    put(store, "a")
    (top.parent / "x").write_bytes(b"kept")
    for call in (
        lambda: store.create(name),
        lambda: store.open(name),
        lambda: store.stat(name),
        lambda: store.delete(name),
        lambda: store.rename("a", name),
        lambda: store.rename(name, "b"),
        lambda: store.path(name),
    ):
        with pytest.raises(StoreError, match="no bare file name"):
            call()
    assert (top.parent / "x").read_bytes() == b"kept"
    assert visible(top) == ["a"]


def test_objects_are_listed_and_own_files_are_not(top, store):
    put(store, "b")
    put(store, "a", b"")
    upload = store.create("c")
    with store.lock("catalog"):
        assert sorted((o.name, o.size) for o in store.list()) == [("a", 0), ("b", 4)]
    upload.abort()
    (top / "broken").symlink_to(top / "nowhere")
    assert sorted(o.name for o in store.list()) == ["a", "b"]


def test_a_directory_that_is_gone_is_an_error_of_ours(top, store):
    top.rename(top.with_name("elsewhere"))
    with pytest.raises(MissingFile, match="cannot list"):
        list(store.list())
    with pytest.raises(StoreError, match="backups is gone; mount it or put it back"):
        store.create("a")
    assert not top.exists()


# -- what killed writers leave -----------------------------------------------------------------------------------

WRITER = """
import os, sys
from support.toys import open_directory
store = open_directory(sys.argv[1])
upload = store.create("killed.sql")
upload.write(b"half")
other = store.create("killed.dir")
(other.directory() / "toc.dat").write_bytes(b"half")
space = store.workspace()
(space.__enter__() / "scratch").write_bytes(b"x")
print("ready", flush=True)
if sys.argv[2] == "wait":
    sys.stdin.read()
os._exit(9)
"""


def test_parts_of_a_dead_writer_are_named_and_cleared(top, store):
    python(WRITER, top, "die", check=False)
    assert len(parts(top)) == 3
    assert sorted(store.clean()) == ["killed.dir", "killed.sql", "workspace"]
    assert visible(top) == []


def test_parts_of_a_live_writer_are_left_alone(top, store):
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(__file__))}
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(top), "wait"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as child:
        assert child.stdout.readline() == b"ready\n"
        before = parts(top)
        assert len(before) == 3
        assert list(store.clean()) == []
        assert parts(top) == before
        child.stdin.close()
        child.wait(10)
    assert len(list(store.clean())) == 3


def test_what_the_consumer_of_clean_did_not_come_to_stays(top, store):
    python(WRITER, top, "die", check=False)
    cleaned = store.clean()
    first = next(cleaned)
    cleaned.close()
    assert first == "killed.dir"
    assert len(parts(top)) == 3
    with store.lock("parts"):  # was released
        pass


def test_only_dumptys_own_parts_are_cleared(top, store, tmp_path):
    part_tag = "dumpty-" + "0123456789abcdef" * 2
    digest = "d41d8cd98f00b204e9800998ecf8427e"
    (top / "film.part").write_bytes(b"kept")
    (top / f"x{part_tag}.part").write_bytes(b"kept")
    (top / f"movie.{digest}.part").write_bytes(b"kept: another program's, with its own digest")
    (top / f"album.{digest}.part").mkdir()
    (tmp_path / "outside").write_bytes(b"kept")
    (top / f"link.{part_tag}.part").symlink_to(tmp_path / "outside")
    os.mkfifo(top / f"fifo.{part_tag}.part")
    assert list(store.clean()) == []
    assert (tmp_path / "outside").read_bytes() == b"kept"
    assert sorted(parts(top)) == sorted(
        [
            "film.part",
            f"x{part_tag}.part",
            f"link.{part_tag}.part",
            f"fifo.{part_tag}.part",
            f"movie.{digest}.part",
            f"album.{digest}.part",
        ]
    )


def test_what_is_no_file_is_no_object_and_stops_nothing(top, store):
    (top / "loop").symlink_to("loop")
    (top / "nowhere").symlink_to("not/there")
    os.mkfifo(top / "x.manifest.json")
    assert list(store.list()) == []


def test_what_cannot_be_removed_of_a_workspace_keeps_nothing_else_of_it(store, monkeypatch):
    """A file that somebody removes at the same moment, or that may not go."""
    real = os.unlink

    def unlink(name, **options):
        if name == "b":
            raise FileNotFoundError(2, os.strerror(2), name)
        real(name, **options)

    with store.workspace() as space:
        for name in "abc":
            (space / name).write_bytes(b"x")
        monkeypatch.setattr(os, "unlink", unlink)
    assert [path.name for path in space.iterdir()] == ["b"]


def test_a_workspace_is_private_and_goes_with_its_block(top, store):
    with store.workspace() as space:
        assert stat.S_IMODE(space.stat().st_mode) == 0o700
        assert space.parent == top
        (space / "a").write_bytes(b"x")
        assert list(store.list()) == []
    assert visible(top) == []
    with contextlib.suppress(RuntimeError), store.workspace() as space:
        raise RuntimeError
    assert visible(top) == []


# -- locks -------------------------------------------------------------------------------------------------------


def test_a_lock_that_is_held_names_its_holder(top, store):
    short_timeout_store = open_directory(top, lock_timeout=0.05)
    with store.lock("catalog"):
        with pytest.raises(Locked, match=rf"backups is locked by process {os.getpid()} on \S+ since 20\S+Z; try again"):
            short_timeout_store.lock("catalog").__enter__()
        (holder,) = top.glob(".dumpty-catalog.holder")
        holder.write_text("{")
        with pytest.raises(Locked, match="locked by another process"):
            short_timeout_store.lock("catalog").__enter__()
        with short_timeout_store.lock("parts"):
            pass
    with short_timeout_store.lock("catalog"):
        pass


def test_on_nfs_what_is_left_of_a_killed_run_is_cleared_and_a_living_run_left_alone(top, store, monkeypatch):
    flock = fcntl.flock

    def of_nfs(descriptor, how):
        """Refuse what Linux's NFS client does (flock(2)): it asks the server for a lock of the kind that fcntl has."""
        writes = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
        if how & fcntl.LOCK_EX and not writes and stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", of_nfs)
    python("import os, sys; from support.toys import *; open_directory(sys.argv[1]).create('dead'); os._exit(9)",
           top, check=False)  # fmt: skip
    alive = store.create("alive")
    assert list(store.clean()) == ["dead"]
    assert [name.partition(".")[0] for name in parts(top)] == ["alive"]
    alive.abort()


def test_a_link_that_is_planted_once_a_lock_was_looked_at_is_not_followed(top, store, tmp_path, monkeypatch):
    precious = tmp_path / "precious"
    precious.write_text("of another")

    def plant_after_opening(path, flags, **options):
        descriptor = open_regular(path, flags, **options)
        os.unlink(path)
        os.symlink(precious, path)
        return descriptor

    monkeypatch.setattr(file_store, "open_regular", plant_after_opening)
    with pytest.raises(StoreError, match="cannot lock"), store.lock("catalog"):
        pass
    assert precious.read_text() == "of another"


def test_every_release_of_filelock_that_may_be_installed_follows_no_link():
    project = tomllib.loads(Path(__file__).parents[2].joinpath("pyproject.toml").read_text())["project"]
    (requirement,) = [d for d in project["dependencies"] if d.startswith("filelock")]
    minimum = re.match(r"filelock>=([\d.]+)", requirement)[1]
    assert tuple(map(int, minimum.split("."))) >= (3, 20, 1)


def test_the_lock_of_a_dead_holder_is_free(top, store):
    code = "import os, sys; from support.toys import open_directory; open_directory(sys.argv[1]).lock('catalog').__enter__(); os._exit(9)"
    python(code, top, check=False)
    with open_directory(top, lock_timeout=1.0).lock("catalog"):
        pass


def test_a_lock_is_released_by_an_error_too(top, store):
    with contextlib.suppress(RuntimeError), store.lock("catalog"):
        raise RuntimeError
    with open_directory(top, lock_timeout=0.05).lock("catalog"):
        pass


def test_one_thread_at_a_time_holds_a_lock(top):
    inside, most = [], []

    def enter():
        with open_directory(top).lock("catalog"):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.005)
            inside.pop()

    threads = [threading.Thread(target=enter) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert most == [1] * 8


# -- disks -------------------------------------------------------------------------------------------------------

LIMITED = """
import resource, signal, sys
from dumpty import StoreError
from support.toys import open_directory
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = open_directory(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
upload = store.create("big")
try:
    upload.write(bytes(300_000))
except StoreError as error:
    print(error)
upload.abort()
"""


def test_a_file_that_may_not_grow_is_an_error_and_leaves_nothing(top):
    output = python(LIMITED, top).stdout
    assert output.startswith(f"cannot write {top}/big: File too large")
    assert visible(top) == []


@pytest.fixture
def small_disk(tmp_path):
    mount = tmp_path / "small"
    mount.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(mount)], capture_output=True, check=False
    )
    if made.returncode:  # not permitted here: the device that is always full serves, through a part that leads to it
        yield None
        return
    try:
        yield mount
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=True)


def test_a_full_disk_is_an_error_with_advice_and_leaves_the_old_object(small_disk, store, top):
    if small_disk is None:
        upload = store.create("b")
        upload._stream.close()
        upload._stream = open("/dev/full", "wb", buffering=0)  # noqa: SIM115 - closed by abort
        with pytest.raises(StoreError, match="No space left on device; free some space and run it again"):
            upload.write(b"x")
        upload.abort()
        return
    store = open_directory(small_disk)
    put(store, "a", b"old")
    upload = store.create("b")
    with pytest.raises(
        StoreError, match=r"cannot write .*/b: No space left on device; free some space and run it again"
    ):
        upload.write(bytes(1 << 20))
    upload.abort()
    assert visible(small_disk) == ["a"]
    put(store, "c", b"new")


def test_a_directory_that_cannot_be_written_is_an_error_and_still_reads(small_disk, store, top):
    if small_disk is None:
        return
    store = open_directory(small_disk)
    put(store, "a", b"old")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for call in (
        lambda: store.create("b"),
        lambda: store.delete("a"),
        lambda: store.rename("a", "b"),
        lambda: store.workspace().__enter__(),
        lambda: open_directory(small_disk / "sub"),
    ):
        with pytest.raises(StoreError, match="Read-only file system"):
            call()
    assert content(store, "a") == b"old"
    assert [o.name for o in store.list()] == ["a"]


def test_a_part_is_locked_as_long_as_its_upload_lives(top, store):
    upload = store.create("a")
    (part,) = parts(top)
    descriptor = os.open(top / part, os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    upload.abort()
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(descriptor)
