"""``dumpty drill``, and what ``verify`` and ``list`` say of proofs."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest
from support.places import left_over


def proven(dumpty) -> list[str | None]:
    backups = dumpty("list", "--json").json["backups"]
    return [b["proof"]["level"] if b["proof"] and b["proof"]["ok"] else None for b in backups]


def test_a_drill_without_any_option_restores_the_latest_and_says_counts_only(dumpty, make, shop, tmp_path):
    backup = make(shop)
    result = dumpty("drill")
    assert result.status == 0
    assert f"{backup['id'][:8]}  shop, native+gzip: ok, by restore" in result.out
    assert "counts only: 1 object and 2 rows" in result.out
    assert "not proved           that every value is the same" in result.out
    assert "1 backup proven by restoring" in result.out
    assert left_over(tmp_path / "backups") == []
    assert "restore 20" in dumpty("list").out
    assert "by restore" in dumpty("show", "latest").out


def test_with_fingerprints_a_drill_says_every_value(dumpty, make, shop):
    make(shop, "-o", "fingerprint=on")
    assert "every value: 1 object and 2 rows" in dumpty("drill").out


def test_a_drill_in_json_is_one_object_that_says_what_was_proved_and_what_not(dumpty, make, shop):
    backup = make(shop)
    reply = dumpty("drill", "latest", "--json").json
    [drilled] = reply["proofs"]
    assert (reply["success"], drilled["id"], drilled["level"], drilled["recorded"]) == (
        True,
        backup["id"],
        "restore",
        True,
    )
    assert all(step["duration_seconds"] >= 0 for step in drilled["proved"])
    assert drilled["not_proved"]
    assert drilled["versions"]["sqlite"]


def test_true_assertions_are_told_and_one_that_is_false_fails_the_drill(dumpty, make, shop):
    make(shop)
    true_query = "SELECT count(*) = 2 FROM orders"
    assert f"true of what was restored: {true_query}" in dumpty("drill", "--assert", true_query).out
    result = dumpty("drill", "--assert", true_query, "--assert", "SELECT count(*) > 1000 FROM orders", "--json")
    assert (result.status, result.json["error_type"]) == (4, "IntegrityError")
    assert "> 1000" in result.json["error"]
    assert "FAILED restore" in dumpty("list").out
    assert dumpty("show", "latest-verified").status == 1
    assert dumpty("drill").status == 0
    assert dumpty("show", "latest-verified").status == 0


def test_an_assertion_with_a_mistake_is_a_usage_error_and_no_verdict(dumpty, make, shop):
    make(shop)
    result = dumpty("drill", "--assert", "SELECT count(*) FROM ordres")
    assert result.status == 2
    assert "ordres" in result.err
    assert "FAILED" not in result.out
    assert "0 backups proven by restoring, 1 not asked" in result.out
    assert proven(dumpty) == [None]


def test_all_backups_are_drilled_and_one_that_is_damaged_fails(dumpty, make, shop):
    make(shop)
    damaged = make(shop, "--format", "sql")
    with open(damaged["files"][0], "r+b") as stream:
        stream.truncate(60)
    result = dumpty("drill", "--all")
    assert result.status == 4
    assert "1 backup proven by restoring, 1 FAILED" in result.out
    assert proven(dumpty) == ["restore", None]
    assert dumpty("restore", "latest-verified", "--to", "sqlite:///back.db").status == 0


def test_older_than_takes_those_whose_last_drill_or_who_themselves_are_older(dumpty, make, shop):
    make(shop)
    result = dumpty("drill", "--older-than", "1h")
    assert (result.status, "nothing was drilled" in result.out) == (0, True)
    assert "1 backup proven" in dumpty("drill", "--older-than", "0h").out


def test_a_failed_drill_is_repeated_however_new(dumpty, make, shop):
    make(shop)
    assert dumpty("drill", "--assert", "SELECT 0").status == 4
    assert "1 backup proven" in dumpty("drill", "--older-than", "0h").out


@pytest.mark.parametrize(
    "argv",
    [
        ("latest", "--all"),
        ("--all", "--older-than", "1d"),
        ("--older-than", "soon"),
        ("-o", "nonsense=1"),
        ("-o", "level=digest"),
        ("-o", "quiet=1"),
        ("-o", "deed=1"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(dumpty, make, shop, argv):
    make(shop)
    result = dumpty("drill", *argv)
    assert (result.status, result.err.count("\n")) == (2, 1)


def test_a_server_for_sqlite_is_refused(dumpty, make, shop):
    make(shop)
    result = dumpty("drill", "--on", shop)
    assert result.status == 2
    assert "no server" in result.err


def test_nothing_to_drill_says_so(dumpty, tmp_path):
    (tmp_path / "backups").mkdir()
    assert "nothing was drilled" in dumpty("drill", "--all").out
    assert dumpty("drill").status == 1


def test_a_driver_without_scratch_is_not_provable_and_never_ok(dumpty, make, odd):
    backup = make("odd://h/x")
    result = dumpty("drill", backup["id"])
    assert result.status == 3
    assert "NOT PROVED" in result.out
    assert "0 backups proven by restoring, 1 not provable here" in result.out
    assert "FAILED" not in result.out
    assert "not provable here, because plugin 'odd'" in result.err
    assert "implements no scratch" in result.err
    assert proven(dumpty) == [None]
    reply = dumpty("drill", backup["id"], "--json").json
    assert (reply["success"], reply["status"], reply["error_type"]) == (False, 3, "NotProvable")


def test_what_is_not_provable_here_is_counted_apart_and_decides_last(dumpty, make, shop, odd):
    provable = make(shop)
    make("odd://h/x")
    result = dumpty("drill", "--all")
    assert result.status == 3
    assert "1 backup proven by restoring, 1 not provable here" in result.out
    make("odd://h/x")
    result = dumpty("verify", "--all", "--level", "structure", "--json")
    assert (result.status, [v["ok"] for v in result.json["proofs"]]) == (3, [True, None, None])
    assert "2 of 3 backups are not provable here, the first: " in result.json["error"]
    with open(provable["files"][0], "r+b") as stream:
        stream.truncate(60)
    result = dumpty("drill", "--all")
    assert result.status == 4
    assert "0 backups proven by restoring, 1 FAILED, 2 not provable here" in result.out
    assert "1 of 3 backups failed" in result.err


def test_what_is_not_provable_here_leaves_no_mark_on_the_backup(dumpty, make, odd):
    first, second = make("odd://h/x"), make("odd://h/x")
    backups_before = dumpty("list", "--json").json["backups"]
    assert dumpty("drill", "--all").status == dumpty("verify", "latest", "--level", "structure").status == 3
    assert dumpty("list", "--json").json["backups"] == backups_before
    assert [line.split()[-2] for line in dumpty("list").out.splitlines()[1:]] == ["never", "never"]
    decisions = dumpty("prune", "--keep", "1", "--dry-run", "--json").json["decisions"]
    assert [(d["id"], d["keep"]) for d in decisions] == [(second["id"], True), (first["id"], False)]
    assert "failed" not in decisions[1]["reason"]


def test_a_machine_without_the_database_proves_nothing_and_says_how_to_get_it(dumpty, mariadb, monkeypatch, tmp_path):
    mariadb.run("CREATE DATABASE drilled", "CREATE TABLE drilled.t (i INT)")
    try:
        assert dumpty("backup", mariadb.url("drilled")).status == 0
    finally:
        mariadb.run("DROP DATABASE drilled")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("dumpty_plugins.mysql.server.programs._PROGRAM_DIRECTORIES", "")
    result = dumpty("drill")
    assert result.status == 3
    assert "not provable here" in result.out
    assert "apt-get install" in result.err
    assert proven(dumpty) == [None]


@pytest.mark.parametrize("level", ["digest", "structure", "restore"])
def test_verify_goes_as_far_as_it_is_told_and_says_so(dumpty, make, shop, level):
    make(shop)
    result = dumpty("verify", "latest", "--level", level)
    assert result.status == 0
    assert f"ok, by {level}" in result.out
    assert "not proved" in result.out
    assert proven(dumpty) == [level]


def test_a_level_that_does_not_exist_is_a_usage_error(dumpty, make, shop):
    make(shop)
    result = dumpty("verify", "latest", "--level", "magic")
    assert result.status == 2
    assert "digest, structure, restore" in result.err


def test_damaged_proofs_are_a_warning_and_no_failure_of_the_backup(dumpty, make, shop, tmp_path):
    make(shop)
    dumpty("drill")
    [proofs] = (tmp_path / "backups").rglob("*.proof-*")
    proofs.write_text("{}")
    result = dumpty("list")
    assert (result.status, "never" in result.out) == (0, True)
    assert proofs.name in result.err
    result = dumpty("verify", "--all")
    assert result.status == 0
    assert "digest 20" in dumpty("list").out


SLOW = "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 3000000) SELECT count(*) FROM n"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_drill_in_one_line_and_leaves_nothing(make, shop, tmp_path, number, status):
    make(shop)
    argv = [sys.executable, "-m", "dumpty", "drill"]
    argv += [argument for _ in range(200) for argument in ("--assert", SLOW)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        deadline = time.monotonic() + 30
        while not list(Path(tmp_path, "backups").glob("workspace~*.part/drill.db")) and time.monotonic() < deadline:
            time.sleep(0.01)
        child.send_signal(number)
        out, err = child.communicate(timeout=60)
    assert (child.returncode, out) == (status, "")
    assert err.count("\n") == 1
    assert err.startswith("dumpty: interrupted by")
    assert left_over(tmp_path / "backups") == []
    assert not list((tmp_path / "backups").rglob("*.proof-*"))


def test_what_a_killed_drill_left_is_cleared_by_the_next(dumpty, make, shop, tmp_path):
    make(shop)
    argv = [sys.executable, "-m", "dumpty", "drill"] + [w for _ in range(200) for w in ("--assert", SLOW)]
    with subprocess.Popen(argv) as child:
        deadline = time.monotonic() + 30
        while not list(Path(tmp_path, "backups").glob("workspace~*.part/drill.db")) and time.monotonic() < deadline:
            time.sleep(0.01)
        child.kill()
    assert left_over(tmp_path / "backups")
    assert dumpty("drill").status == 0
    assert left_over(tmp_path / "backups") == []


def test_what_list_prints_of_proofs_is_what_the_file_says(dumpty, make, shop, tmp_path):
    make(shop)
    dumpty("drill")
    [proofs] = (tmp_path / "backups").rglob("*.proof-*")
    proof = json.loads(proofs.read_text())["proof"]
    [backup] = dumpty("show", "latest", "--json").json["backups"]
    proven = backup["details"]["proof"]
    assert datetime.fromisoformat(proven["at"]) == datetime.fromisoformat(proof["at"])
    assert (proven["by"], proven["level"]) == (proof["by"], proof["level"])
    assert {key: proven[key] for key in ("level", "ok", "at")} == backup["proof"]
