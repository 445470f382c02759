"""What is built beside a target takes its place in one step, or not at all; and nothing of it stays."""

# ruff: noqa: PT012, SIM117 - the step that fails may be any within the block

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import signal
import stat
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from support.toys import python

from dumpty import Replacement, SourceError, TargetNotEmpty


@pytest.fixture
def place(tmp_path) -> Path:
    (tmp_path / "place").mkdir()
    return tmp_path / "place"


@pytest.fixture(params=[False, True], ids=["file", "directory"])
def directory(request) -> bool:
    return request.param


def build(path: str | Path, text: str, *, directory: bool) -> None:
    """Make a database that holds ``text``."""
    if directory:
        Path(path, "inside").mkdir(parents=True)
    Path(path, "inside", "data").write_text(text) if directory else Path(path).write_text(text)


def held_in(path: Path) -> str:
    return (path / "inside" / "data" if path.is_dir() else path).read_text()


def replace(target: Path, text: str, *, directory: bool, replace: bool) -> None:
    with Replacement(target=str(target), directory=directory) as replacement:
        build(replacement.path, text, directory=directory)
        replacement.put_in_place(replace=replace)


def test_a_new_database_stands_where_nothing_stood(place, directory):
    replace(place / "db", "new", directory=directory, replace=False)
    assert held_in(place / "db") == "new"
    assert os.listdir(place) == ["db"]


def test_a_replaced_database_leaves_its_mode_and_nothing_else(place, directory):
    build(place / "db", "old", directory=directory)
    (place / "db").chmod(0o750)
    with Replacement(target=str(place / "db"), directory=directory) as replacement:
        build(replacement.path, "new", directory=directory)
        assert held_in(place / "db") == "old"
        assert [stat.S_IMODE(e.stat().st_mode) for e in place.iterdir() if e.name != "db"] == [0o700]
        replacement.sync()
        replacement.put_in_place(replace=True)
    assert held_in(place / "db") == "new"
    assert stat.S_IMODE((place / "db").stat().st_mode) == 0o750
    assert os.listdir(place) == ["db"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
@pytest.mark.parametrize("moved_away", [False, True])
def test_what_root_replaces_stays_its_owners(place, directory, moved_away):
    build(place / "db", "old", directory=directory)
    os.chown(place / "db", 65534, 65534)
    with Replacement(target=str(place / "db"), directory=directory) as replacement:
        build(replacement.path, "new", directory=directory)
        if moved_away:
            replacement.inherit(status=(place / "db").stat())
            os.rename(place / "db", place / "old")
        replacement.put_in_place(replace=True)
    assert held_in(place / "db") == "new"
    assert (place / "db").stat().st_uid == 65534


def test_what_came_up_meanwhile_is_not_replaced_unasked(place, directory):
    build(place / "db", "another's", directory=directory)
    with pytest.raises(TargetNotEmpty, match="was created while restoring into it"):
        replace(place / "db", "new", directory=directory, replace=False)
    assert held_in(place / "db") == "another's"
    assert os.listdir(place) == ["db"]


def test_an_empty_directory_takes_what_was_built(place):
    (place / "db").mkdir(mode=0o750)
    replace(place / "db", "new", directory=True, replace=False)
    assert held_in(place / "db") == "new"
    assert stat.S_IMODE((place / "db").stat().st_mode) == 0o750


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("step", ["build", "sync", "folder before", "place", "folder after"])
def test_a_step_that_fails_leaves_the_target_as_it_was_or_says_what_it_is(
    place, monkeypatch, directory, existing, step
):
    if existing:
        build(place / "db", "old", directory=directory)
    fsync, synced = os.fsync, []

    def failing_fsync(descriptor):
        is_place = os.path.samestat(os.fstat(descriptor), os.stat(place))
        synced.extend([descriptor] * is_place)
        if (not is_place and step == "sync") or (
            is_place and step == ("folder before", "folder after")[len(synced) - 1]
        ):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(descriptor)

    def fail(*_, **__):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", failing_fsync)
    if step == "place":
        for name in ("link", "rename", "replace"):
            monkeypatch.setattr(os, name, fail)
        monkeypatch.setattr(ctypes, "CDLL", fail)
    with pytest.raises((SourceError, RuntimeError)) as raised:
        with Replacement(target=str(place / "db"), directory=directory) as replacement:
            build(replacement.path, "new", directory=directory)
            if step == "build":
                raise RuntimeError("the dump is damaged")
            replacement.put_in_place(replace=existing)
    monkeypatch.undo()
    if existing and step == "folder after":
        assert "now holds the restored database, but" in str(raised.value)
        assert held_in(place / "db") == "new"
    else:
        assert step == "build" or "cannot be replaced: Input/output error" in str(raised.value)
        assert not existing or held_in(place / "db") == "old"
    assert os.listdir(place) == ["db"] * existing


def test_directories_that_cannot_be_exchanged_stay(place, monkeypatch):
    build(place / "db", "old", directory=True)
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: object())  # a system that has no such call
    with pytest.raises(
        SourceError, match="does not exchange two directories in one step; restore into a new directory"
    ):
        replace(place / "db", "new", directory=True, replace=True)
    assert held_in(place / "db") == "old"
    assert os.listdir(place) == ["db"]


@pytest.mark.parametrize("renames", [True, False], ids=["with a rename that replaces nothing", "without"])
def test_a_file_system_without_hard_links_will_do(place, monkeypatch, renames):
    def fail(*_, **__):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", fail)
    if not renames:
        monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: object())
    replace(place / "db", "new", directory=False, replace=False)
    assert held_in(place / "db") == "new"
    with pytest.raises(TargetNotEmpty, match="was created while restoring into it"):
        replace(place / "db", "newer", directory=False, replace=False)
    assert held_in(place / "db") == "new"


@pytest.mark.parametrize(("mode", "inherited"), [(0o660, 0o600), (0o664, 0o644), (0o604, 0o600), (0o755, 0o755)])
def test_where_the_group_cannot_be_kept_no_other_group_gets_its_rights(place, monkeypatch, directory, mode, inherited):
    def refuse(*_):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    build(place / "db", "old", directory=directory)
    (place / "db").chmod(mode)
    status = list((place / "db").stat())
    status[stat.ST_GID] += 1  # that of a file of another group
    monkeypatch.setattr(os, "fchown", refuse)
    with Replacement(target=str(place / "db"), directory=directory) as replacement:
        build(replacement.path, "new", directory=directory)
        replacement.inherit(status=os.stat_result(status))
        assert stat.S_IMODE(os.stat(replacement.path).st_mode) == inherited


ACCESS_LIST = "system.posix_acl_access"


def access_list(*entries: tuple[int, int, int]) -> bytes:
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


NOBODY = 0xFFFFFFFF
FOR_ONE_USER = access_list((1, 6, NOBODY), (2, 6, 65534), (4, 0, NOBODY), (16, 6, NOBODY), (32, 0, NOBODY))
"""Its owner and user 65534 may read and write, its group nothing; the mode says 0660 of it."""


@pytest.mark.skipif(sys.platform != "linux", reason="access lists of Linux")
def test_a_replaced_database_leaves_its_access_list(place):
    build(place / "db", "old", directory=False)
    try:
        os.setxattr(place / "db", ACCESS_LIST, FOR_ONE_USER)
    except OSError as error:
        pytest.skip(f"this file system has no access lists: {error}")
    replace(place / "db", "new", directory=False, replace=True)
    assert held_in(place / "db") == "new"
    assert os.getxattr(place / "db", ACCESS_LIST) == FOR_ONE_USER
    os.removexattr(place / "db", ACCESS_LIST)
    (place / "db").chmod(0o660)
    os.setxattr(place, "system.posix_acl_default", FOR_ONE_USER)  # what is made there from now on has that, too
    replace(place / "db", "newer", directory=False, replace=True)
    assert ACCESS_LIST not in os.listxattr(place / "db")
    assert stat.S_IMODE((place / "db").stat().st_mode) == 0o660


def test_what_was_not_built_is_not_put_in_place(place, directory):
    build(place / "db", "old", directory=directory)
    with Replacement(target=str(place / "db"), directory=directory) as replacement:
        if directory:
            os.rmdir(replacement.path)
        with pytest.raises(SourceError, match="nothing was built at"):
            replacement.put_in_place(replace=True)
    assert held_in(place / "db") == "old"


def test_a_target_of_another_kind_is_refused_before_any_work(place, directory):
    build(place / "db", "old", directory=not directory)
    (place / "link").symlink_to("db")
    for name in ("db", "link"):
        with pytest.raises(SourceError, match="a database cannot be restored there"):
            replace(place / name, "new", directory=directory, replace=True)
    with pytest.raises(SourceError, match=r"there is no directory .* to restore into; create it first"):
        replace(place / "none" / "db", "new", directory=directory, replace=True)
    assert sorted(os.listdir(place)) == ["db", "link"]


def test_a_planted_link_is_not_followed(place, tmp_path, directory):
    build(tmp_path / "precious", "another's", directory=directory)
    mode = (tmp_path / "precious").stat().st_mode
    build(place / "db", "old", directory=directory)
    (place / "db").chmod(0o777)
    with Replacement(target=str(place / "db"), directory=directory) as replacement:
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(replacement.path)
        os.symlink(tmp_path / "precious", replacement.path)
        with pytest.raises(SourceError, match="it is a symbolic link, not"):
            replacement.put_in_place(replace=True)
    assert held_in(place / "db") == "old"
    assert held_in(tmp_path / "precious") == "another's"
    assert (tmp_path / "precious").stat().st_mode == mode
    assert os.listdir(place) == ["db"]


def test_what_somebody_put_in_the_place_of_the_directory_is_neither_taken_nor_removed(place, tmp_path):
    with Replacement(target=str(place / "db")) as replacement:
        built_in = Path(replacement.path).parent
        build(replacement.path, "new", directory=False)
        built_in.rename(tmp_path / "moved")
        built_in.mkdir()
        build(built_in / "new", "another's", directory=False)
        with pytest.raises(SourceError, match="is not the directory that was made there: look who replaced it"):
            replacement.put_in_place(replace=False)
    assert os.listdir(place) == [built_in.name]
    assert held_in(built_in / "new") == "another's"
    assert os.listdir(tmp_path / "moved") == []


def test_what_a_killed_restore_left_goes_with_the_next_one_and_what_a_living_one_builds_stays(place):
    script = (
        "import os, sys; from dumpty import Replacement\n"
        "with Replacement(target=sys.argv[1]) as replacement:\n"
        "    open(replacement.path, 'w').close(); print(replacement.path, flush=True); sys.stdin.read()"
    )
    (place / "db2.dumpty-part-01234567").mkdir()  # of another target
    with subprocess.Popen(
        [sys.executable, "-c", script, str(place / "db")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as builder:
        path = Path(builder.stdout.readline().strip())
        replace(place / "db", "new", directory=False, replace=False)
        assert path.exists()
        builder.kill()
        builder.wait()
    replace(place / "db", "newer", directory=False, replace=True)
    assert sorted(os.listdir(place)) == ["db", "db2.dumpty-part-01234567"]
    assert held_in(place / "db") == "newer"


def test_an_interrupt_between_any_two_calls_leaves_the_old_or_the_new_and_nothing_beside_it(place):
    """Whatever call of the operating system is the last, another restore clears what is left."""
    script = (
        "import os, sys; from dumpty import Replacement\n"
        "target, number = sys.argv[1], int(sys.argv[2])\n"
        "calls = 0\n"
        "def count(event, _):\n"
        "    global calls\n"
        "    if event.startswith(('os.', 'open', 'shutil.', 'tempfile.', 'fcntl.')):\n"
        "        calls += 1\n"
        "        if calls == number: os._exit(9)\n"
        "sys.addaudithook(count)\n"
        "with Replacement(target=target) as replacement:\n"
        "    with open(replacement.path, 'w') as stream: stream.write('new')\n"
        "    replacement.put_in_place(replace=True)\n"
        "os._exit(0)"
    )
    outcomes = set()
    for number in range(1, 40, 3):
        (place / "db").write_text("old")
        process = python(script, place / "db", number, check=False)
        outcomes.add((process.returncode, held_in(place / "db")))
        replace(place / "db", "newer", directory=False, replace=True)
        assert os.listdir(place) == ["db"]
        if process.returncode == 0:
            break
    assert outcomes <= {(9, "old"), (9, "new"), (0, "new")}
    assert {(9, "old"), (0, "new")} <= outcomes


def test_ctrl_c_while_building_removes_what_was_built(place):
    script = (
        "import sys, time; from dumpty import Replacement\n"
        "with Replacement(target=sys.argv[1]) as replacement:\n"
        "    open(replacement.path, 'w').close(); print('built', flush=True); time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(place / "db")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as builder:
        assert builder.stdout.readline() == "built\n"
        builder.send_signal(signal.SIGINT)
        builder.communicate(timeout=60)
    assert os.listdir(place) == []


def test_what_cannot_be_removed_is_named(place, monkeypatch, caplog):
    unlink = os.unlink

    def fail(path, **kwargs):
        if path == "stuck":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        unlink(path, **kwargs)

    with Replacement(target=str(place / "db")) as replacement:
        build(replacement.path, "new", directory=False)
        stuck = Path(replacement.path).with_name("stuck")
        stuck.touch()
        replacement.put_in_place(replace=False)
        monkeypatch.setattr(os, "unlink", fail)
    assert held_in(place / "db") == "new"
    [record] = caplog.records
    assert record.event == "left-behind"
    assert f"{stuck.parent} is of no use any more, but cannot be removed: Input/output error" in record.getMessage()


def test_several_restores_side_by_side_take_nothing_from_each_other(place):
    with contextlib.ExitStack() as stack:
        replacements = [stack.enter_context(Replacement(target=str(place / "db"))) for _ in range(3)]
        for number, replacement in enumerate(replacements):
            build(replacement.path, str(number), directory=False)
        for number, replacement in enumerate(replacements):
            replacement.put_in_place(replace=bool(number))
            assert held_in(place / "db") == str(number)
    assert os.listdir(place) == ["db"]
