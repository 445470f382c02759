"""Who restores, copies and lends, asked directly: copies that are none, drivers without any, holders that are gone."""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
import subprocess
import sys
import threading

import pytest
from pytest_plugin.conftest import PATIENCE
from support.keys import key_file

from dumpty import BackupManager, Cancellation, DatabaseBackup, IntegrityError, NotProvable, PluginError
from dumpty.errors import DumptyError
from dumpty.pytest_plugin import client as asking
from dumpty.pytest_plugin import ending, lending, messages
from dumpty.pytest_plugin.client import Client
from dumpty.pytest_plugin.holder import Holder
from dumpty.pytest_plugin.source import RestoreSource

SCRATCH = "dumpty_plugins.sqlite.scratch._ScratchFile"


def rows(database) -> int:
    with contextlib.closing(sqlite3.connect(database.path)) as connection:
        return connection.execute("SELECT count(*) FROM orders").fetchone()[0]


def execute(path, *statements):
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


@pytest.fixture
def source(project) -> RestoreSource:
    return RestoreSource(backup="latest", dir=str(project.path / "backups"))


@pytest.fixture
def manager(project) -> BackupManager:
    return BackupManager(project.path / "backups")


# -- copies --------------------------------------------------------------------------------------------------------


def test_a_trial_is_copied_with_what_only_its_write_ahead_log_has(manager):
    with manager.trial(manager.find("latest").id) as (_, trial):
        assert trial.can_clone
        with trial.clone() as clone:
            assert rows(clone) == 2
        execute(trial.path, "PRAGMA journal_mode=WAL")
        with contextlib.closing(sqlite3.connect(trial.path, isolation_level=None)) as writer:
            writer.execute("INSERT INTO orders VALUES (3, 'horse')")
            assert os.path.getsize(f"{trial.path}-wal")
            with trial.clone() as one, trial.clone() as two:
                execute(one.path, "DELETE FROM orders")
                assert (rows(one), rows(two), rows(trial)) == (0, 3, 3)
                assert len({one.path, two.path, trial.path}) == 3
                assert two.url == f"sqlite:///{two.path}"
            assert not os.path.exists(one.path)


def test_a_first_copy_that_lacks_rows_is_refused(manager, monkeypatch):
    from dumpty_plugins.sqlite.dumping import image

    def lose(path, copy):
        image.copy_file(path, copy)
        execute(copy, "DELETE FROM orders WHERE id = 2")

    monkeypatch.setattr("dumpty_plugins.sqlite.scratch.copy_file", lose)
    with manager.trial(manager.find("latest").id) as (_, trial):
        with pytest.raises(IntegrityError, match=r"a copy of what was restored .*orders"), trial.clone():
            pytest.fail("it is lent")
        assert [name for name in os.listdir(os.path.dirname(trial.path)) if name.startswith("clone")] == []


@pytest.mark.parametrize(
    ("lent", "text"),
    [
        (lambda _: contextlib.nullcontext("copy"), "target is None, not a dumpty.Source"),
        (lambda _: 1 / 0, "division by"),
    ],
)
def test_what_a_driver_lends_as_a_copy_is_checked(manager, monkeypatch, lent, text):
    monkeypatch.setattr(f"{SCRATCH}.clone", lent)
    with (
        manager.trial(manager.find("latest").id) as (_, trial),
        pytest.raises(PluginError, match=text),
        trial.clone(),
    ):
        pytest.fail("it is lent")


def test_a_failure_of_a_tests_own_is_not_the_drivers_and_the_copy_goes(manager):
    with manager.trial(manager.find("latest").id) as (_, trial):
        with pytest.raises(ZeroDivisionError), trial.clone() as clone:
            assert rows(clone) / 0
        assert not os.path.exists(clone.path)


def test_a_driver_that_lends_another_database_has_the_dump_loaded_into_it(manager, monkeypatch):
    from dumpty_plugins.sqlite import scratch

    @contextlib.contextmanager
    def another(self):
        yield type(self)(f"{self.target.database}.another", self._evidence)

    monkeypatch.delattr(scratch._ScratchFile, "clone")
    monkeypatch.setattr(f"{SCRATCH}.another", another, raising=False)
    with manager.trial(manager.find("latest").id) as (_, trial):
        execute(trial.path, "DELETE FROM orders")
        with trial.clone() as clone:
            assert rows(clone) == 2


def test_a_driver_without_copies_says_so_and_its_backup_is_restored_for_each_test(source, manager, monkeypatch):
    monkeypatch.delattr(f"{SCRATCH}.clone")
    with manager.trial(manager.find("latest").id) as (_, trial):
        assert not trial.can_clone
        with pytest.raises(NotProvable, match="makes no copies"), trial.clone():
            pytest.fail("it is lent")
    with lending.Lender(Cancellation()) as lender:
        for _ in range(3):
            with lender.lend(source) as database:
                assert rows(database) == 2
                execute(database.path, "DELETE FROM orders")
    assert len(manager.find("latest").proofs) == 1 + 3


def test_a_copy_of_databasebackups_that_is_damaged_is_not_lent(project):
    backups = DatabaseBackup(project.path / "copies")
    copy = backups.backup_sqlite(str(project.path / "shop.db"), "before")
    with backups.trial("before") as (proof, trial):
        assert (proof.ok, rows(trial)) == (True, 2)
    os.chmod(copy.file_path, 0o600)
    with open(copy.file_path, "r+b") as file:
        file.seek(-5, os.SEEK_END)
        file.write(b"\xff")
    with pytest.raises(IntegrityError, match="altered or damaged"), backups.trial("before"):
        pytest.fail("it is lent")


def test_copies_live_databases_and_encrypted_backups_are_lent(project):
    DatabaseBackup("copies").backup_sqlite("shop.db", "before")
    recipient = key_file(project.path / "key")
    made = BackupManager("sealed").create_backup("sqlite:///shop.db", encrypt_to=[recipient]).raise_for_error()
    sources = (
        RestoreSource(dump="copies/before"),
        RestoreSource(url="sqlite:///shop.db"),
        RestoreSource(backup=made.id, dir="sealed", identities=("file:key",)),
    )
    with lending.Lender(Cancellation()) as lender:
        for source in sources:
            with lender.lend(source) as one, lender.lend(source) as two:
                execute(one.path, "DELETE FROM orders")
                assert (rows(one), rows(two)) == (0, 2)
        with pytest.raises(DumptyError, match="identity"):
            lender.lend(RestoreSource(backup=made.id, dir="sealed"))
        with pytest.raises(DumptyError, match="there is no directory"):
            lender.lend(RestoreSource(dump="nowhere/before"))
        with pytest.raises(DumptyError, match=r"those in .* are before\."):
            lender.lend(RestoreSource(dump="copies/after"))


def test_what_cancels_ends_a_restore_and_what_it_left_is_gone(source):
    cancel = Cancellation()
    cancel.cancel("the tests have ended")
    with lending.Lender(cancel) as lender:
        for _ in range(2):
            with pytest.raises(DumptyError, match="the tests have ended"):
                lender.lend(source)


# -- the process that holds them, as a thread of this one ----------------------------------------------------------


@pytest.fixture
def held(temporary, project):
    """A session's directory with a holder, and what it said in the end."""
    directory = temporary / "session"
    directory.mkdir(0o700)
    holder = Holder(str(directory), os.getpid())
    ready = threading.Event()
    said = []

    def serve():
        said.extend(holder.serve(ready.set))
        holder.tell_end(said)

    thread = threading.Thread(target=serve)
    thread.start()
    assert ready.wait(PATIENCE)
    yield directory, said
    asking.end(str(directory))
    thread.join(PATIENCE)
    assert not thread.is_alive()
    for name in os.listdir(directory):
        (directory / name).unlink()
    directory.rmdir()


def test_what_a_process_did_not_give_back_goes_with_it(held, source):
    directory, _ = held
    one, other = (Client(str(directory), os.getpid(), "/") for _ in range(2))
    kept, given = one.lend(source), one.lend(source)
    others = other.lend(source)
    one.give_back(given)
    assert [os.path.exists(d.path) for d in (kept, given, others)] == [True, False, True]
    one.close()
    third = other.lend(source)
    other.give_back(other.lend(source))  # which is answered behind the end of the other
    assert [os.path.exists(d.path) for d in (kept, third, others)] == [False, True, True]
    asking.end(str(directory))
    assert not os.path.exists(third.path)
    with pytest.raises(DumptyError, match="has ended"):
        other.give_back(third)
    other.close()


def test_what_is_asked_wrongly_is_answered_and_harms_nobody(held, source):
    directory, _ = held
    client = Client(str(directory), os.getpid(), "/")
    with pytest.raises(DumptyError, match="KeyError"):
        client.give_back(messages.LentDatabase(number=7, url="", shown_url="", environment={}))
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(str(directory / messages.SOCKET))
        stranger.sendall(b"nonsense\n")
        assert b"Failed" in stranger.recv(1000)
    assert rows(client.lend(source)) == 2
    client.close()


def test_what_cannot_be_removed_is_told_in_the_end_and_disturbs_no_other_process(held, source, monkeypatch, capsys):
    directory, said = held
    one, other = (Client(str(directory), os.getpid(), "/") for _ in range(2))
    one.lend(source)
    with monkeypatch.context() as patch:
        patch.setattr("dumpty_plugins.sqlite.scratch.remove_database", lambda path: 1 / 0)
        one.close()
        assert rows(other.lend(source)) == 2
        with pytest.raises(DumptyError, match="division by zero"):
            other.give_back(other.lend(source))
    other.close()
    asking.end(str(directory))
    assert "could not be removed: " in capsys.readouterr().err
    assert [text for text in said if "division by zero" in text] == said
    assert len(said) == 1


def test_a_directory_that_is_somebody_elses_is_refused(temporary, source):
    (temporary / "session").mkdir(0o755)
    with pytest.raises(DumptyError, match="not a directory of ours alone"):
        Client(str(temporary / "session"), os.getpid(), "/").lend(source)
    (temporary / "session").rmdir()


def test_a_holder_that_does_not_start_says_why_and_one_that_was_killed_has_a_successor(temporary, source, monkeypatch):
    client = Client(str(temporary / "session"), os.getpid(), "/")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", "/bin/false")
        with pytest.raises(DumptyError, match="does not start"):
            client.lend(source)
    assert rows(client.lend(source)) == 2
    asking.end(str(temporary / "session"))
    client.close()
    asking.end(str(temporary / "session"))  # it has ended already


# -- the end -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("has_descriptor", [True, False])
@pytest.mark.parametrize("ended", [True, False])
def test_the_end_of_a_process_is_heard_of_before_and_behind_it(temporary, monkeypatch, has_descriptor, ended):
    if not has_descriptor:
        monkeypatch.setattr(ending, "_descriptor", lambda owner, stack: None)
        monkeypatch.setattr(ending, "_LOOK_SECONDS", 0.01)
    with socket.socket(socket.AF_UNIX) as listener, subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        listener.bind(str(temporary / "end"))
        listener.listen()
        if ended:
            process.stdin.close()
            process.wait(PATIENCE)
        waiting = threading.Thread(target=ending.wait_for_end, args=(process.pid, listener))
        waiting.start()
        if not ended:
            process.kill()
            process.wait(PATIENCE)
        waiting.join(PATIENCE)
        assert not waiting.is_alive()
    os.unlink(temporary / "end")
