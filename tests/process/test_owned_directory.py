"""Places that dumpty claims beside others' files: no link followed, no pipe waited for, nobody else's taken."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat

import pytest
from support.toys import python

from dumpty import OwnedDirectory, lock_if_free, open_owned_directory, open_regular

NOBODY = 65534


def plant(path, kind):
    """Put something at ``path`` that is no file of ours; return what dumpty calls it."""
    if kind == "link":
        (path.parent / "outside").write_bytes(b"another's")
        path.symlink_to(path.parent / "outside")
        return "a symbolic link"
    if kind == "pipe":
        os.mkfifo(path)
        return "a named pipe"
    if kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(os.path.relpath(path))
        return "a socket"
    path.mkdir()
    return "a directory"


@pytest.mark.parametrize("kind", ["link", "pipe", "socket", "directory"])
@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDWR | os.O_CREAT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC])
def test_what_is_no_file_is_refused_by_its_name(tmp_path, monkeypatch, kind, flags):
    monkeypatch.chdir(tmp_path)
    planted = plant(tmp_path / "planted", kind)
    with pytest.raises(OSError, match=f"it is {planted}, not a file"):
        open_regular(str(tmp_path / "planted"), flags)
    if kind == "link":
        assert (tmp_path / "outside").read_bytes() == b"another's"


@pytest.mark.parametrize("kind", ["link", "pipe", "socket"])
def test_what_is_no_directory_is_refused_by_its_name(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    planted = plant(tmp_path / "planted", kind)
    with pytest.raises(OSError, match=f"it is {planted}, not a directory"):
        open_owned_directory(str(tmp_path / "planted"))


def test_a_file_that_is_made_is_its_owners_alone(tmp_path):
    os.close(open_regular(str(tmp_path / "new"), os.O_CREAT | os.O_EXCL | os.O_RDWR))
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileNotFoundError):
        open_regular(str(tmp_path / "none"))


def test_another_users_file_is_his_unless_he_is_named(tmp_path, monkeypatch):
    path = tmp_path / "his"
    path.write_bytes(b"")
    if os.geteuid() == 0:
        os.chown(path, NOBODY, NOBODY)
        owner = NOBODY
    else:
        owner = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
    with pytest.raises(PermissionError, match="belongs to another user"):
        open_regular(str(path), owners=())
    os.close(open_regular(str(path), owners={owner}))
    os.close(open_regular(str(path)))


def test_a_lock_is_had_once_and_only_on_what_is_still_there(tmp_path):
    path = str(tmp_path / "lock")
    first, second = (open_regular(path, os.O_RDWR | os.O_CREAT) for _ in range(2))
    try:
        assert lock_if_free(first, path)
        assert not lock_if_free(second, path)
    finally:
        os.close(first)
    os.unlink(path)
    assert not lock_if_free(second, path)
    (tmp_path / "lock").write_bytes(b"another")
    assert not lock_if_free(second, path)
    os.close(second)


ABANDONS = "import os, sys; from dumpty import OwnedDirectory; OwnedDirectory(sys.argv[1], 'mine-'); os._exit(9)"


def test_a_directory_goes_with_its_owner_and_no_earlier(tmp_path):
    python(ABANDONS, tmp_path, check=False)
    [dead] = tmp_path.iterdir()
    (dead / "data").write_bytes(b"x")
    with OwnedDirectory(str(tmp_path), "mine-") as directory:
        OwnedDirectory.sweep(str(tmp_path), "mine-")
        assert [str(p) for p in tmp_path.iterdir()] == [directory.path]
        assert os.stat(directory.path).st_mode & 0o777 == 0o700
    assert list(tmp_path.iterdir()) == []
    directory.remove()
    OwnedDirectory.sweep(str(tmp_path / "none"), "mine-")


@pytest.mark.parametrize("locks", ["of files alone", "none"])
def test_where_directories_have_no_locks_what_is_dead_goes_and_what_lives_stays(tmp_path, monkeypatch, locks):
    flock = fcntl.flock

    def refusing(descriptor, operation):
        if locks == "none" or stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", refusing)
    (tmp_path / "mine-neverlocked").mkdir()
    with OwnedDirectory(str(tmp_path), "mine-") as living, OwnedDirectory(str(tmp_path), "mine-") as other:
        OwnedDirectory.sweep(str(tmp_path), "mine-")
        assert {str(path) for path in tmp_path.iterdir()} == {living.path, other.path}
        if locks == "none":
            return  # nobody can tell
        killed = tmp_path / "mine-killed12"
        killed.mkdir()
        for name in (".lock", "data"):
            (killed / name).touch()
        OwnedDirectory.sweep(str(tmp_path), "mine-")
        assert {str(path) for path in tmp_path.iterdir()} == {living.path, other.path}
    assert list(tmp_path.iterdir()) == []


def test_what_was_planted_is_not_swept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for kind in ("link", "pipe", "socket"):
        plant(tmp_path / f"mine-{kind}", kind)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "mine-linked").symlink_to("elsewhere")
    (tmp_path / "mine-his").mkdir()
    if os.geteuid() == 0:
        os.chown(tmp_path / "mine-his", NOBODY, NOBODY)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
    before = sorted(os.listdir(tmp_path))
    OwnedDirectory.sweep(str(tmp_path), "mine-")
    assert sorted(os.listdir(tmp_path)) == before
    OwnedDirectory.sweep(str(tmp_path), "mine-", owners={os.stat("mine-his").st_uid})
    assert "mine-his" not in os.listdir(tmp_path)
