"""An interrupt that a plugin swallows: nothing is committed, whoever the plugin is."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sqlite3
import threading
import weakref

import pytest

from dumpty import BackupManager, DatabaseBackup, Evidence, Format, Inspection, PluginInfo, hookimpl
from dumpty.process.interruption import Interruption, current_interruption, track_interruption
from dumpty.registry.host import Host


@pytest.fixture(autouse=True)
def _interrupts_come_up():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler


def swallow():
    """Be interrupted, and go on."""
    with contextlib.suppress(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(100):
            pass


class SwallowingDriver:
    """A driver of one document, which swallows an interrupt in the verb ``when``."""

    def __init__(self):
        self.when = ""
        self.document = b"old"

    def _maybe(self, verb):
        if self.when == verb:
            swallow()

    @hookimpl
    def describe(self):
        return PluginInfo(
            kind="driver",
            summary="does not listen",
            schemes=("deaf",),
            formats=(Format(name="text", suffix=".txt", help="the document"),),
        )

    @hookimpl
    def inspect(self, source):
        self._maybe("inspect")
        return Inspection(exists=True, empty=True)

    @hookimpl
    def backup(self, sink):
        sink.write(b"one document")
        self._maybe("backup")
        return Evidence()

    @hookimpl
    def restore(self, dump):
        self._maybe("restore")
        document = b""
        stream = dump.open()
        while piece := stream.read(4):
            document += piece
        self.document = document
        return Evidence()

    @hookimpl
    def examine(self, dump):
        stream = dump.open()
        while stream.read(1000):
            pass
        self._maybe("examine")
        return Evidence()


@pytest.fixture
def swallowing():
    return SwallowingDriver()


@pytest.fixture
def manager(tmp_path, swallowing):
    return BackupManager(str(tmp_path / "b"), plugins=[swallowing])


@pytest.mark.parametrize("when", ["inspect", "backup"])
def test_a_backup_is_not_committed(manager, swallowing, tmp_path, when):
    swallowing.when = when
    with pytest.raises(KeyboardInterrupt):
        manager.create_backup("deaf://host/x")
    assert manager.list_backups() == []
    assert [n for n in os.listdir(tmp_path / "b") if not n.startswith(".")] == []
    swallowing.when = ""
    assert manager.create_backup("deaf://host/x").success


def test_a_restore_gets_no_more_of_the_dump(manager, swallowing):
    made = manager.create_backup("deaf://host/x")
    swallowing.when = "restore"
    with pytest.raises(KeyboardInterrupt):
        manager.restore(made.backup.id, "deaf://host/y")
    assert swallowing.document == b"old"
    swallowing.when = ""
    assert manager.restore(made.backup.id, "deaf://host/y").success
    assert swallowing.document == b"one document"


def test_a_proof_is_not_written_down(manager, swallowing):
    made = manager.create_backup("deaf://host/x")
    swallowing.when = "examine"
    with pytest.raises(KeyboardInterrupt):
        manager.verify(made.backup.id, level="structure")
    assert manager.find(made.backup.id).proofs == ()


def test_the_facade_of_named_backups_commits_nothing_either(tmp_path, monkeypatch):
    def swallowing(self, *args, **kwargs):
        evidence = copy(self, *args, **kwargs)
        swallow()
        return evidence

    with contextlib.closing(sqlite3.connect(tmp_path / "a.db")) as database:
        database.execute("CREATE TABLE t (x)")
    facade = DatabaseBackup(str(tmp_path / "b"))
    first = facade.backup_sqlite(str(tmp_path / "a.db"), "one")
    copy = Host.backup
    monkeypatch.setattr(Host, "backup", swallowing)
    with pytest.raises(KeyboardInterrupt):
        facade.backup_sqlite(str(tmp_path / "a.db"), "one")
    assert facade.list_backups() == [first]
    assert facade.restore_sqlite("one", str(tmp_path / "c.db"))


def test_a_handler_of_the_program_is_called_and_put_back():
    signals_received = []
    signal.signal(signal.SIGTERM, lambda number, _frame: signals_received.append(number))
    try:
        handler = signal.getsignal(signal.SIGTERM)
        with track_interruption() as interruption:
            os.kill(os.getpid(), signal.SIGTERM)
            for _ in range(100):
                pass
            interruption.check()  # it raised nothing: the program did not mean to end
        assert signals_received == [signal.SIGTERM]
        assert signal.getsignal(signal.SIGTERM) is handler
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def test_what_is_ignored_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with track_interruption() as interruption:
            os.kill(os.getpid(), signal.SIGINT)
            assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
            interruption.check()
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def test_other_threads_have_no_part_in_it():
    found: list[Interruption] = []
    with track_interruption() as interruption:
        thread = threading.Thread(target=lambda: found.append(current_interruption()))
        thread.start()
        thread.join()
        assert current_interruption() is interruption
        swallow()
        with pytest.raises(KeyboardInterrupt):
            current_interruption().check()
        found[0].check()
    current_interruption().check()


def test_what_was_interrupted_is_let_go_at_once():
    class Weak:
        """As a lock that an interrupt kept from being freed."""

    freed = []

    def work():
        held = Weak()
        weakref.finalize(held, freed.append, True)
        with track_interruption():
            signal.raise_signal(signal.SIGINT)
        return held

    gc.disable()
    try:
        with contextlib.suppress(KeyboardInterrupt):
            work()
        assert freed == [True]
    finally:
        gc.enable()
