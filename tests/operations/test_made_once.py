"""A backup that is to be made once is, whoever tries again, and not knowing what became of it."""

from __future__ import annotations

import threading

import pyrage
import pytest
from support.toys import ToyDriver

from dumpty import BackupManager, Evidence, hookimpl

ID = "the run of 2026-11-26"


def manager(path, driver=None):
    return BackupManager(path, plugins=[driver or ToyDriver(db=b"content")])


def test_its_id_is_the_same_for_whoever_tries(tmp_path):
    ids = {
        manager(tmp_path / str(number)).create_backup("toy://h/db", once=ID).raise_for_error().id for number in range(2)
    }
    other = manager(tmp_path / "0").create_backup("toy://h/db", once="another run").raise_for_error()
    assert len(ids) == 1
    assert ids.isdisjoint({other.id})
    assert len(manager(tmp_path / "0").list_backups()) == 2


def test_one_that_is_there_is_returned_and_not_made_again(tmp_path):
    first = manager(tmp_path).create_backup("toy://h/db", once=ID).raise_for_error()
    changed = ToyDriver(db=b"changed since")
    again = manager(tmp_path, changed).create_backup("toy://h/db", once=ID).raise_for_error()
    assert (again, again.checksum) == (first, first.checksum)
    assert len(list(tmp_path.glob("*/*.manifest.json"))) == 1


def test_one_that_is_there_and_encrypted_tells_this_machine_all_of_it(tmp_path):
    recipient = str(pyrage.x25519.Identity.generate().to_public())
    made = [
        manager(tmp_path).create_backup("toy://h/db", once=ID, encrypt_to=[recipient]).raise_for_error()
        for _ in range(2)
    ]
    assert made[0] == made[1]


def test_one_whose_data_is_lost_is_made_again(tmp_path):
    lost = manager(tmp_path).create_backup("toy://h/db", once=ID).raise_for_error()
    (data,) = (path for path in tmp_path.glob("*/*") if ".sql" in path.suffixes)
    data.unlink()
    backup = manager(tmp_path).create_backup("toy://h/db", once=ID).raise_for_error()
    assert backup.id == lost.id
    assert [(b.id, b.state) for b in manager(tmp_path).list_backups()] == [(lost.id, "ok")]


def test_one_of_another_database_is_another(tmp_path):
    two = ToyDriver(db=b"one", other=b"two")
    for name in ("db", "other"):
        assert manager(tmp_path, two).create_backup(f"toy://h/{name}", once=ID).success
    assert len({b.id for b in manager(tmp_path, two).list_backups()}) == 2


def test_of_two_that_are_made_at_once_one_is_committed(tmp_path):
    """The one that was begun first is the slower one: it fails, and is asked for again."""
    begun, go_on = threading.Event(), threading.Event()

    class Slow(ToyDriver):
        @hookimpl
        def backup(self, sink):
            begun.set()
            assert go_on.wait(60)
            sink.write(b"slow")
            return Evidence()

    results = []
    thread = threading.Thread(
        target=lambda: results.append(manager(tmp_path, Slow(db=b"")).create_backup("toy://h/db", once=ID))
    )
    thread.start()
    assert begun.wait(60)
    fast = manager(tmp_path).create_backup("toy://h/db", once=ID).raise_for_error()
    go_on.set()
    thread.join(60)
    assert not results[0].success
    assert "is not committed: it was taken for abandoned; back up again" in results[0].error
    again = manager(tmp_path, Slow(db=b"")).create_backup("toy://h/db", once=ID).raise_for_error()
    assert again == fast
    assert [b.id for b in manager(tmp_path).list_backups()] == [fast.id]


def test_a_machine_that_cannot_open_what_another_one_made_takes_it_all_the_same(tmp_path, monkeypatch):
    recipient = str(pyrage.x25519.Identity.generate().to_public())
    made = []
    for machine in ("one", "another"):
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / machine))
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / machine))
        monkeypatch.setenv("HOME", str(tmp_path / machine))
        result = manager(tmp_path / "backups").create_backup("toy://h/db", once=ID, encrypt_to=[recipient])
        made.append(result.raise_for_error())
    assert made[0].id == made[1].id
    assert made[1].sealed


def test_what_is_no_text_is_a_wrong_call(tmp_path):
    with pytest.raises(TypeError):
        manager(tmp_path).create_backup("toy://h/db", once=5)
