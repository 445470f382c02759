"""Proving a backup: by its digests, by its driver's reading of the dump, or by restoring it.

A drill fetches the stored object and verifies it, restores it into a scratch database that the driver provides, asks
the restored database for what the backup recorded of the original, runs the engine's own checks and the user's
assertions, and throws the target away, whatever happens.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from dumpty.errors import CommandError, DumptyError, IdentityError, IntegrityError, MissingFile, NotProvable
from dumpty.operations.cloning import Cloner
from dumpty.operations.evidence import ask_evidence, divided_tables, summarize_paths
from dumpty.operations.proof_text import contents_text, counts_text, missing_fingerprints_text
from dumpty.operations.restore import driver_of, load, stored_of
from dumpty.operations.scratch_questions import (
    NOT_REHEARSED,
    attribute_errors,
    failed_rehearsal_text,
    require_true,
    require_versions,
)
from dumpty.operations.sealing import open_record
from dumpty.operations.subjects import is_of_server, require_subject
from dumpty.process.interruption import track_interruption
from dumpty.redaction import one_line, redact, redact_exception
from dumpty.repository.verification import current_user
from dumpty.streaming.reporter import Reporter
from dumpty.streaming.stored import check_stored, check_whole
from dumpty.streaming.stored_dump import StoredDump
from dumpty.toolkit.evidence import require_same_evidence
from dumpty.types import Phase, Proof, Proved

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Literal

    from dumpty.operations.scratches import KeptScratch
    from dumpty.process.call import Call
    from dumpty.registry.host import Host
    from dumpty.registry.plugin import Plugin
    from dumpty.registry.proxies import CheckedScratch
    from dumpty.types import Evidence, Identity, Level, ObjectSource, Options, Record, Scratch, Source, Verb

__all__ = ["prove"]

_ONLY_STORED = "that it can be decrypted, and what is in it: it is encrypted, and no identity was given (--identity)"
_ONLY_DIGESTS = "that the driver can read the dump (--level structure), or a database load it (dumpty drill)"
_ONLY_READ = "that a database can load the dump (dumpty drill)"


def prove(
    host: Host,
    repository: ObjectSource,
    record: Record,
    level: Level,
    call: Call,
    *,
    on: Source | None = None,
    assertions: Sequence[str] = (),
    overrides: Mapping[str, object] | None = None,
    reporter: Reporter | None = None,
    identities: Sequence[Identity] = (),
    kept: KeptScratch | None = None,
) -> Proof:
    """Try to prove a backup, and return how it went: ``ok``, or why the backup is not what it should be.

    Of a record that is sealed, and was not opened, only the stored bytes are proved.

    ``kept`` takes over the scratch database of a proof by restoring that held; else it is gone when this returns.
    Whoever asks for a proof by restoring sees to it that nobody removes the backup meanwhile (``repository.reading``).

    Raises:
        NotProvable: this machine, or the driver, cannot prove it; that says nothing of the backup.
        DumptyError: so does everything else that kept it from being decided.
    """
    with track_interruption() as interruption:
        secrets = (*(on.secrets if on else ()), *(secret for identity in identities for secret in identity.secrets))
        attempt = _Attempt(host, repository, record, call, reporter or Reporter(), identities, kept, secrets=secrets)
        proof = _run_attempt(attempt, level, on, assertions, overrides or {})
        interruption.check()  # a plugin may have swallowed it
    return proof


def _run_attempt(
    attempt: _Attempt, level: Level, on: Source | None, assertions: Sequence[str], overrides: Mapping[str, object]
) -> Proof:
    started_at, start = datetime.now(UTC), time.monotonic()
    failure: DumptyError | None = None
    try:
        if level == "digest":
            attempt.digest()
        elif level == "structure":
            attempt.structure()
        else:
            attempt.restore(on, assertions, overrides)
    except NotProvable as error:
        text = redact(one_line(error), attempt.secrets)
        if "not provable here" in text:
            raise
        raise NotProvable(f"backup {attempt.record.id} is not provable here: {text}") from None
    except DumptyError as error:
        redact_exception(error, attempt.secrets)
        if not attempt.is_verdict(error):
            raise
        failure = error
    return Proof(
        level=level,
        ok=failure is None,
        at=started_at,
        by=current_user(),
        seconds=round(time.monotonic() - start, 3),
        versions={name: redact(version, attempt.secrets) for name, version in attempt.versions.items()},
        proved=tuple(replace(step, what=redact(step.what, attempt.secrets)) for step in attempt.proved),
        not_proved=() if failure else tuple(redact(text, attempt.secrets) for text in attempt.not_proved),
        error=redact(one_line(failure), attempt.secrets) if failure else "",
        differs=tuple(redact(text, attempt.secrets) for text in attempt.differs),
        exception=failure,
        unrecorded=failed_rehearsal_text(attempt.rehearsal) if failure else "",
    )


@dataclass
class _Attempt:
    """One attempt, and what it has found so far."""

    host: Host
    repository: ObjectSource
    record: Record
    call: Call
    reporter: Reporter
    identities: Sequence[Identity]
    kept: KeptScratch | None = None
    secrets: tuple[str, ...] = ()
    proved: list[Proved] = field(default_factory=list)
    not_proved: list[str] = field(default_factory=list)
    differs: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    rehearsal: str = ""
    _loading: bool = False

    def __post_init__(self) -> None:
        from dumpty._version import __version__

        self.versions["dumpty"] = __version__
        self._stored = stored_of(self.host, self.record, self.identities)
        self._step_start = time.monotonic()

    def is_verdict(self, error: DumptyError) -> bool:
        """Return whether ``error`` says that the backup is bad, and not merely that it could not be decided."""
        if isinstance(error, CommandError):  # the database's own client refused the dump; a signal is not its verdict
            return self._loading and error.returncode is not None and error.returncode > 0
        return isinstance(error, (IntegrityError, MissingFile))

    def digest(self) -> None:
        """Compare the stored bytes, and the dump in them, with the manifest."""
        if self.record.sealed is not None:
            self._check_stored()
            self.not_proved += [_ONLY_STORED, _ONLY_DIGESTS]
            return
        self.reporter.begin(Phase.CHECKING, bytes_total=self._stored.plain_size)
        check_whole(self.host, self.repository, self._stored, self.reporter.bytes)
        self._record_stored_step()
        compressors = "+".join(s.plugin.name for s in self._stored.stages)
        self._record_step(
            f"{f'through {compressors} ' if compressors else ''}it gives the dump of the size and SHA-256 recorded"
        )
        self.not_proved.append(_ONLY_DIGESTS)

    def structure(self) -> None:
        """Let the driver read the dump to its end."""
        self._require_opened()
        driver = self._driver("examine")
        require_subject(driver, self.record)
        options = self.host.options({"examine": driver}, {})["examine"]
        self._check_stored()
        self.reporter.begin(Phase.EXAMINING, bytes_total=self._stored.plain_size)
        with StoredDump(self.host, self.repository, self._stored, self.reporter, checked=True) as dump:
            found = self.host.examine(driver, dump=dump, options=options)
            if not dump.read_to_end:
                raise IntegrityError(f"{driver} said it examined {dump.file}, but did not read it to its end")
        self._require_counts(found)
        decrypted = "is decrypted, decompresses" if self.record.recipients else "decompresses"
        self._record_step(f"it {decrypted}, and {driver.name} reads the dump to its end: {contents_text(found)}")
        self.not_proved.append(_ONLY_READ)

    def restore(self, on: Source | None, assertions: Sequence[str], overrides: Mapping[str, object]) -> None:
        """Restore into a scratch database, and examine what it holds then."""
        self._require_opened()
        driver = self._driver("scratch", "restore")
        require_subject(driver, self.record)
        verbs: dict[Verb, Plugin] = {"scratch": driver, "restore": driver, "inspect": driver}
        require_versions(driver, overrides)
        options = self.host.options(verbs, overrides)
        self._check_stored()
        self.reporter.begin(Phase.PREPARING)
        failure: BaseException | None = None
        with contextlib.ExitStack() as stack:
            dump = StoredDump(self.host, self.repository, self._stored, self.reporter, checked=True)
            stack.enter_context(dump)
            stack.enter_context(attribute_errors(driver, "scratch"))
            scratch = stack.enter_context(self.host.scratch(driver, dump=dump, on=on, options=options["scratch"]))
            try:
                if self.kept is not None:
                    self.kept.prepare(driver, scratch, self._cloner(driver, scratch, options))
                self._restore_and_check(driver, dump, scratch, options, assertions)
            except BaseException as error:
                failure = error
                raise
            if self.kept is not None:
                self.kept.keep(stack.pop_all())
        if failure is not None:  # a target that swallows errors when it is cleaned up makes nothing good
            with attribute_errors(driver, "scratch"):
                raise failure

    def _restore_and_check(
        self,
        driver: Plugin,
        dump: StoredDump,
        scratch: Scratch,
        options: Mapping[Verb, Options],
        assertions: Sequence[str],
    ) -> None:
        self.rehearsal = getattr(scratch, "rehearsal", "")
        self.secrets += scratch.target.secrets
        self.versions |= scratch.versions
        served_by = ", ".join(f"{name} {version}" for name, version in scratch.versions.items()) or driver.name
        self._record_step("; ".join((f"a scratch target is ready: {served_by}", *getattr(scratch, "notes", ()))))
        self._loading = True
        self.reporter.begin(Phase.LOADING, bytes_total=self._stored.plain_size)
        with self.call.provisional():
            loaded = load(self.host, driver, scratch.target, dump, overwrite=False, options=options["restore"])
        self._loading = False
        self.reporter.begin(Phase.COMPARING, items_total=len(self.record.evidence.objects))
        self._record_step("a database loaded the dump to its end")
        self.differs += getattr(scratch, "differs", ())
        if self.differs or self.rehearsal:
            self.differs += loaded.notes
        found = self._inspect_restored(driver, scratch, options["inspect"]) or loaded
        self._compare(driver, found)
        self.reporter.items(len(self.record.evidence.objects))
        unprovable: NotProvable | None = None
        checks: tuple[str, ...] = ()
        try:
            with attribute_errors(driver, "check"):
                checks = scratch.check()
        except NotProvable as error:
            unprovable = error  # an assertion that is not true says more
        if checks:
            self._record_step(f"the engine's own checks found nothing wrong: {', '.join(checks)}")
        elif unprovable is None:
            self.not_proved.append(f"the engine's own checks: {driver.name} has none here")
        self.not_proved += getattr(scratch, "not_proved", ())
        if self.rehearsal:
            self.not_proved.append(NOT_REHEARSED)
        for assertion in assertions:
            require_true(driver, scratch, assertion, self.record.id)
            self._record_step(f"true of what was restored: {assertion}")
        if unprovable is not None:
            raise unprovable

    def _cloner(self, driver: Plugin, scratch: CheckedScratch, options: Mapping[Verb, Options]) -> Cloner:
        reopen = partial(StoredDump, self.host, self.repository, self._stored, checked=True)
        examine = partial(self._inspect_restored, driver, options=options["inspect"])
        return Cloner(self.host, driver, scratch, reopen, options["restore"], self.record.evidence, examine)

    def _inspect_restored(self, driver: Plugin, scratch: Scratch, options: Options) -> Evidence | None:
        if is_of_server(driver, self.record.format):
            return None  # a server has more than the backup knows: what was restored its driver has counted
        fingerprinted = any(o.fingerprint for o in self.record.evidence.objects)
        level: Literal["counts", "fingerprint"] = "fingerprint" if fingerprinted else "counts"
        return ask_evidence(self.host, driver, scratch.target, options, level)

    def _compare(self, driver: Plugin, found: Evidence) -> None:
        expected = self.record.evidence
        if not expected.objects:
            self.not_proved.append("that everything is there: the backup recorded nothing to compare with")
            return
        comparison = require_same_evidence(
            expected=expected,
            found=found,
            subject="what was restored",
            advice="do not rely on this backup",
            ignore={"uncounted"},
        )
        if comparison.counted and comparison.fingerprinted < comparison.counted:
            self._record_step(f"counts only: {counts_text(comparison)}, as counted when it was dumped")
            self.not_proved.append(missing_fingerprints_text(driver, comparison))
        elif comparison.fingerprinted:
            self._record_step(f"every value: {counts_text(comparison)}, with the fingerprints taken when it was dumped")
        divided = divided_tables(expected)
        if uncounted := [path for path in comparison.uncounted if path not in divided]:
            self.not_proved.append(f"the rows of what nobody counted: {summarize_paths(uncounted)}")
        if not expected.consistent:
            self.not_proved.append("that it is of one moment: the backup itself says that it is not")

    def _require_opened(self) -> None:
        try:
            open_record(self.host, self.record, ())
        except IdentityError as error:
            raise NotProvable(f"not provable here: {error}") from None

    def _driver(self, *hooks: str) -> Plugin:
        driver = driver_of(self.host, self.record)
        for hook in hooks:
            if not self.host.can(driver, hook):
                raise NotProvable(
                    f"backup {self.record.id} is not provable here, because {driver} implements no {hook}"
                )
        self.versions[f"{driver.name} plugin"] = driver.version or "of this program"
        return driver

    def _check_stored(self) -> None:
        self.reporter.begin(Phase.CHECKING, bytes_total=self._stored.stored_size)
        check_stored(self.host, self.repository, self._stored, self.reporter.bytes)
        self._record_stored_step()

    def _record_stored_step(self) -> None:
        digests = ", ".join(("SHA-256", *self._stored.digests))
        count = len(self._stored.parts)
        subject = "the stored file has" if count == 1 else f"each of the {count} stored files has"
        self._record_step(f"{subject} the size and {digests} recorded in its manifest")

    def _require_counts(self, found: Evidence) -> None:
        """Compare what a driver read in a dump with what was counted; a reader may know less than a database."""
        rows = {entry.path: entry.rows for entry in found.objects}
        for entry in self.record.evidence.objects:
            rows_read = rows.get(entry.path)
            if entry.rows is not None and rows_read is not None and entry.rows != rows_read:
                raise IntegrityError(
                    f"the dump holds {rows_read} rows of {entry.path}, which had {entry.rows} when it was made"
                )

    def _record_step(self, text: str) -> None:
        now = time.monotonic()
        self.proved.append(Proved(what=text, seconds=round(now - self._step_start, 3)))
        self._step_start = now
