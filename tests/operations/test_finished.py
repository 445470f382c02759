"""Observers are told how every verb ended, after it ended; whatever they do, it changes nothing."""

from __future__ import annotations

import contextlib
import logging
import signal
import sqlite3
from datetime import UTC, datetime

import pytest
from support.toys import StoreWrapper, ToyDriver

from dumpty import (
    BackupFormat,
    BackupManager,
    DatabaseBackup,
    DumptyError,
    Event,
    PluginLoadError,
    Retained,
    StoreError,
    UnknownBackup,
    backup_database,
    hookimpl,
)
from dumpty.registry.host import Host
from dumpty.repository.retention import Rules

SECRET = "s3cr3t-Marker"


class Observer:
    def __init__(self, name="watcher", effect=lambda event: None) -> None:
        self.name = name
        self.events = []
        self.effect = effect

    @hookimpl
    def finished(self, event):
        self.events.append(event)
        return self.effect(event)

    @property
    def outcomes(self):
        return [(e.verb, e.success) for e in self.events]


@pytest.fixture
def observer():
    return Observer()


@pytest.fixture
def manager(tmp_path, observer):
    return BackupManager(str(tmp_path / "b"), plugins=[ToyDriver(db=b"x" * 1000), observer])


def test_a_backup_is_told_once_it_is_committed(tmp_path, observer):
    listed = []
    observer.effect = lambda event: listed.append([b.id for b in BackupManager(str(tmp_path)).list_backups()])
    before = datetime.now(UTC)
    result = BackupManager(str(tmp_path), plugins=[ToyDriver(db=b"x" * 1000), observer]).create_backup(
        f"toy://u:{SECRET}@h/db"
    )
    assert result.success, result.error
    [event] = observer.events
    assert listed == [[result.backup.id]]
    assert isinstance(event, Event)
    assert (event.verb, event.success, event.error, event.error_type) == ("backup", True, "", "")
    assert (event.url, event.repository, event.level, event.removed) == ("toy://u:***@h/db", str(tmp_path), None, ())
    assert before <= event.started <= event.ended <= datetime.now(UTC)
    assert event.duration_seconds >= result.duration_seconds
    about = event.backup
    assert (about.id, about.database, about.url) == (result.backup.id, "db", "toy://u:***@h/db")
    assert (about.size_bytes, about.plain_size_bytes) == (result.backup.size_bytes, 1000)
    with pytest.raises(AttributeError, match="immutable"):
        event.success = False


def test_a_failure_is_told_with_its_text_and_without_secrets(tmp_path, observer):
    class Failing(ToyDriver):
        @hookimpl
        def backup(self, source):
            raise RuntimeError(f"{source.password} is wrong")

    manager = BackupManager(str(tmp_path), plugins=[Failing(db=b"x"), observer])
    result = manager.create_backup(f"toy://u:{SECRET}@h/db")
    [event] = observer.events
    assert (event.verb, event.success, event.backup) == ("backup", False, None)
    assert (event.error, event.error_type) == (result.error, "PluginError")
    assert SECRET not in repr(event)


def test_a_malformed_url_is_told_without_a_word_of_it(manager, observer):
    assert not manager.create_backup(f"toy://u:{SECRET}/@h/db").success
    [event] = observer.events
    assert (event.success, event.error_type, event.url) == (False, "MalformedURL", "(malformed URL)")
    assert SECRET not in repr(event)


def test_restores_proofs_and_removals_are_told(manager, observer):
    first, second, third = (manager.create_backup("toy://h/db").backup for _ in range(3))
    observer.events.clear()
    assert manager.restore(first.id, f"toy://u:{SECRET}@h/new").success
    assert not manager.restore(first.id, "toy://h/db").success
    manager.verify(first.id)
    with pytest.raises(DumptyError, match="not provable here"):
        manager.drill(first.id)
    assert manager.remove(first.id)
    with pytest.raises(UnknownBackup):
        manager.remove(first.id)
    manager.prune(Rules(keep=1), dry_run=True)
    manager.prune(Rules(keep=1))
    assert observer.outcomes == [
        ("restore", True),
        ("restore", False),
        ("verify", True),
        ("drill", False),
        ("remove", True),
        ("remove", False),
        ("prune", True),
    ]
    restored, refused, verified, drilled, removed, unknown, pruned = observer.events
    assert (restored.url, restored.backup.id) == ("toy://u:***@h/new", first.id)
    assert (refused.error_type, refused.backup.id) == ("TargetNotEmpty", first.id)
    assert (verified.level, verified.backup.id) == ("digest", first.id)
    assert (drilled.level, drilled.error_type) == ("restore", "NotProvable")
    assert removed.removed == (first.id,)
    assert (unknown.backup, unknown.error_type, unknown.removed) == (None, "UnknownBackup", ())
    assert (pruned.backup, pruned.removed) == (None, (second.id,))
    assert third.id not in pruned.removed


def test_a_proof_that_failed_is_a_failure_though_prove_returns_it(manager, observer):
    made = manager.create_backup("toy://h/db").backup
    with open(made.file_path, "r+b") as file:
        file.seek(20)
        file.write(b"\0\0\0\0")
    proof = manager.prove(made.id, level="digest")
    assert not proof.ok
    event = observer.events[-1]
    assert (event.verb, event.success, event.error_type) == ("verify", False, "IntegrityError")
    assert event.error == proof.error


def test_what_a_place_keeps_for_a_while_is_not_told_as_removed(tmp_path, observer):
    def refuse(_real, names):
        raise Retained("kept until tomorrow")

    store = StoreWrapper()
    manager = BackupManager(f"wrapped://{tmp_path}", plugins=[ToyDriver(db=b"x"), store, observer])
    made = manager.create_backup("toy://h/db").backup
    store.replaced["delete"] = refuse
    with contextlib.suppress(StoreError):
        assert manager.remove(made.id) is False
    event = observer.events[-1]
    assert (event.verb, event.success, event.removed) == ("remove", False, ())
    assert event.error


def test_a_repository_that_cannot_be_opened_is_told_as_a_failed_backup(tmp_path, observer):
    (tmp_path / "file").write_text("")
    result = backup_database("toy://h/db", str(tmp_path / "file"), plugins=[ToyDriver(db=b"x"), observer])
    assert not result.success
    [event] = observer.events
    assert (event.verb, event.success, event.error, event.url) == ("backup", False, result.error, "toy://h/db")


# -- whatever an observer does ---------------------------------------------------------------------------------------


class Exploding(BaseException):
    pass


@pytest.mark.parametrize(
    "error", [RuntimeError("no network"), Exploding("x"), SystemExit(0), ImportError("no lib"), StoreError("gone")]
)
def test_an_observer_that_raises_fails_nothing_and_is_named(tmp_path, caplog, error):
    def fail(event):
        raise error

    bad, good = Observer("bad", fail), Observer("good")
    manager = BackupManager(str(tmp_path), plugins=[ToyDriver(db=b"x"), bad, good])
    result = manager.create_backup("toy://h/db")
    assert result.success, result.error
    assert manager.get_backup(result.backup.id) is not None
    assert good.outcomes == [("backup", True)]
    [record] = [r for r in caplog.records if r.event == "observer-failed"]
    assert (record.plugin, record.distribution, record.levelname) == ("bad", "this program", "WARNING")
    assert "plugin 'bad' of this program" in record.getMessage()


def test_an_observer_that_returns_something_is_named(manager, observer, caplog):
    observer.effect = lambda event: True
    assert manager.create_backup("toy://h/db").success
    [record] = [r for r in caplog.records if r.event == "observer-failed"]
    assert "returned bool from finished" in record.getMessage()


def test_an_observer_that_quotes_a_password_it_got_elsewhere_is_logged_without_it(tmp_path, caplog):
    def fail(event):
        raise RuntimeError(f"cannot post {SECRET}")

    manager = BackupManager(str(tmp_path), plugins=[ToyDriver(db=b"x"), Observer("bad", fail)])
    assert manager.create_backup(f"toy://u:{SECRET}@h/db").success
    assert "cannot post ***" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize("swallowed", [False, True])
def test_an_interrupt_while_observers_are_told_interrupts_and_leaves_the_backup(tmp_path, caplog, swallowed):
    def interrupt(event):
        with contextlib.suppress(KeyboardInterrupt) if swallowed else contextlib.nullcontext():
            signal.raise_signal(signal.SIGINT)

    caplog.set_level(logging.INFO)
    observer = Observer("slow", interrupt)
    manager = BackupManager(str(tmp_path), plugins=[ToyDriver(db=b"x"), observer])
    with pytest.raises(KeyboardInterrupt):
        manager.create_backup("toy://h/db")
    [backup] = manager.list_backups()
    assert backup.state == "ok"
    assert observer.outcomes == [("backup", True)]
    assert [r.event for r in caplog.records] == ["backup", "interrupted"]
    assert f"backup {backup.id} was done before the interrupt" in caplog.text


def test_an_interrupted_backup_tells_nobody(tmp_path, observer):
    class Interrupted(ToyDriver):
        @hookimpl
        def backup(self):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        BackupManager(str(tmp_path), plugins=[Interrupted(db=b"x"), observer]).create_backup("toy://h/db")
    assert observer.events == []


# -- what is an observer -----------------------------------------------------------------------------------------------


def test_an_observer_alone_is_a_plugin_without_a_kind(observer):
    plugin = Host([observer], discover=False).plugins()[0]
    assert (plugin.state, plugin.kind, plugin.name) == ("observer", "", "watcher")


def test_a_driver_may_observe_too(tmp_path):
    class Observing(ToyDriver):
        events = ()

        @hookimpl
        def finished(self, event):
            self.events += (event,)

    driver = Observing(db=b"x")
    assert BackupManager(str(tmp_path), plugins=[driver]).create_backup("toy://h/db").success
    assert [e.verb for e in driver.events] == ["backup"]


def test_nobody_wraps_an_event():
    class Wrapping:
        name = "wrapping"

        @hookimpl(wrapper=True)
        def finished(self):
            return (yield)

    with pytest.raises(PluginLoadError, match="an event, which nobody wraps"):
        Host([Wrapping()], discover=False)


# -- DatabaseBackup ----------------------------------------------------------------------------------------------------


def test_database_backup_tells_the_installed_observers(tmp_path, observer, monkeypatch):
    host = Host([observer])
    monkeypatch.setattr("dumpty.backup.default_host", lambda: host)
    with contextlib.closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
        connection.executescript("CREATE TABLE item (id); INSERT INTO item VALUES (1)")
    backups = DatabaseBackup(str(tmp_path / "b"))
    made = backups.backup_sqlite(str(tmp_path / "shop.db"), "one")
    with pytest.raises(FileNotFoundError):
        backups.backup_sqlite(str(tmp_path / "none.db"), "two")
    with pytest.raises(RuntimeError):
        backups.backup_postgres(f"postgresql://u:{SECRET}@127.0.0.1:1/db", "pg", BackupFormat.CUSTOM)
    assert backups.restore_sqlite("one", str(tmp_path / "again.db"))
    assert not backups.restore_sqlite("nothing", str(tmp_path / "x.db"))
    assert backups.prune(0, 0) == 1
    assert observer.outcomes == [
        ("backup", True),
        ("backup", False),
        ("backup", False),
        ("restore", True),
        ("restore", False),
        ("prune", True),
    ]
    backed_up, missing, refused, restored, unknown, pruned = observer.events
    assert (backed_up.backup.id, backed_up.backup.database) == ("one", "shop")
    assert backed_up.backup.size_bytes == made.size_bytes
    assert (backed_up.url, backed_up.repository) == (f"sqlite:///{tmp_path}/shop.db", str(tmp_path / "b"))
    assert (missing.backup, missing.url) == (None, f"sqlite:///{tmp_path}/none.db")
    assert refused.url == "postgresql://u:***@127.0.0.1:1/db"
    assert (restored.backup.id, restored.url) == ("one", f"sqlite:///{tmp_path}/again.db")
    assert (unknown.error_type, unknown.backup) == ("UnknownBackup", None)
    assert pruned.removed == ("one",)
    assert SECRET not in repr(observer.events)
