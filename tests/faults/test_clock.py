"""Clocks that jump backwards, forwards, and across a change to summer time: order, ages and names stay right."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from faults.ledger import LEDGER

ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"]
HOUR = 3600.0
DAY = 24 * HOUR


def backup(zygote, vault, *offsets, zone="UTC"):
    outcome = zygote.run("backup", vault.url, "--dir", vault.top, "--json", clock=list(offsets), env={"TZ": zone})
    assert outcome.status == 0, outcome
    LEDGER.rounds += 1
    LEDGER.fault("clocks moved")
    return json.loads(outcome.out)


def until(text: str) -> float:
    """Return the seconds from now to a moment in UTC."""
    return (datetime.fromisoformat(text) - datetime.now(UTC)).total_seconds()


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize(
    "start",
    [
        "2026-03-29T00:30:00+00:00", "2026-10-25T00:30:00+00:00",  # Europe
        "2026-03-08T06:30:00+00:00", "2026-11-01T05:30:00+00:00",  # New York
        "2026-10-03T15:00:00+00:00", "2026-04-04T14:30:00+00:00",  # Lord Howe: half an hour
    ],
)  # fmt: skip
def test_backups_across_a_change_of_summer_time_keep_order_and_names(zygote, vault, start, zone):
    vault.keep_newest(1)
    vault.manager().remove(vault.versions.popitem()[0])
    began = until(start)
    expected = []
    for step in range(3):
        backup(zygote, vault, began + step * HOUR / 2, zone=zone)
        expected.append(datetime.fromisoformat(start) + step * timedelta(minutes=30))
    backups = vault.manager().list_backups()
    timestamps = [b.timestamp for b in backups]
    assert all(abs(have - want) < timedelta(minutes=1) for have, want in zip(timestamps, expected, strict=True)), (
        timestamps
    )
    assert all(b.timestamp.utcoffset() == timedelta(0) for b in backups)
    for stored in backups:
        assert f"/{stored.timestamp:%Y%m%dT%H%M%SZ}-" in stored.file_path
    vault.check("a change of summer time", restore_all=True)
    vault.next_run("a change of summer time")


@pytest.mark.parametrize("seconds", [1.0, HOUR, 40 * DAY])
def test_a_clock_that_jumps_backwards_between_backups_loses_none(zygote, vault, seconds):
    first = backup(zygote, vault, 0.0)
    second = backup(zygote, vault, -seconds)
    new_ids = vault.check("a clock that jumped backwards", restore_all=True)
    assert len(new_ids) == 2
    times = [b.timestamp for b in vault.manager().list_backups()]
    assert times == sorted(times)
    assert first != second
    vault.next_run("a clock that jumped backwards")


@pytest.mark.parametrize("jumps", [(0.0, -HOUR), (0.0, 0.0, -DAY), (HOUR, -HOUR, HOUR), (0.0, 400 * DAY)])
def test_a_clock_that_jumps_during_a_backup_spoils_nothing(zygote, vault, jumps):
    report = backup(zygote, vault, *jumps)
    assert "-" not in re.findall(r'"(?:duration_)?seconds": (-?[\d.]+)', json.dumps(report) + '"seconds": 0')[0]
    vault.check("a clock that jumped during a backup", restore_all=True)
    vault.next_run("a clock that jumped during a backup")


def test_prune_by_age_never_takes_what_a_wrong_clock_calls_young_or_new(zygote, vault):
    """The clock was a year ahead for one backup: it counts as the newest; what is old by the right clock may go."""
    early_backup = backup(zygote, vault, 365 * DAY)
    backup(zygote, vault, -60 * DAY)
    vault.check("a clock ahead")
    young = [b.id for b in vault.manager().list_backups() if b.timestamp > datetime.now(UTC) - timedelta(30)]
    outcome = zygote.run("prune", "--older-than", "30d", "--yes", "--dir", vault.top, "--json")
    assert outcome.status == 0, outcome
    assert [b.id for b in vault.manager().list_backups()] == young
    assert len(young) == 3
    assert json.dumps(early_backup).count(young[-1])


def test_prune_under_a_clock_that_ran_ahead_keeps_the_newest(zygote, vault):
    outcome = zygote.run("prune", "--older-than", "30d", "--yes", "--dir", vault.top, clock=[400 * DAY])
    LEDGER.fault("clocks moved")
    assert outcome.status == 0, outcome
    newest = list(vault.versions)[-1]
    assert [b.id for b in vault.manager().list_backups()] == [newest]
