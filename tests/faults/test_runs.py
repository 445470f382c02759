"""A run that is killed at any step is run again and counts once, and what it made before stays whole."""

from __future__ import annotations

import itertools
import json

from faults.ledger import LEDGER
from faults.steps import every_step

EVERY_YEAR = "0 0 1 1 *"
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
        last = zygote.run(*configure(vault))
        assert (last.status, outcome_of(last)) == (0, "skipped"), (event, last)
        assert [b.id for b in vault.manager().list_backups()] == [b.id for b in made], event
        results = list((vault.top / ".runs" / "shop").glob("*.result"))
        assert len(results) == 1, (event, results)

    steps = every_step(zygote, place / "copy", template, configure, check)
    assert steps > 20
    assert next(again) > steps // 2


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
