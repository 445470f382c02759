"""A stored dump as its manifest describes it, and the readers that compare what is stored with that."""

from __future__ import annotations

import contextlib
import os.path
from typing import TYPE_CHECKING

from msgspec import Struct

from dumpty.errors import IntegrityError, MissingFile
from dumpty.process.call import raise_if_cancelled
from dumpty.streaming.directories import tree_digest
from dumpty.streaming.streams import BLOCK, ReadAheadReader, VerifyingReader, read_all

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dumpty.registry.host import Host
    from dumpty.registry.plugin import Plugin
    from dumpty.streaming.reporter import ReportBytes
    from dumpty.types import (
        Evidence,
        Format,
        Identity,
        ObjectSource,
        Options,
        Reader,
        Recipient,
        Section,
        TableContent,
        Verifier,
    )

__all__ = [
    "Stage",
    "Stored",
    "StoredPart",
    "WholeReader",
    "check_part",
    "check_stored",
    "check_whole",
    "open_part",
    "plain_reader",
    "require_part_undamaged",
    "require_undamaged",
    "whole_reader",
]

_NAMED_TABLES = 3


class Stage(Struct, frozen=True, kw_only=True):
    """One compressor or cipher of a run, with its options, and for a cipher the keys: on the way out, or back."""

    plugin: Plugin
    options: Options
    recipients: tuple[Recipient, ...] = ()
    identities: tuple[Identity, ...] = ()

    @property
    def is_cipher(self) -> bool:
        """Whether it encrypts."""
        return self.plugin.kind == "cipher"

    def reader(self, host: Host, stream: Reader) -> Reader:
        """Return a reader of what went through it on the way out."""
        if self.is_cipher:
            return host.decrypt(self.plugin, stream=stream, identities=self.identities, params=self.options)
        return host.decompress(self.plugin, stream=stream, params=self.options)


class StoredPart(Struct, frozen=True, kw_only=True):
    """A stored object of a dump as its manifest describes it.

    ``suffix`` ends its name, before those of the stages; ``directory``: it is a directory of files.
    """

    file: str
    suffix: str
    plain_size: int
    plain_sha256: str
    stored_size: int
    stored_sha256: str
    stages: tuple[Stage, ...]
    digests: Mapping[str, str] = {}
    section: Section = "whole"
    tables: tuple[TableContent, ...] = ()
    directory: bool = False

    @property
    def label(self) -> str:
        """Its name, and what of a database it holds, for messages."""
        return f"the backup file {self.file}{self._contents}"

    @property
    def dump_label(self) -> str:
        """A name for what is in it."""
        return f"the dump in {self.file}{self._contents}"

    @property
    def _contents(self) -> str:
        if not self.tables or self.section == "whole":
            return ""
        more = len(self.tables) - _NAMED_TABLES
        names = [*map(str, self.tables[:_NAMED_TABLES]), *([f"{more} more tables"] if more > 0 else [])]
        return f" ({'; '.join(names)})"


class Stored(Struct, frozen=True, kw_only=True):
    """A stored dump as its manifest describes it, in one object or in several."""

    format: Format
    parts: tuple[StoredPart, ...]
    evidence: Evidence

    @property
    def file(self) -> str:
        """The name of its object; of several what they begin with."""
        return os.path.commonprefix([part.file for part in self.parts])  # noqa: RUF071 - names of one folder

    @property
    def stages(self) -> tuple[Stage, ...]:
        """What its objects went through."""
        return self.parts[0].stages

    @property
    def digests(self) -> Mapping[str, str]:
        """The further digests that each object has, by verifier; those of the first."""
        return self.parts[0].digests

    @property
    def plain_size(self) -> int:
        """How many bytes it has before the first stage."""
        return sum(part.plain_size for part in self.parts)

    @property
    def stored_size(self) -> int:
        """How many bytes its objects take."""
        return sum(part.stored_size for part in self.parts)


def check_stored(host: Host, repository: ObjectSource, stored: Stored, progress: ReportBytes | None = None) -> None:
    """Read the stored objects to their end and compare size and every digest with the manifest.

    Raises:
        MissingFile: one is gone.
        IntegrityError: size or a digest differs.
        PluginNotFound: a verifier that was used is not installed any more.
    """
    passed = 0
    for part in stored.parts:
        check_part(host, repository, part, _behind(passed, stored.stored_size, progress))
        passed += part.stored_size


def _behind(passed: int, total: int, progress: ReportBytes | None) -> ReportBytes | None:
    """Return a progress of one of several objects, behind those that have ``passed`` already."""
    return None if progress is None else lambda done, _total: progress(passed + done, total)


def check_part(host: Host, repository: ObjectSource, stored: StoredPart, progress: ReportBytes | None = None) -> None:
    """Do for one object what ``check_stored`` does for all; the errors are the same."""
    if stored.directory:
        path = repository.local_path(stored.file)
        if path is None or not path.is_dir():
            raise MissingFile(f"{stored.label} is gone from {repository.locate(stored.file)}")
        if tree_digest(str(path)) != (stored.stored_size, stored.stored_sha256):
            raise IntegrityError(f"{stored.label} does not match its recorded digest: it was altered or damaged")
        return
    digests = _fresh_digests(host, stored)
    with contextlib.closing(open_part(repository, stored)) as stream:
        _drain(_DigestingReader(stream, stored, digests), stored.stored_size, progress)
    _compare(digests, stored)


def open_part(repository: ObjectSource, stored: StoredPart) -> Reader:
    """Return the stored bytes of an object, unchecked.

    Raises:
        MissingFile: it is gone; the text says what was in it.
        StoreError: it cannot be read.
    """
    try:
        return repository.open(stored.file)
    except MissingFile as error:
        if not stored.tables:
            raise
        raise MissingFile(f"{stored.label} is gone: {error}") from error


def check_whole(host: Host, repository: ObjectSource, stored: Stored, progress: ReportBytes | None = None) -> None:
    """Read the stored objects to their end, once, and compare their bytes, and the dump in them, with the manifest.

    Raises:
        MissingFile, IntegrityError, PluginNotFound: as ``check_stored``; a damaged or truncated compressed stream too.
    """
    passed = 0
    for part in stored.parts:
        report = _behind(passed, stored.plain_size, progress)
        if part.directory:
            check_part(host, repository, part, report)  # its files are stored as they are
        else:
            _check_whole_part(host, repository, part, report)
        passed += part.plain_size


def _check_whole_part(host: Host, repository: ObjectSource, part: StoredPart, progress: ReportBytes | None) -> None:
    try:
        with contextlib.ExitStack() as stack:
            _drain(whole_reader(host, repository, part, stack), part.plain_size, progress)
    except Exception:
        raise_if_cancelled()  # that is what failed
        require_part_undamaged(host, repository, part)
        raise


def require_undamaged(host: Host, repository: ObjectSource, stored: Stored) -> None:
    """Look, after a failure, whether what is stored is what was: if not, that says more than the failure.

    Where it cannot be told the failure is all that is known.

    Raises:
        MissingFile, IntegrityError: it is not.
    """
    for part in stored.parts:
        require_part_undamaged(host, repository, part)


def require_part_undamaged(host: Host, repository: ObjectSource, part: StoredPart) -> None:
    """Do for one object what ``require_undamaged`` does for all; the errors are the same."""
    try:
        check_part(host, repository, part)
    except (MissingFile, IntegrityError):
        raise
    except Exception:  # noqa: BLE001 - the failure that led here is the one to report
        return


def _fresh_digests(host: Host, stored: StoredPart) -> dict[str, Verifier]:
    return {name: host.verify(host.named("verifier", name)) for name in stored.digests}


def _compare(digests: Mapping[str, Verifier], stored: StoredPart) -> None:
    for name, digest in digests.items():
        if digest.hexdigest() != stored.digests[name]:
            raise IntegrityError(f"{stored.label} has another {name} than the one recorded: it was altered or damaged")


def _drain(stream: Reader, size: int = 0, progress: ReportBytes | None = None) -> None:
    done = 0
    while block := stream.read(BLOCK * 4):
        raise_if_cancelled()
        done += len(block)
        if progress is not None:
            progress(done, size)


class _DigestingReader:
    """Checks stored bytes by size and SHA-256 while they are read, and adds them to the other digests there are."""

    def __init__(self, stream: Reader, stored: StoredPart, digests: Mapping[str, Verifier]) -> None:
        self._verifying_reader = VerifyingReader(stream, stored.stored_size, stored.stored_sha256, stored.label)
        self._digests = digests

    def read(self, size: int = -1) -> bytes:
        data = self._verifying_reader.read(size)
        for digest in self._digests.values():
            digest.update(data)
        return data

    def close(self) -> None:
        self._verifying_reader.close()


def plain_reader(host: Host, stream: Reader, stored: StoredPart, stack: contextlib.ExitStack) -> VerifyingReader:
    """Return the dump, decompressed in a thread of its own and checked in its reader's: that shares the work evenly."""
    for stage in reversed(stored.stages):
        stream = stage.reader(host, stream)
        stack.callback(stream.close)
    label = stored.dump_label
    read_ahead = ReadAheadReader(stream, label)
    stack.callback(read_ahead.close)
    return VerifyingReader(read_ahead, stored.plain_size, stored.plain_sha256, label)


def whole_reader(host: Host, repository: ObjectSource, stored: StoredPart, stack: contextlib.ExitStack) -> WholeReader:
    """Return the dump, decompressed from stored bytes that are read once, and checked while they are."""
    digests = _fresh_digests(host, stored)
    stream = _DigestingReader(open_part(repository, stored), stored, digests)
    stack.callback(stream.close)
    read_ahead = ReadAheadReader(stream, stored.label)
    stack.callback(read_ahead.close)
    plain = plain_reader(host, read_ahead, stored, stack)

    def check_rest() -> None:
        _drain(read_ahead)  # what a decompressor did not ask for
        _compare(digests, stored)

    return WholeReader(plain, check_rest)


class WholeReader:
    """Yields end-of-file only if the dump, and the stored bytes that it came from, are those recorded."""

    def __init__(self, plain: VerifyingReader, check_rest: Callable[[], None]) -> None:
        self._plain = plain
        self._check_rest = check_rest
        self.complete = False

    def read(self, size: int = -1) -> bytes:
        if size is None or size < 0:
            return read_all(self)
        data = self._plain.read(size)
        if not data and size and not self.complete:
            self._check_rest()
            self.complete = True
        return data

    def close(self) -> None:
        self._plain.close()
