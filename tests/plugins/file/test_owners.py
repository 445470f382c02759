"""The store ``file`` under root, in a directory of somebody else's: what is made there is his."""

from __future__ import annotations

import errno
import os
import stat

import pytest
from support.store_files import NOW, parts, write
from support.toys import open_directory, python

from dumpty_plugins.file import filesystem
from dumpty_plugins.file.sharing import SHARED

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")

USER, GROUP = 12_345, 12_346

AS_THE_OWNER = f"""
import os, sys
from datetime import timedelta
from support.toys import open_directory
store = open_directory(sys.argv[1])
os.setgroups([])
os.setgid({GROUP})
os.setuid({USER})
print(sorted(found.name for found in store.list()))
store.sweep(timedelta(0))
store.put("a/b/mine", b"x")
store.delete([found.name for found in store.list()])
print(sorted(found.name for found in store.list()))
"""


@pytest.fixture
def users(top):
    """A store in a directory of that user's."""
    store = open_directory(top)
    os.chown(top, USER, GROUP)
    return store


def others(top):
    """Return what under a directory is not the user's own, his group's too."""
    return sorted(
        os.path.relpath(path, top)
        for folder, folders, here in os.walk(top)
        for path in (os.path.join(folder, name) for name in (*folders, *here))
        if (os.lstat(path).st_uid, os.lstat(path).st_gid) != (USER, GROUP)
    )


def fill(store):
    store.put("a/b/put", b"x")
    store.put("a/b/put", b"y", new=False)
    write(store, "c/upload")
    upload = store.upload("a/directory")
    (upload.directory() / "sub").mkdir()
    (upload.directory() / "sub/x").write_bytes(b"1")
    (upload.directory() / "y").write_bytes(b"2")
    upload.commit()


@pytest.fixture
def reachable(top):
    """Let others come to the directory, as they do at home; tests work where only root may look."""
    modes = {folder: stat.S_IMODE(folder.stat().st_mode) for folder in top.parents}
    closed = {folder: mode for folder, mode in modes.items() if not mode & 0o001}
    for folder, mode in closed.items():
        os.chmod(folder, mode | 0o001)
    yield
    for folder, mode in closed.items():
        os.chmod(folder, mode)


def test_what_root_makes_in_a_users_directory_is_his_and_he_goes_on_with_it(top, users, reachable):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(filesystem, "is_local", lambda _: False)
        fill(users)
    assert (top / SHARED).exists()
    assert others(top) == []
    assert stat.S_IMODE((top / "a/b").stat().st_mode) == 0o700
    assert stat.S_IMODE((top / "a/b/put").stat().st_mode) == 0o600
    output = python(AS_THE_OWNER, top).stdout.splitlines()
    assert output == ["['a/b/put', 'a/directory', 'c/upload']", "[]"]


def test_what_ended_runs_of_root_left_is_the_users_to_sweep(top, users):
    upload = users.upload("a/b/x")
    assert others(top) == []
    assert len(parts(top)) == 1
    upload.abort()


def test_what_root_fills_is_out_of_the_users_reach_until_it_is_whole(top, users):
    upload = users.upload("a/b")
    directory = upload.directory()
    (directory / "x").write_bytes(b"1")
    assert directory.stat().st_uid == 0
    with users.workspace() as space:
        assert space.stat().st_uid == 0
    upload.commit()
    assert others(top) == []


def test_a_folder_has_its_name_only_when_it_is_the_users(top, users, monkeypatch):
    seen = []
    real = os.fchown

    def fchown(descriptor, *owner):
        seen.append((os.path.isdir(f"/proc/self/fd/{descriptor}"), (top / "a").exists()))
        real(descriptor, *owner)

    monkeypatch.setattr(os, "fchown", fchown)
    users.put("a/b", b"")
    assert seen == [(True, False), (False, True)]
    monkeypatch.setattr(os, "fchown", lambda *_: os._exit(9))  # ended before
    pid = os.fork()
    if not pid:
        users.put("c/d", b"")
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 9 << 8
    assert not (top / "c").exists()
    users.sweep(NOW)
    assert parts(top) == []


def test_a_folder_that_another_one_makes_at_the_same_moment_is_used(top, users, monkeypatch):
    for content in ("", "kept"):
        real = os.rename

        def rival(source, target, *, content=content, real=real, **options):
            monkeypatch.undo()
            (top / target).mkdir()
            if content:
                (top / target / content).touch()
            real(source, target, **options)

        monkeypatch.setattr(os, "rename", rival)
        users.put(f"a{content}/b", b"x")
        assert users.get(f"a{content}/b") == b"x"
    assert (top / "akept/kept").exists()
    assert parts(top) == []


def test_what_cannot_be_given_away_is_written_all_the_same(top, users, monkeypatch):
    def fchown(*_):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "fchown", fchown)
    fill(users)
    assert users.get("a/b/put") == b"y"


def test_nothing_that_was_there_is_given_away(top, users, tmp_path):
    outside = tmp_path / "outside"
    outside.write_bytes(b"root's")
    (top / "a").mkdir()
    (top / "a/kept").write_bytes(b"root's")
    upload = users.upload("a/b")
    os.link(outside, upload.directory() / "link")
    upload.commit()
    assert [outside.stat().st_uid, (top / "a").stat().st_uid, (top / "a/kept").stat().st_uid] == [0, 0, 0]


def test_in_a_directory_of_its_own_root_gives_nothing_away(store, monkeypatch):
    given = []
    monkeypatch.setattr(os, "fchown", lambda *arguments: given.append(arguments))
    fill(store)
    assert given == []
