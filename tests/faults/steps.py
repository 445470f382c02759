"""Kills a command before each of its changes, one after another."""

from __future__ import annotations

import itertools
import shutil
import signal

from faults.ledger import LEDGER
from faults.vault import Vault


def every_step(zygote, place, template: Vault, argv, check, *, done=0, stride=1, **order):
    """Kill a command before each of its changes, in a fresh copy of the vault; return how many there were.

    With a ``stride`` only before each ``stride``-th. ``done`` is the status that it ends with when it is not killed, ``order`` what else the zygote is told.
    """
    for step in itertools.count(1, stride):
        vault = Vault.__new__(Vault)
        vault.__dict__.update(template.__dict__, place=place, top=place / "backups", versions=dict(template.versions))
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(template.place, place)
        vault.database, vault.restored = place / "shop.db", place / "back.db"
        vault.url = f"sqlite:///{vault.database}"
        outcome = zygote.run(*argv(vault), step=step, top=str(place), **order)
        assert outcome.status in {done, -signal.SIGKILL}, (step, outcome)
        LEDGER.rounds += 1
        if outcome.status != done:
            LEDGER.fault("kills at a step")
        check(vault, step, outcome)
        if outcome.status == done:
            return step - 1
    raise AssertionError
