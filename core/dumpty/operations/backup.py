"""From a database to a backup's record: what takes part, the run, and the commit, last."""

from __future__ import annotations

import functools
import hashlib
import re
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from dumpty.errors import DumptyError, FormatNotSupported, OptionError
from dumpty.operations.evidence import with_alterations
from dumpty.operations.reach import reached, read_way
from dumpty.operations.sealing import reopen
from dumpty.operations.signatures import commit_signed
from dumpty.operations.stages import plugin_ref, stage_record
from dumpty.operations.subjects import identity_and_name, inspect_subject, subject_url
from dumpty.process.interruption import current_interruption
from dumpty.redaction import MASK, names_secret, one_line, plain, redact
from dumpty.registry.plugin import AUTO
from dumpty.streaming.pipeline import Run
from dumpty.streaming.stored import Stage
from dumpty.streaming.throttle import throttled
from dumpty.types import Inspection, Phase, Record, StoredObject
from dumpty.url import parse_url, secrets_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from dumpty.operations.sealing import Encryption
    from dumpty.operations.shrink_guard import Earlier, ShrinkGuard
    from dumpty.registry.host import Host
    from dumpty.registry.plugin import Plugin
    from dumpty.signing.signer import Signer
    from dumpty.streaming.object_writer import WrittenObject
    from dumpty.streaming.reporter import Reporter
    from dumpty.types import Evidence, Format, Options, Repository, Source, Verb

__all__ = ["create"]

_LONGEST_REASON = 500
"""Characters that a note has of why a database was not written in a format."""


def create(
    host: Host,
    repository: Repository,
    database_url: str,
    *,
    compressor: Plugin | None,
    verifier: Plugin,
    format_name: str | None,
    reporter: Reporter,
    rate_limit: int | None,
    encryption: Encryption | None,
    signer: Signer | None,
    tags: tuple[str, ...] = (),
    guard: ShrinkGuard | None = None,
    via: str | Sequence[str] | None = None,
    once: str | None = None,
    overrides: Mapping[str, object],
) -> Record:
    """Back up the database behind a URL; the arguments are those of ``BackupManager`` and its ``create_backup``.

    Raises:
        DumptyError: it failed, and nothing of it is left.
    """
    progress = throttled(rate_limit, reporter.bytes if reporter.is_wanted else None)
    source = parse_url(database_url)
    driver, way = host.driver(source.scheme), read_way(host, via)
    options = host.options(_verbs(driver, compressor, encryption), overrides)
    close = _rehearsed(encryption, host, options)
    formats = _formats(driver, format_name, options["backup"], encryption)
    reporter.begin(Phase.INSPECTING)
    with reached(driver, source, way) as near:
        inspection = _inspected(host, driver, near, options["inspect"], formats[0])
        identity, named = identity_and_name(driver, source, inspection, formats[0].name, way)
        earlier = guard.look_back(repository, named, identity, datetime.now(UTC)) if guard is not None else None
        run = Run(
            host=host,
            driver=driver,
            source=near,
            format=formats[0],
            options=options["backup"],
            repository=repository,
            stages=_stages(compressor, encryption, options),
            verifiers=() if verifier.name == "sha256" else (verifier,),
            progress=progress,
        )
        database = _Database(identity, named, inspection, _id_of(once, identity))
        write = functools.partial(_written, repository, database, reporter, earlier, close, signer, tags)
        return _in_first_possible(formats, run, write, reporter, secrets_in(database_url))


class _Database(NamedTuple):
    """What is backed up: which one it is, what it is called, what there is, and the id that the backup is to have."""

    identity: str
    name: str
    inspection: Inspection
    given_id: str | None


def _in_first_possible(
    formats: Sequence[Format],
    run: Run,
    write: Callable[[Run, tuple[str, ...]], Record],
    reporter: Reporter,
    secrets: Sequence[str],
) -> Record:
    """Write a backup in the first of ``formats`` that the database can be written in, and say what was against others.

    Each attempt is a transaction of its own, of which nothing is left where it fails.
    """
    *better, last = formats
    notes: tuple[str, ...] = ()
    for dump_format in better:
        try:
            return write(replace(run, format=dump_format), notes)
        except FormatNotSupported as refusal:
            current_interruption().check()
            reason = plain(redact(one_line(refusal), secrets))[:_LONGEST_REASON]
            notes += (f"not in the format {dump_format.name}, as it would be without --format {last.name}: {reason}",)
            reporter.begin(Phase.INSPECTING)  # so that no number of a phase falls
    try:
        return write(replace(run, format=last), notes)
    except FormatNotSupported as refusal:
        if isinstance(refusal.__cause__, DumptyError):
            raise refusal.__cause__  # noqa: B904 - what was asked for failed
        others = [f.name for f in run.driver.formats(AUTO) if f not in formats]
        if not others:
            raise
        raise FormatNotSupported(f"{refusal}, or use the format {others[-1]}") from refusal


def _verbs(driver: Plugin, compressor: Plugin | None, encryption: Encryption | None) -> dict[Verb, Plugin]:
    """Return who serves what."""
    verbs: dict[Verb, Plugin] = {"backup": driver, "inspect": driver}
    if compressor is not None:
        verbs["compress"] = compressor
    if encryption is not None:
        verbs["encrypt"] = encryption.cipher
    return verbs


def _inspected(host: Host, driver: Plugin, source: Source, options: Options, dump_format: Format) -> Inspection:
    """Return what there is, as far as the driver can tell."""
    if not host.can(driver, "inspect"):
        return Inspection(exists=True, empty=False)
    return inspect_subject(host, driver, source, options, dump_format.name)


def _rehearsed(
    encryption: Encryption | None, host: Host, options: Mapping[Verb, Options]
) -> Callable[[Record], Record] | None:
    """Return what seals a record of this encryption, which was tried; None for None."""
    if encryption is None:
        return None
    encryption.rehearse(host, options["encrypt"])
    return functools.partial(encryption.close, host, options["encrypt"])


def _written(
    repository: Repository,
    database: _Database,
    reporter: Reporter,
    earlier: Earlier | None,
    close: Callable[[Record], Record] | None,
    signer: Signer | None,
    tags: tuple[str, ...],
    run: Run,
    notes: tuple[str, ...],
) -> Record:
    """Write a backup, and commit it; or return that of its given id that is there. Its evidence begins with ``notes``.

    With ``earlier`` it is compared with before that, so that it is never there unmarked; ``close`` seals of its record
    what only its readers may know.
    """
    identity, name, inspection, given_id = database
    record_id, started = given_id or str(uuid.uuid4()), datetime.now(UTC)
    with repository.transaction(record_id=record_id, database=name, identity=identity, started=started) as tx:
        if given_id is not None and (made := tx.claim_id(given_id)) is not None:
            return made
        reporter.begin(Phase.DUMPING)
        outcome = run.write(tx.upload, tx.complete)
        record = Record(
            id=record_id,
            url=subject_url(run.driver, run.source, run.format.name),
            identity=identity,
            database=name,
            driver=plugin_ref(run.driver),
            format=run.format.name,
            suffix=run.format.suffix,
            objects=tuple(_stored_object(tx.name(w.ending), w, run.stages) for w in outcome.objects),
            recipients=tuple(recipient.text for stage in run.stages for recipient in stage.recipients),
            started=started,
            ended=datetime.now(UTC),
            verifiers=tuple(map(plugin_ref, run.verifiers)),
            evidence=with_alterations(_noted(outcome.evidence, notes), inspection),
            options={k: MASK if names_secret(k) and v else v for k, v in run.options.items()},
            tags=tags,
        )
        if earlier is not None:
            record = earlier.compare(record)
        reporter.begin(Phase.COMMITTING)
        stored = record if close is None else close(record)
        committed = commit_signed(tx, stored, signer)
        return committed if stored is record else reopen(committed, record)


def _id_of(once: str | None, identity: str) -> str | None:
    """Return the id of the backup of a database that ``once`` stands for: a UUID made of both; None for None."""
    if once is None:
        return None
    digest = hashlib.sha256(f"{once}\n{identity}".encode("utf-8", "surrogatepass")).digest()
    return str(uuid.UUID(bytes=digest[:16], version=5))


_TAG = re.compile(r"[^\s,\x00-\x1f\x7f](?:[^,\x00-\x1f\x7f]{0,98}[^\s,\x00-\x1f\x7f])?")


def checked_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """Return tags, each once.

    Raises:
        OptionError: one is empty, longer than 100 characters, or holds a comma or a control character.
    """
    for tag in (tags := tuple(tags)):
        if not isinstance(tag, str) or not _TAG.fullmatch(tag):
            raise OptionError(
                f"{str(tag)[:200]!r} is no tag: 1 to 100 characters, without commas and control characters"
            )
    return tuple(dict.fromkeys(tags))


def _stages(
    compressor: Plugin | None, encryption: Encryption | None, options: Mapping[Verb, Options]
) -> tuple[Stage, ...]:
    stages = [Stage(plugin=compressor, options=options["compress"])] if compressor is not None else []
    if encryption is not None:
        stage = Stage(plugin=encryption.cipher, options=options["encrypt"], recipients=encryption.recipients)
        stages.append(stage)
    return tuple(stages)


def _noted(evidence: Evidence, notes: tuple[str, ...]) -> Evidence:
    return replace(evidence, notes=(*notes, *evidence.notes))


def _formats(driver: Plugin, name: str | None, options: Options, encryption: Encryption | None) -> tuple[Format, ...]:
    """Return what a backup is written in, the first that is possible.

    Raises:
        OptionError: there is no such format, or no backup is made in it, or none without encryption.
    """
    formats = driver.formats(name)
    if formats[0].directory:
        streams = ", ".join(f.name for f in driver.described.formats if not f.directory)
        raise OptionError(f"the format {formats[0].name} is a directory, and a repository holds files; use {streams}")
    for dump_format in formats:
        _require_cipher(dump_format, options, encryption)
    return formats


def _require_cipher(dump_format: Format, options: Options, encryption: Encryption | None) -> None:
    """Check that secrets are not written for everybody to read who reads the backup, unless somebody insists.

    Raises:
        OptionError: they would be.
    """
    name = dump_format.sensitive
    if name and options[name] == "on" and encryption is None:
        raise OptionError(
            f"a backup as {dump_format.name} holds secrets ({name}), so it is not made without encryption: encrypt it "
            f"(--encrypt-to), leave them out (-o {name}=off), or keep them readable on purpose (-o {name}=plain)"
        )


def _stored_object(name: str, written: WrittenObject, stages: Sequence[Stage]) -> StoredObject:
    return StoredObject(
        name=name,
        size=written.stored_size,
        sha256=written.stored_sha256,
        plain_size=written.plain_size,
        plain_sha256=written.plain_sha256,
        stages=tuple(map(stage_record, stages)),
        digests=written.digests,
        section=written.section,
        tables=written.tables,
    )
