"""Several processes on one directory at once, and several machines: nothing lost, nothing half, nobody left waiting.

What is defined: backups run side by side; what changes the directory's list does so one process at a time. A prune sees
the backups that are there when it looks, and takes none that is newer. A restore of what a prune takes away is whole, or
fails in one line with its target as it was. Locks are those of the file system (``flock``), so they hold between the
machines that share it, and are free when their holder is dead, wherever it ran.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest
from faults.ledger import FACTOR, LEDGER
from faults.surroundings import holder
from faults.vault import unfinished_files, version_of

DUMPTY = [sys.executable, "-m", "dumpty"]
ROUNDS = 3 * FACTOR


def start(*argv, before=()):
    return subprocess.Popen(
        [*before, *DUMPTY, *map(str, argv)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(child):
    out, err = child.communicate(timeout=120)
    assert "Traceback" not in err, err
    return child.returncode, out, err


def backup_id_of(status, out, err):
    """Return the id of the backup that a command line made."""
    assert status == 0, err
    return json.loads(out.strip().splitlines()[-1])["backups"][0]["id"]


@pytest.mark.parametrize("form", ["sql", "native", "parallel"])
def test_backups_of_one_database_at_once_are_all_listed_and_whole(vault, form):
    for _ in range(ROUNDS):
        children = [start("backup", vault.url, "-d", vault.top, "--format", form, "--json") for _ in range(4)]
        ids = {backup_id_of(*finish(child)) for child in children}
        LEDGER.rounds += 1
        assert len(ids) == 4
        assert set(vault.check("four backups at once")) == ids
        vault.keep_newest()
    vault.next_run("backups at once")


def test_a_prune_during_backups_takes_none_that_is_new(vault):
    for _ in range(ROUNDS):
        vault.advance()
        children = [start("backup", vault.url, "-d", vault.top, "--json") for _ in range(2)]
        pruning = [start("prune", "-d", vault.top, "--keep", "1", "--yes") for _ in range(2)]
        new_ids = {backup_id_of(*finish(child)) for child in children}
        assert [finish(child)[::2] for child in pruning] == [(0, ""), (0, "")]
        LEDGER.rounds += 1
        backup_ids = {backup.id for backup in vault.manager().list_backups()}
        vault.versions = {
            backup_id: version for backup_id, version in vault.versions.items() if backup_id in backup_ids
        }
        assert set(vault.check("a prune during backups")) == new_ids & backup_ids
        # However they met, a prune may have taken the older of the two that are new, never the newest.
        assert new_ids & backup_ids
        assert unfinished_files(vault.top) == []
    vault.next_run("prunes during backups")


def test_a_restore_during_a_prune_is_whole_or_fails_with_its_target_as_it_was(vault, place):
    succeeded = refused = 0
    for number in range(4 * ROUNDS):
        oldest, target = vault.manager().list_backups()[0].id, place / f"back{number}.db"
        for index in range(3):
            vault.advance()
            vault.backup(format=("sql", "native")[index % 2])
        restoring = start("restore", oldest, "--to", f"sqlite:///{target}", "-d", vault.top)
        time.sleep(0.02 * (number % 8))
        pruning = start("prune", "-d", vault.top, "--keep", "2", "--yes")
        status, _, err = finish(restoring)
        assert finish(pruning)[0] == 0
        LEDGER.rounds += 1
        if status == 0:
            succeeded += 1
            if version_of(target) != vault.versions[oldest]:
                LEDGER.record_false_success("a restore during a prune gave other content")
            target.unlink()
        else:
            refused += 1
            assert len(err.splitlines()) == 1, err
            assert not target.exists()
        if oldest in {backup.id for backup in vault.manager().list_backups()}:
            assert status == 0  # it was kept for its reader
            assert finish(start("prune", "-d", vault.top, "--keep", "2", "--yes"))[0] == 0
        backup_ids = {backup.id for backup in vault.manager().list_backups()}
        assert oldest not in backup_ids
        vault.versions = {
            backup_id: version for backup_id, version in vault.versions.items() if backup_id in backup_ids
        }
        vault.check("a restore during a prune")
    assert succeeded + refused == 4 * ROUNDS
    vault.next_run("restores during prunes")


def test_a_verification_during_a_prune_never_calls_a_good_backup_bad(vault):
    for _ in range(2 * ROUNDS):
        vault.advance()
        vault.backup()
        children = [start("verify", "latest", "-d", vault.top) for _ in range(2)]
        pruning = start("prune", "-d", vault.top, "--keep", "1", "--yes")
        assert [finish(child)[0] for child in children] == [0, 0]
        assert finish(pruning)[0] == 0
        LEDGER.rounds += 1
        backup_ids = {backup.id for backup in vault.manager().list_backups()}
        vault.versions = {
            backup_id: version for backup_id, version in vault.versions.items() if backup_id in backup_ids
        }
        vault.check("verifications during a prune")


HOLDING = """
import sys, time
from dumpty.registry.host import default_host
host = default_host()
plugin = host.named("store", "file")
store = host.open_store(plugin, url=sys.argv[1], options=host.options({"open_store": plugin}, {})["open_store"])
upload = store.upload("shop-012345/shop.sql.gz")
upload.write(b"half of it")
print("held", flush=True)
time.sleep(600)
"""
"""A writer in the middle of its work, on this machine or another."""


def test_what_another_machine_is_writing_is_left_alone_and_cleared_when_it_is_dead(vault, elsewhere):
    with holder([*elsewhere, sys.executable, "-c", HOLDING, str(vault.top)]):
        [partial_file] = unfinished_files(vault.top)
        for _ in range(2):
            vault.backup()
        assert finish(start("prune", "-d", vault.top, "--keep", "9", "--yes"))[0] == 0
        assert unfinished_files(vault.top) == [partial_file]
    vault.next_run("a machine that died while it wrote")
