"""What ``restore`` owes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import structs

from dumpty.errors import IntegrityError, RestoreNotSupported, TargetNotEmpty
from dumpty.testing.databases import missing
from dumpty.testing.rules import comes_from, difference, refused, require, shown
from dumpty.testing.sources import DriverRules

if TYPE_CHECKING:
    from pathlib import Path

    from dumpty.registry.host import Host
    from dumpty.testing.dumps import RecordedDump

__all__ = ["RestoreRules"]

_ADVICE = "Load beside the target, and put it in place after the dump's end-of-file and all checks."


class RestoreRules(DriverRules):
    """The part of ``DriverSuite`` that restores."""

    def test_a_database_comes_back(self, host: Host, source: str, target: str, tmp_path: Path, form: str) -> None:
        """What was backed up comes back into a missing database, in every format."""
        dump = self.dumped(host, source, tmp_path, form)
        evidence = self.put_back(host, dump, target)
        expected, actual = self.content(source), self.content(target)
        rule = "What was backed up comes back."
        require(actual == expected, rule, "See where it differs.", difference(expected, actual))
        rows = [{o.path: o.rows for o in e.objects if o.rows is not None} for e in (dump.evidence, evidence)]
        agree = rows[0] == rows[1] or not rows[1]
        require(agree, "The evidence of a restore agrees with the dump's.", "Count again.", f"{rows[0]}, {rows[1]}")

    def test_a_missing_target_is_created(self, host: Host, source: str, target: str, tmp_path: Path) -> None:
        """A database that was restored and then dropped comes back again, whole: nothing is taken for still there."""
        dump = self.dumped(host, source, tmp_path)
        self.put_back(host, dump, target)
        self.drop(target)
        inspection = self.inspected(host, target)
        require(inspection.empty, "A database that was dropped is empty, or missing.", "Look.", shown(inspection))
        self.put_back(host, dump, target)
        expected, actual = self.content(source), self.content(target)
        rule = "What was backed up comes back into a database that is missing."
        require(actual == expected, rule, "Create it.", difference(expected, actual))

    def test_every_count_is_of_the_rows(self, host: Host, source: str, target: str, tmp_path: Path) -> None:
        """Whatever tells a number of rows, in the source, the dump or the target, tells the true one."""
        expected = dict(self.rows(source))
        dump = self.dumped(host, source, tmp_path)
        told = {"backup()": dump.evidence, "inspect() of the source": self.counted(host, source)}
        if self.restores:
            told["restore()"] = self.put_back(host, dump, target)
            told["inspect() of the target"] = self.counted(host, target)
        if host.can(self.plugin_under_test(host), "examine"):
            told["examine()"] = host.examine(
                self.plugin_under_test(host), dump=dump, options=self.options(host, "examine")
            )
        for hook, evidence in told.items():
            objects = () if evidence is None else evidence.objects
            wrong = {o.path: o.rows for o in objects if o.rows is not None and o.rows != expected.get(o.path)}
            rule = "A number of rows is the one that was counted, or None."
            required = {path: expected.get(path) for path in wrong}
            require(not wrong, rule, "Count.", f"{hook} says {shown(wrong)}, and there are {shown(required)}")

    def test_an_empty_target_is_used(self, host: Host, source: str, empty_target: str, tmp_path: Path) -> None:
        """An existing database that holds nothing is used, without overwrite."""
        try:
            self.put_back(host, self.dumped(host, source, tmp_path), empty_target)
        except TargetNotEmpty as error:
            require(False, "An existing empty database is used.", "Refuse only what holds something.", str(error))
        expected, actual = self.content(source), self.content(empty_target)
        rule = "What was backed up comes back into an empty database."
        require(actual == expected, rule, "See where it differs.", difference(expected, actual))

    def test_a_full_target_is_refused(self, host: Host, source: str, full_target: str, tmp_path: Path) -> None:
        """A target that holds anything is refused with TargetNotEmpty, and stays as it was."""
        dump, content_before = self.dumped(host, source, tmp_path), self.content(full_target)
        rule = "restore() into a database that holds anything raises TargetNotEmpty, unless overwrite is True."
        with refused(TargetNotEmpty, rule, "Look first: dumpty does, too, but the database may fill meanwhile."):
            self.put_back(host, dump, full_target)
        unchanged = self.content(full_target) == content_before
        require(
            unchanged, "A refused restore changes nothing.", "Look before the first change.", "the target has changed"
        )

    def test_overwriting_replaces_the_target(
        self, host: Host, source: str, full_target: str, tmp_path: Path, form: str
    ) -> None:
        """With overwrite, the target afterwards holds what was backed up, and nothing else."""
        self.put_back(host, self.dumped(host, source, tmp_path, form), full_target, overwrite=True)
        expected, actual = self.content(source), self.content(full_target)
        rule = "Overwriting replaces: nothing of the old content stays, and nothing is merged."
        require(actual == expected, rule, _ADVICE, difference(expected, actual))

    def test_the_old_content_stands_until_the_dump_has_ended(
        self, host: Host, source: str, full_target: str, tmp_path: Path
    ) -> None:
        """With overwrite, the old content is there, whole, until the dump has come to its end."""
        from dataclasses import replace

        dump, content_before = self.dumped(host, source, tmp_path), self.content(full_target)
        states: list[str] = []

        def look() -> None:
            try:
                states.append("whole" if self.content(full_target) == content_before else "changed")
            except Exception as error:  # noqa: BLE001 - compared below
                states.append(shown(error))

        self.put_back(host, replace(dump, before_end=look), full_target, overwrite=True)
        rule = "The old content is replaced only after the dump has come to its end: until then anybody can read it."
        require(set(states) == {"whole"}, rule, _ADVICE, f"just before the end it was: {', '.join(states) or 'unread'}")

    def test_a_failed_restore_leaves_no_new_database(
        self, host: Host, source: str, target: str, tmp_path: Path, form: str
    ) -> None:
        """Where the dump turns out damaged, midway or at its end, a missing target is still missing."""
        dump, inspection_before = self.dumped(host, source, tmp_path, form), self.inspected(host, target)
        for position, damaged in self._damaged_dumps(dump):
            raised = self._restore_error(host, damaged, target, overwrite=False)
            self._require_damage(raised, damaged, position)
            inspection_after = self.inspected(host, target)
            require(
                (inspection_after.exists, inspection_after.empty)
                == (inspection_before.exists, inspection_before.empty),
                "A restore that fails leaves its target as it was: missing, or empty.",
                _ADVICE,
                f"after damage at {position} there was {shown(inspection_after)}",
            )

    def test_a_failed_restore_leaves_the_old_content(
        self, host: Host, source: str, full_target: str, tmp_path: Path, form: str
    ) -> None:
        """Where the dump turns out damaged, with overwrite, the old content is still there."""
        dump, content_before = self.dumped(host, source, tmp_path, form), self.content(full_target)
        for position, damaged in self._damaged_dumps(dump):
            raised = self._restore_error(host, damaged, full_target, overwrite=True)
            self._require_damage(raised, damaged, position)
            try:
                content_after = self.content(full_target)
            except Exception as error:  # noqa: BLE001 - the content is gone
                content_after = error
            rule = "A restore that fails leaves the old content as it was, overwrite or not."
            observed = f"after damage at {position} it was {shown(content_after)}"
            require(
                type(content_after) is type(content_before) and content_after == content_before, rule, _ADVICE, observed
            )

    def test_rows_that_are_missing_are_an_error(
        self, host: Host, source: str, target: str, tmp_path: Path, form: str
    ) -> None:
        """A restore that comes to other numbers of rows than the dump's evidence raises, and leaves the target."""
        from dataclasses import replace

        dump, inspection_before = self.dumped(host, source, tmp_path, form), self.inspected(host, target)
        objects = tuple(structs.replace(o, rows=None if o.rows is None else o.rows + 1) for o in dump.evidence.objects)
        miscounted = replace(dump, evidence=structs.replace(dump.evidence, objects=objects))
        rule = "restore() counts, and raises IntegrityError where dump.evidence says another number of rows."
        with refused(IntegrityError, rule, "Compare before the target is put in place."):
            self.put_back(host, miscounted, target)
        inspection_after = self.inspected(host, target)
        unchanged = (inspection_after.exists, inspection_after.empty) == (
            inspection_before.exists,
            inspection_before.empty,
        )
        require(unchanged, "A restore that fails leaves its target as it was.", _ADVICE, shown(inspection_after))

    def test_a_restore_reads_the_dump_to_its_end(
        self, host: Host, source: str, target: str, tmp_path: Path, form: str
    ) -> None:
        """restore() reads the dump to end-of-file: only there it is known to be whole."""
        dump = self.dumped(host, source, tmp_path, form)
        self.put_back(host, dump, target)
        rule = "restore() reads the dump until read() returns b'': only then dumpty has verified it."
        require(dump.read_to_end, rule, "Read on to the end, behind your own end mark, too.", "it stopped before")

    def test_restore_is_refused_where_it_is_not_claimed(self, host: Host, source: str, tmp_path: Path) -> None:
        """A driver that claims no restore has none: it raises NotImplementedError."""
        dump = self.dumped(host, source, tmp_path)
        rule = "A driver whose suite says restores = False implements no restore()."
        with refused(RestoreNotSupported, rule, "Set restores = True, and let it be tested."):
            self.put_back(host, dump, missing(source))

    def test_a_backup_is_restored(self, source: str, target: str, tmp_path: Path) -> None:
        """BackupManager restores what it backed up, in its own default format."""
        from dumpty.backup_manager import BackupManager

        manager = BackupManager(str(tmp_path / "backups"), plugins=[self.plugin])
        backed_up = manager.create_backup(source)
        restored = manager.restore(backed_up.backup.id, target) if backed_up.backup else backed_up
        require(restored.success, "A backup is restored.", "Mend what the error says.", str(restored.error))
        expected, actual = self.content(source), self.content(target)
        require(
            actual == expected, "What was backed up comes back.", "See where it differs.", difference(expected, actual)
        )

    def _require_damage(self, raised: BaseException | None, damaged: RecordedDump, position: str) -> None:
        require(
            raised is not None and damaged.error is not None and comes_from(raised, damaged.error),
            "A dump whose reading raises IntegrityError is not restored: the error comes out of restore().",
            "Let it pass; end what runs beside, in finally.",
            f"after damage at {position} restore() " + (f"raised {shown(raised)}" if raised else "returned"),
        )
