"""What is written down of proofs, and what many of them say together."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.pretty import pretty_repr
from support.places import stored_files
from support.toys import StoreWrapper, ToyDriver

from dumpty import BackupManager, IntegrityError, ManifestError, Pinned, StoreError, UnknownBackup
from dumpty.repository.verification import decode_proof, encode_proof, superfluous, verification_status
from dumpty.types import LEVELS, Proof, Proved

NOW = datetime(2026, 3, 29, 2, 30, tzinfo=UTC)


def proof(level, ok, position=0):
    return Proof(level=level, ok=ok, at=NOW + timedelta(minutes=position), by=str(position))


attempts = st.lists(st.tuples(st.sampled_from(LEVELS), st.booleans()), max_size=12).map(
    lambda pairs: [proof(level, ok, position) for position, (level, ok) in enumerate(pairs)]
)


def opened(top, **replaced):
    driver = ToyDriver(db=b"one", other=b"two")
    if replaced:
        return BackupManager(f"wrapped://{top}", plugins=[driver, StoreWrapper(**replaced)])
    return BackupManager(str(top), plugins=[driver])


@pytest.fixture
def top(tmp_path):
    return tmp_path / "dir"


@pytest.fixture
def backup(top):
    return opened(top).create_backup("toy://h/db").backup


def sidecar(top, kind):
    return next(p for p in top.rglob("*") if kind in p.name)


def test_proofs_come_back_as_they_were_written():
    recorded = Proof(
        level="restore",
        ok=False,
        at=NOW,
        by="me@here",
        seconds=1.5,
        versions={"sqlite": "3.40"},
        proved=(Proved(what="that", seconds=0.25),),
        not_proved=("this",),
        error="it broke",
    )
    assert decode_proof(encode_proof("id", recorded), "id", "it") == recorded


@settings(max_examples=200)
@given(attempts)
def test_what_proofs_say_together_is_never_better_than_the_last_failure(proofs):
    status = verification_status(proofs)
    assert status.proven is None or status.failed is None
    for position, recorded in enumerate(proofs):
        rank = LEVELS.index(recorded.level)
        later = proofs[position + 1 :]
        if not recorded.ok and not any(p.ok and LEVELS.index(p.level) >= rank for p in later):
            assert status.failed is not None
    if status.proven is not None:
        rank = LEVELS.index(status.proven.level)
        later = proofs[proofs.index(status.proven) + 1 :]
        assert status.proven.ok
        assert not any(not p.ok and LEVELS.index(p.level) <= rank for p in later)
    if proofs and all(p.ok for p in proofs):
        assert status.proven.level == max((p.level for p in proofs), key=LEVELS.index)


def test_a_weaker_proof_does_not_refute_a_failed_drill_and_a_drill_does():
    failed = [proof("digest", True), proof("restore", False), proof("digest", True)]
    assert verification_status(failed).failed is failed[1]
    assert verification_status([*failed, proof("restore", True)]).proven.level == "restore"


@settings(max_examples=50)
@given(st.lists(st.tuples(st.sampled_from(LEVELS), st.booleans()), min_size=40, max_size=90))
def test_many_proofs_are_shortened_without_changing_what_they_say(pairs):
    every = tuple(proof(level, ok, position) for position, (level, ok) in enumerate(pairs))
    dropped = superfluous(every)
    short = tuple(p for position, p in enumerate(every) if position not in dropped)
    assert verification_status(short) == verification_status(every)
    assert short[-50:] == every[-50:]
    assert len(short) <= 56


def test_proofs_that_say_nothing_any_more_go_with_the_next_removal(top, backup):
    manager = opened(top)
    other = manager.create_backup("toy://h/db").backup
    for _ in range(53):
        manager.verify(backup.id)
    manager.remove(other.id)
    assert len(manager.get_backup(backup.id).proofs) == 50


def test_a_verification_is_written_down_beside_the_backup(top, backup):
    [recorded] = opened(top).verify(backup.id).proofs
    assert (recorded.level, recorded.ok, recorded.error) == ("digest", True, "")
    assert "@" in recorded.by
    assert abs(datetime.now(UTC) - recorded.at) < timedelta(minutes=1)
    assert opened(top).list_backups()[0].proofs == (recorded,)
    assert opened(top).find("latest-verified") == backup


def test_a_failed_verification_is_written_down_too(top, backup):
    with open(backup.file_path, "ab") as stream:
        stream.write(b"more")
    with pytest.raises(IntegrityError):
        opened(top).verify(backup.id)
    status = opened(top).get_backup(backup.id).verification_status
    assert status.failed.error
    with pytest.raises(UnknownBackup, match="still holds"):
        opened(top).find("latest-verified")


def test_proofs_of_two_at_once_are_both_written_down(top, backup):
    errors = []

    def verify():
        try:
            for _ in range(5):
                opened(top).verify(backup.id)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=verify) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(opened(top).get_backup(backup.id).proofs) == 15


def refused(real, name, data, *, new=True):
    if ".proof-" in name:
        raise StoreError(f"cannot write {name}: Read-only file system")
    real(name, data, new=new)


def test_a_proof_that_cannot_be_written_down_still_holds_and_says_so(top, backup):
    manager = opened(top, put=refused)
    attempt = manager.prove(backup.id, level="digest")
    assert attempt.ok
    assert "Read-only file system" in attempt.unrecorded
    assert manager.verify(backup.id).proofs == ()


@pytest.mark.parametrize("damage", [b"", b"{}", b"\xff", b"[1]"])
def test_damaged_proofs_are_reported_count_for_nothing_and_are_never_overwritten(top, backup, damage):
    manager = opened(top)
    manager.verify(backup.id)
    file = sidecar(top, ".proof-")
    file.write_bytes(damage)
    assert manager.get_backup(backup.id).verification_status.proven is None
    [problem] = manager.listing().lost_proofs
    assert file.name in str(problem)
    assert manager.listing().problems == []
    attempt = manager.prove(backup.id, level="digest")
    assert (attempt.ok, attempt.unrecorded) == (True, "")
    assert manager.get_backup(backup.id).proofs == (attempt,)
    assert file.read_bytes() == damage


def test_proofs_that_were_edited_by_hand_count_for_nothing(top, backup):
    manager = opened(top)
    manager.verify(backup.id)
    file = sidecar(top, ".proof-")
    file.write_text(file.read_text().replace('"digest",', '"restore",', 1))
    assert manager.get_backup(backup.id).proofs == ()
    assert len(manager.listing().lost_proofs) == 1


def test_proofs_of_another_backup_count_for_nothing(top, backup):
    manager = opened(top)
    other = manager.create_backup("toy://h/other").backup
    manager.verify(backup.id)
    stem = other.file_path.partition(".sql")[0]
    Path(f"{stem}.proof-20260101T000000Z-01234567").write_bytes(sidecar(top, ".proof-").read_bytes())
    assert manager.get_backup(other.id).proofs == ()
    assert "belongs to" in str(manager.listing().lost_proofs[0])


@pytest.mark.parametrize(
    "change",
    [
        {"proof": {}},
        {"proof": 3},
        {"proof": {"level": "magic", "ok": True}},
        {"proof": {"level": "digest", "ok": "yes"}},
        {},
    ],
)
def test_sealed_nonsense_is_damage(change):
    from dumpty.repository.sealed import seal

    with pytest.raises(ManifestError):
        decode_proof(seal({"backup": "id", **change}), "id", "the proofs")


def test_proofs_go_with_their_backup(top, backup):
    manager = opened(top)
    manager.verify(backup.id)
    manager.remove(backup.id)
    assert stored_files(top) == []


def test_proofs_without_a_backup_are_cleared_by_the_next_run_and_others_are_not(top, backup):
    manager = opened(top)
    manager.verify(backup.id)
    manager.pin(backup.id)
    orphan = top / "gone-012345" / "20260101T000000Z-0123456789ab-01234567.proof-20260101T000000Z-01234567"
    orphan.parent.mkdir()
    orphan.write_bytes(sidecar(top, ".proof-").read_bytes())
    stranger = top / "notes.proof-7"
    stranger.write_text("mine")
    assert manager.create_backup("toy://h/db").success
    assert not orphan.exists()
    assert stranger.exists()
    kept = manager.get_backup(backup.id)
    assert kept.verification_status.proven
    assert kept.pinned


def test_proofs_are_not_cleared_where_only_the_manifest_is_lost(top, backup):
    manager = opened(top)
    manager.verify(backup.id)
    sidecar(top, ".manifest.json").unlink()
    assert manager.create_backup("toy://h/other").success
    assert sidecar(top, ".proof-").exists()


def test_a_proof_of_what_was_removed_meanwhile_is_not_left_behind(top, backup):
    manager = opened(top)

    def slow(_progress):
        if opened(top).list_backups():
            opened(top).remove(backup.id)

    with pytest.raises(UnknownBackup):
        manager.verify(backup.id, progress=slow)
    assert stored_files(top) == []


def test_a_pinned_backup_is_not_removed_until_it_is_unpinned(top, backup):
    manager = opened(top)
    pinned = manager.pin(backup.id, "before\nthe upgrade")
    assert pinned.pinned.endswith(": before the upgrade")
    with pytest.raises(Pinned, match="unpin"):
        manager.remove(backup.id)
    assert manager.verify(backup.id)
    assert manager.unpin(backup.id) is True
    assert manager.unpin(backup.id) is False
    manager.remove(backup.id)
    assert manager.list_backups() == []


def test_a_pin_that_cannot_be_read_is_a_pin(top, backup):
    manager = opened(top)
    manager.pin(backup.id)
    sidecar(top, ".pin-").write_bytes(b"\0")
    assert manager.get_backup(backup.id).pinned
    assert len(manager.listing().lost_proofs) == 1
    with pytest.raises(Pinned):
        manager.remove(backup.id)


def test_what_is_written_down_is_plain_json(top, backup):
    opened(top).verify(backup.id)
    whole = json.loads(sidecar(top, ".proof-").read_text())
    assert whole["backup"] == backup.id
    assert whole["proof"]["level"] == "digest"


def test_the_exception_of_a_proof_is_neither_shown_nor_compared():
    error = IntegrityError("it is short")
    error.__cause__ = ValueError("s3cr3t")
    failed = Proof(level="digest", ok=False, at=datetime(2026, 1, 1, tzinfo=UTC), error="it is short", exception=error)
    assert failed == Proof(level="digest", ok=False, at=failed.at, error="it is short", unrecorded="the disk is full")
    assert failed != Proof(level="digest", ok=True, at=failed.at, error="it is short")
    assert "IntegrityError" not in repr(failed) + pretty_repr(failed)
