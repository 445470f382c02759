"""Encrypting a backup that there is already: what a copy is stored as, for recipients of its own."""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from dumpty.encryption.header import Beginning
from dumpty.operations.sealing import open_record, require_plugin
from dumpty.operations.stages import stage_record, stages_of
from dumpty.process.call import raise_if_cancelled
from dumpty.streaming.stored_dump import Stage
from dumpty.streaming.streams import BLOCK, HashingWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dumpty.operations.sealing import Encryption
    from dumpty.registry.host import Host
    from dumpty.streaming.reporter import ReportBytes
    from dumpty.streaming.streams import VerifyingReader
    from dumpty.types import Identity, Reader, Record, StoredObject, Transaction, Upload, Verifier

__all__ = ["Resealing", "pass_on"]


class Resealing(Struct, frozen=True, kw_only=True):
    """Encrypts what lies in one repository on its way into another; what was encrypted, ``identities`` open.

    What is in the age file stays byte for byte what it was: compressed by the same compressor, nothing of it read.
    ``origin_host`` has the plugins of where it lies, ``host`` those of where it goes.
    """

    origin_host: Host
    host: Host
    encryption: Encryption
    identities: Sequence[Identity]

    @property
    def kinds(self) -> tuple[str, ...]:
        """Of which kind each recipient is, sorted."""
        return tuple(sorted(recipient.kind for recipient in self.encryption.recipients))

    def rehearse(self) -> None:
        """Encrypt nothing: what is wrong with the recipients is known before anything is begun.

        Raises:
            OptionError, DependencyError, PluginError: it is wrong, a library is missing, or the cipher fails.
        """
        self.encryption.rehearse(self.host, {})

    def opened(self, record: Record) -> Record:
        """Return a record with all that is known of it, for that is sealed anew.

        Raises:
            IdentityError: none of the identities opens it.
            PluginNotFound: the cipher that it was encrypted by is not installed.
            ManifestError: what is sealed is not what it should be.
        """
        return open_record(self.origin_host, record, self.identities)

    def ending(self, record: Record, ending: str) -> str:
        """Return how the name of an object ends once it is encrypted, whatever encrypted it before."""
        return ending if record.recipient_kinds else ending + self.encryption.cipher.described.suffix

    def write(
        self, record: Record, stored: StoredObject, upload: Upload, stream: VerifyingReader, progress: ReportBytes
    ) -> StoredObject:
        """Encrypt one object, and return what is known of it, but for its name.

        Args:
            record: of the backup, opened.
            stored: the object as it lies there.
            upload: where it is written to; whoever began it commits it.
            stream: its stored bytes.
            progress: is told how many of them were read.

        Raises:
            IntegrityError: the stored bytes are not what was stored, or what the cipher wrote is for others.
            IdentityError: none of the identities opens it.
            StoreError: it cannot be read or written.
        """
        recipients, cipher = self.encryption.recipients, self.encryption.cipher
        verifiers = [require_plugin(self.host, "verifier", ref, record) for ref in record.verifiers]
        digests: dict[str, Verifier] = {plugin.name: self.host.verify(plugin) for plugin in verifiers}
        sha256, beginning = hashlib.sha256(), Beginning()
        sink = HashingWriter(upload, (sha256, *digests.values(), beginning))
        with contextlib.ExitStack() as stack:
            writer = self.host.encrypt(cipher, sink=sink, recipients=recipients, options={})
            stack.callback(writer.abandon)
            counted = _CountingReader(stream, progress)
            reader: Reader = counted
            for stage in stages_of(self.origin_host, record, stored, self.identities):
                if stage.is_cipher:
                    reader = stage.reader(self.origin_host, counted)
                    stack.callback(reader.close)
            pass_on(reader, writer.write)
            pass_on(counted, _nowhere)  # the digest of the stored bytes is compared at their end
            writer.close()
        sink.require_intact()
        beginning.require_encrypted([recipient.kind for recipient in recipients], f"what {cipher} wrote")
        kept = tuple(stage for stage in stored.stages if stage.kind != "cipher")
        return replace(
            stored,
            size=sink.size,
            sha256=sha256.hexdigest(),
            stages=(*kept, stage_record(Stage(plugin=cipher, options={}, recipients=recipients))),
            digests={name: digest.hexdigest() for name, digest in digests.items()},
        )

    def commit(self, transaction: Transaction, record: Record, objects: Sequence[StoredObject]) -> Record:
        """Commit what was written, with a manifest of which the sealed part is for the same recipients.

        Raises:
            IntegrityError: what lies there is not encrypted to them.
            DumptyError: it could not be committed.
        """
        recipients = self.encryption.recipients
        known = replace(record, objects=tuple(objects), recipients=tuple(recipient.text for recipient in recipients))
        return transaction.commit(self.encryption.close(self.host, {}, known))


def pass_on(reader: Reader, write: Callable[[bytes], object], progress: ReportBytes | None = None) -> None:
    """Give all that ``reader`` has to ``write``, until its end or until the call is cancelled."""
    done = 0
    while block := reader.read(BLOCK * 4):
        raise_if_cancelled()
        write(block)
        done += len(block)
        if progress is not None:
            progress(done, None)


def _nowhere(_: bytes) -> None:
    """Forget what is given."""


class _CountingReader:
    """Tells how many bytes were read of a stream that is its owner's."""

    def __init__(self, stream: Reader, progress: ReportBytes) -> None:
        self._stream = stream
        self._progress = progress
        self._done = 0

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._done += len(data)
        self._progress(self._done, None)
        return data

    def close(self) -> None:
        """It stays open."""
