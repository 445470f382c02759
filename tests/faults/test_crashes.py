"""Ended at every step: whatever is listed is whole, whatever was there before still is, and the next run tidies up.

Killed: a child process is ended with ``os._exit`` just before the n-th change it makes to the backup directory, for
every n. Interrupted: KeyboardInterrupt comes up in it before the n-th line of what orders those changes, for every n.
"""

from __future__ import annotations

import pytest
from faults.ending import every_step, interrupted_at, killed_at
from faults.ledger import FACTOR
from support.places import left_over, stored_files
from support.toys import ToyDriver

from dumpty import BackupManager
from dumpty.operations import backup, copying
from dumpty.repository import plain, transaction
from dumpty.repository.protocol import attempt, dooms, layout, recovery, removal, taking
from dumpty.streaming import pipeline
from dumpty_plugins.file import deleting, files, folders, parts, publishing, store, sweeping, upload

DATA = b"to be or not to be" * 1000
ORDERING = [backup, copying, pipeline, plain, transaction, attempt, dooms, recovery, removal, taking]
STORING = [deleting, files, folders, parts, publishing, store, sweeping, upload]
ENDINGS = {
    "killed": (killed_at, 1),
    "interrupted in what orders the changes": (interrupted_at(ORDERING), 3),
    "interrupted in the store": (interrupted_at([*ORDERING, *STORING]), max(1, 97 // FACTOR)),
}
AT_EVERY_STEP = pytest.mark.parametrize(("ended_at", "stride"), ENDINGS.values(), ids=ENDINGS)


def manager(top):
    return BackupManager(str(top), plugins=[ToyDriver(db=DATA, other=b"other")])


def verified_ids(manager):
    """Return the ids that are listed, each of them verified."""
    assert manager.listing().problems == []
    backup_ids = [backup.id for backup in manager.list_backups()]
    for backup_id in backup_ids:
        manager.verify(backup_id)
    return backup_ids


def require_tidied(manager, top):
    """Check that a further run works, and leaves two files for each backup, proofs, pins, tombstones and nothing else.

    Returns:
        The ids that are listed then, but its own.
    """
    result = manager.create_backup("toy://h/other")
    assert result.success, result.error
    ids = verified_ids(manager)
    assert ids[-1] == result.backup.id
    assert left_over(top) == []
    names = [n for n in stored_files(top) if (top / n).stat().st_size != len(layout.TOMBSTONE)]
    assert len({n for n in names if ".proof-" not in n and ".pin-" not in n}) == 2 * len(ids)
    assert len(names) >= 3 * len(ids)
    return ids[:-1]


@pytest.fixture
def template(place):
    top = place / "dir"
    backups = manager(top)
    for _ in range(2):
        assert backups.create_backup("toy://h/db").success
    return top


@AT_EVERY_STEP
def test_a_backup_that_is_ended_leaves_the_older_ones_and_is_whole_or_not_there(ended_at, stride, template):
    ids_before = verified_ids(manager(template))
    outcomes = set()

    def check(reopened, top, ended):
        ids_after = verified_ids(reopened)
        assert ids_after[:2] == ids_before
        outcomes.add((ended, len(ids_after)))
        assert require_tidied(reopened, top) == ids_after

    steps = every_step(
        ended_at, template, manager, lambda reopened: reopened.create_backup("toy://h/db"), check, stride
    )
    assert steps > 8
    assert outcomes == {(True, 2), (True, 3), (False, 3)}


@AT_EVERY_STEP
def test_a_copy_that_is_ended_is_whole_or_not_there_and_the_next_one_completes_it(ended_at, stride, place):
    """Also where it is ended in what it does at the other end: it protects what it reads."""
    template = place / "both"
    ids_before = [manager(template / "vault").create_backup("toy://h/other").raise_for_error().id]
    origin = manager(template / "origin")
    copied = origin.create_backup("toy://h/db").raise_for_error().id
    origin.pin(copied, "kept")
    ends = set()

    def check(top, _, ended):
        origin, vault = manager(top / "origin"), manager(top / "vault")
        ids_after = verified_ids(vault)
        assert ids_after in (ids_before, [*ids_before, copied])
        [outcome] = origin.copy(to=vault)
        assert (outcome.copied, outcome.exception) == (copied not in ids_after, None)
        assert vault.get_backup(copied).pinned
        assert require_tidied(vault, top / "vault") == [*ids_before, copied]
        assert require_tidied(origin, top / "origin") == [copied]
        ends.add((ended, len(ids_after)))

    def work(top):
        manager(top / "origin").copy(to=manager(top / "vault"))

    every_step(ended_at, template, lambda top: top, work, check, 1 if stride == 1 else 7 * stride)
    assert ends == {(True, 1), (True, 2), (False, 2)}


@AT_EVERY_STEP
def test_a_removal_that_is_ended_leaves_the_backup_whole_or_gone(ended_at, stride, template):
    first, second = verified_ids(manager(template))
    outcomes = set()

    def check(reopened, top, ended):
        # A removal that was decided is finished by the next run, whatever has gone of it.
        backup_ids = [b.id for b in reopened.list_backups()]
        assert backup_ids[-1] == second
        assert {b.state for b in reopened.list_backups()} == {"ok"}
        assert reopened.verify(second)
        assert require_tidied(reopened, top) in (backup_ids, [second])
        outcomes.add((ended, len(backup_ids)))

    steps = every_step(ended_at, template, manager, lambda reopened: reopened.remove(first), check, stride)
    assert steps > 3
    assert outcomes == {(True, 2), (True, 1), (False, 1)}
