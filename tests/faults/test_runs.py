"""A run that is killed at any step is run again and counts once, what it made stays whole, and no alarm is swallowed."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import sqlite3
from pathlib import Path

from faults.ledger import FACTOR, LEDGER
from faults.steps import every_step

EVERY_YEAR = "0 0 1 1 *"
OF_RUNS = r"/\.runs\b|^\.runs$|\.claim-|\.result"
"""In the path of what says which runs were begun and done."""
ENDED = 143
"""The status of a service that SIGTERM ended, in good order."""


def configure(vault, *argv):
    """Write a job that backs up, copies and removes, and return how it is run where it is due."""
    path = vault.place / "dumpty.toml"
    path.write_text(
        f'[defaults]\nrepository = "{vault.top}"\ncopies = ["{vault.place}/vault"]\nkeep = {{ last = 2 }}\n'
        f'[run]\nparallel = 1\n[jobs.shop]\nsource = "{vault.url}"\nschedule = "{EVERY_YEAR}"\n'
    )
    return *(argv or ("run", "--due", "--json")), "--config", path


def outcome_of(run):
    return json.loads(run.out.splitlines()[-1])["jobs"][0]["outcome"]


def test_a_run_killed_before_each_change_it_makes(zygote, place, template):
    again = itertools.count()

    def check(vault, step, outcome):
        event = f"kill -9 before change {step} of a run"
        new_ids = vault.check(event)
        if outcome.status == 0 and not new_ids:
            LEDGER.record_false_success(f"{event}: exit status 0, and no backup")
        following = zygote.run(*configure(vault))
        assert following.status == 0, (event, following)
        if outcome_of(following) == "ok":
            next(again)
        else:
            assert new_ids, f"{event}: the slot is done, and nothing was backed up"
        made = vault.manager().list_backups()
        assert set(new_ids) <= {b.id for b in made}, (event, "what was backed up is taken, and not made once more")
        last = zygote.run(*configure(vault))
        assert (last.status, outcome_of(last)) == (0, "skipped"), (event, last)
        assert [b.id for b in vault.manager().list_backups()] == [b.id for b in made], event
        results = list((vault.top / ".runs" / "shop").glob("*.result"))
        assert len(results) == 1, (event, results)

    # Before each change of what says which runs were done; of the backup's own, which are tried elsewhere one by one, a
    # third, and each where more rounds are asked for.
    assert every_step(zygote, place / "copy", template, configure, check, among=OF_RUNS) > 5
    begun = next(again)
    steps = every_step(zygote, place / "copy", template, configure, check, stride=1 if FACTOR > 1 else 3)
    assert steps > 20
    assert next(again) - begun > steps // (2 if FACTOR > 1 else 6)


def test_a_service_killed_before_each_change_it_makes(zygote, place, template):
    """Whoever serves next does what was due, counts it once, and leaves nothing of the one that was killed."""
    folder = str(place / "copy" / "backups" / ".runs" / "shop")

    def check(vault, step, outcome):
        event = f"kill -9 before change {step} of a service"
        vault.check(event)
        following = zygote.run(*configure(vault, "serve"), until=folder)
        assert following.status == ENDED, (event, following)
        made = vault.check(f"a service after {event}")
        assert made or vault.manager().list_backups(), event
        results = list((vault.top / ".runs" / "shop").glob("*.result"))
        assert len(results) == 1, (event, results)
        last = zygote.run(*configure(vault))
        assert (last.status, outcome_of(last)) == (0, "skipped"), (event, last)

    steps = every_step(
        zygote,
        place / "copy",
        template,
        lambda vault: configure(vault, "serve"),
        check,
        done=ENDED,
        stride=3,  # what it changes is what a run changes
        until=folder,
    )
    assert steps > 20


# -- alarms --------------------------------------------------------------------------------------------------------


def configure_alarm(vault, *argv, anew=False):
    """Write a job whose database is gone, and who is told of that, and return how it is run."""
    if anew:  # when it was looked at last is known by the configuration's path, which all copies of the vault share
        shutil.rmtree(Path(os.environ["XDG_CACHE_HOME"]) / "dumpty" / "looked", ignore_errors=True)
    program, path = vault.place / "tell.sh", vault.place / "dumpty.toml"
    program.write_text(f"#!/bin/sh\n{{ cat; echo; }} >> {vault.place}/told\n")
    program.chmod(0o700)
    path.write_text(
        f'[jobs.shop]\nrepository = "{vault.top}"\nsource = "sqlite:///{vault.place}/gone.db"\nretries = 0\n'
        f'schedule = "{EVERY_YEAR}"\nnotify = ["command://{program}"]\n'
    )
    return *(argv or ("run", "--due", "--json")), "--config", path


def told(vault):
    """What was told: of each message its id, and what happened."""
    path = vault.place / "told"
    messages = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    assert all(len(message["notices"]) == 1 for message in messages), messages
    return [(message["id"], message["notices"][0]["event"]) for message in messages]


def require_told(vault, event, what):
    """See that something was told, once, or again under the same id by whoever could not know that it was."""
    messages = [message for message in told(vault) if message[1] == what]
    if not messages:
        LEDGER.record_false_success(f"{event}: nobody was told of the {what}")
    assert messages, event
    assert len(messages) <= 2, (event, messages)
    assert len(set(messages)) == 1, (event, messages)


def repaired(vault):
    with contextlib.closing(sqlite3.connect(vault.place / "gone.db")) as connection, connection:
        connection.execute("CREATE TABLE IF NOT EXISTS t (x)")


def test_an_alarm_is_swallowed_by_no_kill(zygote, place, template):
    """Killed before each change that a run makes which fails and tells of it: the next one tells what it did not."""

    def check(vault, step, outcome):
        event = f"kill -9 before change {step} of a run that fails"
        following = zygote.run(*configure_alarm(vault))
        assert following.status in {0, 1}, (event, following)
        require_told(vault, event, "alarm")
        before = told(vault)
        assert zygote.run(*configure_alarm(vault)).status == 0
        assert told(vault) == before, event

    steps = every_step(zygote, place / "copy", template, lambda vault: configure_alarm(vault, anew=True), check, done=1)
    assert steps > 10


def test_a_recovery_is_swallowed_by_no_kill(zygote, place, template):
    """The same of a run that succeeds again."""

    def succeed(vault):
        (vault.place / "gone.db").unlink(missing_ok=True)
        assert zygote.run(*configure_alarm(vault, "run", anew=True)).status == 1
        repaired(vault)
        return configure_alarm(vault, "run")

    def check(vault, step, outcome):
        event = f"kill -9 before change {step} of a run that succeeds again"
        following = zygote.run(*configure_alarm(vault, "run"))
        assert following.status == 0, (event, following)
        require_told(vault, event, "recovery")
        before = told(vault)
        assert zygote.run(*configure_alarm(vault, "run")).status == 0
        assert told(vault) == before, event

    # What a backup changes is tried elsewhere: here it is what comes after it.
    steps = every_step(zygote, place / "copy", template, succeed, check, stride=2)
    assert steps > 20


def test_a_service_that_is_killed_swallows_no_alarm(zygote, place, template):
    folder = str(place / "copy" / "backups" / ".alarms" / "shop")

    def check(vault, step, outcome):
        event = f"kill -9 before change {step} of a service that tells"
        following = zygote.run(*configure_alarm(vault))
        assert following.status in {0, 1}, (event, following)
        require_told(vault, event, "alarm")

    steps = every_step(
        zygote,
        place / "copy",
        template,
        lambda vault: configure_alarm(vault, "serve", anew=True),
        check,
        done=ENDED,
        stride=3,
        until=folder,
    )
    assert steps > 10
