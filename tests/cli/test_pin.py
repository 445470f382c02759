"""``dumpty pin`` and ``unpin``, and what ``prune`` never removes."""

from __future__ import annotations

import pytest


@pytest.fixture
def four(make, shop) -> list[str]:
    """Four backups of one database, oldest first."""
    return [make(shop)["id"] for _ in range(4)]


def listed_ids(dumpty) -> list[str]:
    return [b["id"] for b in dumpty("list", "--json").json["backups"]]


def test_a_pinned_backup_outlives_every_rule_until_it_is_unpinned(dumpty, four):
    assert dumpty("pin", four[0], "--reason", "before the upgrade").status == 0
    result = dumpty("prune", "--keep", "1", "--yes")
    assert result.status == 0
    assert "before the upgrade" in result.out
    assert listed_ids(dumpty) == [four[0], four[3]]
    assert "pinned" in dumpty("list").out
    assert "before the upgrade" in dumpty("show", four[0]).out
    assert dumpty("unpin", four[0]).status == 0
    assert dumpty("prune", "--keep", "1", "--yes").status == 0
    assert listed_ids(dumpty) == [four[3]]


def test_unpinning_what_is_not_pinned_says_so(dumpty, four):
    reply = dumpty("unpin", "latest", "--json").json
    assert (reply["success"], reply["was_pinned"]) == (True, False)


def test_pinning_what_does_not_exist_fails(dumpty, four):
    assert dumpty("pin", "ffffffff").status == 1


def test_the_newest_proven_backup_outlives_every_rule(dumpty, four):
    assert dumpty("drill", four[1]).status == 0
    assert dumpty("verify", four[2]).status == 0
    result = dumpty("prune", "--keep", "1", "--yes", "--json")
    reasons = {d["id"]: d["reason"] for d in result.json["decisions"]}
    assert reasons[four[1]] == "the newest proven by restore"
    assert reasons[four[2]] == "the newest proven by digest"
    assert listed_ids(dumpty) == four[1:]


def test_a_backup_whose_drill_failed_takes_no_place(dumpty, four):
    assert dumpty("drill", four[3], "--assert", "SELECT 0").status == 4
    assert dumpty("prune", "--keep", "2", "--yes").status == 0
    assert listed_ids(dumpty) == four[1:]


def test_the_rules_of_days_and_years_keep_the_newest_of_each(dumpty, four):
    result = dumpty(
        "prune", "--keep-daily", "7", "--keep-yearly", "1", "--timezone", "Europe/Berlin", "--yes", "--json"
    )
    assert result.json["timezone"] == "Europe/Berlin"
    assert listed_ids(dumpty) == [four[0], four[3]]  # the oldest, while there are not seven days


def test_the_total_size_removes_the_oldest_and_says_what_is_still_too_large(dumpty, four):
    size = dumpty("list", "--json").json["backups"][0]["size_bytes"]
    assert dumpty("prune", "--max-size", f"{2 * size + 20}B", "--yes").status == 0
    assert listed_ids(dumpty) == four[2:]
    result = dumpty("prune", "--max-size", "0B", "--yes")
    assert (result.status, listed_ids(dumpty)) == (0, four[3:])
    assert "the rest is protected" in result.err


@pytest.mark.parametrize(
    "argv",
    [("--keep-daily", "0"), ("--max-size", "much"), ("--keep", "1", "--timezone", "Mars"), ("--timezone", "UTC")],
)
def test_rules_that_say_nothing_sensible_are_usage_errors(dumpty, four, argv):
    result = dumpty("prune", *argv, "--yes")
    assert (result.status, result.err.count("\n")) == (2, 1)
    assert listed_ids(dumpty) == four


def test_keep_and_keep_last_are_one(dumpty, four):
    assert "2 backups of 4 would be removed" in dumpty("prune", "--keep-last", "2", "--dry-run").out
