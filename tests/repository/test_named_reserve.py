"""The space that is kept back beside named backups: given up where nothing fits, and for no other reason."""

from __future__ import annotations

import errno
import os

import pytest

from dumpty import StoreError
from dumpty.repository.named_reserve import NamedReserve

FULL = [errno.ENOSPC, errno.EDQUOT]


@pytest.fixture
def reserve(tmp_path):
    return NamedReserve(str(tmp_path))


def sizes(top):
    return [path.stat().st_size for path in sorted(top.iterdir())]


def failing(number):
    def work():
        try:
            raise OSError(number, os.strerror(number))
        except OSError as error:
            raise StoreError("cannot write it") from error

    return work


def test_two_files_hold_the_manifest_and_more_and_grow_with_it(reserve, tmp_path):
    reserve.keep(1000)
    small = sizes(tmp_path)
    assert len(small) == 2
    assert sum(small) > 1000 + 4096
    reserve.keep(1001)
    assert sizes(tmp_path) == small, "not every new entry writes them"
    reserve.keep(500_000)
    assert sum(sizes(tmp_path)) > 500_000 + 4096
    assert all(path.name.startswith(".") for path in tmp_path.iterdir())


@pytest.mark.parametrize("number", FULL)
def test_where_there_is_no_space_it_is_given_up_and_kept_anew(reserve, tmp_path, number):
    reserve.keep(1000)
    before, seen = sizes(tmp_path), []
    reserve.use(failing(number), again=lambda: seen.append(sizes(tmp_path)))
    assert seen == [[]]
    assert sizes(tmp_path) == before


@pytest.mark.parametrize("number", FULL)
def test_work_that_fails_again_raises_what_it_does_and_the_reserve_is_there(reserve, tmp_path, number):
    reserve.keep(1000)
    before = sizes(tmp_path)
    with pytest.raises(StoreError, match="cannot write it"):
        reserve.use(failing(number), again=failing(number))
    assert sizes(tmp_path) == before


def test_work_that_does_not_fail_for_want_of_space_is_done_once(reserve, tmp_path):
    reserve.keep(0)
    before, done = sizes(tmp_path), []
    reserve.use(lambda: done.append("once"), again=lambda: done.append("again"))
    with pytest.raises(StoreError):
        reserve.use(failing(errno.EIO), again=lambda: done.append("again"))
    assert done == ["once"]
    assert sizes(tmp_path) == before


def test_without_a_reserve_a_full_disk_is_the_error_that_it_was(reserve, tmp_path):
    done = []
    with pytest.raises(StoreError, match="cannot write it"):
        reserve.use(failing(errno.ENOSPC), again=lambda: done.append("again"))
    assert done == []
    assert sizes(tmp_path) == []


@pytest.mark.parametrize("plant", [os.mkfifo, os.mkdir, lambda path: os.symlink("target", path)])
def test_what_is_planted_in_its_place_is_not_written_to_and_prevents_nothing(tmp_path, plant):
    top = tmp_path / "dir"
    top.mkdir()
    reserve = NamedReserve(str(top))
    reserve.keep(0)
    paths = sorted(top.iterdir())
    for path in paths:
        path.unlink()
        plant(path)
    reserve.keep(10)
    assert not (top / "target").exists()
    assert len(list(top.iterdir())) == 2
