"""What a repository owes for backups that are there: what is said of them is told, and they stay or go as a whole."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar

from dumpty.errors import MissingFile, UnknownBackup
from dumpty.testing.backups import STARTED, RepositoryRules
from dumpty.testing.rules import refused, require, shown
from dumpty.types import Proof, Proved

if TYPE_CHECKING:
    from collections.abc import Callable

    from dumpty.registry.host import Host
    from dumpty.types import Repository

__all__ = ["KeepingRules"]

_HOUR = timedelta(hours=1)


class KeepingRules(RepositoryRules):
    """The part of ``RepositorySuite`` about proofs, pins and removals."""

    removes: ClassVar[bool] = True
    """False where nothing can be removed, or not at once."""

    protects: ClassVar[bool] = True
    """False where whoever reads a backup cannot keep others from removing it: their restore then fails midway."""

    claims: ClassVar[dict[str, tuple[str, ...]]] = {
        "removes": (
            "test_a_removal_takes_exactly_what_was_chosen",
            "test_of_a_removed_backup_nothing_more_can_be_said",
            "test_what_was_read_can_be_removed_afterwards",
            "test_what_is_being_read_is_not_removed",
        ),
        "protects": ("test_what_is_being_read_is_not_removed",),
    }

    # -- what is said of them ------------------------------------------------------------------------------------

    def test_proofs_and_pins_are_told(self, repository: Repository) -> None:
        """listing() and look_up() tell every proof, oldest first, and the pin with its reason, of that backup alone."""
        record, other = self.write(repository), self.write(repository, started=STARTED + _HOUR)
        proofs = [
            Proof(
                level="restore" if hour else "digest",
                ok=hour != 1,
                at=STARTED + _HOUR * hour,
                by="tester@here",
                seconds=1.5,
                versions={"dumpty": "1"},
                proved=(Proved(what="3 rows in 1 table", seconds=0.5),),
                not_proved=("roles",),
                error="a row is missing" if hour == 1 else "",
            )
            for hour in range(3)
        ]
        for proof in proofs:
            written = repository.add_proof(record, proof)
            require(not written.unrecorded, "add_proof() writes a proof down.", "Store it.", written.unrecorded)
        repository.pin(record, "before the migration")
        for told in (repository.look_up(record).annotations, self.listed(repository)[record.id].annotations):
            seen = f"{len(told.proofs)} proofs, pinned {told.pinned!r}"
            rule = "Every proof of a backup comes back as it was added, oldest first."
            require(list(told.proofs) == proofs, rule, "Keep every field.", seen)
            require("before the migration" in told.pinned, "A pin says its reason.", "Keep it.", seen)
        untouched = repository.look_up(other).annotations
        rule = "What is said of one backup is said of no other."
        require(not untouched.proofs and not untouched.pinned, rule, "Keep them by id.", shown(untouched))

    def test_a_pinned_backup_stays(self, repository: Repository) -> None:
        """remove() keeps what is pinned, and says why; unpin() says whether there was a pin."""
        record = self.write(repository)
        repository.pin(record)
        outcome = repository.remove(lambda listed: {backup.record.id for backup in listed})
        rule = "remove() keeps what is pinned, and gives the reason."
        require(outcome.kept.get(record.id) and not outcome.removed, rule, "Ask for pins last.", shown(outcome))
        self.require_listed(repository, record)
        self.require_whole(repository, record)
        had_pins = [repository.unpin(record), repository.unpin(record)]
        rule = "unpin() takes the pin away, and returns whether there was one."
        require(had_pins == [True, False], rule, "Look before.", f"twice, it returned {had_pins}")
        require(not repository.look_up(record).annotations.pinned, rule, "Remove it.", "it was still pinned")

    def test_an_acceptance_is_told(self, host: Host, repository: Repository, repository_url: str) -> None:
        """listing() and look_up() tell that a suspicious backup was accepted, and why; of that backup alone."""
        lost = ("table orders: gone, had 5 rows in backup 1a2b3c4d of 2026-11-26 02:30Z",)
        records = [
            self.write(repository, started=STARTED + _HOUR * hour, identity="test:shop", suspicions=lost)
            for hour in range(2)
        ]
        repository.accept(records[0], "they were archived")
        opened_again = self.opened(host, repository_url)
        rule = "accept() is told with its reason, of that backup alone, whoever opens the repository."
        for place in (repository, opened_again):
            listed = self.listed(place)
            for told in (place.look_up(records[0]).annotations, listed[records[0].id].annotations):
                accepted = "they were archived" in told.accepted
                require(accepted, rule, "Store it beside the backup.", f"accepted {told.accepted!r}")
            for untouched in (place.look_up(records[1]).annotations, listed[records[1].id].annotations):
                require(not untouched.accepted, rule, "Keep them by id.", f"accepted {untouched.accepted!r}")
        found = [record.suspicions for record in (repository.get(records[0].id), records[0])]
        rule = "What made a backup suspicious stays in its record, accepted or not."
        require(found == [lost, lost], rule, "Alter no record.", f"it was {found}")

    # -- removed -------------------------------------------------------------------------------------------------

    def test_a_removal_takes_exactly_what_was_chosen(self, repository: Repository) -> None:
        """remove() shows all backups, removes those that are chosen, and no other; unknown ids are ignored."""
        records = [self.write(repository, (b"%d" % hour,), started=STARTED + _HOUR * hour) for hour in range(4)]
        chosen, kept = {records[0].id, records[2].id}, (records[1], records[3])
        shown_ids: list[set[str]] = []

        def choose(listed: object) -> set[str]:
            shown_ids.append({backup.record.id for backup in listed})  # type: ignore[attr-defined]
            return chosen & shown_ids[-1] | {str(uuid.uuid4())}

        outcome = repository.remove(choose)
        everything = {record.id for record in records}
        rule = "choose() is given every backup that is there."
        require(shown_ids and shown_ids[0] == everything, rule, "List them all.", f"it was given {shown_ids[:1]}")
        rule = "remove() removes the backups that were chosen, and says which."
        require(set(outcome.removed) == chosen, rule, "Remove all of them, and no other.", shown(outcome))
        self.require_listed(repository, *kept)
        for record in records:
            if record.id in chosen:
                self.require_unknown(repository, record)
        for record in kept:
            self.require_whole(repository, record, (b"%d" % records.index(record),))
        nothing = repository.remove(lambda _: ())
        require(not nothing.removed and not nothing.kept, "Nothing chosen is nothing removed.", "", shown(nothing))

    def test_of_a_removed_backup_nothing_more_can_be_said(self, repository: Repository) -> None:
        """Of a removed backup look_up(), pin(), accept(), … raise UnknownBackup; its objects are missing."""
        record = self.write(repository)
        repository.remove(lambda listed: {backup.record.id for backup in listed})
        proof = Proof(level="digest", ok=True, at=STARTED)
        calls: dict[str, Callable[[], object]] = {
            "look_up()": lambda: repository.look_up(record),
            "pin()": lambda: repository.pin(record),
            "accept()": lambda: repository.accept(record),
            "add_proof()": lambda: repository.add_proof(record, proof),
            "reading()": lambda: repository.reading(record).__enter__(),
        }
        for name, call in calls.items():
            rule = f"{name} of a backup that was removed raises dumpty.UnknownBackup."
            with refused(UnknownBackup, rule, "Look whether it is there."):
                call()
        with refused(MissingFile, "open() of an object that is gone raises dumpty.MissingFile.", "Raise it."):
            repository.open(record.objects[0].name).read()
        self.require_listed(repository)

    def test_what_was_read_can_be_removed_afterwards(self, repository: Repository) -> None:
        """Within reading() a backup can be read, and after it nothing protects it any more."""
        record = self.write(repository)
        with repository.reading(record), repository.reading(record):
            self.require_whole(repository, record)
        outcome = repository.remove(lambda listed: {backup.record.id for backup in listed})
        rule = "What reading() protects it lets go at the end of its block."
        require(record.id in outcome.removed, rule, "Take the protection away.", shown(outcome))

    def test_what_is_being_read_is_not_removed(self, host: Host, repository_url: str) -> None:
        """Within reading() another user's remove() keeps a backup, and says why; it can be read on."""
        reader, remover = (self.opened(host, repository_url) for _ in range(2))
        record = self.write(reader)
        with reader.reading(record):
            outcome = remover.remove(lambda listed: {backup.record.id for backup in listed})
            rule = "remove() keeps what is being read, and gives the reason."
            remedy = "Pin it in reading(), for a time, where others see it; or set protects = False."
            kept = outcome.kept.get(record.id) and not outcome.removed
            require(kept, rule, remedy, shown(outcome))
            self.require_whole(reader, record)
