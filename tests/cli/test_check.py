"""``dumpty check`` says whether all is well with jobs, and ``notify test`` whether those can be told who are to be."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from datetime import UTC, datetime, timedelta

import pytest

from dumpty import BackupManager


@pytest.fixture
def later(monkeypatch):
    """Let ``dumpty check`` be called so much later."""

    def later(by):
        class Later(datetime):
            @classmethod
            def now(cls, zone=None):
                return datetime.now(zone) + by

        monkeypatch.setattr("dumpty.cli.commands.check.datetime", Later)

    return later


@pytest.fixture
def recorder(tmp_path):
    """A program that appends what it is told to a file; its address, and what it was told."""
    program = tmp_path / "tell.sh"
    program.write_text(
        f"#!/bin/sh\n[ -e {tmp_path}/dead ] && exit 1\ncat >> {tmp_path}/told; echo >> {tmp_path}/told\n"
    )
    program.chmod(0o700)
    file = tmp_path / "told"

    def told():
        text = file.read_text() if file.exists() else ""
        file.write_text("")
        return [json.loads(line) for line in text.splitlines()]

    told.address = f"command://{program}"
    return told


def empty(tmp_path, name="shop"):
    with contextlib.closing(sqlite3.connect(tmp_path / f"{name}.db")) as connection, connection:
        connection.execute("DELETE FROM t")


def problems(result):
    return [(job["job"], p["kind"], p["subject"]) for job in result.json["jobs"] for p in job["problems"]]


# -- the truth -----------------------------------------------------------------------------------------------------


def test_all_is_well_after_a_run(dumpty, configure, tmp_path):
    dumpty("run")
    result = dumpty("check", "--json")
    assert (result.status, result.err) == (0, "")
    [job] = result.json["jobs"]
    [backup] = BackupManager(tmp_path / "backups").list_backups()
    assert (job["job"], job["running"], job["last_outcome"], job["problems"]) == ("shop", False, "ok", [])
    [database] = job["databases"]
    assert (database["source"], database["backup"], database["overdue"]) == (backup.database_url, backup.id, False)
    assert 0 <= database["age_seconds"] < 600
    table = dumpty("check").out.splitlines()
    assert table[0].split() == ["JOB", "DATABASE", "LAST", "GOOD", "BACKUP", "AGE", "STATE", "LAST", "RUN"]
    assert table[1].split()[0] == "shop"
    assert table[1].split()[-2:] == ["ok", "ok"]


def test_what_was_never_backed_up_is_overdue(dumpty, configure, tmp_path):
    result = dumpty("check", "--json")
    assert (result.status, problems(result)) == (12, [("shop", "overdue", "")])
    assert "there is no repository at" in result.json["error"]
    assert not (tmp_path / "backups").exists()
    BackupManager(tmp_path / "backups")
    result = dumpty("check")
    assert result.status == 12
    assert "shop: OVERDUE: it was never run, 26 h are allowed" in result.out


def test_what_is_too_old_is_overdue_by_the_job_or_by_the_option(dumpty, configure, later):
    dumpty("run")
    later(timedelta(hours=25))
    assert dumpty("check").status == 0
    assert dumpty("check", "--max-age", "24h").status == 12
    later(timedelta(hours=27))
    result = dumpty("check", "shop")
    assert result.status == 12
    assert "OVERDUE" in result.out.splitlines()[1]
    assert "27 h ago, 26 h are allowed" in result.out.splitlines()[2]
    assert result.err.startswith("dumpty: somebody should look: 1 thing to see, the first: shop: OVERDUE (sqlite://")
    assert dumpty("check", "--max-age", "4w").status == 0


def test_each_kind_of_trouble_is_told(dumpty, configure, tmp_path):
    configure(f'copies = ["{tmp_path}/vault"]\n', jobs=("shop", "blog"))
    dumpty("run")
    empty(tmp_path)
    (tmp_path / "blog.db").unlink()
    for backup in BackupManager(tmp_path / "vault").list_backups():
        os.unlink(backup.file_path)
    dumpty("run", "shop")
    dumpty("run", "blog")
    result = dumpty("check", "--json")
    assert result.status == 12
    suspicious = [b.id for b in BackupManager(tmp_path / "backups").list_backups() if b.state == "suspicious"]
    assert problems(result) == [
        ("shop", "suspicious", suspicious[0]),
        ("shop", "copy-missing", f"{tmp_path}/vault"),
        ("blog", "failed", f"sqlite:///{tmp_path}/blog.db"),
        ("blog", "copy-missing", f"{tmp_path}/vault"),
    ]


def test_a_repository_that_cannot_be_looked_at_is_an_error_and_others_are_told(dumpty, configure, tmp_path):
    configure("", jobs=("shop", "blog"))
    with open(tmp_path / "dumpty.toml", "a") as file:
        file.write('repository = "sftp://nobody@127.0.0.1:9/backups"\n')
    dumpty("run", "shop")
    result = dumpty("check", "--json")
    assert result.status == 1
    assert [(j["job"], j["running"], [p["kind"] for p in j["problems"]]) for j in result.json["jobs"]] == [
        ("shop", False, []),
        ("blog", None, ["unreachable"]),
    ]
    assert result.json["error"].startswith("blog: it cannot be said how it is: ")


def test_a_record_of_a_run_that_is_damaged_is_told_and_hides_nothing(later, dumpty, configure, tmp_path):
    dumpty("run")
    [record] = (tmp_path / "backups" / ".runs" / "shop").glob("*.result")
    record.write_bytes(b"{}\nno record")
    later(timedelta(hours=27))
    result = dumpty("check", "--json")
    assert result.status == 12
    assert [kind for _, kind, _ in problems(result)] == ["damaged", "overdue"]


def test_a_manifest_that_cannot_be_read_is_told(dumpty, configure, tmp_path):
    configure("")
    dumpty("run")
    [manifest] = (tmp_path / "backups").glob("*/*.manifest.json")
    manifest.write_bytes(b"no manifest at all, and of another size")
    result = dumpty("check", "--json")
    assert result.status == 12
    assert {kind for _, kind, _ in problems(result)} == {"damaged"}
    assert result.json["warnings"]
    assert dumpty("check").out.splitlines()[1].split()[-2:] == ["NONE", "ok"]


def test_a_repository_is_found_by_a_url_whose_path_is_percent_encoded(dumpty, configure, tmp_path):
    configure()
    text = (tmp_path / "dumpty.toml").read_text().replace(f"{tmp_path}/backups", f"file://{tmp_path}/my%20backups")
    (tmp_path / "dumpty.toml").write_text(text)
    assert dumpty("run").status == 0
    assert (tmp_path / "my backups").is_dir()
    assert dumpty("check").status == 0


def test_a_plugin_that_fails_as_nobody_foresaw_hides_no_other_job(dumpty, configure, monkeypatch):
    configure("", jobs=("shop", "blog"))
    dumpty("run")
    runs = BackupManager.runs

    def broken(self, job=""):
        if job == "shop":
            raise OSError("a bug")
        return runs(self, job)

    monkeypatch.setattr(BackupManager, "runs", broken)
    result = dumpty("check", "--json")
    assert (result.status, problems(result)) == (1, [("shop", "unreachable", "")])
    assert len(result.json["jobs"]) == 2


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--max-age", "soon"], "--max-age: 'soon' is no duration"),
        (["--max-age", "0s"], "--max-age: '0s' is no time at all"),
        (["--max-age", "1d", "--notify"], "leave --max-age out"),
        (["shup"], "has no job 'shup'; did you mean 'shop'?"),
        (["--config", "elsewhere.toml"], "cannot read the configuration elsewhere.toml"),
    ],
)
def test_what_is_asked_for_wrongly_is_usage(dumpty, configure, argv, said):
    result = dumpty("check", *argv)
    assert result.status == 2
    assert said in result.err


def test_nothing_is_changed_by_looking(dumpty, configure, tmp_path, recorder):
    configure(f'max_age = "26h"\nnotify = ["{recorder.address}"]\n')
    dumpty("run")
    (tmp_path / "shop.db").unlink()
    before = sorted(str(path) for path in (tmp_path / "backups").rglob("*"))
    assert dumpty("check", "--max-age", "1s").status in {0, 12}
    assert sorted(str(path) for path in (tmp_path / "backups").rglob("*")) == before
    assert recorder() == []


def test_asked_to_it_tells_those_who_are_to_be(dumpty, configure, recorder, later):
    configure(f'max_age = "26h"\nnotify = ["{recorder.address}"]\n')
    dumpty("run")
    later(timedelta(hours=27))
    for _ in range(2):
        assert dumpty("check", "--notify", "--quiet").status == 12
    [message] = recorder()
    assert message["title"] == "dumpty: shop: the backup is overdue"


# -- Nagios --------------------------------------------------------------------------------------------------------


def test_nagios_hears_its_own_words(dumpty, configure, tmp_path, later):
    result = dumpty("check", "--nagios")
    assert result.status == 2
    assert result.out.startswith("DUMPTY CRITICAL - shop: OVERDUE: there is no repository at ")
    assert result.err == ""
    dumpty("run")
    result = dumpty("check", "--nagios", "--quiet")
    assert result.status == 0
    first, _, data = result.out.strip().partition(" | ")
    assert first == "DUMPTY OK - all is well with 1 job"
    age, count = data.split("' '")[0] + "'", data.rpartition(" '")[2]
    assert age.startswith("'shop age'=")
    assert count == "shop problems'=0;;;0"
    assert ";;93600;0 " in data
    empty(tmp_path)
    dumpty("run")
    result = dumpty("check", "--nagios")
    assert result.status == 2
    assert result.out.splitlines()[0].startswith("DUMPTY CRITICAL - shop: SUSPICIOUS (")
    assert result.out.splitlines()[0].count("|") == 1


def test_nagios_hears_of_what_is_no_danger_as_a_warning(dumpty, configure, tmp_path):
    (tmp_path / "dumpty.toml").write_text(
        f'[jobs.all]\nsource = "sqlite:///{tmp_path}/*.db"\nrepository = "{tmp_path}/backups"\n'
    )
    dumpty("run")
    (tmp_path / "blog.db").unlink()
    assert dumpty("run").status == 12
    result = dumpty("check", "--nagios")
    assert result.status == 1
    assert result.out.startswith("DUMPTY WARNING - all: WARNING: ")


def test_nagios_hears_that_nothing_can_be_said(dumpty, configure, tmp_path):
    (tmp_path / "dumpty.toml").write_text("[jobs.shop]\n")
    result = dumpty("check", "--nagios")
    assert result.status == 3
    assert result.out.startswith("DUMPTY UNKNOWN - ")


# -- runs ----------------------------------------------------------------------------------------------------------


def test_whoever_was_not_told_when_a_job_ran_is_told_by_a_later_call(
    dumpty, configure, tmp_path, recorder, monkeypatch
):
    """The job is done and is not run again; who could not be told is told all the same."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    configure(f'schedule = "0 0 1 1 *"\nnotify = ["{recorder.address}"]\n')
    (tmp_path / "shop.db").unlink()
    (tmp_path / "dead").touch()
    result = dumpty("run", "--due")
    assert result.status == 1
    assert "tell.sh was not told" in result.err
    [stamp] = (tmp_path / "cache" / "dumpty" / "looked").iterdir()
    age = datetime.now(UTC).timestamp() - stamp.stat().st_mtime
    assert 2600 < age < 2760  # within a quarter of an hour it is looked again
    for expected in (12, 0):
        os.utime(stamp, (0, 0))
        result = dumpty("run", "--due", "--json")
        assert (result.status, result.json["jobs"][0]["outcome"]) == (expected, "skipped")
        assert ("tell.sh was not told" in str(result.json["error"])) == bool(expected)
        (tmp_path / "dead").unlink(missing_ok=True)
    [message] = recorder()
    assert message["title"] == "dumpty: shop: the backup failed"


def test_jobs_that_are_not_due_are_looked_at_once_an_hour(dumpty, configure, tmp_path, recorder, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    configure(f'max_age = "1s"\nnotify = ["{recorder.address}"]\n')
    old = datetime.now(UTC).timestamp() - 86_400
    BackupManager(tmp_path / "backups")
    os.utime(tmp_path / "dumpty.toml", (old, old))
    for _ in range(2):
        assert dumpty("run", "--due").out == "nothing is due\n"
    [message] = recorder()
    assert message["title"] == "dumpty: shop: the backup is overdue"
    [stamp] = (tmp_path / "cache" / "dumpty" / "looked").iterdir()
    before = stamp.stat().st_mtime_ns
    dumpty("run", "--due")
    assert stamp.stat().st_mtime_ns == before
    os.utime(stamp, (old, old))
    dumpty("run", "--due")
    assert stamp.stat().st_mtime_ns > before


# -- notify test ---------------------------------------------------------------------------------------------------


def test_everybody_is_told_a_test_once(dumpty, configure, recorder, monkeypatch):
    monkeypatch.setenv("PAGER_URL", recorder.address + "?arg=x")
    configure(f'notify = ["{recorder.address}", "env:PAGER_URL"]\n', jobs=("shop", "blog"))
    result = dumpty("notify", "test", "--json")
    assert result.status == 0
    assert [(n["address"], n["ok"]) for n in result.json["notified"]] == [
        (recorder.address, True),
        ("env:PAGER_URL", True),
    ]
    messages = recorder()
    assert [message["title"] for message in messages] == ["dumpty: test"] * 2
    assert messages[0]["severity"] == "info"
    assert dumpty("notify", "test", recorder.address).out == f"{recorder.address}: taken\n"
    assert len(recorder()) == 1


def test_whoever_cannot_be_told_is_named_without_his_secrets(dumpty, configure, recorder, tmp_path):
    token = "T0PSECRETTOKEN"
    (tmp_path / "dead").touch()
    result = dumpty("notify", "test", recorder.address, f"http://127.0.0.1:9/services/{token}", "nobody://x", "words")
    assert result.status == 1
    assert token not in result.out + result.err
    lines = result.out.splitlines()
    assert lines[0].startswith(f"{recorder.address}: FAILED: ")
    assert lines[1].startswith("http://127.0.0.1:9/***: FAILED: ")
    assert "it is no URL" in lines[3] or "is no URL" in lines[3]
    assert "4 addresses of 4 could not be told" in result.err


def test_where_nobody_is_to_be_told_that_is_said(dumpty, configure):
    result = dumpty("notify", "test")
    assert result.status == 2
    assert 'has nobody to notify: write notify = ["URL"] in [defaults]' in result.err


# -- the configuration ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ('notify = ["command:///not/there"]', "notify: "),
        ('notify = ["words"]', "notify: the address to notify is no URL"),
        ('notify = ["env:NOT_SET_HERE"]', "notify: the environment has no variable 'NOT_SET_HERE'"),
        ('notify = [{ url = "https://h/x", secret = "short" }]', "notify: "),
        ('notify = [{ url = "https://h/x", secrte = "x" }]', "Did you mean 'secret'?"),
        ('heartbeat = "ftp://h/x"', "heartbeat: "),
        ('heartbeat = { begin = "https://h/x" }', "there is no such key"),
        ('max_age = "soon"', "max_age: 'soon' is no duration"),
        ('remind = "0s"', "remind: '0s' is no time at all"),
    ],
)
def test_what_cannot_work_is_said_with_its_line(dumpty, configure, keys, said):
    configure(keys + "\n")
    result = dumpty("config", "check")
    assert result.status == 2
    assert "dumpty.toml:4: defaults." in result.out
    assert said in result.out


def test_no_token_is_shown(dumpty, configure):
    token = "T0PSECRETTOKEN"
    configure(
        f'notify = ["https://hooks.example.org/{token}", "tgram://{token}/1", '
        f'{{ url = "https://h.example/x", secret = "{token}" }}]\nheartbeat = "https://hc.example/{token}"\n'
    )
    result = dumpty("config", "show")
    assert token not in result.out
    assert "https://hooks.example.org/***" in result.out
    assert "tgram://***" in result.out
    os.chmod("dumpty.toml", 0o644)
    assert "says where to notify, and everybody may read it" in dumpty("config", "check").err
