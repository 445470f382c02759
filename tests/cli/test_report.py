"""``dumpty report`` says what is protected, since when, proven when and how far, and what is not."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta

import pytest
from support.history import age

from dumpty import BackupManager, StoreError
from dumpty.jobs import views
from dumpty.jobs.fresh import LookAtJobs
from dumpty.jobs.settings import load

YEARLY = 'schedule = "0 0 1 1 *"\n'


def by_name(result):
    return {database["database"]: database for database in result.json["databases"]}


def test_of_each_database_it_says_since_when_and_how_far_it_is_protected(dumpty, configure, tmp_path):
    configure(f'{YEARLY}copies = ["{tmp_path}/vault"]\n', jobs=("shop", "blog"))
    dumpty("run", "shop")
    manager = BackupManager(tmp_path / "backups")
    [backup] = manager.list_backups()
    first = datetime.now(UTC) - timedelta(days=40)
    age(tmp_path / "backups", backup, first, proof="restore")
    found = by_name(dumpty("report", "--json"))
    shop, blog = found["shop"], found["blog"]
    assert (shop["state"], shop["backups"], shop["repositories"], shop["repositories_wanted"]) == ("ok", 2, 2, 2)
    assert shop["since"].startswith(f"{first:%Y-%m-%dT%H:%M}")
    assert (shop["last_restore"]["level"], shop["restore_seconds"]) == ("restore", 2.5)
    assert timedelta(days=39.9) < timedelta(seconds=shop["longest_gap_seconds"]) < timedelta(days=40.1)
    assert shop["backup"]["id"] == backup.id
    assert (blog["backup"], blog["since"], blog["last_proof"], blog["backups"]) == (None, None, None, 0)
    text = dumpty("report").out
    proven = first + timedelta(hours=1)
    assert re.search(
        rf"^shop +ok +{first:%Y-%m-%d} .* restore {proven:%Y-%m-%d} .* 2\.5 s +2 of 2 ", text, re.MULTILINE
    )
    assert re.search(r"^blog +OVERDUE +never +none .* never ", text, re.MULTILINE)


def test_a_proof_of_a_backup_that_is_gone_proves_nothing(dumpty, make, shop, tmp_path):
    make(shop)
    [backup] = BackupManager(tmp_path / "backups").list_backups()
    age(tmp_path / "backups", backup, datetime.now(UTC) - timedelta(days=2), proof="restore", lost=True)
    [found] = by_name(dumpty("report", "--dir", "backups", "--json")).values()
    assert (found["state"], found["last_proof"], found["last_restore"]) == ("damaged", None, None)


def manifests(tmp_path, backup):
    stem = os.path.basename(backup.file_path).partition(".")[0]
    [path] = (tmp_path / "backups").glob(f"*/{stem}.manifest.json")
    return path


@pytest.mark.parametrize("of", [("--dir", "backups"), ()])
def test_where_the_newest_manifest_cannot_be_read_nothing_is_well(dumpty, configure, tmp_path, of):
    configure(YEARLY)
    dumpty("run")
    dumpty("run")
    newest = max(BackupManager(tmp_path / "backups").list_backups(), key=lambda backup: backup.timestamp)
    path = manifests(tmp_path, newest)
    path.write_bytes(path.read_bytes()[:-20])
    result = dumpty("report", "--json", *of)
    assert by_name(result)["shop"]["state"] == "damaged"
    assert path.name in by_name(result)["shop"]["problems"][0]["text"]


def test_of_a_job_of_which_nothing_can_be_said_no_database_is_well(dumpty, configure, monkeypatch):
    configure(YEARLY, jobs=("shop", "blog"))
    dumpty("run")
    known = views.runs_of

    def runs_of(job, *arguments):
        if job.name == "blog":
            raise StoreError("its runs cannot be listed")
        return known(job, *arguments)

    monkeypatch.setattr(views, "runs_of", runs_of)
    result = dumpty("report", "--json")
    assert [(d["database"], d["job"], d["state"]) for d in result.json["databases"]] == [
        ("blog", "blog", "unknown"),
        ("shop", "shop", "ok"),
    ]


def test_a_database_that_no_job_backs_up_any_more_is_not_well(dumpty, configure):
    configure(YEARLY, jobs=("shop", "blog"))
    dumpty("run")
    configure(YEARLY, jobs=("shop",))
    found = by_name(dumpty("report", "--json"))
    assert (found["blog"]["state"], found["blog"]["job"]) == ("warning", None)
    assert "no job backs it up any more: blog" in found["blog"]["problems"][0]["text"]


@pytest.mark.parametrize(
    ("days", "state"),
    [
        ((), "ok"),
        ((40,), "overdue"),
        ((1, 2, 3), "ok"),
        ((3, 4, 5), "overdue"),
        ((8, 15, 22), "ok"),
        ((15, 22, 29), "overdue"),
    ],
)
def test_without_a_schedule_it_goes_by_how_often_backups_were_made(dumpty, make, shop, tmp_path, days, state):
    made = make(shop)
    manager = BackupManager(tmp_path / "backups")
    for n in days:
        age(tmp_path / "backups", manager.get_backup(made["id"]), datetime.now(UTC) - timedelta(days=n))
    if days:
        manager.remove(made["id"])
    assert by_name(dumpty("report", "--dir", "backups", "--json"))["shop"]["state"] == state


def test_a_backup_of_the_future_counts_nowhere(dumpty, make, shop, tmp_path):
    made = make(shop)
    [backup] = BackupManager(tmp_path / "backups").list_backups()
    age(tmp_path / "backups", backup, datetime.now(UTC) + timedelta(days=300))
    found = by_name(dumpty("report", "--dir", "backups", "--json"))["shop"]
    assert (found["state"], found["backup"]["id"]) == ("warning", made["id"])
    assert "of the future" in found["problems"][0]["text"]


def test_what_the_rules_let_go_is_not_missing(dumpty, configure, tmp_path):
    configure('schedule = "30 2 * * *"\nkeep = { daily = 7, weekly = 4 }\n')
    dumpty("run")
    [backup] = BackupManager(tmp_path / "backups").list_backups()
    for n in range(1, 60):
        day = datetime.now(UTC).replace(hour=2, minute=31) - timedelta(days=n)
        if n != 4:
            age(tmp_path / "backups", backup, day)
    result = dumpty("run", "--json")  # which thins them
    assert len(result.json["jobs"][0]["removed"]) > 40
    report = dumpty("report", "--markdown").out
    [row] = [line for line in report.splitlines() if line.startswith("| shop |")]
    missing = datetime.now(UTC) - timedelta(days=4)
    assert row.endswith(f"| {missing:%Y-%m-%d} |")


def test_what_the_next_prune_takes_goes_by_the_machine_that_runs_the_job(dumpty, configure, tmp_path, monkeypatch):
    configure(f"{YEARLY}keep = {{ last = 2 }}\n")
    dumpty("run")
    [backup] = BackupManager(tmp_path / "backups").list_backups()
    for hours in (1, 2, 3):
        age(tmp_path / "backups", backup, datetime.now(UTC) - timedelta(hours=hours))
    configuration = load(str(tmp_path / "dumpty.toml"))
    look = LookAtJobs(lambda: configuration, lambda _: None, pytest.fail, lambda: datetime.now(UTC))
    monkeypatch.setattr("socket.gethostname", lambda: "whoever-looks")
    assert len(look(0.0).protection.going["shop"]) == 2


def test_what_cannot_be_looked_at_is_an_error_and_hides_nothing_else(dumpty, configure, tmp_path):
    configure(jobs=("shop", "blog"), more='repository = "s3://bucket/x?endpoint=http://127.0.0.1:1"\n')
    dumpty("run", "shop")
    result = dumpty("report", "--json")
    found = by_name(result)
    assert (result.status, found["shop"]["state"], found["blog"]["state"]) == (1, "ok", "unknown")
    assert "blog: it cannot be said how it is" in result.json["error"]
    assert found["blog"]["problems"][0]["kind"] == "unreachable"


def test_html_is_one_file_of_its_own_kind(dumpty, make, shop, tmp_path):
    make(shop)
    before = os.umask(0o027)
    try:
        result = dumpty("report", "--dir", "backups", "--html", "report.html")
    finally:
        os.umask(before)
    assert result.out == "report.html: 1 database: 1 ok\n"
    text = (tmp_path / "report.html").read_text()
    assert (tmp_path / "report.html").stat().st_mode & 0o777 == 0o640
    assert not re.findall(r"""(?:src|href)=|url\(|@import|<script""", text)
    assert dumpty("report", "--dir", "backups", "--html", "report.html").status == 0  # its own is replaced
    (tmp_path / "index.html").write_text("<!doctype html>\n<p>somebody's")
    refused = dumpty("report", "--dir", "backups", "--html", "index.html")
    assert (refused.status, "is not replaced" in refused.err) == (2, True)
    assert (tmp_path / "index.html").read_text().endswith("somebody's")


def test_two_forms_at_once_are_a_mistake(dumpty, make, shop):
    make(shop)
    assert dumpty("report", "--dir", "backups", "--html", "r.html", "--markdown").status == 2
    assert dumpty("report", "--dir", "backups", "--config", "dumpty.toml").status == 2
    assert dumpty("report", "--dir", "nowhere").status == 10


def test_of_a_repository_without_backups_it_says_so(dumpty, tmp_path):
    (tmp_path / "backups").mkdir(mode=0o700)
    assert dumpty("report", "--dir", "backups").out == "0 databases\n"
    assert "0 databases" in dumpty("report", "--dir", "backups", "--markdown").out
