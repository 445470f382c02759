"""What is wrong with jobs is told to each recipient once, with reminders, and that it is over; whatever fails."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
from datetime import UTC, datetime, timedelta

import pytest

from dumpty import BackupManager, NotificationError, NotPermitted, StoreError
from dumpty.jobs import notebook, notifying, views, watch
from dumpty.jobs.job_run import Listener
from dumpty.jobs.notifying import Patience
from dumpty.jobs.outcomes import DatabaseRun, DrillRun, JobRun, encode
from dumpty.jobs.planning import plan
from dumpty.jobs.runner import Runner
from dumpty.jobs.settings import load
from dumpty.jobs.watch import Watch

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


class Silent:
    """Who tells nobody."""

    patience = None

    def look(self, *_, **__):
        return []


class Place:
    """A configuration with SQLite databases, and somebody who is told: a program that appends to a file."""

    def __init__(self, path):
        self.path = path
        self.lines = []
        self.watch = None
        (path / "tell.sh").write_text(
            f'#!/bin/sh\n[ -e {path}/dead ] && {{ echo "I am dead" >&2; exit 1; }}\ncat >> "$1"; echo >> "$1"\n'
        )
        (path / "tell.sh").chmod(0o700)
        self.database("shop")

    def database(self, name, rows=200):
        with contextlib.closing(sqlite3.connect(self.path / f"{name}.db")) as connection, connection:
            connection.execute("CREATE TABLE IF NOT EXISTS t (x)")
            connection.execute("DELETE FROM t")
            connection.executemany("INSERT INTO t VALUES (?)", [(i,) for i in range(rows)])

    def url(self, name="shop"):
        return f"sqlite:///{self.path}/{name}.db"

    def address(self, name="told"):
        return f"command://{self.path}/tell.sh?arg={self.path}/{name}"

    def configure(self, sources=None, **keys):
        keys = {"notify": json.dumps([self.address()]), "retries": 0, **keys}
        keys = {key: value for key, value in keys.items() if value is not None}
        text = f'[jobs.shop]\nsource = {json.dumps(sources or [self.url()])}\nrepository = "{self.path}/backups"\n'
        file = self.path / "dumpty.toml"
        file.write_text(text + "".join(f"{key} = {value}\n" for key, value in keys.items()))
        file.chmod(0o600)
        old = datetime.now(UTC).timestamp() - 400 * 86_400
        os.utime(file, (old, old))
        self.configuration = load(str(file))
        self.watch = Watch(lambda _: None, self.configuration.file.modified)
        return self

    @property
    def job(self):
        return self.configuration.jobs[0]

    @property
    def manager(self):
        return BackupManager(self.path / "backups")

    def run(self):
        listener = Listener(self.lines.append, lambda _: None, lambda _: None)
        runner = Runner(self.configuration.limits, listener, self.configuration.written, self.watch)
        [run] = runner.run(plan([self.job], datetime.now(UTC), due_only=False))
        return run

    def look(self, after=timedelta()):
        """Look after so long; those who did not answer are asked again."""
        self.watch.patience = Patience()
        return self.watch.look([self.job], datetime.now(UTC) + after)

    def told(self, name="told"):
        """What was told since it was asked last: the event and kind of each notice."""
        return [(n["event"], n["kind"]) for message in self.messages(name) for n in message["notices"]]

    def messages(self, name="told"):
        file = self.path / name
        text = file.read_text() if file.exists() else ""
        file.write_text("")
        return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return Place(tmp_path)


ALARM, REMINDER, RECOVERY = "alarm", "reminder", "recovery"


# -- each thing, once ----------------------------------------------------------------------------------------------


def test_a_failure_is_told_once_reminded_of_and_over_when_it_is(place):
    place.configure(max_age='"26h"')
    assert place.run().outcome == "ok"
    assert place.told() == []
    (place.path / "shop.db").rename(place.path / "away.db")
    for _ in range(3):
        place.run()
    [message] = place.messages()
    assert message["severity"] == "failure"
    assert message["title"] == "dumpty: shop: the backup failed"
    [notice] = message["notices"]
    assert (notice["event"], notice["kind"], notice["subject"]) == (ALARM, "failed", place.url())
    assert f"there is no database file {place.path}/shop.db" in message["body"]
    assert place.look(23 * HOUR) == []
    assert place.told() == []
    place.look(25 * HOUR)
    assert place.told() == [(REMINDER, "failed")]
    (place.path / "away.db").rename(place.path / "shop.db")
    assert place.run().outcome == "ok"
    [message] = place.messages()
    assert message["severity"] == "recovery"
    assert [(n["event"], n["kind"], n["since"]) for n in message["notices"]] == [(RECOVERY, "failed", notice["since"])]
    place.run()
    assert place.told() == []


def test_every_database_that_fails_is_told_in_one_message_and_a_further_one_by_itself(place):
    for name in "ab":
        place.database(name)
    place.configure([place.url(name) for name in ("shop", "a", "b")])
    place.run()
    for name in "ab":
        (place.path / f"{name}.db").rename(place.path / f"{name}.away")
    place.run()
    [message] = place.messages()
    assert [n["subject"] for n in message["notices"]] == [place.url("a"), place.url("b")]
    assert message["title"] == "dumpty: shop: the backup failed, and 1 more"
    (place.path / "shop.db").rename(place.path / "shop.away")
    (place.path / "a.away").rename(place.path / "a.db")
    place.run()
    [message] = place.messages()
    assert {(n["event"], n["subject"]) for n in message["notices"]} == {
        (ALARM, place.url()),
        (RECOVERY, place.url("a")),
    }


def test_a_suspicious_backup_is_told_until_somebody_accepts_it(place):
    place.configure(keep="{ daily = 7 }")
    place.run()
    place.database("shop", rows=0)
    run = place.run()
    assert run.outcome == "attention"
    [message] = place.messages()
    [notice] = message["notices"]
    [suspicious] = [b for b in place.manager.list_backups() if b.state == "suspicious"]
    assert (notice["kind"], notice["subject"]) == ("suspicious", suspicious.id)
    assert f"dumpty accept {suspicious.id}" in notice["text"]
    place.manager.accept(suspicious.id)
    place.look()
    assert place.told() == [(RECOVERY, "suspicious")]


def test_what_was_not_backed_up_for_too_long_is_overdue_until_it_is(place):
    place.configure(max_age='"26h"')
    place.run()
    assert place.look(25 * HOUR) == []
    assert place.told() == []
    place.look(27 * HOUR)
    [message] = place.messages()
    [notice] = message["notices"]
    assert (notice["event"], notice["kind"], notice["subject"]) == (ALARM, "overdue", place.url())
    assert "27 h ago, 26 h are allowed" in notice["text"]
    place.look(28 * HOUR)
    assert place.told() == []
    place.run()
    assert place.told() == [(RECOVERY, "overdue")]


def test_a_job_that_was_never_run_is_overdue_once_it_should_have_been(place):
    place.configure(max_age='"300d"')
    place.watch.known_since = datetime.now(UTC)
    place.look(299 * DAY)
    assert place.told() == []
    place.look(301 * DAY)
    assert place.told() == [(ALARM, "unreachable")]  # there is not even a repository
    BackupManager(place.path / "backups")
    place.look(302 * DAY)
    assert sorted(place.told()) == [(ALARM, "overdue"), (RECOVERY, "unreachable")]


def test_a_job_with_a_schedule_alone_may_miss_one_time_and_no_second(place):
    place.configure(schedule='"0 0 1 1 *"')
    place.run()
    this_year = datetime.now(UTC).year
    for year, overdue in ((this_year + 1, False), (this_year + 2, True)):
        place.watch.look([place.job], datetime(year, 6, 1, tzinfo=UTC))
        assert place.told() == ([(ALARM, "overdue")] if overdue else [])


def test_a_job_by_hand_is_never_overdue(place):
    place.configure()
    place.look(4000 * DAY)
    place.run()
    place.look(4000 * DAY)
    assert place.told() == []


def test_a_good_backup_that_is_suspicious_does_not_count_against_being_overdue(place):
    place.configure(max_age='"26h"')
    place.run()
    place.database("shop", rows=0)
    place.run()
    place.told()
    good, suspicious = place.manager.list_backups()
    assert (good.state, suspicious.state) == ("ok", "suspicious")
    place.look(27 * HOUR)
    assert (ALARM, "overdue") in place.told()


def test_a_backup_that_is_lost_or_whose_proof_failed_is_told_until_it_is_gone(place):
    place.configure()
    place.run()
    place.run()
    first, second = place.manager.list_backups()
    os.unlink(first.file_path)
    with open(second.file_path, "r+b") as file:
        file.seek(-9, os.SEEK_END)
        byte = file.read(1)[0]
        file.seek(-9, os.SEEK_END)
        file.write(bytes([byte ^ 1]))
    assert not place.manager.prove(second.id, level="digest").ok
    place.look()
    [message] = place.messages()
    assert sorted((n["kind"], n["subject"]) for n in message["notices"]) == sorted(
        [("damaged", first.id), ("damaged", second.id)]
    )
    place.manager.remove(second.id)
    place.look()
    assert place.told() == [(RECOVERY, "damaged")]


def test_a_copy_that_is_missing_is_told_whatever_became_of_it(place):
    place.configure(copies=json.dumps([f"{place.path}/vault"]))
    assert place.run().outcome == "ok"
    vault = BackupManager(place.path / "vault")
    vault.remove(vault.list_backups()[0].id)
    place.look()
    [message] = place.messages()
    [notice] = message["notices"]
    assert (notice["kind"], notice["subject"]) == ("copy-missing", f"{place.path}/vault")
    assert place.manager.list_backups()[0].id in notice["text"]
    assert place.run().outcome == "ok"  # it copies what is missing
    assert place.told() == [(RECOVERY, "copy-missing")]


def test_copies_that_cannot_be_looked_at_are_missing(place):
    place.configure(copies=json.dumps([f"{place.path}/vault"]))
    place.run()
    (place.path / "vault").rename(place.path / "vault-away")
    place.look()
    assert place.told() == [(ALARM, "copy-missing")]
    (place.path / "vault-away").rename(place.path / "vault")
    place.look()
    assert place.told() == [(RECOVERY, "copy-missing")]


def test_a_warning_of_a_run_is_told_once_without_end(place):
    place.database("a")
    place.configure([f"sqlite:///{place.path}/*.db"])
    place.run()
    (place.path / "a.db").unlink()
    place.run()
    [message] = place.messages()
    assert message["severity"] == "warning"
    assert [(n["event"], n["kind"]) for n in message["notices"]] == [(ALARM, "warning")]
    assert f"{place.url('a')} is not among the job's databases any more" in message["body"]
    place.run()
    assert place.told() == []


# -- where it is known who was told --------------------------------------------------------------------------------


def test_whoever_looks_elsewhere_tells_nothing_again_and_tells_what_is_over(place):
    """What is known is known by all that share the repository: another process, another machine."""
    place.configure()
    (place.path / "shop.db").rename(place.path / "away.db")
    place.run()
    assert place.told() == [(ALARM, "failed")]
    other = Watch(lambda _: None, place.configuration.file.modified)
    other.look([place.job], datetime.now(UTC))
    assert place.told() == []
    (place.path / "away.db").rename(place.path / "shop.db")
    place.watch = Silent()
    place.run()
    other.look([place.job], datetime.now(UTC))
    assert place.told() == [(RECOVERY, "failed")]


def test_several_that_look_at_once_tell_once(place, monkeypatch):
    monkeypatch.setattr(notebook, "_MOST_WAIT", 0.1)
    place.configure()
    (place.path / "shop.db").rename(place.path / "away.db")
    watching, place.watch = place.watch, Silent()
    place.run()
    threads = [
        threading.Thread(target=Watch(lambda _: None, watching.known_since).look, args=([place.job], datetime.now(UTC)))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    watching.look([place.job], datetime.now(UTC))
    assert place.told() == [(ALARM, "failed")]


def test_each_recipient_is_told_by_himself_and_a_new_one_what_is_still_wrong(place):
    place.configure()
    (place.path / "shop.db").rename(place.path / "away.db")
    place.run()
    place.configure(notify=json.dumps([place.address(), place.address("another")]))
    place.look()
    assert (place.told(), place.told("another")) == ([(ALARM, "failed")], [(ALARM, "failed")])


def test_a_repository_that_cannot_be_reached_is_told_once_and_its_return(place):
    place.configure()
    place.run()
    (place.path / "backups").rename(place.path / "backups-away")
    (place.path / "backups").write_text("a file in its place")
    for _ in range(2):
        assert place.run().outcome == "failed"
    place.look(HOUR)
    Watch(lambda _: None, place.watch.known_since).look([place.job], datetime.now(UTC))
    assert sorted(place.told()) == [(ALARM, "unreachable"), (ALARM, "unrecorded")]
    (place.path / "backups").unlink()
    (place.path / "backups-away").rename(place.path / "backups")
    for _ in range(2):
        place.look(HOUR)
        place.watch.look([place.job], datetime.now(UTC))
    assert place.told() == [(RECOVERY, "unreachable")]  # that it can be read does not say that it can be written
    place.run()
    assert place.told() == [(RECOVERY, "unrecorded")]


def test_where_not_even_this_machine_can_note_it_the_process_remembers(place):
    place.configure()
    (place.path / "backups").write_text("a file in its place")
    (place.path / "state").write_text("another one")
    for _ in range(3):
        place.run()
    assert sorted(place.told()) == [(ALARM, "unreachable"), (ALARM, "unrecorded")]


def test_what_a_repository_takes_no_note_of_is_told_once_all_the_same(place, monkeypatch):
    """It may be full, or these rights may only read it."""
    place.configure(max_age='"26h"')
    place.run()

    def refuse(*_):
        raise NotPermitted("these rights are to read")

    monkeypatch.setattr(BackupManager, "claim_telling", refuse)
    for hours in (27, 28):
        assert place.look(hours * HOUR) == []
    assert place.told() == [(ALARM, "overdue")]
    monkeypatch.undo()
    monkeypatch.setenv("XDG_STATE_HOME", str(place.path / "state"))
    place.look(29 * HOUR)
    assert place.told() == []
    place.run()
    assert place.told() == [(RECOVERY, "overdue")]


def test_what_is_noted_and_damaged_is_told_again(place):
    place.configure()
    (place.path / "shop.db").rename(place.path / "away.db")
    place.run()
    [note] = (place.path / "backups" / ".alarms" / "shop").glob("*.told-*")
    note.write_bytes(b"\xff\xff")
    place.look()
    assert place.told() == [(ALARM, "failed")] * 2


# -- those who are told --------------------------------------------------------------------------------------------


def test_a_dead_recipient_fails_no_backup_is_told_of_in_the_run_and_hears_it_later(place):
    place.configure()
    (place.path / "dead").touch()
    assert place.run().outcome == "ok"
    (place.path / "shop.db").rename(place.path / "away.db")
    run = place.run()
    assert run.outcome == "failed"
    [warning] = run.warnings
    assert warning.startswith(f"command://{place.path}/tell.sh was not told: ")
    assert "I am dead" in warning
    assert f"shop: {warning}" in place.lines
    (place.path / "dead").unlink()
    place.look()
    assert place.told() == [(ALARM, "failed")]


def test_a_run_that_is_right_and_could_not_tell_wants_to_be_looked_at(place):
    place.configure()
    (place.path / "shop.db").rename(place.path / "away.db")
    place.run()
    (place.path / "away.db").rename(place.path / "shop.db")
    (place.path / "dead").touch()
    run = place.run()
    assert run.outcome == "attention"
    assert place.told() == [(ALARM, "failed")]
    (place.path / "dead").unlink()
    assert place.run().outcome == "ok"
    assert place.told() == [(RECOVERY, "failed")]


@pytest.mark.parametrize("error", [RuntimeError("a bug"), SystemExit(3), NotificationError("no")], ids=repr)
def test_a_recipients_plugin_may_do_what_it_likes(place, monkeypatch, error):
    from dumpty_plugins import command

    def broken(self, message):
        raise error

    notifier = type(command.open_notifier(url=place.address(), secret=""))
    monkeypatch.setattr(notifier, "send", broken)
    place.configure()
    (place.path / "shop.db").rename(place.path / "away.db")
    run = place.run()
    assert run.outcome == "failed"
    assert "was not told" in run.warnings[0]
    monkeypatch.undo()
    monkeypatch.setenv("XDG_STATE_HOME", str(place.path / "state"))
    place.look()
    assert place.told() == [(ALARM, "failed")]


def test_a_recipient_that_never_answers_is_given_up(place, monkeypatch):
    from dumpty_plugins import command

    released = threading.Event()
    notifier = type(command.open_notifier(url=place.address(), secret=""))
    monkeypatch.setattr(notifier, "send", lambda self, message: released.wait(60))
    monkeypatch.setattr(notifying, "_SECONDS", 0.3)
    place.configure()
    (place.path / "shop.db").rename(place.path / "away.db")
    try:
        assert "it gave no answer within" in place.run().warnings[0]
    finally:
        released.set()


def test_an_address_that_cannot_be_read_fails_no_backup(place, monkeypatch):
    place.configure(notify='["env:NOTIFY_URL"]')
    (place.path / "shop.db").rename(place.path / "away.db")
    run = place.run()
    assert "there is no database file" in run.error
    assert "the environment has no variable 'NOTIFY_URL'" in run.warnings[0]
    monkeypatch.setenv("NOTIFY_URL", place.address())
    place.look()
    assert place.told() == [(ALARM, "failed")]


def test_nothing_that_is_told_or_noted_holds_a_secret(place, monkeypatch):
    source = "postgresql://backup:hunter2-secret@127.0.0.1:9/shop"
    place.configure([source])
    run = place.run()
    assert run.outcome == "failed"
    text = (place.path / "told").read_text()
    assert "127.0.0.1" in text
    everything = [text, *place.lines, repr(run)]
    everything += [path.read_text() for path in (place.path / "backups").rglob("*") if path.is_file()]
    assert not [each for each in everything if "hunter2" in each]


def test_a_message_that_may_be_sent_again_has_the_same_id(place, monkeypatch):
    """Whoever was killed before it was noted: the recipient can tell that it is the same."""
    place.configure()
    (place.path / "shop.db").rename(place.path / "away.db")
    note = notebook.Notebook.note
    monkeypatch.setattr(notebook.Notebook, "note", lambda *_: None)
    place.run()
    monkeypatch.setattr(notebook.Notebook, "note", note)
    place.look()
    place.look()
    first, second = place.messages()
    assert first["id"] == second["id"]
    place.look(25 * HOUR)
    [reminder] = place.messages()
    assert reminder["id"] != first["id"]


def test_who_is_not_to_be_reminded_is_not(place):
    place.configure(remind='"never"')
    (place.path / "shop.db").rename(place.path / "away.db")
    place.run()
    place.look(4000 * DAY)
    assert place.told() == [(ALARM, "failed")]


def test_a_long_list_is_cut_where_it_is_spelled_out(place):
    names = [f"d{number:03}" for number in range(60)]
    place.configure([place.url(name) for name in names])
    place.run()
    [message] = place.messages()
    assert len(message["notices"]) == 60
    assert "and 40 more: dumpty check shop" in message["body"]


def test_jobs_that_tell_nobody_are_not_looked_at(place, monkeypatch):
    place.configure(notify=None)
    monkeypatch.setattr(watch.Views, "health", lambda *_: pytest.fail("it was looked at"))
    assert place.look(400 * DAY) == []


# -- what nobody knows is neither over nor new ---------------------------------------------------------------------


def write_run(place, slot, *, ended=None, **facts):
    """Write down that a run ended."""
    now = datetime.now(UTC)
    run = JobRun(job="shop", slot=slot, started=ended or now, ended=ended or now, **facts)
    with place.manager.claim_run("shop", slot) as claim:
        assert claim.finish(encode(run))


def slot(when):
    return f"{when:%Y%m%dT%H%M%SZ}-hand-{when.microsecond:08x}"


def test_a_run_that_came_to_nothing_ends_no_alarm(place, monkeypatch):
    """It failed before it knew its databases, or what a proof would say: that is no evidence that all is well."""
    place.database("a")
    place.configure([place.url(), place.url("a")])
    place.run()
    (place.path / "a.db").rename(place.path / "away.db")
    place.run()
    assert place.told() == [(ALARM, "failed")]
    monkeypatch.setattr("dumpty.jobs.job_run.find_databases", lambda *_: (_ for _ in ()).throw(StoreError("no")))
    place.run()
    [message] = place.messages()
    assert [(n["event"], n["kind"], n["subject"]) for n in message["notices"]] == [(ALARM, "failed", "")]
    monkeypatch.undo()
    monkeypatch.setenv("XDG_STATE_HOME", str(place.path / "state"))
    place.run()
    assert place.told() == [(RECOVERY, "failed")]  # of the job; the database still fails
    (place.path / "away.db").rename(place.path / "a.db")
    place.run()
    assert place.told() == [(RECOVERY, "failed")]


def test_a_proof_that_failed_or_was_not_possible_stays_so_until_another_one_says_more(place):
    place.configure()
    place.run()
    [backup] = place.manager.list_backups()
    made = DatabaseRun(
        source=place.url(),
        database="shop",
        ok=True,
        started=backup.timestamp,
        duration_seconds=1.0,
        attempts=1,
        backup=backup.id,
        identity=backup.source,
    )
    drills = [DrillRun(backup=backup.id, database="shop", level="restore", ok=ok, error="no") for ok in (None, False)]
    for drill, kind in zip(drills, ("not-proved", "damaged"), strict=True):
        write_run(place, slot(datetime.now(UTC)), outcome="failed", databases=(made,), drills=(drill,), error="no")
        place.look()
        assert (ALARM, kind) in place.told()
        write_run(place, slot(datetime.now(UTC)), outcome="failed", databases=(made,), error="no")
        place.look()
        assert (RECOVERY, kind) not in place.told()
    assert place.manager.prove(backup.id, level="digest").ok
    place.look()
    assert (RECOVERY, "damaged") in place.told()


def test_what_is_of_the_future_silences_nothing_and_is_told(place):
    place.configure(max_age='"26h"')
    place.run()
    later = datetime.now(UTC) + 365 * DAY
    write_run(place, slot(later), ended=later, outcome="ok")
    place.look()
    assert place.told() == [(ALARM, "warning")]
    (place.path / "shop.db").unlink()
    place.run()
    assert place.told() == [(ALARM, "failed")]
    place.look(27 * HOUR)
    assert (ALARM, "overdue") in place.told()


def test_a_backup_of_the_future_is_no_good_one(place):
    """The clock was ahead when it was made, and is right again: seen from here, by 100 days."""
    place.configure(max_age='"26h"')
    place.run()
    place.look(-100 * DAY)
    told = place.told()
    assert (ALARM, "warning") in told
    assert (ALARM, "overdue") in told


@pytest.mark.parametrize("ends", [True, False])
def test_a_run_that_goes_on_is_waited_for_a_little_and_not_for_ever(place, ends):
    """One that hangs, or that is killed and begun again all day, is overdue in the end."""
    place.configure(max_age='"24h"')
    place.run()
    with place.manager.claim_run("shop", slot(datetime.now(UTC))):
        place.look(25 * HOUR)
        assert place.told() == []
        if not ends:
            place.look(31 * HOUR)
            assert place.told() == [(ALARM, "overdue")]
    if ends:
        place.run()
        place.look()
        assert place.told() == []


def test_a_database_of_which_nothing_is_left_is_told_also_where_no_age_is_asked_for(place):
    place.configure()
    place.run()
    [backup] = place.manager.list_backups()
    place.manager.remove(backup.id)
    place.look()
    [message] = place.messages()
    assert [(n["kind"], n["subject"]) for n in message["notices"]] == [("damaged", place.url())]
    place.run()
    assert place.told() == [(RECOVERY, "damaged")]


def test_an_error_of_a_store_that_says_too_much_is_told_without_its_secrets(place, monkeypatch):
    place.configure()
    place.run()
    place.configure(repository=None)
    text = (place.path / "dumpty.toml").read_text().replace(f"{place.path}/backups", "sftp://u:S3CRETPW@127.0.0.1:9/x")
    (place.path / "dumpty.toml").write_text(text)
    place.watch = Watch(lambda _: None, datetime.now(UTC) - 400 * DAY)
    place.configuration = load(str(place.path / "dumpty.toml"))

    def talkative(self, written):
        self._remember(["S3CRETPW"])
        raise StoreError(f"{written}: refused")

    monkeypatch.setattr(views.Views, "opened", talkative)
    place.look()
    text = (place.path / "told").read_text()
    assert "sftp://u:***@127.0.0.1:9/x: refused" in text
    noted = [path.read_text() for path in (place.path / "state").rglob("*") if path.is_file()]
    assert noted
    assert not [each for each in (text, *noted) if "S3CRETPW" in each]


def test_a_repository_that_hangs_is_told_and_keeps_no_other_job_from_being_looked_at(place, monkeypatch):
    place.configure()
    place.run()
    released = threading.Event()
    monkeypatch.setattr(views.Views, "health", lambda *_: released.wait(60))
    monkeypatch.setattr(watch, "_MOST_SECONDS", 3.0)  # the telling's, too
    monkeypatch.setattr(watch, "_TELLING_SECONDS", 0.0)
    try:
        [problem] = place.look()
        assert "there is no answer" in problem
        assert place.told() == [(ALARM, "unreachable")]
    finally:
        released.set()


def test_what_cannot_be_noted_again_where_it_was_is_over_once(place, monkeypatch):
    """The repository knows of an alarm, and takes no further note: its end is told once all the same."""
    place.configure()
    (place.path / "shop.db").rename(place.path / "away.db")
    place.run()
    (place.path / "away.db").rename(place.path / "shop.db")
    place.told()

    def refuse(*_):
        raise StoreError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("dumpty.repository.protocol.alarms.Telling.finish", refuse)
        place.run()
        for _ in range(3):
            place.look()
        assert place.told() == [(RECOVERY, "failed")]
    for _ in range(2):
        place.look()
    assert place.told() == []


def test_who_may_only_read_knows_what_the_repository_does(place, monkeypatch):
    place.database("a")
    place.configure([place.url(), place.url("a")])
    place.run()
    (place.path / "shop.db").rename(place.path / "away.db")
    place.run()
    place.told()

    def refuse(*_):
        raise NotPermitted("these rights are to read")

    monkeypatch.setattr(BackupManager, "claim_telling", refuse)
    (place.path / "a.db").unlink()
    place.watch, watching = Silent(), place.watch
    place.run()
    place.watch = watching
    place.look()
    [message] = place.messages()
    assert [(n["event"], n["subject"]) for n in message["notices"]] == [(ALARM, place.url("a"))]


def test_whoever_runs_what_is_another_machines_is_told_so(place, monkeypatch):
    """The files of one machine are not those of another: what that one did is none of this one's backups."""
    place.configure(schedule='"0 0 1 1 *"')
    due = plan([place.job], datetime.now(UTC), due_only=True)
    listener = Listener(place.lines.append, lambda _: None, lambda _: None)
    for host, expected in (("one", []), ("another", [(ALARM, "unrecorded")])):
        monkeypatch.setattr("dumpty.jobs.job_run.socket.gethostname", lambda host=host: host)
        Runner(place.configuration.limits, listener, place.configuration.written, place.watch).run(due)
        assert place.told() == expected
    assert "whose files are not those of another" in place.lines[-1]


def test_a_dead_recipient_is_waited_for_once_and_not_for_each_job(place, monkeypatch):
    from dumpty_plugins import command

    asked = []
    notifier = type(command.open_notifier(url=place.address(), secret=""))

    def hang(self, message):
        asked.append(message.title)
        raise NotificationError("no answer")

    monkeypatch.setattr(notifier, "send", hang)
    monkeypatch.setattr(notifying, "_PATIENCE_SECONDS", -1.0)
    place.configure()
    (place.path / "shop.db").unlink()
    for _ in range(3):
        assert place.run().outcome == "failed"
    assert len(asked) == 1


def test_each_reminder_has_an_id_of_its_own(place):
    place.configure(remind='"1h"')
    (place.path / "shop.db").unlink()
    place.run()
    for hours in (2, 4, 6):
        place.look(hours * HOUR)
    messages = place.messages()
    assert len(messages) == 4
    assert len({message["id"] for message in messages}) == 4


def test_what_was_noted_here_by_a_clock_that_was_ahead_counts_no_longer_than_it_must(place, monkeypatch):
    place.configure(max_age='"26h"')
    place.run()

    def refuse(*_):
        raise NotPermitted("these rights are to read")

    with monkeypatch.context() as patch:
        patch.setattr(BackupManager, "claim_telling", refuse)
        place.look(300 * DAY)
    assert place.told() == [(ALARM, "overdue")]
    (place.path / "shop.db").unlink()
    for _ in range(2):
        place.run()
    assert sorted(place.told()) == [(ALARM, "failed"), (RECOVERY, "overdue")]


def drilled(place, ok, backup_id, database="shop"):
    return DrillRun(backup=backup_id, database=database, level="restore", ok=ok, error="no")


def made(backup, source):
    return DatabaseRun(
        source=source,
        database=backup.database_name,
        ok=True,
        started=backup.timestamp,
        duration_seconds=1.0,
        attempts=1,
        backup=backup.id,
        identity=backup.source,
    )


def test_a_failed_proof_of_a_backup_that_is_older_than_the_job_is_told(place):
    place.configure()
    older = place.manager.create_backup(place.url()).raise_for_error()
    place.run()
    with open(older.file_path, "r+b") as file:
        file.truncate(older.size_bytes - 9)
    place.look()
    assert place.told() == [(ALARM, "damaged")]
    newest = place.manager.list_backups()[-1]
    drill = drilled(place, False, "ffffffff-0000-0000-0000-000000000000")
    write_run(
        place,
        slot(datetime.now(UTC)),
        outcome="failed",
        databases=(made(newest, place.url()),),
        drills=(drill,),
        error="a drill failed: no",
    )
    place.look()
    assert place.told() == [(ALARM, "failed")]  # of a backup that nobody knows: the run failed all the same


def test_what_cannot_be_proved_for_weeks_is_one_thing(place):
    place.configure()
    for _ in range(8):
        place.run()
        newest = place.manager.list_backups()[-1]
        write_run(
            place,
            slot(datetime.now(UTC)),
            outcome="attention",
            databases=(made(newest, place.url()),),
            drills=(drilled(place, None, newest.id),),
        )
        place.look()
    assert place.told() == [(ALARM, "not-proved")]


def test_warnings_of_several_databases_are_several(place):
    names = [f"tenant_{number}" for number in (1, 2)]
    for name in names:
        place.database(name)
    place.configure([f"sqlite:///{place.path}/*.db"])
    place.run()
    for name in names:
        (place.path / f"{name}.db").unlink()
        place.run()
        [message] = place.messages()
        assert name in message["body"]


def test_copies_that_are_asked_for_only_since_are_missing_after_the_next_run(place):
    place.configure()
    place.run()
    place.configure(copies=json.dumps([f"{place.path}/vault"]))
    place.watch.known_since = datetime.now(UTC)
    place.look()
    assert place.told() == []
    (place.path / "vault").write_text("a file in its place")
    place.run()
    assert place.told() == [(ALARM, "copy-missing")]


def test_a_new_database_whose_first_backup_fails_is_not_overdue_at_once(place):
    place.configure([place.url(), place.url("new")], max_age='"26h"')
    place.database("new")
    (place.path / "new.db").write_bytes(b"no database at all, but a file of some bytes" * 100)
    place.run()
    assert place.told() == [(ALARM, "failed")]
    place.look(27 * HOUR)
    assert (ALARM, "overdue") in place.told()


def test_copies_that_hang_hide_nothing_else(place, monkeypatch):
    place.configure(copies=json.dumps([f"{place.path}/vault"]))
    place.run()
    (place.path / "shop.db").unlink()
    place.watch, watching = Silent(), place.watch
    place.run()
    place.watch = watching
    listed, released = views.Views.listed, threading.Event()

    def hang(self, written):
        if written.endswith("vault"):
            released.wait(60)
        return listed(self, written)

    monkeypatch.setattr(views.Views, "listed", hang)
    monkeypatch.setattr(views, "_MOST_SECONDS", 0.3)
    try:
        place.look()
    finally:
        released.set()
    assert sorted(place.told()) == [(ALARM, "copy-missing"), (ALARM, "failed")]


def test_what_was_read_for_one_job_is_no_other_jobs_to_tell(place, monkeypatch):
    """Of several jobs that are looked at together each may show what only the first one read."""
    place.configure()
    text = (place.path / "dumpty.toml").read_text()
    (place.path / "dumpty.toml").write_text(text + text.replace("[jobs.shop]", "[jobs.other]"))
    jobs = load(str(place.path / "dumpty.toml")).jobs
    read = []

    def talkative(self, job, *_):
        if not read:
            self._remember(["S3CRETPW"])
            read.append(job)
        raise StoreError("sftp://u:S3CRETPW@h/x: refused")

    monkeypatch.setattr(views.Views, "health", talkative)
    place.watch.look(jobs, datetime.now(UTC))
    text = (place.path / "told").read_text()
    assert len(text.splitlines()) == 2
    assert "S3CRETPW" not in text


def test_a_name_that_is_no_text_is_told_once(place):
    name = os.fsdecode(b"caf\xe9")
    place.configure([f"sqlite:///{place.path}/{os.fsencode(name).decode('latin1')}.db"])
    run = JobRun(
        job="shop",
        slot="x",
        outcome="failed",
        started=datetime.now(UTC),
        ended=datetime.now(UTC),
        error=f"cannot write {name}",
    )
    for _ in range(2):
        assert place.watch.look([place.job], datetime.now(UTC), ended=True, unrecorded=run) == []
    assert (ALARM, "unrecorded") in place.told()
