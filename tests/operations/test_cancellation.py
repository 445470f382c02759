"""A token that ends calls, and the phases that they report: nothing half done, no false failure, no false success."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import sqlite3
import threading

import pytest
from support.toys import StoreWrapper, ToyDriver

import dumpty
from dumpty import (
    BackupManager,
    Cancellation,
    Cancelled,
    DatabaseBackup,
    Evidence,
    Phase,
    Progress,
    Rules,
    commit_point,
    hookimpl,
    raise_if_cancelled,
)
from dumpty.registry.host import Host
from dumpty.repository.plain import PlainRepository

PATIENCE = 60
ROWS = 1500
BACKUP = ["inspecting", "dumping", "committing"]
RESTORE = ["inspecting", "loading", "committing", "comparing"]
DRILL = ["checking", "preparing", "loading", "comparing", "committing"]
PRUNE = ["inspecting", "removing"]


def fill(path, rows):
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("CREATE TABLE IF NOT EXISTS t (x)")
        database.execute("DELETE FROM t")
        database.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
            "INSERT INTO t SELECT hex(randomblob(200)) FROM n",
            (rows,),
        )


def rows(path):
    with contextlib.closing(sqlite3.connect(path)) as database:
        return database.execute("SELECT count(*) FROM t").fetchone()[0]


@pytest.fixture
def shop(tmp_path):
    fill(tmp_path / "shop.db", ROWS)
    return f"sqlite:///{tmp_path / 'shop.db'}"


@pytest.fixture
def target(tmp_path):
    fill(tmp_path / "target.db", 7)
    return f"sqlite:///{tmp_path / 'target.db'}"


@pytest.fixture
def top(tmp_path):
    return tmp_path / "backups"


@pytest.fixture
def manager(top):
    return BackupManager(top)


@pytest.fixture
def backup(manager, shop):
    return manager.create_backup(shop).raise_for_error()


def files(top):
    """Return what backups have left in a directory."""
    return sorted(
        os.path.join(os.path.relpath(folder, top), name)
        for folder, _, names in os.walk(top)
        for name in names
        if "dumpty-reserve" not in folder + name and not name.startswith("reserve-")
    )


def beside(tmp_path):
    return sorted(n for n in os.listdir(tmp_path) if n != "backups")


class Reports(list):
    """What a call reported; it cancels ``token`` when ``phase`` begins, in this thread or in another one."""

    def __init__(self, phase=None, token=None, *, elsewhere=False):
        super().__init__()
        self._phase, self._token, self._elsewhere = phase, token, elsewhere

    def __call__(self, progress):
        self.append(progress)
        if progress.phase == self._phase:
            if self._elsewhere:
                thread = threading.Thread(target=self._token.cancel, args=("the window closes",))
                thread.start()
                thread.join(PATIENCE)
            else:
                self._token.cancel("the window closes")

    @property
    def phases(self):
        return [phase for phase, _ in itertools.groupby(str(p.phase) for p in self)]


# -- phases ----------------------------------------------------------------------------------------------------------


def test_every_operation_names_its_phases_in_order(manager, backup, shop, target):
    def phases(call, *args, **options):
        reports = Reports()
        call(*args, progress=reports, **options)
        require_monotonic(reports)
        return reports.phases

    assert phases(manager.create_backup, shop, format="native") == BACKUP
    assert phases(manager.create_backup, shop) == BACKUP
    assert phases(manager.restore, backup.id, target, overwrite=True) == RESTORE
    assert phases(manager.verify, backup.id) == ["checking", "committing"]
    assert phases(manager.verify, backup.id, level="structure") == ["checking", "examining", "committing"]
    assert phases(manager.drill, backup.id) == DRILL
    assert phases(manager.prune, Rules(keep=3)) == ["inspecting"]
    assert phases(manager.prune, Rules(keep=1)) == PRUNE


def require_monotonic(reports):
    for _, group in itertools.groupby(reports, key=lambda p: p.phase):
        numbers = [(p.bytes_done, p.bytes_total or 0, p.items_done) for p in group]
        assert numbers == sorted(numbers)
    assert all(p.bytes_total is None or p.bytes_done <= p.bytes_total for p in reports)


def test_the_facade_of_named_backups_names_them_too(top, shop, target):
    backups = DatabaseBackup(top)
    reports = Reports()
    backups.backup(shop, "one", progress=reports)
    assert reports.phases == BACKUP
    reports = Reports()
    backups.restore("one", target, overwrite=True, progress=reports)
    assert reports.phases == ["inspecting", "checking", "loading", "committing"]


def test_a_dump_that_is_read_twice_is_never_done_before_it_is(top):
    class Twice(ToyDriver):
        @hookimpl
        def restore(self, target, dump):
            for _ in range(2):
                stream = dump.open()
                while block := stream.read(100):
                    self.databases[target.database] = block
            return Evidence()

    manager = BackupManager(top, plugins=[Twice(db=bytes(1000))])
    backup = manager.create_backup("toy://h/db").raise_for_error()
    reports = Reports()
    assert manager.restore(backup.id, "toy://h/new", progress=reports).success
    require_monotonic(reports)
    assert reports[-1] == Progress(phase=Phase.LOADING, bytes_done=2000, bytes_total=2000)


def test_what_goes_through_several_backups_counts_them(manager, shop):
    ids = [manager.create_backup(shop).raise_for_error().id for _ in range(3)]
    reports = Reports()
    assert all(v.ok for v in manager.verify_many(ids, progress=reports))
    assert [n for n, _ in itertools.groupby((p.items_done, p.items_total) for p in reports)] == [(0, 3), (1, 3), (2, 3)]
    reports = Reports()
    manager.prune(Rules(keep=1), progress=reports)
    assert [(p.items_done, p.items_total) for p in reports if p.phase == "removing"] == [(0, 2), (2, 2)]


# -- a callback that raises ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", BACKUP)
def test_what_a_callback_raises_ends_the_backup(manager, shop, top, phase):
    def fail(progress):
        if progress.phase == phase:
            raise ValueError("no more\nroom on the screen")

    result = manager.create_backup(shop, progress=fail)
    assert isinstance(result.exception, Cancelled)
    assert isinstance(result.exception.__cause__, ValueError)
    assert "its progress callback raised ValueError: no more room on the screen" in result.error
    assert (manager.list_backups(), files(top)) == ([], [])


def test_what_a_callback_raises_after_the_commit_point_is_logged(manager, backup, target, tmp_path, caplog):
    def fail(progress):
        if progress.phase == Phase.COMPARING:
            raise ValueError("too late")

    with caplog.at_level(logging.WARNING, "dumpty"):
        assert manager.restore(backup.id, target, overwrite=True, progress=fail).success
    assert rows(tmp_path / "target.db") == ROWS
    assert "goes on, though its progress callback raised ValueError: too late" in caplog.text


def test_a_callback_that_is_interrupted_interrupts(manager, shop, top):
    def interrupt(progress):
        if progress.bytes_done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        manager.create_backup(shop, progress=interrupt)
    assert (manager.list_backups(), files(top)) == ([], [])


# -- a token ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("format", "elsewhere"), [("sql", False), ("native", True)], ids=["by the callback", "by another thread"]
)
@pytest.mark.parametrize("phase", BACKUP)
def test_a_backup_that_is_cancelled_leaves_nothing(manager, shop, top, phase, format, elsewhere):
    token = Cancellation()
    reports = Reports(phase, token, elsewhere=elsewhere)
    result = manager.create_backup(shop, format=format, progress=reports, cancel=token)
    assert not result.success
    assert isinstance(result.exception, Cancelled)
    assert result.error == f"the backup of {shop} was cancelled (the window closes) before it was complete"
    assert reports.phases == BACKUP[: BACKUP.index(phase) + 1]
    assert (manager.list_backups(), files(top)) == ([], [])
    assert manager.create_backup(shop).success


@pytest.mark.parametrize(
    ("format", "elsewhere"), [("sql", False), ("native", True)], ids=["by the callback", "by another thread"]
)
@pytest.mark.parametrize("phase", RESTORE)
def test_a_restore_that_is_cancelled_leaves_its_target(manager, shop, target, tmp_path, top, phase, format, elsewhere):
    backup = manager.create_backup(shop, format=format).raise_for_error()
    before, token = files(top), Cancellation()
    reports = Reports(phase, token, elsewhere=elsewhere)
    result = manager.restore(backup.id, target, overwrite=True, progress=reports, cancel=token)
    done = phase == "comparing"  # behind the commit point
    assert result.success is done
    assert done or isinstance(result.exception, Cancelled)
    assert reports.phases == RESTORE[: RESTORE.index(phase) + 1]
    assert rows(tmp_path / "target.db") == (ROWS if done else 7)
    assert (files(top), beside(tmp_path)) == (before, ["shop.db", "target.db"])


@pytest.mark.parametrize("phase", DRILL)
def test_a_drill_that_is_cancelled_proves_nothing(manager, backup, top, phase):
    token = Cancellation()
    before = files(top)
    with pytest.raises(Cancelled, match=f"the drill of backup {backup.id} was cancelled"):
        manager.drill(backup.id, progress=Reports(phase, token), cancel=token)
    assert files(top) == before
    assert manager.find(backup.id).proofs == ()


@pytest.mark.parametrize("phase", PRUNE)
def test_a_prune_that_is_cancelled_removes_nothing(manager, shop, top, phase):
    ids = {manager.create_backup(shop).raise_for_error().id for _ in range(3)}
    before, token = files(top), Cancellation()
    with pytest.raises(Cancelled):
        manager.prune(Rules(keep=1), progress=Reports(phase, token), cancel=token)
    assert ({b.id for b in manager.list_backups()}, files(top)) == (ids, before)
    assert len(manager.prune(Rules(keep=1)).removed) == 2


@pytest.mark.parametrize("phase", ["inspecting", "checking", "loading", "committing"])
def test_named_backups_raise_it_and_everything_older_is_intact(top, shop, target, tmp_path, phase):
    backups = DatabaseBackup(top)
    first = backups.backup(shop, "one")
    before = files(top)
    for call in (backups.backup, backups.restore):
        token = Cancellation()
        reports = Reports(phase, token)
        arguments = (shop, "one") if call == backups.backup else ("one", target)
        options = {} if call == backups.backup else {"overwrite": True}
        with contextlib.ExitStack() as stack:
            if options or phase not in {"checking", "loading"}:  # which a backup does not come through
                stack.enter_context(pytest.raises(Cancelled))
            first = call(*arguments, progress=reports, cancel=token, **options)
    assert backups.list_backups() == [first]
    assert len(files(top)) == len(before)
    assert rows(tmp_path / "target.db") == 7


def test_a_token_that_is_cancelled_already_opens_nothing(tmp_path):
    class Closed(ToyDriver):
        @hookimpl
        def inspect(self, source):
            raise AssertionError(source)

    manager = BackupManager(tmp_path / "b", plugins=[Closed(db=b"x")])
    token = Cancellation()
    assert (token.cancelled, token.reason) == (False, "")
    token.cancel("not today")
    token.cancel("again")
    assert (token.cancelled, token.reason) == (True, "not today")
    for result in (
        manager.create_backup("toy://h/db", cancel=token),
        manager.restore("no such id", "toy://h/db", cancel=token),
        dumpty.backup_database("toy://h/db", tmp_path / "b", cancel=token, plugins=[Closed(db=b"x")]),
    ):
        assert isinstance(result.exception, Cancelled)
        assert "(not today)" in result.error
    for call in (manager.verify, manager.drill, manager.prove):
        with pytest.raises(Cancelled):
            call("no such id", cancel=token)
    with pytest.raises(Cancelled):
        manager.verify_many(cancel=token)
    with pytest.raises(Cancelled):
        manager.prune(Rules(keep=1), cancel=token)


def test_only_a_token_is_one(manager, shop):
    with pytest.raises(TypeError, match=r"cancel= takes a dumpty\.Cancellation, not Event"):
        manager.create_backup(shop, cancel=threading.Event())
    with pytest.raises(TypeError, match="a str, not int"):
        Cancellation().cancel(15)


def test_many_proofs_that_are_cancelled_midway_are_told_as_far_as_they_came(manager, shop):
    ids = [manager.create_backup(shop).raise_for_error().id for _ in range(4)]
    token = Cancellation()

    def cancel(progress):
        if (progress.items_done, progress.phase) == (2, Phase.CHECKING):
            token.cancel()

    verifications = manager.verify_many(ids, progress=cancel, cancel=token)
    assert [(v.backup_id, v.ok) for v in verifications] == [(ids[0], True), (ids[1], True), (ids[2], False)]
    assert isinstance(verifications[2].exception, Cancelled)
    assert [len(manager.find(i).proofs) for i in ids] == [1, 1, 0, 0]


def test_one_token_ends_several_calls_at_once(tmp_path):
    class Slow(ToyDriver):
        started = threading.Semaphore(0)

        @hookimpl
        def backup(self, source, sink):
            while True:
                sink.write(bytes(1000))
                self.started.release()
                dumpty.pause(PATIENCE)

    driver, token, results = Slow(db=b"x"), Cancellation(), []
    manager = BackupManager(tmp_path / "b", plugins=[driver])
    calls = [
        threading.Thread(target=lambda: results.append(manager.create_backup("toy://h/db", cancel=token)))
        for _ in range(3)
    ]
    for call in calls:
        call.start()
    for _ in calls:
        assert driver.started.acquire(timeout=PATIENCE)
    token.cancel()
    for call in calls:
        call.join(PATIENCE)
    assert [type(r.exception) for r in results] == [Cancelled] * 3
    assert files(tmp_path / "b") == []


# -- the commit point ------------------------------------------------------------------------------------------------


class Steps:
    """A place whose every step can be the one at which a token is cancelled: before it is done, or after."""

    def __init__(self):
        self.left, self.after, self.token = -1, False, Cancellation()
        names = ("put", "upload", "get", "stat", "list", "delete")
        self.plugin = StoreWrapper(**dict.fromkeys(names, self._step))

    def _step(self, real, *args, **options):
        self.left -= 1
        if self.left == 0 and not self.after:
            self.token.cancel()
        result = real(*args, **options)
        if self.left == 0 and self.after:
            self.token.cancel()
        return result


@pytest.mark.parametrize("after", [False, True])
def test_a_cancelled_backup_succeeds_if_and_only_if_it_is_there(tmp_path, after):
    steps, driver = Steps(), ToyDriver(db=b"content" * 1000)
    manager = BackupManager(f"wrapped://{tmp_path / 'b'}", plugins=[steps.plugin, driver])
    outcomes = []
    for step in itertools.count(1):
        known = {b.id for b in manager.list_backups()}
        steps.left, steps.after, steps.token = step, after, Cancellation()
        result = manager.create_backup("toy://h/db", cancel=steps.token)
        if not steps.token.cancelled:
            break
        steps.left = -1
        new = [b.id for b in manager.list_backups() if b.id not in known]
        outcomes.append(result.success)
        assert result.success or isinstance(result.exception, Cancelled), result.error
        assert new == ([result.backup.id] if result.success else [])
        if new:
            assert manager.restore(new[0], f"toy://h/{new[0]}").success
            manager.remove(new[0])
        assert files(tmp_path / "b") == []
    assert outcomes == sorted(outcomes)  # up to the commit point none, from there on each
    assert set(outcomes) == {False, True}


def test_a_cancelled_prune_says_what_it_removed(tmp_path):
    steps, driver = Steps(), ToyDriver(db=b"content")
    manager = BackupManager(f"wrapped://{tmp_path / 'b'}", plugins=[steps.plugin, driver])
    outcomes = []
    for step in itertools.count(1):
        while len(manager.list_backups()) < 3:
            assert manager.create_backup("toy://h/db").success
        steps.left, steps.token = step, Cancellation()
        removed = ()
        try:
            removed = manager.prune(Rules(keep=1), cancel=steps.token).removed
        except Cancelled:
            outcomes.append(False)
        else:
            outcomes.append(True)
        if not steps.token.cancelled:
            break
        steps.left = -1
        assert len(manager.list_backups()) == 3 - len(removed)
        assert bool(removed) is outcomes[-1]
    assert outcomes == sorted(outcomes)
    assert set(outcomes) == {False, True}


def test_what_a_repository_has_done_is_done_whether_it_told_its_commit_point_or_not(tmp_path, monkeypatch):
    token, locate = Cancellation(), PlainRepository.locate

    def located(repository, name):
        token.cancel()
        raise_if_cancelled()
        return locate(repository, name)

    monkeypatch.setattr("dumpty.repository.transaction.commit_point", bool)
    monkeypatch.setattr("dumpty.repository.protocol.removal.commit_point", bool)
    manager = BackupManager(tmp_path / "b", plugins=[ToyDriver(db=b"content")])
    with monkeypatch.context() as context:
        context.setattr(PlainRepository, "locate", located)
        result = manager.create_backup("toy://h/db", cancel=token)
    assert (result.success, token.cancelled) == (True, True)
    assert manager.create_backup("toy://h/db").success
    late = Cancellation()

    def cancel(progress):
        if progress.items_done:
            late.cancel()
            raise_if_cancelled()

    assert manager.prune(Rules(keep=1), cancel=late, progress=cancel).removed == (result.backup.id,)
    assert late.cancelled


def test_a_cancellation_at_any_moment_of_a_commit_is_decided_once(manager, shop):
    """The threads race: whichever wins, the result says so."""
    fill(shop.removeprefix("sqlite:///"), 1)
    for spins in range(0, 2000, 100):
        token, committing = Cancellation(), threading.Event()

        def cancel(token=token, committing=committing, spins=spins):
            assert committing.wait(PATIENCE)
            for _ in range(spins):
                pass
            token.cancel()

        racer = threading.Thread(target=cancel)
        racer.start()
        known = len(manager.list_backups())
        result = manager.create_backup(
            shop, cancel=token, progress=lambda p, e=committing: e.set() if p.phase == "committing" else None
        )
        racer.join(PATIENCE)
        assert result.success or isinstance(result.exception, Cancelled), result.error
        assert len(manager.list_backups()) - known == result.success


@pytest.mark.parametrize("told", [False, True])
def test_a_driver_that_has_returned_has_restored_whether_it_told_its_commit_point_or_not(tmp_path, told):
    class Late(ToyDriver):
        @hookimpl
        def restore(self, target, dump):
            stream = dump.open()
            while stream.read(1000):
                pass
            if told:
                commit_point()
            token.cancel()
            self.databases[target.database] = b"restored"
            return Evidence()

    token, driver = Cancellation(), Late(db=b"x" * 5000)
    manager = BackupManager(tmp_path / "b", plugins=[driver])
    backup = manager.create_backup("toy://h/db").raise_for_error()
    assert manager.restore(backup.id, "toy://h/new", cancel=token).success
    assert driver.databases["new"] == b"restored"


@pytest.mark.parametrize("facade", [BackupManager, DatabaseBackup])
def test_a_driver_that_keeps_it_to_itself_that_it_was_to_complete_nothing_has_restored_nothing(tmp_path, facade):
    class Refused(ToyDriver):
        @hookimpl
        def restore(self, target, dump):
            stream = dump.open()
            while stream.read(1000):
                pass
            token.cancel()
            with contextlib.suppress(KeyboardInterrupt):
                commit_point()
                self.databases[target.database] = b"restored"
            return Evidence()

    token, driver = Cancellation(), Refused(db=b"x" * 5000)
    text = "told at its commit point to complete nothing, and said that it had restored toy://h/new: look"
    if facade is BackupManager:
        manager = BackupManager(tmp_path / "b", plugins=[driver])
        backup = manager.create_backup("toy://h/db").raise_for_error()
        result = manager.restore(backup.id, "toy://h/new", cancel=token)
        assert isinstance(result.exception, Cancelled)
        assert text in result.error
    else:
        backups = DatabaseBackup(tmp_path / "b")
        backups._backups._host = Host([driver])
        backups.backup("toy://h/db", "one")
        with pytest.raises(Cancelled, match=text):
            backups.restore("one", "toy://h/new", cancel=token)
    assert "new" not in driver.databases


def test_a_plugin_that_swallows_it_commits_nothing(tmp_path):
    class Deaf(ToyDriver):
        @hookimpl
        def backup(self, sink):
            sink.write(bytes(1000))
            token.cancel()
            with contextlib.suppress(KeyboardInterrupt):
                sink.write(bytes(1000))
            return Evidence()

        @hookimpl
        def restore(self, target, dump):
            stream, token_now = dump.open(), token
            for _ in range(3):
                with contextlib.suppress(KeyboardInterrupt):
                    stream.read(10)
                    token_now.cancel()
            return Evidence()

    token = Cancellation()
    manager = BackupManager(tmp_path / "b", plugins=[Deaf(db=b"x" * 5000)])
    assert isinstance(manager.create_backup("toy://h/db", cancel=token).exception, Cancelled)
    assert files(tmp_path / "b") == []
    backup = BackupManager(tmp_path / "b", plugins=[ToyDriver(db=b"x" * 5000)]).create_backup("toy://h/db")
    token = Cancellation()
    assert isinstance(manager.restore(backup.backup.id, "toy://h/new", cancel=token).exception, Cancelled)


def test_a_call_within_a_call_ends_with_it_and_does_not_end_it(tmp_path):
    class Outer(ToyDriver):
        @hookimpl
        def backup(self, source, sink):
            results.append(inner.create_backup("toy://h/db"))
            token.cancel()
            results.append(inner.create_backup("toy://h/db"))
            sink.write(b"x")
            return Evidence()

    results, token = [], Cancellation()
    inner = BackupManager(tmp_path / "inner", plugins=[ToyDriver(db=b"x")])
    outer = BackupManager(tmp_path / "outer", plugins=[Outer(db=b"x")])
    assert isinstance(outer.create_backup("toy://h/db", cancel=token).exception, Cancelled)
    assert results[0].success
    assert isinstance(results[1].exception, Cancelled)
    assert (len(inner.list_backups()), outer.list_backups()) == (1, [])


@pytest.mark.parametrize("nested", ["remove", "backup_sqlite", "restore_sqlite"])
def test_what_a_call_within_a_call_commits_does_not_commit_the_other(manager, shop, target, tmp_path, nested):
    backup, named, token = manager.create_backup(shop).raise_for_error(), DatabaseBackup(tmp_path / "n"), Cancellation()
    path = shop.removeprefix("sqlite:///")
    named.backup_sqlite(path, "one")
    calls = {
        "remove": lambda: manager.remove(manager.create_backup(shop).raise_for_error().id),
        "backup_sqlite": lambda: named.backup_sqlite(path, "two").name == "two",
        "restore_sqlite": lambda: named.restore_sqlite("one", str(tmp_path / "restored.db")),
    }
    phases = []

    def cancel_after(progress):
        if progress.phase == Phase.LOADING and not token.cancelled:
            phases.append(calls[nested]())
            token.cancel()
        phases.append(progress.phase)

    result = manager.restore(backup.id, target, overwrite=True, progress=cancel_after, cancel=token)
    assert isinstance(result.exception, Cancelled)
    assert phases == [Phase.INSPECTING, True, Phase.LOADING]
    assert rows(tmp_path / "target.db") == 7


def test_observers_are_told_of_it(tmp_path):
    class Observer(ToyDriver):
        @hookimpl
        def finished(self, event):
            events.append((event.verb, event.success, event.error_type))

    events, token = [], Cancellation()
    token.cancel()
    BackupManager(tmp_path / "b", plugins=[Observer(db=b"x")]).create_backup("toy://h/db", cancel=token)
    assert events == [("backup", False, "Cancelled")]
