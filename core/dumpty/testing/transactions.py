"""What a repository owes for one backup on its way into it: all of it or nothing, whoever else writes."""

from __future__ import annotations

import contextlib
import functools
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import structs
from msgspec.structs import replace

from dumpty.errors import IntegrityError, ManifestError, MissingFile, StoreError
from dumpty.testing.backups import STARTED, RepositoryRules
from dumpty.testing.rules import difference, refused, require, shown
from dumpty.testing.streams import SAMPLES, Interrupted, Refusal, at_once
from dumpty.types import Evidence, ObjectEvidence, PluginRef, Signature, StageRecord, TableContent

if TYPE_CHECKING:
    from collections.abc import Callable

    from dumpty.registry.host import Host
    from dumpty.types import Record, Repository, StoredObject, Transaction

__all__ = ["TransactionRules"]

_MANY = 24
_DATABASES = (
    *("", ".", "..", "../../outside", "/etc/passwd", "a/b\\c", "two words", "a\nb\0c", "nul", "-rf *", "~"),
    *("%2e%2e%2f", "naïve ☃ 東京", "latest", "x" * 300, "shop.manifest.json"),
)


class TransactionRules(RepositoryRules):
    """The part of ``RepositorySuite`` about writing a backup."""

    @pytest.mark.parametrize("sample", ["empty", "one_byte", "random"])
    def test_a_committed_backup_is_listed_found_and_read_back(self, repository: Repository, sample: str) -> None:
        """What was committed is listed, found by its id, and read back byte for byte, an empty object included."""
        data = (SAMPLES[sample](),)
        record = self.write(repository, data)
        self.require_listed(repository, record)
        self.require_whole(repository, record, data)
        path = repository.local_path(record.objects[0].name)
        same = path is None or path.read_bytes() == data[0]
        require(same, "local_path() is the object's file, or None.", "Return None.", f"{path} holds other bytes")

    def test_a_record_comes_back_as_it_was_committed(self, repository: Repository) -> None:
        """get() and listing() return every field of a record as it was committed."""
        record = self._detailed(repository)
        rule = "A record comes back equal, every field of it."
        for method, found in (
            ("get()", repository.get(record.id)),
            ("listing()", self.listed(repository)[record.id].record),
            ("look_up()", repository.look_up(record).record),
        ):
            seen = f"with {method}, {difference(structs.asdict(record), structs.asdict(found))}"
            require(found == record, rule, "Write it all down, and read it back before it counts.", seen)

    def test_many_objects_keep_their_order(self, repository: Repository) -> None:
        """A backup may have many objects: each holds its own bytes, and they come back in their order."""
        data = [b"object %d" % number for number in range(_MANY)]
        record = self.write(repository, data)
        names = [entry.name for entry in record.objects]
        found = [entry.name for entry in repository.get(record.id).objects]
        rule = "The objects of a backup come back in the order of its record."
        require(found == names, rule, "Keep it; do not sort them.", difference(names, found))
        self.require_whole(repository, record, data)

    def test_an_ending_is_used_once(self, repository: Repository) -> None:
        """upload() of an ending that this transaction has used raises ValueError; name() says what it is called."""
        with self._transaction(repository) as tx:
            tx.upload(".bin")
            named = isinstance(tx.name(".bin"), str) and tx.name(".bin") != tx.name(".other.bin")
            require(named, "name() returns an object's name, another one for each ending.", "Build it of the ending.")
            with refused(ValueError, "An ending that is used twice is a ValueError.", "Note which were used."):
                tx.upload(".bin")

    @pytest.mark.parametrize("way", ["an error", "no commit"])
    def test_a_transaction_without_commit_leaves_nothing(self, repository: Repository, way: str) -> None:
        """A block that raises, or ends without commit(), leaves nothing that is listed; the error goes through."""
        first = self.write(repository)
        error = Refusal("the disk is full") if way == "an error" else None
        raised = self._end_without_commit(repository, error)
        rule = "What is raised in the block of a transaction comes out of it, unaltered."
        require(raised is error, rule, "Let __exit__() return None.", f"what came out was {shown(raised)}")
        self.require_listed(repository, first)
        second = self.write(repository, started=STARTED + timedelta(hours=1))
        self.require_listed(repository, first, second)

    def test_an_object_that_was_completed_early_is_part_of_no_backup_until_the_commit(
        self, repository: Repository
    ) -> None:
        """complete() of some objects makes no backup: one that fails then leaves nothing, one that commits has all."""
        first, names = self.write(repository), list[str]()
        rule = "What complete() has committed is no backup without commit(), and goes with its transaction."
        with contextlib.suppress(Refusal), self._transaction(repository) as tx:
            names += [entry.name for entry in self.upload(tx, (b"first", b"second"))]
            tx.complete(".p0.bin")
            self.require_listed(repository, first)
            raise Refusal("the disk is full")
        self.require_listed(repository, first)
        for name in names:
            with refused(MissingFile, rule, "Delete it when the block ends without a commit."):
                self.content(repository, name)
        data, record_id = (b"first", b"second", b"third"), str(uuid.uuid4())
        fields: dict[str, Any] = {"database": "shop", "identity": "test:shop", "started": STARTED + timedelta(hours=1)}
        with repository.transaction(record_id=record_id, **fields) as tx:
            objects = self.upload(tx, data)
            errors = at_once([functools.partial(_complete, tx, ending) for ending in (".p1.bin", ".p0.bin")])
            require(not errors, "complete() may be called from any thread.", "Note each alone.", shown(errors[:1]))
            record = tx.commit(self.record(objects, id=record_id, **fields))
        self.require_listed(repository, first, record)
        self.require_whole(repository, record, data)

    def test_an_interrupt_leaves_a_transaction_uncommitted(self, repository: Repository) -> None:
        """Ctrl-C within a transaction comes out of it, and leaves nothing that is listed."""
        first, interrupt = self.write(repository), Interrupted()
        raised = self._end_without_commit(repository, interrupt)
        rule = "An interrupt comes out of the block of a transaction."
        require(raised is interrupt, rule, "Let __exit__() return None.", f"what came out was {shown(raised)}")
        self.require_listed(repository, first)
        repository.clear()
        self.require_whole(repository, first)

    @pytest.mark.parametrize("way", ["another size", "another name", "one too few"])
    def test_a_commit_that_does_not_fit_what_was_uploaded_is_refused(self, repository: Repository, way: str) -> None:
        """commit() of a record that says other than what is stored raises, and leaves nothing."""

        def altered(objects: tuple[StoredObject, ...]) -> tuple[StoredObject, ...]:
            first, second = objects
            return {
                "another size": (replace(first, size=first.size + 1), second),
                "another name": (replace(first, name=first.name[:-1] + "x"), second),
                "one too few": (second,),
            }[way]

        rule = "commit() compares what is stored with the record, and raises where they differ."
        kinds = (IntegrityError, ManifestError, StoreError)
        with refused(kinds, rule, "Look up each object, its size at least."), self._transaction(repository) as tx:
            record = self.record(altered(self.upload(tx, (b"first", b"second"))))
            tx.commit(record)
        self.require_listed(repository)

    def test_two_writers_at_once_both_succeed(self, host: Host, repository_url: str) -> None:
        """Two that back up at once, the same database or two, both commit, and neither's bytes reach the other's."""
        committed: dict[int, Record] = {}
        repositories = [self.opened(host, repository_url) for _ in range(2)]

        def work(number: int, meet: Callable[[], None]) -> None:
            content, repository = bytes([number]) * 20_000, repositories[number % 2]
            record_id, database = str(uuid.uuid4()), f"shop{number // 2}"
            arguments: dict[str, Any] = {"database": database, "identity": f"test:{database}", "started": STARTED}
            with repository.transaction(record_id=record_id, **arguments) as tx:
                meet()
                objects = self.upload(tx, (content,))
                meet()
                committed[number] = tx.commit(self.record(objects, id=record_id, **arguments))

        errors = at_once([functools.partial(work, number) for number in range(4)])
        rule = "Several backups may go into a repository at once."
        require(not errors, rule, "Give each a place of its own, and hold no lock.", shown(errors[:1]))
        self.require_listed(repositories[0], *committed.values())
        for number, record in committed.items():
            self.require_whole(repositories[0], record, (bytes([number]) * 20_000,))

    def test_a_backup_that_several_make_is_there_once(self, host: Host, repository_url: str) -> None:
        """Of one id the first that commits counts: claim_id() finds it, and none that was on its way commits."""
        first, second = (self.opened(host, repository_url) for _ in range(2))
        identity = {"database": "shop", "identity": "test:shop"}
        arguments: dict[str, Any] = {"record_id": str(uuid.uuid4()), **identity}
        fields: dict[str, Any] = {"id": arguments["record_id"], **identity}
        rule = "Of several backups of one id one is committed."
        with first.transaction(**arguments, started=STARTED) as slow:
            require(slow.claim_id(fields["id"]) is None, rule, "Return None while none is committed.")
            objects = self.upload(slow, (b"slow",))
            later = STARTED + timedelta(hours=1)
            with second.transaction(**arguments, started=later) as tx:
                require(tx.claim_id(fields["id"]) is None, rule, "Return None while none is committed.")
                record = tx.commit(self.record(self.upload(tx, (b"fast",)), started=later, **fields))
            with refused(StoreError, rule, "Let none commit that claim_id() of another has seen on its way."):
                slow.commit(self.record(objects, started=STARTED, **fields))
        with first.transaction(**arguments, started=later + timedelta(hours=1)) as tx:
            found = tx.claim_id(fields["id"])
            require(found == record, "claim_id() returns the backup that is there.", "Return it.", shown(found))
        self.require_listed(first, record)
        self.require_whole(first, record, (b"fast",))

    def test_a_database_may_have_any_name(self, repository: Repository) -> None:
        """The name of a database is data: whatever it is, the backup is committed, found, and of that name."""
        records = []
        for database in _DATABASES:
            try:
                records.append(self.write(repository, database=database))
            except (OSError, ValueError, RuntimeError) as error:
                seen = f"{database!r} failed with {shown(error)}"
                require(False, "A database may have any name.", "Use a plain name of your own.", seen)
        for database, record in zip(_DATABASES, records, strict=True):
            found = repository.get(record.id).database
            rule = "A database's name comes back as it is."
            remedy = "Keep it in the record, whatever your files are called."
            require(found == database, rule, remedy, f"{database!r} became {found!r}")
            self.require_whole(repository, record)
        self.require_listed(repository, *records)

    # ------------------------------------------------------------------------------------------------------------

    def _transaction(self, repository: Repository):  # type: ignore[no-untyped-def] # noqa: ANN202 - the repository's own
        return repository.transaction(
            record_id=str(uuid.uuid4()), database="shop", identity="test:shop", started=STARTED + timedelta(minutes=1)
        )

    def _end_without_commit(self, repository: Repository, error: BaseException | None) -> BaseException | None:
        """Upload, and leave the transaction by ``error`` or at its end; return what came out."""
        try:
            with self._transaction(repository) as tx:
                self.upload(tx, (b"first", b"second"))
                if error is not None:
                    raise error
        except (Refusal, Interrupted) as raised:
            return raised
        return None

    def _detailed(self, repository: Repository) -> Record:
        """Commit a backup with something in every field."""
        driver = PluginRef(name="dumpty-testing", distribution="dumpty-testing", version="1.2")
        stage = StageRecord(plugin=driver, params={"level": 6, "fast": True, "words": ["a", "ü"]})
        tables = (
            ObjectEvidence(path="public.a b", rows=3, fingerprint="sha256:00ff"),
            ObjectEvidence(path="ü"),
            ObjectEvidence(path="ü_2026", rows=1, part_of="ü"),
        )
        evidence = Evidence(
            objects=tables,
            snapshot="00000003-1",
            consistent=False,
            versions={"server": "18.1"},
            notes=("a note", "ünother"),
            properties={"encoding": "UTF8", "nested": {"list": [1, 2.5, None, True, "x"]}},
        )
        started, record_id = STARTED - timedelta(days=400), str(uuid.uuid4())
        arguments = {"record_id": record_id, "database": "shop", "identity": "test:shop", "started": started}
        with repository.transaction(**arguments) as tx:  # type: ignore[arg-type]
            one, two = self.upload(tx, (b"first", b"second"))
            parts = (TableContent(path="public.a b", rows=3, range="ids to 3"), TableContent(path="ü"))
            objects = (
                replace(one, stages=(stage,), digests={"blake3": "00ff"}, section="pre-data", plain_size=77),
                replace(two, stages=(stage, stage), section="data", tables=parts),
            )
            return tx.commit(
                self.record(
                    objects,
                    id=record_id,
                    started=started,
                    url="dumpty-testing://user:***@host/shop?x=1",
                    verifiers=(driver,),
                    signatures=(Signature(key=bytes(range(32)), data=bytes(range(64))),),
                    evidence=evidence,
                    options={"chunk": 5, "mode": "x", "on": False, "list": ["a"]},
                    tags=("nightly", "before the migration"),
                    suspicions=("table ü: 1 row, had 5 in backup 1a2b3c4d of 2026-11-26 02:30Z",),
                )
            )


def _complete(tx: Transaction, ending: str, meet: Callable[[], None]) -> None:
    meet()
    tx.complete(ending)
