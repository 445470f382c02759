"""The store ``file``: parts, the locks of those who write them, and what a sweep makes of both."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from support.store_files import NOW, PART, files, names, parts
from support.toys import python

from dumpty import StoreError
from dumpty_plugins.file import filesystem

HOUR = timedelta(hours=1)

WRITER = """
import os, sys
from support.toys import open_directory
store = open_directory(sys.argv[1])
upload = store.upload("a/killed.sql")
upload.write(b"half")
other = store.upload("b/c/killed.dir")
(other.directory() / "toc.dat").write_bytes(b"half")
space = store.workspace()
(space.__enter__() / "scratch").write_bytes(b"x")
print("ready", flush=True)
if sys.argv[2] == "wait":
    sys.stdin.read()
os._exit(9)
"""


def left_by_the_dead(top):
    """Let a writer die, and return its parts."""
    python(WRITER, top, "die", check=False)
    left = parts(top)
    assert len(left) == 3
    return left


def refuse_locks(monkeypatch):
    def flock(descriptor, how):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)


def test_what_dead_writers_left_is_not_listed_and_a_sweep_removes_it_whatever_its_age(top, store):
    store.put("a/kept", b"")
    left_by_the_dead(top)
    assert names(store) == ["a/kept"]
    store.sweep(HOUR)
    assert files(top) == ["a/kept"]


@pytest.mark.parametrize("stopped", [False, True])
def test_parts_of_a_live_writer_are_left_alone_even_while_it_is_stopped(top, store, stopped):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    argv = [sys.executable, "-c", WRITER, str(top), "wait"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as child:
        try:
            assert child.stdout.readline() == b"ready\n"
            if stopped:
                child.send_signal(signal.SIGSTOP)
                os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)
            before = files(top)
            for part in parts(top):
                os.utime(top / part, (0, 0))
            store.sweep(NOW)
            assert files(top) == before
        finally:
            child.kill()
            child.wait()
    store.sweep(NOW)
    assert files(top) == []


def test_a_part_is_locked_as_long_as_its_upload_lives(top, store):
    for name, part_of in (("a/x", lambda u: None), ("a/y", lambda u: u.directory())):
        upload = store.upload(name)
        part_of(upload)
        (part,) = (top / "a").iterdir()
        descriptor = os.open(part, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        upload.abort()
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(descriptor)


def test_where_another_machine_may_hold_a_lock_a_part_must_be_older_too(top, store, monkeypatch):
    monkeypatch.setattr(filesystem, "is_local", lambda _: False)
    left = left_by_the_dead(top)
    store.sweep(HOUR)
    assert parts(top) == left
    two_hours_ago = store.now().timestamp() - 7200
    for part in left:
        os.utime(top / part, (two_hours_ago,) * 2)
    store.sweep(HOUR)
    (written_to,) = [part for part in left if "killed.dir" in part]
    assert [part for part in parts(top) if "workspace" not in part] == [written_to]  # by what is in it
    store.sweep(NOW)
    assert files(top) == []


def test_without_locks_objects_can_be_written_and_only_what_is_a_day_old_is_swept(top, store, monkeypatch):
    refuse_locks(monkeypatch)
    store.put("a/b", b"")
    upload = store.upload("a/c")
    store.sweep(NOW)
    (part,) = parts(top)
    day_ago = store.now().timestamp() - 86_500
    os.utime(top / part, (day_ago,) * 2)
    store.sweep(timedelta(days=30))
    assert parts(top) == [part]
    store.sweep(HOUR)
    assert files(top) == ["a/b"]
    # It was taken for dead: that is an error, and no success without an object.
    with pytest.raises(StoreError, match=r"cannot write .*a/c: somebody removed what was written of it"):
        upload.commit()
    upload.abort()


def test_on_nfs_what_is_left_of_a_killed_run_is_cleared_and_a_living_run_left_alone(top, store, monkeypatch):
    flock = fcntl.flock

    def of_nfs(descriptor, how):
        """Refuse what Linux's NFS client does (flock(2)): it asks the server for a lock of the kind that fcntl has."""
        writes = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
        if how & fcntl.LOCK_EX and not writes and stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", of_nfs)
    left_by_the_dead(top)
    alive = store.upload("a/alive")
    store.sweep(NOW)
    assert [part.partition("~")[0] for part in parts(top)] == ["a/alive"]
    alive.abort()


def test_only_dumptys_own_parts_are_swept(top, store, tmp_path):
    tag = "dumpty-" + "0123456789abcdef" * 2
    outside = tmp_path / "outside"
    outside.write_bytes(b"kept")
    store.put("a/b", b"")
    for name in ("film.part", f"x{tag}.part", f"movie.{tag}.part", f"song~{tag}.part.bak", f"song~{tag[:-1]}.part"):
        (top / "a" / name).write_bytes(b"another program's")
    (top / f"a/link~{tag}.part").symlink_to(outside)
    os.mkfifo(top / f"a/pipe~{tag}.part")
    (top / f"elsewhere~{tag}").symlink_to(tmp_path)
    before = files(top)
    store.sweep(NOW)
    assert files(top) == before
    assert outside.read_bytes() == b"kept"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_part_of_another_user_is_no_abandoned_one(top, store):
    store.put("a/b", b"")
    part = top / "a" / f"x~dumpty-{'0' * 32}.part"
    part.write_bytes(b"planted")
    os.chown(part, 12_345, 12_345)
    store.sweep(NOW)
    assert part.exists()
    os.chown(top, 12_345, 12_345)  # whose the directory is, his parts may be, too
    store.sweep(NOW)
    assert not part.exists()


def test_a_part_that_cannot_be_removed_is_an_error_and_the_others_go(top, store, monkeypatch):
    left = left_by_the_dead(top)
    unlink = os.unlink

    def denied(path, **options):
        if "killed.sql" in path:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        unlink(path, **options)

    monkeypatch.setattr(os, "unlink", denied)
    with pytest.raises(PermissionError, match=rf"cannot remove .*/a/killed\.sql{PART}: Permission denied"):
        store.sweep(NOW)
    assert parts(top) == [part for part in left if "killed.sql" in part]


def test_a_workspace_is_private_and_goes_with_its_block(top, store):
    for failure in (None, RuntimeError("on purpose")):
        with contextlib.suppress(RuntimeError), store.workspace() as space:
            assert stat.S_IMODE(space.stat().st_mode) == 0o700
            assert space.parent == top
            (space / "a").write_bytes(b"x")
            assert names(store) == []
            if failure:
                raise failure
        assert files(top) == []
