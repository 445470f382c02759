"""Two runs that copy one backup into one repository leave it there twice: it is one backup all the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.places import stored_files
from support.toys import ToyDriver

from dumpty import BackupManager
from dumpty.operations import copying
from dumpty.repository.retention import Rules


def manager(top):
    return BackupManager(str(top), plugins=[ToyDriver(db=b"x" * 1000)])


@pytest.fixture
def origin(tmp_path):
    return manager(tmp_path / "origin")


@pytest.fixture
def vault(origin, tmp_path, monkeypatch):
    """A repository with two backups, the older of which lies in it twice."""
    older, newer = [origin.create_backup("toy://h/db").raise_for_error() for _ in range(2)]
    vault = manager(tmp_path / "vault")
    origin.copy([newer.id], to=vault)
    with monkeypatch.context() as patch:
        patch.setattr(copying.Index, "find", lambda *_: [])  # neither sees the other's
        for _ in range(2):
            assert origin.copy([older.id], to=vault)[0].copied
    assert len(stored_files(tmp_path / "vault")) == 6
    return vault


@pytest.fixture
def older(origin):
    return origin.list_backups()[0].id


@pytest.fixture
def copies(vault, older, tmp_path):
    """The two files of the backup that lies there twice, the one that is shown first."""
    shown = vault.find(older).file_path
    paths = [p for p in (tmp_path / "vault").glob(f"*/*{older.replace('-', '')[:12]}*.sql.gz") if str(p) != shown]
    assert len(paths) == 1
    return [Path(shown), *paths]


def test_it_is_listed_found_and_copied_on_once(vault, older, origin):
    assert [b.id for b in vault.list_backups()] == [b.id for b in origin.list_backups()]
    assert vault.find(older).id == vault.find(older[:8]).id == older
    assert [c.copied for c in origin.copy(to=vault)] == [False, False]


@pytest.mark.parametrize("position", [0, 1])
def test_it_is_whole_as_long_as_one_of_them_is(vault, older, copies, position):
    copies[position].unlink()
    assert [b.state for b in vault.list_backups()] == ["ok", "ok"]
    assert vault.find(older).state == "ok"
    assert vault.verify(older).state == "ok"
    vault.restore(older, "toy://h/new").raise_for_error()


def test_rules_count_it_once(vault, older, origin):
    assert not [d for d in vault.prune(Rules(keep=2)).decisions if not d.keep]
    third = origin.create_backup("toy://h/db").raise_for_error()
    origin.copy([third.id], to=vault)
    assert vault.prune(Rules(keep=2)).removed == (older,)


def test_it_is_removed_as_a_whole(vault, older, tmp_path):
    assert vault.remove(older)
    assert older not in [b.id for b in vault.list_backups()]
    assert len([n for n in stored_files(tmp_path / "vault") if n.endswith(".gz")]) == 1


def test_a_pin_of_either_protects_both(vault, older, copies):
    vault.pin(older)
    copies[0].rename(copies[0].with_suffix(".away"))
    assert vault.find(older).pinned
    assert vault.prune(Rules(keep=1)).removed == ()
    assert vault.unpin(older)
    assert not vault.find(older).pinned
    assert vault.prune(Rules(keep=1)).removed == (older,)
