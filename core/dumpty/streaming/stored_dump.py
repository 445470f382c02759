"""The way back: a stored dump, verified, decrypted, decompressed and handed to a driver, or read to its end."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Self

from msgspec import Struct, field

from dumpty.errors import IntegrityError, MissingFile
from dumpty.process.call import raise_if_cancelled
from dumpty.process.interruption import current_interruption
from dumpty.streaming.directories import tree_digest
from dumpty.streaming.streams import BLOCK, ReadAheadReader, VerifyingReader, read_all
from dumpty.streaming.workspace import workspace_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from dumpty.process.interruption import Interruption
    from dumpty.registry.host import Host
    from dumpty.registry.plugin import Plugin
    from dumpty.streaming.reporter import ReportBytes, Reporter
    from dumpty.types import Evidence, Format, Identity, ObjectSource, Options, Reader, Recipient, Verifier

__all__ = ["Stage", "Stored", "StoredDump", "check_stored", "check_whole", "require_undamaged"]


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


class Stored(Struct, frozen=True, kw_only=True):
    """A stored dump as its manifest describes it."""

    file: str
    format: Format
    plain_size: int
    plain_sha256: str
    stored_size: int
    stored_sha256: str
    stages: tuple[Stage, ...]
    evidence: Evidence
    digests: Mapping[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Its name, for messages."""
        return f"the backup file {self.file}"


def check_stored(host: Host, repository: ObjectSource, stored: Stored, progress: ReportBytes | None = None) -> None:
    """Read the stored object to its end and compare size and every digest with the manifest.

    Raises:
        MissingFile: it is gone.
        IntegrityError: size or a digest differs.
        PluginNotFound: a verifier that was used is not installed any more.
    """
    if stored.format.directory:
        path = repository.local_path(stored.file)
        if path is None or not path.is_dir():
            raise MissingFile(f"{stored.label} is gone from {repository.locate(stored.file)}")
        if tree_digest(str(path)) != (stored.stored_size, stored.stored_sha256):
            raise IntegrityError(f"{stored.label} does not match its recorded digest: it was altered or damaged")
        return
    digests = _fresh_digests(host, stored)
    with contextlib.closing(repository.open(stored.file)) as stream:
        _drain(_DigestingReader(stream, stored, digests), stored.stored_size, progress)
    _compare(digests, stored)


def check_whole(host: Host, repository: ObjectSource, stored: Stored, progress: ReportBytes | None = None) -> None:
    """Read the stored object to its end, once, and compare its bytes, and those of the dump in it, with the manifest.

    Raises:
        MissingFile, IntegrityError, PluginNotFound: as ``check_stored``; a damaged or truncated compressed stream too.
    """
    if stored.format.directory:
        check_stored(host, repository, stored, progress)
        return  # its files are stored as they are
    try:
        with contextlib.ExitStack() as stack:
            _drain(_whole_reader(host, repository, stored, stack), stored.plain_size, progress)
    except Exception:
        raise_if_cancelled()  # that is what failed
        require_undamaged(host, repository, stored)
        raise


def require_undamaged(host: Host, repository: ObjectSource, stored: Stored) -> None:
    """Look, after a failure, whether the stored object is what was stored: if not, that says more than the failure.

    Where it cannot be told the failure is all that is known.

    Raises:
        MissingFile, IntegrityError: it is not.
    """
    try:
        check_stored(host, repository, stored)
    except (MissingFile, IntegrityError):
        raise
    except Exception:  # noqa: BLE001 - the failure that led here is the one to report
        return


def _fresh_digests(host: Host, stored: Stored) -> dict[str, Verifier]:
    return {name: host.verify(host.named("verifier", name)) for name in stored.digests}


def _compare(digests: Mapping[str, Verifier], stored: Stored) -> None:
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

    def __init__(self, stream: Reader, stored: Stored, digests: Mapping[str, Verifier]) -> None:
        self._verifying_reader = VerifyingReader(stream, stored.stored_size, stored.stored_sha256, stored.label)
        self._digests = digests

    def read(self, size: int = -1) -> bytes:
        data = self._verifying_reader.read(size)
        for digest in self._digests.values():
            digest.update(data)
        return data

    def close(self) -> None:
        self._verifying_reader.close()


def _plain_reader(host: Host, stream: Reader, stored: Stored, stack: contextlib.ExitStack) -> VerifyingReader:
    """Return the dump, decompressed in a thread of its own and checked in its reader's: that shares the work evenly."""
    for stage in reversed(stored.stages):
        stream = stage.reader(host, stream)
        stack.callback(stream.close)
    label = f"the dump in {stored.file}"
    read_ahead = ReadAheadReader(stream, label)
    stack.callback(read_ahead.close)
    return VerifyingReader(read_ahead, stored.plain_size, stored.plain_sha256, label)


def _whole_reader(host: Host, repository: ObjectSource, stored: Stored, stack: contextlib.ExitStack) -> _WholeReader:
    """Return the dump, decompressed from stored bytes that are read once, and checked while they are."""
    digests = _fresh_digests(host, stored)
    stream = _DigestingReader(repository.open(stored.file), stored, digests)
    stack.callback(stream.close)
    read_ahead = ReadAheadReader(stream, stored.label)
    stack.callback(read_ahead.close)
    plain = _plain_reader(host, read_ahead, stored, stack)

    def check_rest() -> None:
        _drain(read_ahead)  # what a decompressor did not ask for
        _compare(digests, stored)

    return _WholeReader(plain, check_rest)


class _WholeReader:
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


class StoredDump:
    """A dump on its way back, as a driver sees it (``dumpty.types.Dump``). A context manager.

    The stored bytes are checked while they are read; ``checked`` says that they have been, a moment ago. ``reporter``
    is told how much was read.
    """

    def __init__(
        self,
        host: Host,
        repository: ObjectSource,
        stored: Stored,
        reporter: Reporter | None = None,
        *,
        checked: bool = False,
    ) -> None:
        self._host = host
        self._repository = repository
        self._stored = stored
        self._reporter = reporter
        self._stack = contextlib.ExitStack()
        self._checked = checked
        self._streams: list[VerifyingReader | _WholeReader] = []
        self._spool: Path | None = None
        self._interruption = current_interruption()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def file(self) -> str:
        return self._stored.file

    @property
    def format(self) -> str:
        return self._stored.format.name

    @property
    def size(self) -> int:
        return self._stored.plain_size

    @property
    def evidence(self) -> Evidence:
        return self._stored.evidence

    @property
    def versions(self) -> Mapping[str, str]:
        return self._stored.evidence.versions

    @property
    def read_to_end(self) -> bool:
        """Whether the driver saw the verified end of some stream, or was given the verified file."""
        return self._spool is not None or any(s.complete for s in self._streams)

    @property
    def was_opened(self) -> bool:
        """Whether the driver was given any of it."""
        return self._spool is not None or bool(self._streams)

    def open(self) -> Reader:
        reader: VerifyingReader | _WholeReader
        if self._checked:
            stream = self._repository.open(self._stored.file)
            self._stack.callback(stream.close)
            reader = _plain_reader(self._host, stream, self._stored, self._stack)
        else:
            reader = _whole_reader(self._host, self._repository, self._stored, self._stack)
        self._streams.append(reader)
        progress = self._reporter.pass_over(self.size) if self._reporter else None
        return _ReportingReader(reader, self.size, progress, self._interruption)

    def path(self) -> Path:
        self._interruption.check()
        if self._spool is None:
            as_stored = self._stored.format.directory or not self._stored.stages
            path = self._repository.local_path(self._stored.file) if as_stored else None
            if path is None:
                path = self._spool_dump()
            elif not self._checked:  # it is handed over as it lies: no copy
                check_stored(self._host, self._repository, self._stored)
            self._spool = path
        return self._spool

    def workspace(self) -> Path:
        encrypted = any(stage.is_cipher for stage in self._stored.stages)
        return self._stack.enter_context(workspace_of(self._repository, encrypted=encrypted))

    def _spool_dump(self) -> Path:
        path = self.workspace() / ("dump" + self._stored.format.suffix)
        stream = self.open()
        with path.open("xb", buffering=0) as file:
            while block := stream.read(BLOCK):
                file.write(block)
        if path.stat().st_size != self.size:
            raise IntegrityError(f"{path} could not be written whole")
        return path


class _ReportingReader:
    """Reports what is read, and gives nothing more once an interrupt came: a driver that swallowed it ends, too."""

    def __init__(self, stream: Reader, size: int, progress: ReportBytes | None, interruption: Interruption) -> None:
        self._stream = stream
        self._size = size
        self._progress = progress
        self._interruption = interruption
        self._done = 0

    def read(self, size: int = -1) -> bytes:
        self._interruption.check()
        data = self._stream.read(size)
        if self._progress is not None:
            self._done += len(data)
            self._progress(self._done, self._size)
        return data

    def close(self) -> None:
        self._stream.close()
