"""``dumpty run`` and ``runs``: jobs side by side, each with what follows, and every outcome written down."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest

from dumpty import BackupManager, hookimpl
from dumpty.repository.protocol.layout import TOMBSTONE

EVERY_YEAR = '"0 0 1 1 *"'


@pytest.fixture
def configure(tmp_path):
    """Write a configuration whose repository is ``backups``; returns its path."""

    def configure(jobs, defaults="", run=""):
        path = tmp_path / "dumpty.toml"
        limits = f"[run]\n{run}\n" if run else ""
        path.write_text(
            f'{limits}[defaults]\nrepository = "{tmp_path}/backups"\nretry_wait = "0s"\n{defaults}\n{jobs}\n'
        )
        path.chmod(0o600)
        return path

    return configure


@pytest.fixture
def database(tmp_path):
    """Make a database of some rows; returns its URL."""

    def database(name, rows=3):
        path = tmp_path / f"{name}.db"
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, what TEXT)")
            connection.executemany("INSERT INTO orders (what) VALUES (?)", [("egg",)] * rows)
            connection.commit()
        return f"sqlite:///{path}"

    return database


def job(name, *sources, **keys):
    lines = [f"[jobs.{name}]", f"source = {json.dumps(list(sources))}", *(f"{k} = {v}" for k, v in keys.items())]
    return "\n".join(lines) + "\n"


def outcomes(result):
    return {run["job"]: run["outcome"] for run in result.json["jobs"]}


def backups(tmp_path, repository="backups"):
    return BackupManager(tmp_path / repository).list_backups()


# -- what it does ------------------------------------------------------------------------------------------------


def test_every_database_of_every_job_is_backed_up_and_told(dumpty, configure, database, tmp_path):
    configure(job("shops", database("a"), database("b", 5), tags='["prod", "shops"]') + job("phones", database("c")))
    result = dumpty("run", "--json")
    assert result.status == 0
    assert outcomes(result) == {"shops": "ok", "phones": "ok"}
    [shops, _] = result.json["jobs"]
    assert [(d["database"], d["ok"], d["rows"], d["attempts"]) for d in shops["databases"]] == [
        ("a", True, 3, 1),
        ("b", True, 5, 1),
    ]
    assert {b.id for b in backups(tmp_path)} == {d["backup"] for run in result.json["jobs"] for d in run["databases"]}
    tags = {b.database_name: b.tags for b in backups(tmp_path)}
    here = f"host={socket.gethostname()}"
    shops_tags = ("prod", "shops", "job=shops", here)
    assert tags == {"a": shops_tags, "b": shops_tags, "c": ("job=phones", here)}
    assert {b.format for b in backups(tmp_path)} == {"native"}


def test_the_table_has_a_row_for_each_job(dumpty, configure, database):
    configure(job("shop", database("shop")) + job("gone", "sqlite:////nowhere/at/all.db"))
    result = dumpty("run")
    assert result.status == 1
    rows = [line.split() for line in result.out.splitlines()]
    assert rows[1][:5] == ["shop", "ok", "1", "of", "1"]
    assert rows[2][:5] == ["gone", "FAILED", "0", "of", "1"]
    assert "1 of 2 jobs failed, the first: gone: there is no database file /nowhere/at/all.db" in result.err


def test_the_failure_of_one_stops_no_other(dumpty, configure, database, tmp_path):
    gone = "sqlite:////nowhere/at/all.db"
    configure(
        job("half", gone, database("good"))
        + job("secret", "env:NOT_SET")
        + job("unknown", "nosuch://server/db")
        + job("unreachable", database("x"), repository='"s3://bucket/prefix?endpoint=http://127.0.0.1:1&retries=0"')
        + job("fine", database("fine"))
    )
    result = dumpty("run", "--json")
    assert result.status == 1
    assert outcomes(result) == {
        "half": "failed",
        "secret": "failed",
        "unknown": "failed",
        "unreachable": "failed",
        "fine": "ok",
    }
    errors = {run["job"]: run["error"] for run in result.json["jobs"]}
    assert errors["half"].startswith("1 of 2 databases failed, the first: all.db: there is no database file")
    assert errors["secret"] == "the environment has no variable 'NOT_SET' to take the database URL from"
    assert "no driver answers the scheme 'nosuch'" in errors["unknown"]
    assert {b.database_name for b in backups(tmp_path)} == {"good", "fine"}


def test_only_the_jobs_that_are_named_are_run(dumpty, configure, database):
    configure(job("a", database("a")) + job("b", database("b")))
    assert outcomes(dumpty("run", "b", "--json")) == {"b": "ok"}
    result = dumpty("run", "bb")
    assert result.status == 2
    assert "has no job 'bb'; did you mean 'b'?" in result.err


def test_without_a_configuration_it_says_how_to_begin(dumpty, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    result = dumpty("run")
    assert result.status == 2
    assert "dumpty config init writes one" in result.err


# -- again, and in time --------------------------------------------------------------------------------------------


class Flaky:
    """A driver that fails so many times before it gives in."""

    def __init__(self, failures, error):
        self.failures, self.error, self.asked = failures, error, 0

    @hookimpl
    def describe(self):
        from dumpty import Format, PluginInfo

        return PluginInfo(kind="driver", schemes=("flaky",), formats=(Format(name="sql", suffix=".sql"),))

    @hookimpl
    def backup(self, sink):
        from dumpty import Evidence

        self.asked += 1
        if self.asked <= self.failures and callable(self.error):
            self.error()
        elif self.asked <= self.failures:
            raise self.error
        sink.write(b"whole")
        return Evidence()


@pytest.fixture
def flaky(monkeypatch):
    def install(failures, error):
        driver = Flaky(failures, error)
        from dumpty.registry import host

        replaced = host.Host((driver,))
        for module in ("dumpty.backup_manager", "dumpty.jobs.database_run", "dumpty.jobs.finding"):
            monkeypatch.setattr(f"{module}.default_host", lambda: replaced)
        return driver

    return install


def test_what_may_pass_is_tried_again(dumpty, configure, flaky):
    from dumpty import SourceError

    driver = flaky(2, SourceError("the server is away"))
    configure(job("far", "flaky://server/db"))
    result = dumpty("run", "--json")
    assert (result.status, driver.asked) == (0, 3)
    assert result.json["jobs"][0]["databases"][0]["attempts"] == 3
    assert "the server is away; tried again in 0 s, 1 of 2 times" in result.err


def test_what_still_fails_in_the_end_has_failed(dumpty, configure, flaky):
    from dumpty import SourceError

    driver = flaky(99, SourceError("the server is away"))
    configure(job("far", "flaky://server/db", retries=3))
    assert (dumpty("run").status, driver.asked) == (1, 4)


def test_what_cannot_pass_is_not_tried_again(dumpty, configure, flaky):
    from dumpty import IntegrityError, OptionError

    for error in (OptionError("no such thing"), IntegrityError("rows are missing"), ValueError("a bug")):
        driver = flaky(99, error)
        configure(job("far", "flaky://server/db"))
        assert (dumpty("run").status, driver.asked) == (1, 1)


def test_a_job_ends_at_its_deadline(dumpty, configure, flaky, tmp_path):
    from dumpty import SourceError

    flaky(99, SourceError("the server is away"))
    # The wait between two attempts is the longest part of it, and ends, too.
    configure(job("far", "flaky://server/db", deadline='"1s"', retry_wait='"1h"'))
    result = dumpty("run", "--json")
    assert (result.status, backups(tmp_path)) == (1, [])
    assert result.json["jobs"][0]["duration_seconds"] < 600


def test_a_backup_that_outlasts_the_deadline_is_ended(dumpty, configure, flaky):
    from dumpty import pause

    flaky(1, lambda: pause(3600))
    configure(job("far", "flaky://server/db", deadline='"1s"'))
    result = dumpty("run", "--json")
    assert result.status == 1
    assert "the deadline of 1s of the job far has passed" in result.json["jobs"][0]["error"]


# -- what follows ----------------------------------------------------------------------------------------------------


def test_copies_are_made_and_kept_by_their_own_rules(dumpty, configure, database, tmp_path):
    copies = f'["{tmp_path}/near", {{ repository = "{tmp_path}/far", keep = "all" }}]'
    configure(job("shop", database("shop"), copies=copies, keep="{ last = 2 }"))
    for _ in range(4):
        assert dumpty("run").status == 0
    assert [len(backups(tmp_path, place)) for place in ("backups", "near", "far")] == [2, 2, 4]


def test_a_copy_that_is_missing_is_told_and_the_backup_stands(dumpty, configure, database, tmp_path):
    (tmp_path / "occupied").write_text("no directory")
    copies = f'["{tmp_path}/occupied", "env:NOT_SET", "{tmp_path}/fine"]'
    configure(job("shop", database("shop"), copies=copies))
    result = dumpty("run", "--json")
    assert (result.status, result.json["error_type"]) == (12, "RunIncomplete")
    [shop] = result.json["jobs"]
    assert (shop["outcome"], [c["ok"] for c in shop["copies"]]) == ("attention", [False, False, True])
    assert "NOT_SET" in shop["copies"][1]["error"]
    assert len(backups(tmp_path)) == len(backups(tmp_path, "fine")) == 1


def test_nothing_is_removed_of_a_database_whose_backup_failed(dumpty, configure, database, tmp_path):
    good, bad = database("good"), database("bad")
    configure(job("both", good, bad, keep="{ last = 1 }"))
    assert dumpty("run").status == 0
    (tmp_path / "bad.db").write_bytes(b"no database, for sure" * 100)
    before = [b.id for b in backups(tmp_path) if b.database_name == "bad"]
    for _ in range(2):
        assert dumpty("run").status == 1
    assert [b.id for b in backups(tmp_path) if b.database_name == "bad"] == before
    assert len([b for b in backups(tmp_path) if b.database_name == "good"]) == 1


def test_only_a_jobs_own_databases_are_pruned(dumpty, configure, database, tmp_path):
    for _ in range(3):
        assert BackupManager(tmp_path / "backups").create_backup(database("other")).success
    configure(job("shop", database("shop"), keep="{ last = 1 }"))
    assert dumpty("run").status == 0
    result = dumpty("run", "--json")
    assert len(result.json["jobs"][0]["removed"]) == 1
    assert [len([b for b in backups(tmp_path) if b.database_name == name]) for name in ("other", "shop")] == [3, 1]


def test_every_backup_is_proven_over_time_and_the_newest_first(dumpty, configure, database, tmp_path):
    url = database("shop")
    for _ in range(2):
        assert BackupManager(tmp_path / "backups").create_backup(url).success
    configure(job("shop", url, drill='"weekly"'))
    proven = [drill["backup"] for drill in dumpty("run", "--json").json["jobs"][0]["drills"]]
    oldest, middle, newest = (b.id for b in backups(tmp_path))
    assert proven == [oldest, newest]
    assert dumpty("run", "--json").json["jobs"][0]["drills"] == []
    configure(job("shop", url, drill='"1s"'))
    time.sleep(1.1)
    drills = dumpty("run", "--json").json["jobs"][0]["drills"]
    assert drills[0]["backup"] == middle


def test_a_new_backup_that_is_not_what_it_should_be_takes_no_older_ones_place(
    dumpty, configure, database, tmp_path, monkeypatch
):
    configure(job("shop", database("shop"), keep="{ last = 1 }", drill='"1s"'))
    assert dumpty("run").status == 0
    [good] = backups(tmp_path)
    time.sleep(1.1)
    real = BackupManager.prove

    def prove(self, backup_id, **options):
        for path in (tmp_path / "backups").glob("shop-*/*.gz"):
            if good.id.replace("-", "")[:12] not in path.name:
                path.write_bytes(path.read_bytes()[:-20] + b"x" * 20)
        return real(self, backup_id, **options)

    monkeypatch.setattr(BackupManager, "prove", prove)
    result = dumpty("run", "--json")
    [shop] = result.json["jobs"]
    assert (result.status, shop["outcome"], [d["ok"] for d in shop["drills"]]) == (1, "failed", [False])
    assert good.id in {b.id for b in backups(tmp_path)}


def test_encrypted_backups_are_drilled_with_the_identity_that_is_named(dumpty, configure, database, tmp_path):
    assert dumpty("keys", "new", "--out", "key.txt").status == 0
    recipient = dumpty("keys", "new", "--out", "other.txt", "--json").json["recipient"]
    recipients = tmp_path / "recipients.txt"
    recipients.write_text(recipient)
    drill = f'{{ every = "weekly", identities = ["file:{tmp_path}/other.txt"] }}'
    configure(job("shop", database("shop"), encrypt_to=f'["file:{recipients}"]', drill=drill))
    result = dumpty("run", "--json")
    assert result.status == 0
    assert [d["ok"] for d in result.json["jobs"][0]["drills"]] == [True]
    assert [b.recipient_kinds for b in backups(tmp_path)] == [("X25519",)]


def test_what_cannot_be_proved_here_is_no_failure_and_no_silence(dumpty, configure, database, tmp_path):
    assert dumpty("keys", "new", "--out", "key.txt").status == 0
    recipient = dumpty("keys", "new", "--out", "other.txt", "--json").json["recipient"]
    drill = f'{{ every = "weekly", identities = ["{tmp_path}/key.txt"] }}'
    configure(job("shop", database("shop"), encrypt_to=f'["{recipient}"]', drill=drill))
    result = dumpty("run", "--json")
    assert (result.status, [d["ok"] for d in result.json["jobs"][0]["drills"]]) == (12, [None])


# -- shrunk --------------------------------------------------------------------------------------------------------


def test_an_emptied_table_takes_no_good_backups_place_until_it_is_accepted(dumpty, configure, database, tmp_path):
    url = database("shop", 500)
    configure(job("shop", url, keep="{ last = 1 }"))
    assert dumpty("run").status == 0
    [good] = backups(tmp_path)
    with contextlib.closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
        connection.execute("DELETE FROM orders")
        connection.commit()
    for _ in range(2):
        result = dumpty("run", "--json")
        assert (result.status, outcomes(result)) == (12, {"shop": "attention"})
        assert "500" in result.json["jobs"][0]["databases"][0]["suspicions"][0]
        assert "dumpty accept" in result.json["warnings"][0]
    assert [b.state for b in backups(tmp_path)] == ["ok", "suspicious", "suspicious"]
    assert dumpty("accept", backups(tmp_path)[-1].id).status == 0
    assert dumpty("run").status == 0
    assert good.id not in {b.id for b in backups(tmp_path)}


@pytest.mark.parametrize("guard", ["false", '{ ignore = ["orders"], rows = 1.0, size = 1.0 }', "{ least_rows = 1000 }"])
def test_the_shrink_guard_is_as_a_job_has_it(dumpty, configure, database, tmp_path, guard):
    configure(job("shop", database("shop", 500), shrink_guard=guard))
    assert dumpty("run").status == 0
    with contextlib.closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
        connection.execute("DELETE FROM orders WHERE id > 100")
        connection.commit()
    assert dumpty("run").status == 0


# -- what must not stop others, or go unseen ---------------------------------------------------------------------------


def test_jobs_remove_no_backups_of_each_other(dumpty, configure, database, tmp_path):
    url = database("shop")
    configure(job("forever", url, keep='"all"') + job("often", url, keep="{ last = 1 }"))
    for _ in range(3):
        assert dumpty("run").status == 0
    made = [tag for backup in backups(tmp_path) for tag in backup.tags]
    assert made.count("job=forever") == 3
    assert made.count("job=often") <= 1


def test_nothing_is_removed_of_a_path_that_another_machine_backs_up_there_too(dumpty, configure, database, tmp_path):
    url = database("shop")
    for _ in range(2):
        other = BackupManager(tmp_path / "vault").create_backup(url, tags=["job=shop", "host=db2"])
        assert other.success
    configure(job("shop", url, copies=f'["{tmp_path}/vault"]', keep="{ last = 1 }"))
    for _ in range(2):
        result = dumpty("run", "--json")
        assert (result.status, outcomes(result)) == (12, {"shop": "attention"})
        assert "has backups of the same paths of another machine" in result.json["jobs"][0]["warnings"][0]
    assert len(backups(tmp_path)) == 1
    assert len(backups(tmp_path, "vault")) == 4


def test_a_copy_that_was_missed_is_made_up_for(dumpty, configure, database, tmp_path):
    (tmp_path / "vault").write_text("in the way")
    configure(job("shop", database("shop"), copies=f'["{tmp_path}/vault"]', keep="{ last = 3 }"))
    for _ in range(2):
        assert dumpty("run").status == 12
    (tmp_path / "vault").unlink()
    assert dumpty("run").status == 0
    assert len(backups(tmp_path, "vault")) == 3
    result = dumpty("run", "--json")
    assert (len(result.json["jobs"][0]["copies"]), len(backups(tmp_path, "vault"))) == (1, 3)


def test_what_the_deadline_left_undone_is_a_failure(dumpty, configure, database, tmp_path, monkeypatch):
    from dumpty.jobs.upkeep import Upkeep

    real = Upkeep.run
    monkeypatch.setattr(Upkeep, "run", lambda self: (self._stop.wait(60), real(self)))
    configure(job("shop", database("shop"), deadline='"5s"', keep="{ last = 1 }"))
    result = dumpty("run", "--json")
    assert (result.status, outcomes(result), len(backups(tmp_path))) == (1, {"shop": "failed"}, 1)
    assert "the deadline of 5s of the job shop has passed: the backups are made" in result.json["jobs"][0]["error"]


def test_a_secret_that_takes_too_long_is_given_up_at_the_deadline(dumpty, configure, database):
    configure(job("shop", "cmd:sleep 600", deadline='"1s"', retries=0) + job("fine", database("fine")))
    result = dumpty("run", "--json")
    assert outcomes(result) == {"shop": "failed", "fine": "ok"}
    assert "the deadline of 1s of the job shop has passed" in result.json["jobs"][0]["error"]


def test_what_may_pass_before_the_first_backup_is_tried_again(dumpty, configure, database, tmp_path):
    program = tmp_path / "secret"
    program.write_text(f"#!/bin/sh\ntest -e {tmp_path}/tried && echo {database('shop')} || ! touch {tmp_path}/tried\n")
    program.chmod(0o755)
    configure(job("shop", f"cmd:{program}"))
    result = dumpty("run")
    assert result.status == 0
    assert "tried again in 0 s, 1 of 2 times" in result.err


@pytest.mark.parametrize("content", [b"\xff\xfe", b'{"x":' + b"[" * 200_000, b"nonsense", b""])
def test_a_hostile_result_stops_no_run(dumpty, configure, database, tmp_path, content):
    database("shop")
    configure(job("shop", f"sqlite:///{tmp_path}/*.db") + job("fine", database("fine")))
    assert dumpty("run").status == 0
    for path in (tmp_path / "backups" / ".runs" / "shop").iterdir():
        path.write_bytes(b"{}\n" + content)
    assert outcomes(dumpty("run", "--json")) == {"shop": "ok", "fine": "ok"}
    assert len(dumpty("runs", "shop", "--json").json["warnings"]) == 1


def test_a_result_of_no_sensible_size_is_not_read(dumpty, configure, database, tmp_path):
    configure(job("shop", database("shop")))
    assert dumpty("run").status == 0
    [path] = (tmp_path / "backups" / ".runs" / "shop").iterdir()
    os.truncate(path, 10 * 1024**3)
    result = dumpty("runs")
    assert result.status == 1
    assert "more than a run writes down" in result.err


def test_a_file_whose_name_is_no_text_fails_or_not_alone(program, configure, database, tmp_path):
    """In a process of its own: what pytest captures of this one must be text."""
    database("fine")
    with open(os.fsencode(tmp_path) + b"/x\xff.db", "wb") as stream:
        stream.write(b"no database" * 1000)
    configure(job("phones", f"sqlite:///{tmp_path}/*.db") + job("other", database("other")))
    result = program("run", "--json")
    assert outcomes(result) == {"phones": "failed", "other": "ok"}
    assert sorted(d["ok"] for d in result.json["jobs"][0]["databases"]) == [False, True, True]
    assert program("runs", "phones", "--json").json["runs"][0]["result"]["outcome"] == "failed"


def test_a_bug_in_one_job_stops_no_other(dumpty, configure, database, monkeypatch):
    from dumpty.jobs import job_run

    def find_databases(chosen, remember):
        if chosen.name == "odd":
            raise ZeroDivisionError("in a plugin")
        return real(chosen, remember)

    real = job_run.find_databases
    monkeypatch.setattr(job_run, "find_databases", find_databases)
    configure(job("odd", database("odd")) + job("fine", database("fine")))
    result = dumpty("run", "--json")
    assert (result.status, outcomes(result)) == (1, {"odd": "failed", "fine": "ok"})
    assert (
        result.json["jobs"][0]["error"]
        == "unexpected ZeroDivisionError: in a plugin; this is a bug in dumpty or in a plugin"
    )


def test_what_the_search_for_databases_warns_of_is_part_of_the_outcome(dumpty, configure, database, tmp_path):
    database("shop")
    configure(job("phones", f"sqlite:///{tmp_path}/*.db", include='["shop.db", "shp2.db"]'))
    result = dumpty("run", "--json")
    assert (result.status, outcomes(result)) == (12, {"phones": "attention"})
    assert "shp2.db" in result.json["jobs"][0]["warnings"][0]


def test_a_claim_from_the_future_blocks_nobody(dumpty, configure, database, tmp_path):
    configure(job("shop", database("shop"), schedule=EVERY_YEAR))
    assert dumpty("run").status == 0
    folder = tmp_path / "backups" / ".runs" / "shop"
    claim = folder / f"{datetime.now(UTC).year}0101T000000Z.claim-1"
    claim.write_text("{}")
    os.utime(claim, (2**32, 2**32))
    assert outcomes(dumpty("run", "--due", "--json")) == {"shop": "ok"}


def test_a_run_of_another_machines_files_is_not_taken_for_this_ones(dumpty, configure, database, tmp_path):
    configure(job("shop", database("shop"), schedule=EVERY_YEAR))
    assert dumpty("run", "--due").status == 0
    [path] = (tmp_path / "backups" / ".runs" / "shop").iterdir()
    path.write_text(path.read_text().replace(f'"host":"{socket.gethostname()}","started"', '"host":"db2","started"'))
    result = dumpty("run", "--due", "--json")
    assert (result.status, outcomes(result)) == (12, {"shop": "attention"})
    assert "was run by db2, whose files are not those of" in result.json["jobs"][0]["warnings"][0]


# -- several databases behind one source --------------------------------------------------------------------------


def test_every_file_that_a_pattern_means_is_backed_up_new_ones_too(dumpty, configure, database, tmp_path):
    for name in ("a", "b", "tmp_c"):
        database(name)
    configure(job("phones", f"sqlite:///{tmp_path}/*.db", exclude='["tmp_*"]'))
    assert [d["database"] for d in dumpty("run", "--json").json["jobs"][0]["databases"]] == ["a", "b"]
    database("d")
    assert [d["database"] for d in dumpty("run", "--json").json["jobs"][0]["databases"]] == ["a", "b", "d"]


def test_a_database_that_vanished_is_said_once_and_its_backups_stay(dumpty, configure, database, tmp_path):
    for name in ("a", "b"):
        database(name)
    configure(job("phones", f"sqlite:///{tmp_path}/*.db", keep="{ last = 1 }"))
    assert dumpty("run").status == 0
    os.unlink(tmp_path / "b.db")
    result = dumpty("run", "--json")
    assert (result.status, outcomes(result)) == (12, {"phones": "attention"})
    [warning] = result.json["jobs"][0]["warnings"]
    assert warning.startswith(f"sqlite:///{tmp_path}/b.db is not among the job's databases any more")
    assert dumpty("run").status == 0
    assert [b.database_name for b in backups(tmp_path)].count("b") == 1


def test_a_pattern_that_means_nothing_fails_its_job(dumpty, configure, tmp_path):
    configure(job("phones", f"sqlite:///{tmp_path}/*.sqlite3"))
    result = dumpty("run", "--json")
    assert (result.status, outcomes(result)) == (1, {"phones": "failed"})
    assert "no file matches" in result.json["jobs"][0]["error"]


@pytest.mark.parametrize("key", ["include", "exclude"])
def test_a_choice_among_one_database_has_no_sense(dumpty, configure, database, key):
    configure(job("shop", database("shop"), **{key: '["s*"]'}))
    result = dumpty("run")
    assert result.status == 1
    assert "include and exclude choose among several" in result.err


def test_a_relative_path_is_refused(dumpty, configure, database):
    database("shop")
    configure(job("shop", "sqlite:///shop.db"))
    result = dumpty("run")
    assert result.status == 1
    assert "is another file wherever dumpty is called from" in result.err


# -- once, anywhere --------------------------------------------------------------------------------------------------


def test_what_is_due_is_run_once(dumpty, configure, database, tmp_path):
    configure(job("shop", database("shop"), schedule=EVERY_YEAR) + job("by-hand", database("hand")))
    assert outcomes(dumpty("run", "--due", "--json")) == {"shop": "ok"}
    again = dumpty("run", "--due", "--json")
    assert (again.status, outcomes(again)) == (0, {"shop": "skipped"})
    assert [b.database_name for b in backups(tmp_path)] == ["shop"]


def test_a_slot_whose_run_failed_is_not_run_again_and_again(dumpty, configure):
    configure(job("gone", "sqlite:////nowhere/at/all.db", schedule=EVERY_YEAR))
    assert dumpty("run", "--due").status == 1
    assert outcomes(dumpty("run", "--due", "--json")) == {"gone": "skipped"}


@pytest.fixture
def slow(configure, database, tmp_path):
    """A job of many databases, and a process that is in the middle of it."""
    sources = [database(f"db{number}") for number in range(60)]
    configure(job("slow", *sources, schedule=EVERY_YEAR), run="parallel = 1")
    processes = []

    def start(*argv):
        process = subprocess.Popen(
            [sys.executable, "-m", "dumpty", "run", *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        processes.append(process)
        deadline = time.monotonic() + 60
        while len(list((tmp_path / "backups").glob("db*/*.manifest.json"))) < 3:
            assert time.monotonic() < deadline, process.communicate(timeout=1)
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGSTOP)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_a_job_never_runs_twice_at_once(dumpty, slow):
    process = slow()
    result = dumpty("run", "slow")
    assert result.status == 11
    assert f"another run of the job slow is going on on {socket.gethostname()}" in result.err
    assert outcomes(dumpty("run", "--due", "--json")) == {"slow": "skipped"}
    assert f"running on {socket.gethostname()}" in dumpty("runs").out
    os.kill(process.pid, signal.SIGCONT)
    assert process.wait(120) == 0


def test_a_killed_run_is_run_again_and_counts_once(dumpty, slow, tmp_path):
    process = slow("--due")
    process.kill()
    process.wait(60)
    assert [run["result"] for run in dumpty("runs", "--json").json["runs"]] == [None]
    assert "no result" in dumpty("runs").out
    made = {b.id for b in backups(tmp_path)}
    result = dumpty("run", "--due", "--json")
    assert outcomes(result) == {"slow": "ok"}
    assert {b.id for b in backups(tmp_path)} == {d["backup"] for d in result.json["jobs"][0]["databases"]} > made
    manifests = (path.stat().st_size for path in (tmp_path / "backups").glob("db*/*.manifest.json"))
    assert sum(size != len(TOMBSTONE) for size in manifests) == 60  # none twice
    assert outcomes(dumpty("run", "--due", "--json")) == {"slow": "skipped"}
    assert len(dumpty("runs", "--json").json["runs"]) == 1


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_an_interrupted_run_is_given_back(dumpty, slow, number, status):
    process = slow("--due")
    os.kill(process.pid, number)
    os.kill(process.pid, signal.SIGCONT)
    assert process.wait(60) == status
    assert dumpty("runs", "--json").json["runs"] == []
    assert outcomes(dumpty("run", "--due", "--json")) == {"slow": "ok"}


@pytest.fixture
def ended_before_it_is_written_down(configure, database, dumpty, monkeypatch):
    """End a run of what is due when all is backed up: whoever comes next is to go on with it."""

    def end(**keys):
        configure(job("shop", database("shop"), schedule=EVERY_YEAR, **keys))

        def interrupt(self):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("dumpty.jobs.job_run.ActiveJob.finish", interrupt)
            assert dumpty("run", "--due").status == 130

    return end


def test_what_an_ended_run_has_backed_up_is_not_backed_up_again(dumpty, tmp_path, ended_before_it_is_written_down):
    ended_before_it_is_written_down()
    [made] = backups(tmp_path)
    result = dumpty("run", "--due", "--json")
    assert [database["backup"] for database in result.json["jobs"][0]["databases"]] == [made.id]
    assert [b.id for b in backups(tmp_path)] == [made.id]


def test_what_was_backed_up_in_another_way_is_backed_up_again(
    dumpty, configure, database, tmp_path, ended_before_it_is_written_down
):
    ended_before_it_is_written_down()
    configure(job("shop", database("shop"), schedule=EVERY_YEAR, compressor='"none"'))
    assert outcomes(dumpty("run", "--due", "--json")) == {"shop": "ok"}
    assert [b.stages for b in backups(tmp_path)] == [("gzip",), ()]


def test_another_machines_file_is_not_taken_for_ones_own(
    dumpty, database, tmp_path, monkeypatch, ended_before_it_is_written_down
):
    ended_before_it_is_written_down()
    database("shop", rows=5)
    monkeypatch.setattr(socket, "gethostname", lambda: "another")
    result = dumpty("run", "--due", "--json")
    assert [database["rows"] for database in result.json["jobs"][0]["databases"]] == [8]
    assert [b.rows for b in backups(tmp_path)] == [3, 8]


def test_a_run_by_hand_that_is_interrupted_says_how_to_go_on(dumpty, configure, database, tmp_path, monkeypatch):
    configure(job("shop", database("shop")))

    def interrupt(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("dumpty.jobs.job_run.ActiveJob.finish", interrupt)
        result = dumpty("run")
    slot = re.search(r"with --resume (\S+), within a day", result.err)[1]
    [made] = backups(tmp_path)
    [run] = dumpty("run", "--resume", slot, "--json").json["jobs"]
    assert (run["slot"], [database["backup"] for database in run["databases"]]) == (slot, [made.id])
    assert outcomes(dumpty("run", "--resume", slot, "--json")) == {"shop": "skipped"}


def test_of_many_that_look_at_once_one_runs_a_slot(configure, database, tmp_path):
    configure(job("shop", *[database(f"db{number}") for number in range(10)], schedule=EVERY_YEAR))
    command = [sys.executable, "-m", "dumpty", "run", "--due", "--json"]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    replies = [json.loads(process.communicate(timeout=120)[0]) for process in processes]
    assert sorted(reply["jobs"][0]["outcome"] for reply in replies) == ["ok", "skipped", "skipped", "skipped"]
    assert len(backups(tmp_path)) == 10


# -- what is known afterwards ----------------------------------------------------------------------------------------


def test_runs_tells_of_successes_and_failures_the_latest_first(dumpty, configure, database, tmp_path):
    url = database("shop")
    configure(job("shop", url))
    assert dumpty("run").status == 0
    os.unlink(tmp_path / "shop.db")
    time.sleep(1.1)
    assert dumpty("run").status == 1
    failed, done = dumpty("runs", "--json").json["runs"]
    assert (failed["result"]["outcome"], done["result"]["outcome"]) == ("failed", "ok")
    assert failed["result"]["databases"][0]["error_type"] == "MissingFile"
    assert done["result"]["databases"][0]["rows"] == 3
    assert done["host"] == socket.gethostname()
    assert [line.split()[2] for line in dumpty("runs").out.splitlines()] == ["OUTCOME", "FAILED", "ok"]
    assert len(dumpty("runs", "--last", "1", "--json").json["runs"]) == 1


def test_a_damaged_result_hides_no_other(dumpty, configure, database, tmp_path):
    configure(job("shop", database("shop")))
    for _ in range(2):
        assert dumpty("run").status == 0
    damaged = min((tmp_path / "backups" / ".runs" / "shop").iterdir())
    damaged.write_bytes(b"{}\nnonsense")
    result = dumpty("runs", "--json")
    assert result.status == 0
    assert sorted(run["result"] is None for run in result.json["runs"]) == [False, True]
    assert "is damaged" in result.json["warnings"][0]
    assert dumpty("run").status == 0


def test_a_repository_that_cannot_be_read_hides_no_others_runs(dumpty, configure, database, tmp_path):
    configure(job("shop", database("shop")) + job("far", database("far"), repository='"nosuch://place"'))
    assert dumpty("run").status == 1
    result = dumpty("runs", "--json")
    assert (result.status, [run["job"] for run in result.json["runs"]]) == (2, ["shop"])


# -- nothing is shown ------------------------------------------------------------------------------------------------


def test_no_password_is_shown_or_written_down(dumpty, configure, database, tmp_path, monkeypatch):
    monkeypatch.setenv("FAR_URL", "postgresql://backup:s3cr3t-pass@127.0.0.1:1/shop")
    configure(
        job("far", "env:FAR_URL", "mysql://backup:0ther-pass@127.0.0.1:1/shop", retries=0)
        + job("fine", database("fine"))
    )
    shown = [
        dumpty("run"),
        dumpty("run", "--json"),
        dumpty("run", "--dry-run"),
        dumpty("runs"),
        dumpty("config", "show"),
    ]
    everything = "".join(result.out + result.err for result in shown)
    everything += "".join(
        path.read_text(errors="replace") for path in (tmp_path / "backups").rglob("*") if path.is_file()
    )
    assert "s3cr3t-pass" not in everything
    assert "0ther-pass" not in everything
    assert "postgresql://backup:***@127.0.0.1:1/shop" in everything


# -- before ----------------------------------------------------------------------------------------------------------


def test_a_dry_run_tells_what_would_be_done_and_makes_nothing(dumpty, configure, database, tmp_path):
    url = database("shop")
    configure(job("shop", url, schedule=EVERY_YEAR) + job("broken", "env:NOT_SET"))
    result = dumpty("run", "--dry-run", "--json")
    assert (result.status, (tmp_path / "backups").exists()) == (1, False)
    shop, broken = result.json["jobs"]
    assert (shop["databases"], shop["error"], shop["done"]) == ([url], None, False)
    assert "NOT_SET" in broken["error"]
    assert dumpty("run", "shop", "--due").status == 0
    assert dumpty("run", "shop", "--due", "--dry-run", "--json").json["jobs"][0]["done"] is True
