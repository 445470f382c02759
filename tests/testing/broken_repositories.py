"""Repositories that break one rule each, on top of one that keeps them all."""

from __future__ import annotations

import contextlib
from pathlib import Path

from msgspec.structs import replace

from dumpty import Option, PluginInfo, StoreError, UnknownBackup, hookimpl
from dumpty.repository import manifest
from dumpty.repository.names import slug
from dumpty.repository.protocol.runs import Run, claim
from dumpty.repository.transaction import PlainTransaction
from dumpty.testing import MemoryStore
from dumpty.testing.streams import BytesReader
from dumpty.types import PRESENT, RepositoryListing
from testing.breaks import ANY, breaks
from testing.vault import GoodRepository, Vault


class Transacting(Vault):
    """Has transactions of a class of its own."""

    transaction_type = PlainTransaction

    def transaction(self, **arguments):
        made = super().transaction(**arguments)
        made.__class__ = self.transaction_type
        made.repository = self
        return made


class Recording(Vault):
    """Alters every record that it returns."""

    def altered(self, record):
        return record

    def get(self, record_id):
        return self.altered(super().get(record_id))

    def look_up(self, record):
        backup = super().look_up(record)
        return replace(backup, record=self.altered(backup.record))

    def listing(self):
        listing = super().listing()
        return replace(listing, backups=tuple(replace(b, record=self.altered(b.record)) for b in listing.backups))


# -- written ---------------------------------------------------------------------------------------------------------


@breaks("test_a_committed_backup_is_listed_found_and_read_back", *ANY)
class LosesTheLastByte(GoodRepository):
    class repository(Vault):
        def open(self, name, offset=0):
            return BytesReader(self.store.get(name)[offset:-1])


@breaks("test_a_record_comes_back_as_it_was_committed")
class ForgetsTags(GoodRepository):
    class repository(Recording):
        def altered(self, record):
            return replace(record, tags=())


@breaks("test_a_record_comes_back_as_it_was_committed")
class ForgetsSignatures(GoodRepository):
    class repository(Recording):
        def altered(self, record):
            return replace(record, signatures=())


@breaks("test_a_record_comes_back_as_it_was_committed", "test_an_acceptance_is_told")
class ForgetsSuspicions(GoodRepository):
    class repository(Recording):
        def altered(self, record):
            return replace(record, suspicions=())


@breaks("test_many_objects_keep_their_order")
class SortsObjects(GoodRepository):
    class repository(Recording):
        def altered(self, record):
            return replace(record, objects=tuple(sorted(record.objects, key=lambda entry: entry.name)))


@breaks("test_an_ending_is_used_once")
class GivesAnEndingTwice(GoodRepository):
    class repository(Transacting):
        class transaction_type(PlainTransaction):
            def upload(self, ending, expected=None):
                return self._uploads.get(ending) or super().upload(ending, expected)


@breaks("test_a_transaction_without_commit_leaves_nothing")
class SwallowsErrors(GoodRepository):
    class repository(Transacting):
        class transaction_type(PlainTransaction):
            def __exit__(self, kind, error, traceback):
                super().__exit__(kind, error, traceback)
                return isinstance(error, OSError) and not isinstance(error, StoreError)


EARLY = "test_an_object_that_was_completed_early_is_part_of_no_backup_until_the_commit"


@breaks(EARLY, "test_a_commit_that_does_not_fit_what_was_uploaded_is_refused")
class KeepsWhatWasCompleted(GoodRepository):
    class repository(Transacting):
        class transaction_type(PlainTransaction):
            def __exit__(self, kind, error, traceback):
                for ending in self._completed if error is not None else ():
                    self._attempt._uploads.pop(ending)
                return super().__exit__(kind, error, traceback)


@breaks(EARLY)
class CompletesNothing(GoodRepository):
    class repository(Transacting):
        class transaction_type(PlainTransaction):
            committing = False

            def commit(self, record):
                self.committing = True
                return super().commit(record)

            def complete(self, ending):
                if self.committing:
                    super().complete(ending)
                else:
                    self._completed.add(ending)


class Publishing(PlainTransaction):
    """Publishes what was uploaded, whatever the record says."""

    def publish(self, record):
        for ending in self._uploads.keys() - self._completed:
            self._uploads[ending].commit()
        sizes = {ending: self._store.stat(self.name(ending)).size for ending in self._uploads}
        self._attempt.publish(manifest.encode(record), sizes)
        return record


@breaks("test_an_interrupt_leaves_a_transaction_uncommitted")
class CommitsWhenInterrupted(GoodRepository):
    class repository(Transacting):
        class transaction_type(Publishing):
            record = None

            def commit(self, record):
                self.repository.last = record
                return super().commit(record)

            def __exit__(self, kind, error, traceback):
                if isinstance(error, KeyboardInterrupt):
                    names = map(self.name, self._uploads)
                    [first, *_] = self.repository.last.objects
                    self.publish(replace(self.repository.last, objects=tuple(replace(first, name=n) for n in names)))
                super().__exit__(kind, error, traceback)


@breaks("test_a_commit_that_does_not_fit_what_was_uploaded_is_refused")
class TakesEveryRecord(GoodRepository):
    class repository(Transacting):
        class transaction_type(Publishing):
            def commit(self, record):
                return self.publish(record)


@breaks("test_a_backup_that_several_make_is_there_once")
class MakesOneBackupTwice(GoodRepository):
    class repository(Transacting):
        class transaction_type(PlainTransaction):
            def claim_id(self, record_id):
                return None


@breaks("test_two_writers_at_once_both_succeed", "test_a_backup_that_several_make_is_there_once")
class LetsOneWrite(GoodRepository):
    class repository(Transacting):
        class transaction_type(PlainTransaction):
            def __enter__(self):
                if any(name.endswith(".intent") for name in self._store.objects()):
                    raise StoreError("somebody else is at it")
                return super().__enter__()


@breaks("test_a_database_may_have_any_name")
class MakesNamesPlain(GoodRepository):
    class repository(Recording):
        def altered(self, record):
            return replace(record, database=slug(record.database))


# -- found and read --------------------------------------------------------------------------------------------------


@breaks("test_reading_begins_at_the_offset")
class IgnoresTheOffset(GoodRepository):
    class repository(Vault):
        def open(self, name, offset=0):
            return super().open(name)


@breaks("test_candidates_lead_to_their_backups")
class PutsAllInOneGroup(GoodRepository):
    class repository(Vault):
        def candidates(self, *, database="", identity=""):
            return [replace(candidate, group="all") for candidate in super().candidates()]


@breaks("test_of_a_database_all_candidates_are_there")
class HasOnlyTheNewestCandidateOfADatabase(GoodRepository):
    class repository(Vault):
        def candidates(self, *, database="", identity=""):
            return super().candidates(database=database, identity=identity)[-1 if identity else 0 :]


@breaks("test_an_unknown_backup_is_unknown")
class FindsByTheBeginning(GoodRepository):
    class repository(Vault):
        def get(self, record_id):
            ids = [b.record.id for b in self.listing().backups if record_id and b.record.id.startswith(record_id)]
            return super().get(ids[0] if ids else record_id)


@breaks("test_a_repository_opened_again_has_its_backups", *ANY)
class ForgetsWhenClosed(GoodRepository):
    def make_repository(self, url, options):
        return Vault(MemoryStore())


@breaks(
    "test_clear_keeps_what_was_committed",
    "test_an_interrupt_leaves_a_transaction_uncommitted",
    "test_backups_are_untouched_by_runs",
    "test_a_recipient_who_was_not_told_is_told_by_the_next",
)
class ClearsEverything(GoodRepository):
    class repository(Vault):
        def clear(self):
            self.store.delete(self.store.objects())


@breaks("test_what_was_damaged_is_never_restored")
class ReadsWhatItRemembers(GoodRepository):
    contents: dict = {}  # noqa: RUF012 - the mistake

    class repository(Vault):
        def add_proof(self, record, proof):
            return super().add_proof(record, proof)

        def get(self, record_id):
            record = super().get(record_id)
            for entry in record.objects:
                with contextlib.suppress(StoreError):
                    ReadsWhatItRemembers.contents.setdefault(entry.name, self.store.get(entry.name))
            return record

        def open(self, name, offset=0):
            remembered = ReadsWhatItRemembers.contents.get(name)
            return super().open(name, offset) if remembered is None else BytesReader(remembered[offset:])


@breaks("test_what_is_cut_or_gone_is_listed_as_lost")
class ListsWithoutLooking(GoodRepository):
    class repository(Vault):
        def listing(self):
            return RepositoryListing(backups=tuple(replace(b, presence=PRESENT) for b in super().listing().backups))


# -- kept and removed ------------------------------------------------------------------------------------------------


@breaks("test_proofs_and_pins_are_told")
class ForgetsProofs(GoodRepository):
    class repository(Vault):
        def add_proof(self, record, proof):
            self.look_up(record)
            return proof


@breaks("test_an_acceptance_is_told")
class RemembersAcceptances(GoodRepository):
    class repository(Vault):
        def accept(self, record, reason=""):
            self.look_up(record)
            self.accepted = record.id, reason

        def look_up(self, record):
            found, (record_id, reason) = super().look_up(record), getattr(self, "accepted", ("", ""))
            text = reason if record_id == record.id else ""
            return replace(found, annotations=replace(found.annotations, accepted=text))

        def listing(self):
            found = super().listing()
            return replace(found, backups=tuple(self.look_up(backup.record) for backup in found.backups))


@breaks("test_a_pinned_backup_stays")
class IgnoresPins(GoodRepository):
    class repository(Vault):
        def remove(self, choose):
            for backup in self.listing().backups:
                self.unpin(backup.record)
            return super().remove(choose)


@breaks("test_a_removal_takes_exactly_what_was_chosen")
class RemovesWhatIsOlder(GoodRepository):
    class repository(Vault):
        def remove(self, choose):
            def choose_more(listed):
                chosen, ids = set(choose(listed)), [backup.record.id for backup in listed]
                last = max((ids.index(i) for i in chosen if i in ids), default=-1)
                return {*ids[: last + 1]}

            return super().remove(choose_more)


@breaks("test_of_a_removed_backup_nothing_more_can_be_said")
class PinsWhatIsGone(GoodRepository):
    class repository(Vault):
        def pin(self, record, reason=""):
            with contextlib.suppress(UnknownBackup):
                super().pin(record, reason)


@breaks("test_what_was_read_can_be_removed_afterwards", "test_every_verb_works_on_it")
class KeepsWhatWasRead(GoodRepository):
    class repository(Vault):
        @contextlib.contextmanager
        def reading(self, record):
            self.pin(record, "it is being read")
            yield


@breaks("test_what_is_being_read_is_not_removed")
class ProtectsNoReader(GoodRepository):
    class repository(Vault):
        @contextlib.contextmanager
        def reading(self, record):
            self.look_up(record)
            yield


# -- behaviour -------------------------------------------------------------------------------------------------------


@breaks("test_an_object_is_located_without_secrets")
class ShowsThePassword(GoodRepository):
    def make_repository(self, url, options):
        made = super().make_repository(url, options)
        made.locate = lambda name: f"{url}/{name}"
        return made


@breaks("test_a_workspace_is_private_and_goes_away")
class WorkspaceForEverybody(GoodRepository):
    class repository(Vault):
        @contextlib.contextmanager
        def workspace(self):
            with super().workspace() as path:
                Path(path).chmod(0o755)
                yield path


@breaks("test_only_declared_options_are_read")
class ReadsWhatNobodyDeclared(GoodRepository):
    def make_repository(self, url, options):
        options.get("timeout", 3.0)
        return super().make_repository(url, options)


@breaks("test_every_verb_works_on_it", "test_what_was_damaged_is_never_restored")
class AnswersAnInstalledScheme(GoodRepository):
    @hookimpl
    def describe(self):
        wait = Option(name="wait", default=1.0, help="seconds", verbs=("open_store",))
        return PluginInfo(kind="store", schemes=("vault", "file"), options=(wait,))


# -- runs --------------------------------------------------------------------------------------------------------


class Claim(contextlib.AbstractContextManager):
    """A claim that keeps nobody out."""

    key = "a0a0a0a0-0000-4000-8000-000000000000"

    def __exit__(self, *error):
        return None

    def finish(self, content):
        return True


@breaks(
    "test_a_run_is_claimed_by_one_and_counted_once",
    "test_a_job_runs_once_at_a_time",
    "test_runs_are_told_the_latest_first",
    "test_backups_are_untouched_by_runs",
    "test_a_claim_without_a_result_is_given_back",
)
class ClaimsForEverybody(GoodRepository):
    class repository(Vault):
        def claim_run(self, job, slot):
            return Claim()


class Kept(Run):
    """A claim that is never given back without a result."""

    def __exit__(self, *error):
        if any(found.name.endswith(".result") for found in self._store.list(".runs")):
            super().__exit__(*error)


@breaks("test_a_claim_without_a_result_is_given_back", "test_a_job_runs_once_at_a_time")
class NeverGivesBack(GoodRepository):
    class repository(Vault):
        def claim_run(self, job, slot):
            made = super().claim_run(job, slot)
            if made is not None:
                made.__class__ = Kept
            return made


@breaks("test_a_job_runs_once_at_a_time")
class RunsTwiceAtOnce(GoodRepository):
    class repository(Vault):
        def claim_run(self, job, slot):
            return claim(self.store, job, slot)


@breaks("test_runs_are_told_the_latest_first")
class TellsTheEarliestFirst(GoodRepository):
    class repository(Vault):
        def runs(self, job=""):
            return reversed(list(super().runs(job)))


@breaks("test_backups_are_untouched_by_runs")
class ClearsRuns(GoodRepository):
    class repository(Vault):
        def clear(self):
            super().clear()
            self.store.delete([found.name for found in self.store.list(".runs")])


class Telling:
    """A claim to tell that keeps nobody away, and forgets what was told."""

    known = ()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def finish(self, content):
        pass


@breaks("test_what_was_told_is_known_to_whoever_tells_next", "test_a_recipient_who_was_not_told_is_told_by_the_next")
class ForgetsWhoWasTold(GoodRepository):
    class repository(Vault):
        def claim_telling(self, job, channel):
            return Telling()

        def told(self, job, channel):
            return ()


@breaks("test_a_recipient_who_was_not_told_is_told_by_the_next")
class ClearsWhoWasTold(GoodRepository):
    class repository(Vault):
        def clear(self):
            super().clear()
            self.store.delete([found.name for found in self.store.list(".alarms")])
