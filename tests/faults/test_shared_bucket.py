"""A bucket that machines with clocks of their own share: each goes by the bucket's, and nobody loses what another has."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from faults.ledger import LEDGER
from faults.test_off_site import ENVIRONMENT
from support import hostile_proxy
from support.hostile_proxy import NONE, Trouble
from support.toys import ToyDriver

from dumpty import BackupManager
from dumpty.repository.retention import Rules

CONTENT = b"content" * 1000


class Machine:
    """A machine that reaches the bucket by a proxy of its own, for which the bucket's clock shows ``later``."""

    def __init__(self, proxy, url: str, later: timedelta = timedelta()) -> None:
        self.url, self.later = url, later
        proxy.trouble = self._answer
        self.manager = BackupManager(url, plugins=[ToyDriver(db=CONTENT)])
        self._reached, self._woken = threading.Event(), threading.Event()
        self._pause_at = lambda _: False

    def _answer(self, request):
        if self._pause_at(request) and not self._reached.is_set():
            self._reached.set()
            assert self._woken.wait(120)
        moment = datetime.now(UTC) + self.later
        return Trouble(headers={"Date": format_datetime(moment, usegmt=True)}) if self.later else NONE

    @contextlib.contextmanager
    def paused(self, at, work):
        """Do ``work`` until it asks what ``at`` is true of; the block runs then, and may ask what came of it after."""
        self._pause_at = at
        with ThreadPoolExecutor(1) as pool:
            outcome = pool.submit(work)
            try:
                assert self._reached.wait(60), outcome.exception(1)
                yield outcome
            finally:
                self._woken.set()

    def go_on(self) -> None:
        self._woken.set()

    def back_up(self) -> str:
        return self.manager.create_backup("toy://h/db").raise_for_error().id


@pytest.fixture
def machine(moto_server, s3_credentials):
    """Return another machine at one and the same bucket."""
    bucket = moto_server.new_bucket()
    with contextlib.ExitStack() as stack:

        def make(**clock: float) -> Machine:
            proxy = stack.enter_context(hostile_proxy.before("127.0.0.1", moto_server.port))
            # A timeout that is longer than the pauses: who is paused is not cut off.
            url = f"s3://{bucket}/shared?endpoint=http://127.0.0.1:{proxy.port}&timeout=300"
            return Machine(proxy, url, timedelta(**clock))

        yield make
    LEDGER.rounds += 1


def is_commit(request) -> bool:
    return request.method == "PUT" and ".manifest.json" in request.path


def is_decision(request) -> bool:
    return request.method == "PUT" and "/.prune/go-" in request.path


def whole(machine, ids) -> None:
    """Check that these backups are there, whole, and no others."""
    assert machine.manager.listing().problems == []
    listed = {backup.id for backup in machine.manager.list_backups()}
    for lost in set(ids) - listed:
        LEDGER.record_lost_backup(lost)
    assert listed == set(ids)
    for backup_id in ids:
        assert machine.manager.verify(backup_id).state == "ok"


def test_a_writer_that_pauses_for_days_before_its_commit_is_told_that_it_came_too_late(machine):
    """Whoever comes meanwhile takes it for dead; its commit is forbidden, and no success."""
    here, other = machine(), machine(days=8)
    older = here.back_up()
    with here.paused(is_commit, lambda: here.manager.create_backup("toy://h/db")) as outcome:
        newer = other.back_up()
        here.go_on()
        result = outcome.result(120)
    if result.success:
        LEDGER.record_false_success("a commit after eight days")
    assert "it was taken for abandoned; back up again" in result.error
    whole(machine(), [older, newer])
    again = here.back_up()
    whole(machine(), [older, newer, again])


def test_a_writer_that_pauses_for_a_moment_is_left_alone_by_a_machine_whose_own_clock_is_days_ahead(
    machine, zygote, vault
):
    """Which clock that machine shows is its own affair: how old something is the bucket tells."""
    here = machine()
    older = here.back_up()
    with here.paused(is_commit, here.back_up) as outcome:
        ran = zygote.run("backup", vault.url, "--dir", machine().url, env=ENVIRONMENT, clock=[8 * 86400.0])
        assert ran.status == 0, ran.err
        here.go_on()
        newer = outcome.result(120)
    listed = [backup.id for backup in here.manager.list_backups()]
    assert {older, newer} < set(listed)
    whole(machine(), listed)


@pytest.mark.parametrize("wakes", [True, False])
def test_a_prune_that_sleeps_for_hours_takes_nothing_that_was_pinned_meanwhile(machine, wakes):
    here, other = machine(), machine(hours=2)
    first, *_ = ids = [here.back_up() for _ in range(3)]
    with here.paused(is_decision, lambda: here.manager.prune(Rules(keep=1))) as outcome:
        newest = other.back_up()  # which withdraws what seems to be dead
        other.manager.pin(first, "an auditor's")
        if wakes:
            here.go_on()
            assert first not in outcome.result(120).removed
        else:
            whole(machine(), [*ids, newest])
    left = [b.id for b in machine().manager.list_backups()]
    assert {first, newest} <= set(left)
    assert "an auditor's" in machine().manager.get_backup(first).pinned
    whole(machine(), left)


def test_a_pin_that_meets_a_prune_wins_or_is_refused_and_never_lost(machine):
    """Both at once, on two machines: a backup that is said to be pinned is there."""
    here, other = machine(), machine()
    first, *_ = [here.back_up() for _ in range(3)]
    with here.paused(is_decision, lambda: here.manager.prune(Rules(keep=1))) as outcome:
        with contextlib.suppress(Exception):
            other.manager.pin(first, "an auditor's")
        here.go_on()
        outcome.result(120)
    left = {b.id: b for b in machine().manager.list_backups()}
    assert first in left
    assert "an auditor's" in left[first].pinned
    whole(machine(), list(left))


def test_a_bucket_whose_clock_is_behind_takes_nobody_for_dead(machine):
    here, other = machine(), machine(days=-8)
    older = here.back_up()
    with here.paused(is_commit, here.back_up) as outcome:
        newer = other.back_up()
        other.manager.prune(Rules(keep=10))
        here.go_on()
        assert outcome.result(120)
    whole(machine(), [older, newer, outcome.result()])
