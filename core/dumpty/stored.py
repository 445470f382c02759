"""The way back: a stored dump, verified, decompressed and handed to a driver, or read to its end."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dumpty.errors import IntegrityError, MissingFile
from dumpty.streams import BLOCK, Ahead, Checked, tree_digest
from dumpty.types import LocalStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from dumpty.host import Host, Plugin
    from dumpty.types import Evidence, Format, Options, Reader, Store

    Progress = Callable[[int, "int | None"], None]

__all__ = ["Progress", "Stage", "Stored", "StoredDump", "check_plain", "check_stored", "workspace"]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One compressor of a run, with its options."""

    plugin: Plugin
    options: Options


@dataclass(frozen=True, kw_only=True)
class Stored:
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
    def what(self) -> str:
        """Its name, for messages."""
        return f"the backup file {self.file}"


def check_stored(host: Host, store: Store, stored: Stored, progress: Progress | None = None) -> None:
    """Read the stored object to its end and compare size and every digest with the manifest.

    Raises:
        MissingFile: it is gone.
        IntegrityError: size or a digest differs.
        PluginNotFound: a verifier that was used is not installed any more.
    """
    if stored.format.directory:
        if not isinstance(store, LocalStore) or not store.path(stored.file).is_dir():
            raise MissingFile(f"{stored.what} is gone from {store.locate(stored.file)}")
        if tree_digest(str(store.path(stored.file))) != (stored.stored_size, stored.stored_sha256):
            raise IntegrityError(f"{stored.what} does not match its recorded digest: it was altered or damaged")
        return
    digests = {name: host.verify(host.named("verifier", name)) for name in stored.digests}
    with _opened(store, stored) as stream:
        done = 0
        while block := stream.read(BLOCK * 4):
            for digest in digests.values():
                digest.update(block)
            done += len(block)
            if progress is not None:
                progress(done, stored.stored_size)
    for name, digest in digests.items():
        if digest.hexdigest() != stored.digests[name]:
            raise IntegrityError(f"{stored.what} has another {name} than the one recorded: it was altered or damaged")


def check_plain(host: Host, store: Store, stored: Stored, progress: Progress | None = None) -> None:
    """Decompress the stored object to its end and compare size and digest of the plain bytes with the manifest.

    Raises:
        MissingFile, IntegrityError: as ``check_stored``; a damaged or truncated compressed stream too.
    """
    if stored.format.directory:
        return  # its files are stored as they are: check_stored has read them all
    with contextlib.ExitStack() as stack:
        stream = _plain(host, store, stored, stack)
        done = 0
        while block := stream.read(BLOCK * 4):
            done += len(block)
            if progress is not None:
                progress(done, stored.plain_size)


@contextlib.contextmanager
def _opened(store: Store, stored: Stored) -> Iterator[Checked]:
    stream = store.open(stored.file)
    try:
        yield Checked(stream, stored.stored_size, stored.stored_sha256, stored.what)
    finally:
        stream.close()


def _plain(host: Host, store: Store, stored: Stored, stack: contextlib.ExitStack) -> Checked:
    """Return the dump, decompressed in a thread of its own and checked in its reader's: that shares the work evenly."""
    stream: Reader = store.open(stored.file)
    stack.callback(stream.close)
    for stage in reversed(stored.stages):
        stream = host.decompress(stage.plugin, stream=stream, params=stage.options)
        stack.callback(stream.close)
    what = f"the dump in {stored.file}"
    ahead = Ahead(stream, what)
    stack.callback(ahead.close)
    return Checked(ahead, stored.plain_size, stored.plain_sha256, what)


class StoredDump:
    """A dump on its way back, as a driver sees it (``dumpty.types.Dump``). A context manager."""

    def __init__(self, host: Host, store: Store, stored: Stored, progress: Progress | None = None) -> None:
        self._host = host
        self._store = store
        self._stored = stored
        self._progress = progress
        self._stack = contextlib.ExitStack()
        self._streams: list[Checked] = []
        self._spool: Path | None = None

    def __enter__(self) -> StoredDump:
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

    def open(self) -> Reader:
        checked = _plain(self._host, self._store, self._stored, self._stack)
        self._streams.append(checked)
        return _Reported(checked, self.size, self._progress) if self._progress else checked

    def path(self) -> Path:
        if self._spool is None:
            if isinstance(self._store, LocalStore) and (self._stored.format.directory or not self._stored.stages):
                # Verified a moment ago, stored as it is: no copy.
                self._spool = self._store.path(self._stored.file)
            else:
                self._spool = self._spooled()
        return self._spool

    def workspace(self) -> Path:
        return workspace(self._store, self._stack)

    def _spooled(self) -> Path:
        path = self.workspace() / ("dump" + self._stored.format.suffix)
        stream = self.open()
        with path.open("xb", buffering=0) as file:
            while block := stream.read(BLOCK):
                file.write(block)
        if path.stat().st_size != self.size:
            raise IntegrityError(f"{path} could not be written whole")
        return path


class _Reported:
    def __init__(self, stream: Reader, size: int, progress: Progress) -> None:
        self._stream = stream
        self._size = size
        self._progress = progress
        self._done = 0

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._done += len(data)
        self._progress(self._done, self._size)
        return data

    def close(self) -> None:
        self._stream.close()


def workspace(store: Store, stack: contextlib.ExitStack) -> Path:
    """Return an empty directory on the store's file system, or the system's, removed when ``stack`` closes."""
    if isinstance(store, LocalStore):
        # A directory that can be read but not written still restores: then the system's own place has to do.
        with contextlib.suppress(OSError):
            return stack.enter_context(store.workspace())
    path = Path(tempfile.mkdtemp(prefix="dumpty-"))
    stack.callback(shutil.rmtree, path, ignore_errors=True)
    return path
