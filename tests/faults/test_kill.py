"""Killed at random moments and at every step: what is listed is whole, what was there is there, the next run works."""

from __future__ import annotations

import itertools
import os
import shutil
import signal

import pytest
from faults.ledger import FACTOR, LEDGER
from faults.vault import Vault, advance, create, leftovers, version_of

BACKUPS = 120
RESTORES = 40
FORMS = [("sql", "gzip"), ("native", "gzip"), ("native", "none"), ("sql", "zstd")]


def test_backups_killed_at_random_moments(zygote, vault, dice):
    seen = {"listed": 0, "gone": 0, "half": 0}
    whole = {
        form: zygote.run("backup", vault.url, "--dir", vault.top, "--format", form[0], "--compressor", form[1]).seconds
        for form in FORMS
    }
    vault.known |= {b.id: vault.version for b in vault.manager().list_backups() if b.id not in vault.known}
    for number in range(BACKUPS * FACTOR):
        form, compressor = FORMS[number % len(FORMS)]
        vault.advance()
        ended = zygote.run(
            *("backup", vault.url, "--dir", vault.top, "--format", form, "--compressor", compressor),
            signal=signal.SIGKILL,
            delay=dice.uniform(0, whole[form, compressor]),
        )
        what = f"round {number}: kill -9 of a backup, {form} through {compressor}"
        LEDGER.rounds += 1
        assert ended.status in {0, -signal.SIGKILL}, (what, ended)
        if ended.status:
            LEDGER.fault("kills of backups")
            seen["half"] += bool(leftovers(vault.top))
        new = vault.check(what, every=number % 10 == 0)
        if ended.status == 0 and not new:
            LEDGER.lie(f"{what}: exit status 0, and no backup")
        seen["listed" if new else "gone"] += 1
        vault.next_run(what)
        vault.thin()
    # The moments were spread over the run; how many fell behind the commit depends on how busy the machine is.
    assert min(seen["gone"], seen["half"]) > BACKUPS // 30, seen


@pytest.mark.parametrize("journal", ["DELETE", "WAL"])
def test_restores_killed_at_random_moments(zygote, vault, dice, journal):
    target = create(vault.place / "old.db")
    backups = list(vault.known)
    argv = ("restore", backups[0], "--dir", vault.top, "--overwrite", "--other", "--to", f"sqlite:///{target}")
    whole = zygote.run(*argv).seconds
    seen = set()
    for number in range(RESTORES * FACTOR // 2):
        old = 1000 + number
        os.unlink(target)
        advance(create(target, journal=journal), old)
        one = backups[number % 2]
        ended = zygote.run(
            *("restore", one, "--dir", vault.top, "--overwrite", "--other", "--to", f"sqlite:///{target}"),
            signal=signal.SIGKILL,
            delay=dice.uniform(0, whole * 0.8),
        )
        what = f"round {number}: kill -9 of a restore over a database in {journal} mode"
        LEDGER.rounds += 1
        assert ended.status in {0, -signal.SIGKILL}, (what, ended)
        if ended.status:
            LEDGER.fault("kills of restores")
        found = version_of(target)
        assert found in {old, vault.known[one]}, what
        if ended.status == 0 and found == old:
            LEDGER.lie(f"{what}: exit status 0, and the old content")
        seen.add(found == old)
        again = zygote.run("restore", one, "--dir", vault.top, "--overwrite", "--other", "--to", f"sqlite:///{target}")
        assert again.status == 0, (what, again.err)
        assert version_of(target) == vault.known[one], what
        if number % 5 == 4:
            assert vault.check(what) == []
            vault.next_run(what)
    assert True in seen


def every_step(zygote, place, template: Vault, argv, check):
    """Kill a command before each of its changes, in a fresh copy of the vault; return how many there were."""
    for step in itertools.count(1):
        vault = Vault.__new__(Vault)
        vault.__dict__.update(template.__dict__, place=place, top=place / "backups", known=dict(template.known))
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(template.place, place)
        vault.database, vault.back = place / "shop.db", place / "back.db"
        vault.url = f"sqlite:///{vault.database}"
        ended = zygote.run(*argv(vault), step=step, top=str(place))
        assert ended.status in {0, -signal.SIGKILL}, (step, ended)
        LEDGER.rounds += 1
        if ended.status:
            LEDGER.fault("kills at a step")
        check(vault, step, ended)
        if ended.status == 0:
            return step - 1
    raise AssertionError


@pytest.fixture
def template(place):
    (place / "template").mkdir()
    made = Vault(place / "template")
    for _ in range(2):
        made.advance()
        made.backup()
    made.advance()
    return made


@pytest.mark.parametrize("form", ["sql", "native"])
def test_a_backup_killed_before_each_change_it_makes(zygote, place, template, form):
    def argv(vault):
        return ("backup", vault.url, "--dir", vault.top, "--format", form)

    def check(vault, step, ended):
        what = f"kill -9 before change {step} of a {form} backup"
        new = vault.check(what, every=True)
        if ended.status == 0 and not new:
            LEDGER.lie(f"{what}: exit status 0, and no backup")
        vault.next_run(what)

    assert every_step(zygote, place / "copy", template, argv, check) > 12


@pytest.mark.parametrize("journal", ["DELETE", "WAL"])
def test_a_restore_killed_before_each_change_it_makes(zygote, place, template, journal):
    advance(create(template.place / "target.db", journal=journal), 1000)
    first = next(iter(template.known))

    def argv(vault):
        return (
            "restore",
            first,
            "--dir",
            vault.top,
            "--overwrite",
            "--other",
            "--to",
            f"sqlite:///{vault.place}/target.db",
        )

    def check(vault, step, ended):
        what = f"kill -9 before change {step} of a restore over a database in {journal} mode"
        found = version_of(vault.place / "target.db")
        assert found in {1000, template.known[first]}, what
        if ended.status == 0 and found == 1000:
            LEDGER.lie(f"{what}: exit status 0, and the old content")
        again = zygote.run(*argv(vault))
        assert again.status == 0, (what, again.err)
        assert version_of(vault.place / "target.db") == template.known[first], what
        vault.check(what)
        vault.next_run(what)

    assert every_step(zygote, place / "copy", template, argv, check) > 4


def test_a_prune_killed_before_each_change_it_makes(zygote, place, template):
    newest = list(template.known)[-1]

    def argv(vault):
        return ("prune", "--dir", vault.top, "--keep", "1", "--yes")

    def check(vault, step, ended):
        what = f"kill -9 before change {step} of a prune"
        vault.known = {one: version for one, version in vault.known.items() if one == newest}
        # What was being removed is either whole again with the next run, or gone.
        vault.backup()
        listed = {b.id for b in vault.manager().list_backups()}
        vault.known |= {one: v for one, v in template.known.items() if one in listed}
        vault.check(what, every=True)
        vault.next_run(what)

    assert every_step(zygote, place / "copy", template, argv, check) > 3


def test_a_verification_killed_before_each_change_it_makes(zygote, place, template):
    def argv(vault):
        return ("verify", "--all", "--dir", vault.top)

    def check(vault, step, ended):
        what = f"kill -9 before change {step} of a verification"
        vault.check(what)
        vault.next_run(what)
        assert zygote.run(*argv(vault)).status == 0, what
        assert all(b.proofs and b.proofs[-1].ok for b in vault.manager().list_backups()), what

    assert every_step(zygote, place / "copy", template, argv, check) > 4


def test_a_pinned_backup_outlives_every_killed_prune(zygote, place, template):
    first = next(iter(template.known))
    template.manager().pin(first, "kept")
    newest = template.backup()

    def argv(vault):
        return ("prune", "--dir", vault.top, "--keep", "1", "--yes")

    def check(vault, step, ended):
        what = f"kill -9 before change {step} of a prune beside a pin"
        kept = {first, newest}
        vault.known = {one: version for one, version in vault.known.items() if one in kept}
        vault.backup()
        listed = {b.id: b for b in vault.manager().list_backups()}
        vault.known |= {one: v for one, v in template.known.items() if one in listed}
        vault.check(what, every=True)
        assert listed[first].pinned, what

    assert every_step(zygote, place / "copy", template, argv, check) > 3
