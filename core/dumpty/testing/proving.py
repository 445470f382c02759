"""What ``examine`` and ``scratch`` owe, for a driver that has them: proofs that prove something."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

from dumpty.errors import DumptyError, IntegrityError, NotProvable
from dumpty.testing.restoring import RestoreRules
from dumpty.testing.rules import comes_from, refused, require, shown

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from dumpty.registry.host import Host
    from dumpty.registry.proxies import CheckedScratch
    from dumpty.testing.dumps import RecordedDump
    from dumpty.types import Evidence, Inspection, Scratch, Source

__all__ = ["SQL_QUESTIONS", "ProofRules"]

SQL_QUESTIONS = MappingProxyType(
    {
        "rows": "SELECT 1 AS n UNION ALL SELECT 2 ORDER BY n",
        "null": "SELECT NULL",
        "error": "SELECT dumpty_no_such_column",
    }
)
"""Questions that any SQL database can be asked; what writes is for the suite to say: it knows a table."""

_GONE_RULE = "A scratch is gone when its block ends, whatever happens in it."


class ProofRules(RestoreRules):
    """The part of ``DriverSuite`` for drivers whose backups can be proved. Implementing a hook is claiming it."""

    examines: ClassVar[bool] = False
    """Whether the plugin implements ``examine``; found out."""

    lends_scratch: ClassVar[bool] = False
    """Whether the plugin implements ``scratch``; found out."""

    asks: ClassVar[bool] = False
    """Whether there is a scratch, and a question for it; found out."""

    question: ClassVar[str] = ""
    """A query that gives one row with the number 1 in a restored ``source``; empty where nothing can be asked."""

    questions: ClassVar[Mapping[str, str]] = SQL_QUESTIONS
    """What else ``ask`` is asked (``dumpty.Scratch.ask``): ``rows``, a query that gives the rows 1 and 2 in this order;
    ``null``, one row without a value; ``error``, nothing that can be answered; ``write``, a statement that would change
    ``content``. As it is, it is SQL for any database; what a language cannot say is left out."""

    claims: ClassVar[dict[str, tuple[str, ...]]] = {
        **RestoreRules.claims,
        "examines": (
            "test_examine_reads_the_dump_to_its_end",
            "test_examine_finds_a_dump_that_is_cut",
            "test_examine_lets_damage_through",
        ),
        "lends_scratch": (
            "test_a_scratch_is_empty_and_takes_the_dump",
            "test_a_scratch_is_gone_after_its_block",
            "test_an_error_in_a_scratch_comes_out",
            "test_a_scratch_names_the_checks_that_were_run",
        ),
        "asks": ("test_a_scratch_is_asked", "test_a_copy_of_a_scratch_holds_the_same_and_is_another"),
    }

    def __init_subclass__(cls, **keywords: object) -> None:
        """Find out which of the two hooks the plugin has."""
        plugin = getattr(cls, "plugin", None)
        cls.examines = getattr(plugin, "examine", None) is not None
        cls.lends_scratch = getattr(plugin, "scratch", None) is not None
        cls.asks = cls.lends_scratch and bool(cls.question)
        super().__init_subclass__(**keywords)

    # -- what the tests stand on ---------------------------------------------------------------------------------

    def examined(self, host: Host, dump: RecordedDump) -> Evidence:
        """Let the driver examine ``dump``."""
        options = self.options(host, "examine")
        evidence = host.examine(self.plugin_under_test(host), dump=dump, options=options)
        options.require_declared()
        return evidence

    def scratch(self, host: Host, dump: RecordedDump) -> AbstractContextManager[CheckedScratch]:
        """Return the driver's scratch for ``dump``, or end the test where this machine has none."""
        options = self.options(host, "scratch")
        try:
            scratch = host.scratch(self.plugin_under_test(host), dump=dump, on=None, options=options)
        except NotProvable as error:
            self.unproved(str(error))
        options.require_declared()
        return scratch

    # -- examine -------------------------------------------------------------------------------------------------

    def test_examine_reads_the_dump_to_its_end(self, host: Host, source: str, tmp_path: Path, form: str) -> None:
        """examine() of a good dump reads it to its end, and counts what the backup counted."""
        dump = self.dumped(host, source, tmp_path, form)
        counted = {entry.path: entry.rows for entry in self.examined(host, dump).objects}
        rule = "examine() reads the dump until read() returns b'': what stands behind counts, too."
        require(dump.read_to_end, rule, "Read on behind your own end mark.", "it stopped before")
        differing = [
            o.path for o in dump.evidence.objects if counted.get(o.path) not in (None, o.rows) and o.rows is not None
        ]
        require(
            not differing,
            "examine() counts the rows in the dump, or says None.",
            "Count them.",
            f"it differs in {differing}",
        )

    def test_examine_finds_a_dump_that_is_cut(self, host: Host, source: str, tmp_path: Path, form: str) -> None:
        """examine() of a dump that ends early raises: a good beginning proves nothing."""
        complete = self.dumped(host, source, tmp_path, form)
        sizes = [(number, part.size) for number, part in enumerate(complete.recorded)]
        for number, total, size in ((n, t, s) for n, t in sizes for s in (0, 1, t // 2, t * 9 // 10)):
            file = Path(tempfile.mkdtemp(dir=tmp_path)) / "dump"
            file.write_bytes(complete.recorded[number].file.read_bytes()[:size])
            raised: BaseException | None = None
            try:
                self.examined(host, complete.with_part(number, file))
            except DumptyError as error:
                raised = error
            rule = "examine() of a dump that was cut off raises IntegrityError."
            remedy = "Look for the end mark, or count against dump.evidence."
            require(
                raised is not None,
                rule,
                remedy,
                f"with {size} of {total} bytes of part {number + 1} it returned as if all were well",
            )

    def test_examine_lets_damage_through(self, host: Host, source: str, tmp_path: Path, form: str) -> None:
        """Where reading the dump raises, at its last byte too, examine() raises that."""
        dump = self.dumped(host, source, tmp_path, form)
        for good_bytes in (dump.size // 2, dump.size):
            damaged = dump.failing(IntegrityError("the stored file is damaged"), good_bytes)
            raised: BaseException | None = None
            try:
                self.examined(host, damaged)
            except Exception as error:  # noqa: BLE001 - compared below
                raised = error
            passed_on = raised is not None and damaged.error is not None and comes_from(raised, damaged.error)
            rule = "What dump.open().read() raises comes out of examine()."
            require(passed_on, rule, "Let it pass.", f"at byte {good_bytes} of {dump.size} it " + _outcome(raised))

    # -- scratch -------------------------------------------------------------------------------------------------

    def test_a_scratch_is_empty_and_takes_the_dump(self, host: Host, source: str, tmp_path: Path, form: str) -> None:
        """scratch() lends an empty target, and the dump is restored into it."""
        dump = self.dumped(host, source, tmp_path, form)
        with self.scratch(host, dump) as scratch:
            inspection_before = self._inspect_target(host, scratch.target)
            require(inspection_before.empty, "A scratch is empty.", "Lend a fresh one.", shown(inspection_before))
            loaded = self._load(host, scratch.target, dump)
            inspection_after = self._inspect_target(host, scratch.target)
            require(
                inspection_after.exists and not inspection_after.empty,
                "The dump goes into the scratch.",
                "Lend its URL.",
                shown(inspection_after),
            )
        differs = {o.path: o.rows for o in loaded.objects} != {o.path: o.rows for o in dump.evidence.objects}
        require(
            not differs or not loaded.objects, "What is restored into a scratch is all of the dump.", "Count again."
        )

    def test_a_scratch_is_gone_after_its_block(self, host: Host, source: str, tmp_path: Path) -> None:
        """After the block nothing is at the scratch's address."""
        dump = self.dumped(host, source, tmp_path)
        with self.scratch(host, dump) as scratch:
            self._load(host, scratch.target, dump)
            target = scratch.target
        self._require_gone(host, target)

    def test_an_error_in_a_scratch_comes_out(self, host: Host, source: str, tmp_path: Path) -> None:
        """An exception in the block comes out of it, and the scratch is gone all the same."""
        dump, error = self.dumped(host, source, tmp_path), RuntimeError("the drill found a difference")
        raised, targets = None, []
        try:
            with self.scratch(host, dump) as scratch:
                targets.append(scratch.target)
                self._load(host, scratch.target, dump)
                raise error
        except RuntimeError as caught:
            raised = caught
        passed_on = comes_from(raised, error)
        require(passed_on, "An error in a scratch's block comes out of it.", "Do not return True from __exit__.")
        self._require_gone(host, targets[0])

    def test_a_scratch_names_the_checks_that_were_run(self, host: Host, source: str, tmp_path: Path) -> None:
        """check() returns the names of the engine's own checks that were run on what was restored."""
        dump = self.dumped(host, source, tmp_path)
        with self.scratch(host, dump) as scratch:
            self._load(host, scratch.target, dump)
            names: object = scratch.check()
            versions = dict(scratch.versions)
        well_formed = isinstance(names, tuple) and all(isinstance(name, str) and name for name in names)
        require(well_formed, "check() returns a tuple of names.", "Return () where the engine has none.", shown(names))
        well_formed = all(isinstance(v, str) for pair in versions.items() for v in pair)
        require(well_formed, "Scratch.versions maps names to versions.", "Use str for both.", shown(versions))

    def test_a_scratch_is_asked(self, host: Host, source: str, tmp_path: Path) -> None:
        """ask() answers a query with all its rows, NULL with None, and raises where it cannot; it changes nothing."""
        dump = self.dumped(host, source, tmp_path)
        with self.scratch(host, dump) as scratch:
            self._load(host, scratch.target, dump)
            answer = scratch.ask(self.question)
            answered = len(answer) == 1 and len(answer[0]) == 1 and answer[0][0] == 1
            remedy = "Run it where the dump was restored."
            require(answered, "ask() returns the rows of a query.", remedy, shown(answer))
            for name, expected in (("rows", [(1,), (2,)]), ("null", [(None,)])):
                if name in self.questions:
                    answer = [tuple(row) for row in scratch.ask(self.questions[name])]
                    rule = "ask() returns every row, in the query's order, each a tuple, and NULL as None."
                    require(answer == expected, rule, "Return what the engine gave.", f"{name}: {shown(answer)}")
            if "error" in self.questions:
                rule = "ask() raises a DumptyError where the engine cannot answer, and never returns for that."
                with refused(DumptyError, rule, "Raise dumpty.SourceError, with the engine's own words."):
                    scratch.ask(self.questions["error"])
            if "write" in self.questions:
                self._require_reading_only(scratch, self.questions["write"])

    def test_a_copy_of_a_scratch_holds_the_same_and_is_another(self, host: Host, source: str, tmp_path: Path) -> None:
        """clone() or another(), where a scratch has one, lends a further one for the same content, gone behind it."""
        dump = self.dumped(host, source, tmp_path)
        with self.scratch(host, dump) as scratch:
            lend = scratch.clone if scratch.can_clone else scratch.another if scratch.has_others else None
            if lend is None:
                return
            self._load(host, scratch.target, dump)
            with lend() as first, lend() as second:
                targets = [scratch.target, first.target, second.target]
                apart = len({(t.url, t.password) for t in targets}) == len(targets)
                require(apart, "Every copy of a scratch has a place of its own.", "Name each anew.", shown(targets))
                for copy in (first, second):
                    if not scratch.can_clone:
                        self._load(host, copy.target, dump)
                    answer = copy.ask(self.question)
                    rule = "A copy holds what was restored; another() is empty before."
                    require([tuple(row) for row in answer] == [(1,)], rule, "Copy all of it.", shown(answer))
            for target in targets[1:]:
                self._require_gone(host, target)
            answer = scratch.ask(self.question)
            rule = "What becomes of a copy changes nothing of what it was copied from."
            require([tuple(row) for row in answer] == [(1,)], rule, "Remove the copy alone.", shown(answer))

    def _require_reading_only(self, scratch: Scratch, statement: str) -> None:
        question_before = scratch.ask(self.question)
        with contextlib.suppress(DumptyError):
            scratch.ask(statement)
        answer = scratch.ask(self.question)
        rule = "ask() changes nothing: a statement that writes is refused, or undone, for what is proved is the backup."
        require(
            answer == question_before, rule, "Ask in a transaction that can only read.", f"it became {shown(answer)}"
        )

    def _inspect_target(self, host: Host, target: Source) -> Inspection:
        return host.inspect(self.plugin_under_test(host), source=target, options=self.options(host, "inspect"))

    def _load(self, host: Host, target: Source, dump: RecordedDump) -> Evidence:
        options = self.options(host, "restore")
        return host.restore(self.plugin_under_test(host), target=target, dump=dump, overwrite=False, options=options)

    def _require_gone(self, host: Host, target: Source) -> None:
        try:
            inspection = self._inspect_target(host, target)
        except DumptyError:
            return  # its server is gone, too
        require(not inspection.exists, _GONE_RULE, "Remove it in finally.", f"it was still there: {shown(inspection)}")


def _outcome(raised: BaseException | None) -> str:
    return f"raised {shown(raised)}" if raised else "returned as if all were well"
