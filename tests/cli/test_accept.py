"""``dumpty backup --shrink-guard``, ``dumpty accept``, and what becomes of a suspicious backup until then."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest


def run_sql(script):
    with contextlib.closing(sqlite3.connect("shop.db")) as database:
        database.executescript(script)


@pytest.fixture
def shrunk(make, shop, dumpty):
    """A good backup, and what came of the next, after the table of orders was emptied."""
    good = make(shop, "--shrink-guard")
    run_sql("DELETE FROM orders")
    return good, dumpty("backup", shop, "--shrink-guard", "--json")


def listed(dumpty) -> dict[str, str]:
    return {b["id"]: b["state"] for b in dumpty("list", "--json").json["backups"]}


def test_a_suspicious_backup_is_made_told_and_ends_with_12(dumpty, shrunk):
    good, result = shrunk
    [backup] = result.json["backups"]
    assert (result.status, result.json["success"], result.json["error_type"]) == (12, False, "SuspiciousBackup")
    assert f"table orders: 0 rows, had 2 in backup {good['id'][:8]} of " in result.json["error"]
    assert f"dumpty accept {backup['id']}, or: dumpty remove {backup['id']}" in result.json["error"]
    assert backup["state"] == "suspicious"
    assert listed(dumpty) == {good["id"]: "ok", backup["id"]: "suspicious"}
    assert dumpty("list").out.splitlines()[2].count("SUSPICIOUS") == 1


def test_it_is_told_to_people_too(dumpty, make, shop):
    make(shop)
    run_sql("DROP TABLE orders")
    result = dumpty("backup", shop, "--shrink-guard")
    assert result.status == 12
    assert "is done: " in result.out
    assert "is done and kept, but it is suspicious: all tables together: 0 rows, had 2 in backup " in result.err
    assert "tables: 0, had 1 in backup " in result.err


def test_without_the_guard_nothing_is_compared(dumpty, make, shop):
    make(shop)
    run_sql("DELETE FROM orders")
    assert make(shop)["state"] == "ok"


def test_show_tells_what_it_lost_and_what_is_to_be_done(dumpty, shrunk):
    _, result = shrunk
    [backup] = result.json["backups"]
    shown = dumpty("show", "latest")
    assert "SUSPICIOUS" in shown.out
    assert "table orders: 0 rows, had 2" in shown.out
    assert f"dumpty accept {backup['id']}" in shown.out
    [details] = [b["details"] for b in dumpty("show", "latest", "--json").json["backups"]]
    assert [text.partition(":")[0] for text in details["suspicions"]] == ["all tables together", "table orders"]
    assert (details["accepted"], details["state_reason"]) == (None, "; ".join(details["suspicions"]))


def test_no_rule_removes_an_older_one_for_it_until_it_is_accepted(dumpty, shrunk):
    good, result = shrunk
    [bad] = result.json["backups"]
    pruned = dumpty("prune", "--keep", "1", "--yes", "--json")
    reasons = {d["id"]: d["reason"] for d in pruned.json["decisions"]}
    assert reasons[bad["id"]] == "suspicious: kept until `dumpty accept` or `dumpty remove`"
    assert reasons[good["id"]] == "the newest of its database"
    assert dumpty("prune", "--max-size", "1B", "--yes").status == 0
    assert listed(dumpty) == {good["id"]: "ok", bad["id"]: "suspicious"}
    accepted = dumpty("accept", "latest", "--reason", "a new season", "--json")
    assert (accepted.status, accepted.json["was_suspicious"]) == (0, True)
    assert accepted.json["backups"][0]["state"] == "ok"
    shown = dumpty("show", "latest").out
    assert "a new season" in shown
    assert "was suspicious" in shown
    assert "SUSPICIOUS" not in shown
    assert dumpty("prune", "--keep", "1", "--yes").status == 0
    assert listed(dumpty) == {bad["id"]: "ok"}


def test_accepting_what_is_not_suspicious_says_so(dumpty, make, shop):
    make(shop)
    result = dumpty("accept", "latest")
    assert (result.status, "is not suspicious" in result.out) == (0, True)
    assert dumpty("accept", "latest", "--json").json["was_suspicious"] is False
    assert dumpty("accept", "ffffffff").status == 1


def test_it_can_be_removed(dumpty, shrunk):
    good, result = shrunk
    assert dumpty("remove", result.json["backups"][0]["id"], "--yes").status == 0
    assert listed(dumpty) == {good["id"]: "ok"}


def test_restoring_the_latest_takes_it_and_names_the_newest_good_one(dumpty, shrunk, orders):
    good, _ = shrunk
    result = dumpty("restore", "latest", "--to", "sqlite:///restored.db", "--json")
    assert result.status == 0
    [warning] = [text for text in result.json["warnings"] if "suspicious" in text]
    assert f"the newest good one is {good['id']}" in warning
    assert orders("restored.db") == []
    assert dumpty("verify", good["id"]).status == 0
    assert not dumpty("restore", "latest-verified", "--to", "sqlite:///verified.db", "--json").json["warnings"]
    assert len(orders("verified.db")) == 2


def test_its_copies_are_made_all_the_same(dumpty, make, shop):
    make(shop, "--copy-to", "vault")
    run_sql("DELETE FROM orders")
    result = dumpty("backup", shop, "--shrink-guard", "--copy-to", "vault", "--json")
    assert (result.status, result.json["backups"][0]["copies"]) == (12, ["vault"])
    assert [b["state"] for b in dumpty("list", "-d", "vault", "--json").json["backups"]] == ["ok", "suspicious"]
    both = dumpty("list", "-d", "backups", "-d", "vault", "--json").json["backups"]
    assert [(b["state"], b["copies"]) for b in both] == [("ok", ["vault"]), ("suspicious", ["vault"])]


def test_a_copy_that_fails_is_told_beside_it(dumpty, make, shop):
    make(shop)
    run_sql("DELETE FROM orders")
    Path("vault").write_text("a file")
    result = dumpty("backup", shop, "--shrink-guard", "--copy-to", "vault", "--json")
    assert (result.status, result.json["error_type"]) == (12, "SuspiciousBackup")
    assert any("has no copy in vault" in text for text in result.json["warnings"])
