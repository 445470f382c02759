"""Killed at random moments and at every step: what is listed is whole, what was there is there, the next run works."""

from __future__ import annotations

import os
import signal

import pytest
from faults.ledger import FACTOR, LEDGER
from faults.steps import every_step
from faults.vault import advance, create, unfinished_files, version_of

BACKUPS = 120
RESTORES = 40
FORMS = [("sql", "gzip"), ("native", "gzip"), ("native", "none"), ("sql", "zstd")]


def test_backups_killed_at_random_moments(zygote, vault, dice):
    counts = {"listed": 0, "gone": 0, "half": 0}
    undisturbed = {
        form: zygote.run("backup", vault.url, "--dir", vault.top, "--format", form[0], "--compressor", form[1]).seconds
        for form in FORMS
    }
    vault.versions |= {b.id: vault.version for b in vault.manager().list_backups() if b.id not in vault.versions}
    for number in range(BACKUPS * FACTOR):
        form, compressor = FORMS[number % len(FORMS)]
        vault.advance()
        outcome = zygote.run(
            *("backup", vault.url, "--dir", vault.top, "--format", form, "--compressor", compressor),
            signal=signal.SIGKILL,
            delay=dice.uniform(0, undisturbed[form, compressor]),
        )
        event = f"round {number}: kill -9 of a backup, {form} through {compressor}"
        LEDGER.rounds += 1
        assert outcome.status in {0, -signal.SIGKILL}, (event, outcome)
        if outcome.status:
            LEDGER.fault("kills of backups")
            counts["half"] += bool(unfinished_files(vault.top))
        new_ids = vault.check(event, restore_all=number % 10 == 0)
        if outcome.status == 0 and not new_ids:
            LEDGER.record_false_success(f"{event}: exit status 0, and no backup")
        counts["listed" if new_ids else "gone"] += 1
        vault.next_run(event)
        vault.keep_newest()
    # The moments were spread over the run; how many fell behind the commit depends on how busy the machine is.
    assert min(counts["gone"], counts["half"]) > BACKUPS // 30, counts


@pytest.mark.parametrize("journal", ["DELETE", "WAL"])
def test_restores_killed_at_random_moments(zygote, vault, dice, journal):
    target = create(vault.place / "old.db")
    backups = list(vault.versions)
    argv = ("restore", backups[0], "--dir", vault.top, "--overwrite", "--other", "--to", f"sqlite:///{target}")
    undisturbed = zygote.run(*argv).seconds
    versions_found = set()
    for number in range(RESTORES * FACTOR // 2):
        version_before = 1000 + number
        os.unlink(target)
        advance(create(target, journal=journal), version_before)
        backup_id = backups[number % 2]
        outcome = zygote.run(
            *("restore", backup_id, "--dir", vault.top, "--overwrite", "--other", "--to", f"sqlite:///{target}"),
            signal=signal.SIGKILL,
            delay=dice.uniform(0, undisturbed * 0.8),
        )
        event = f"round {number}: kill -9 of a restore over a database in {journal} mode"
        LEDGER.rounds += 1
        assert outcome.status in {0, -signal.SIGKILL}, (event, outcome)
        if outcome.status:
            LEDGER.fault("kills of restores")
        version = version_of(target)
        assert version in {version_before, vault.versions[backup_id]}, event
        if outcome.status == 0 and version == version_before:
            LEDGER.record_false_success(f"{event}: exit status 0, and the old content")
        versions_found.add(version == version_before)
        repeated = zygote.run(
            "restore", backup_id, "--dir", vault.top, "--overwrite", "--other", "--to", f"sqlite:///{target}"
        )
        assert repeated.status == 0, (event, repeated.err)
        assert version_of(target) == vault.versions[backup_id], event
        if number % 5 == 4:
            assert vault.check(event) == []
            vault.next_run(event)
    assert True in versions_found


@pytest.mark.parametrize("form", ["sql", "native", "parallel"])
def test_a_backup_killed_before_each_change_it_makes(zygote, place, template, form):
    def argv(vault):
        return ("backup", vault.url, "--dir", vault.top, "--format", form)

    def check(vault, step, outcome):
        event = f"kill -9 before change {step} of a {form} backup"
        new_ids = vault.check(event, restore_all=True)
        if outcome.status == 0 and not new_ids:
            LEDGER.record_false_success(f"{event}: exit status 0, and no backup")
        vault.next_run(event)

    assert every_step(zygote, place / "copy", template, argv, check) > 12


@pytest.mark.parametrize("journal", ["DELETE", "WAL"])
def test_a_restore_killed_before_each_change_it_makes(zygote, place, template, journal):
    advance(create(template.place / "target.db", journal=journal), 1000)
    first_id = next(iter(template.versions))

    def argv(vault):
        return (
            "restore",
            first_id,
            "--dir",
            vault.top,
            "--overwrite",
            "--other",
            "--to",
            f"sqlite:///{vault.place}/target.db",
        )

    def check(vault, step, outcome):
        event = f"kill -9 before change {step} of a restore over a database in {journal} mode"
        version = version_of(vault.place / "target.db")
        assert version in {1000, template.versions[first_id]}, event
        if outcome.status == 0 and version == 1000:
            LEDGER.record_false_success(f"{event}: exit status 0, and the old content")
        repeated = zygote.run(*argv(vault))
        assert repeated.status == 0, (event, repeated.err)
        assert version_of(vault.place / "target.db") == template.versions[first_id], event
        vault.check(event)
        vault.next_run(event)

    assert every_step(zygote, place / "copy", template, argv, check) > 4


def test_a_prune_killed_before_each_change_it_makes(zygote, place, template):
    newest = list(template.versions)[-1]

    def argv(vault):
        return ("prune", "--dir", vault.top, "--keep", "1", "--yes")

    def check(vault, step, outcome):
        event = f"kill -9 before change {step} of a prune"
        vault.versions = {backup_id: version for backup_id, version in vault.versions.items() if backup_id == newest}
        # What was being removed is either whole again with the next run, or gone.
        vault.backup()
        backup_ids = {b.id for b in vault.manager().list_backups()}
        vault.versions |= {backup_id: v for backup_id, v in template.versions.items() if backup_id in backup_ids}
        vault.check(event, restore_all=True)
        vault.next_run(event)

    assert every_step(zygote, place / "copy", template, argv, check) > 3


def test_a_verification_killed_before_each_change_it_makes(zygote, place, template):
    def argv(vault):
        return ("verify", "--all", "--dir", vault.top)

    def check(vault, step, outcome):
        event = f"kill -9 before change {step} of a verification"
        vault.check(event)
        vault.next_run(event)
        assert zygote.run(*argv(vault)).status == 0, event
        assert all(b.proofs and b.proofs[-1].ok for b in vault.manager().list_backups()), event

    assert every_step(zygote, place / "copy", template, argv, check) > 4


def test_a_pinned_backup_outlives_every_killed_prune(zygote, place, template):
    first_id = next(iter(template.versions))
    template.manager().pin(first_id, "kept")
    newest = template.backup()

    def argv(vault):
        return ("prune", "--dir", vault.top, "--keep", "1", "--yes")

    def check(vault, step, outcome):
        event = f"kill -9 before change {step} of a prune beside a pin"
        kept_ids = {first_id, newest}
        vault.versions = {backup_id: version for backup_id, version in vault.versions.items() if backup_id in kept_ids}
        vault.backup()
        backups = {b.id: b for b in vault.manager().list_backups()}
        vault.versions |= {backup_id: v for backup_id, v in template.versions.items() if backup_id in backups}
        vault.check(event, restore_all=True)
        assert backups[first_id].pinned, event

    assert every_step(zygote, place / "copy", template, argv, check) > 3
