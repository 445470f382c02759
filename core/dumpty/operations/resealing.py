"""Encrypting a backup that there is already: what a copy is stored as, for recipients of its own."""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from dumpty.encryption.header import Beginning
from dumpty.errors import IdentityError, IntegrityError
from dumpty.operations.sealing import open_record, require_plugin
from dumpty.operations.stages import stage_record, stages_of
from dumpty.process.call import raise_if_cancelled
from dumpty.streaming.stored import Stage
from dumpty.streaming.streams import BLOCK, HashingWriter, VerifyingReader

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dumpty.operations.sealing import Encryption
    from dumpty.registry.host import Host
    from dumpty.streaming.reporter import ReportBytes
    from dumpty.types import Identity, Options, Reader, Record, StoredObject, Upload, Verifier

__all__ = ["Resealing", "pass_on"]


class Resealing(Struct, frozen=True, kw_only=True):
    """Encrypts what lies in one repository on its way into another; what was encrypted, ``identities`` open.

    What is in the age file stays byte for byte what it was, compressed by the same compressor; on the way it is
    decompressed, too, and the dump compared with what is known of it. ``origin_host`` has the plugins of where it lies,
    ``host`` those of where it goes; ``machine`` is this machine's own key, which opens the sealed part of copies that
    it has made.
    """

    origin_host: Host
    host: Host
    encryption: Encryption
    identities: tuple[Identity, ...]
    machine: tuple[Identity, ...]

    @property
    def kinds(self) -> tuple[str, ...]:
        """Of which kind each recipient is, sorted."""
        return tuple(sorted(recipient.kind for recipient in self.encryption.recipients))

    def rehearse(self) -> None:
        """Encrypt nothing: what is wrong with the recipients is known before anything is begun.

        Raises:
            OptionError, DependencyError, PluginError: it is wrong, a library is missing, or the cipher fails.
        """
        self.encryption.rehearse(self.host, self._options)

    def opened(self, record: Record) -> Record:
        """Return a record with all that is known of it, for that is sealed anew.

        Raises:
            IdentityError: none of the identities opens it.
            PluginNotFound: the cipher that it was encrypted by is not installed.
            ManifestError: what is sealed is not what it should be.
        """
        return open_record(self.origin_host, record, self.identities)

    def is_for_others(self, copied: Record) -> bool | None:
        """Return whether a copy is for other recipients than these; None where nothing here opens what it says.

        Raises:
            ManifestError, PluginNotFound: as for ``opened``.
        """
        known = self._known(self.host, copied)
        if known is None:
            return None
        return set(known.recipients) != {recipient.text for recipient in self.encryption.recipients}

    def is_of_one_dump(self, copied: Record, record: Record) -> bool:
        """Return whether what a copy says of the dump in it is what its backup says, as far as both can be opened here.

        Raises:
            ManifestError, PluginNotFound: as for ``opened``.
        """
        known, original = self._known(self.host, copied), self._known(self.origin_host, record)
        return known is None or original is None or _dump(known) == _dump(original)

    def ending(self, record: Record, ending: str) -> str:
        """Return how the name of an object ends once it is encrypted, whatever encrypted it before."""
        suffix = self.encryption.cipher.described.suffix
        is_encrypted = any(stage.kind == "cipher" for stage in record.objects[0].stages)
        return (ending.removesuffix(suffix) if is_encrypted else ending) + suffix

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
            IntegrityError: what is stored, or the dump in it, is not what was, or what the cipher wrote is not that.
            IdentityError: none of the identities opens it.
            StoreError: it cannot be read or written.
        """
        recipients, cipher = self.encryption.recipients, self.encryption.cipher
        verifiers = [require_plugin(self.host, "verifier", ref, record) for ref in record.verifiers]
        digests: dict[str, Verifier] = {plugin.name: self.host.verify(plugin) for plugin in verifiers}
        sha256, beginning = hashlib.sha256(), Beginning()
        sink = HashingWriter(upload, (sha256, *digests.values(), beginning))
        with contextlib.ExitStack() as stack:
            writer = self.host.encrypt(cipher, sink=sink, recipients=recipients, options=self._options)
            stack.callback(writer.abandon)
            content = HashingWriter(writer, ())
            self._pass_through(record, stored, stream, content, progress)
            writer.close()
        content.require_intact()
        sink.require_intact()
        beginning.require_encrypted(
            [recipient.kind for recipient in recipients], f"what {cipher} wrote", (sink.size, content.size)
        )
        kept = tuple(stage for stage in stored.stages if stage.kind != "cipher")
        return replace(
            stored,
            size=sink.size,
            sha256=sha256.hexdigest(),
            stages=(*kept, stage_record(Stage(plugin=cipher, options=self._options, recipients=recipients))),
            digests={name: digest.hexdigest() for name, digest in digests.items()},
        )

    def close(self, record: Record, objects: Sequence[StoredObject]) -> Record:
        """Return what is known of what was written, as its repository is given it: sealed to them, and this machine.

        Nobody has signed it yet.

        Raises:
            OptionError, PluginError, IntegrityError: the cipher failed.
        """
        recipients = tuple(recipient.text for recipient in self.encryption.recipients)
        known = replace(record, objects=tuple(objects), recipients=recipients, signatures=())
        return self.encryption.close(self.host, self._options, known)

    def _known(self, host: Host, record: Record) -> Record | None:
        for identities in (self.identities, self.machine):
            with contextlib.suppress(IdentityError):
                return open_record(host, record, identities)
        return None

    @property
    def _options(self) -> Options:
        cipher = self.encryption.cipher
        return self.host.options({"encrypt": cipher}, {})["encrypt"]

    def _pass_through(
        self,
        record: Record,
        stored: StoredObject,
        stream: VerifyingReader,
        content: HashingWriter,
        progress: ReportBytes,
    ) -> None:
        """Write what ``stream`` holds, decrypted where it was encrypted, into ``content``; compare the dump in it."""
        counted = _Counted(stream)
        inner = _Branch(counted, content)
        with contextlib.ExitStack() as stack:
            plain: Reader = inner
            stages = stages_of(self.origin_host, record, stored, self.identities)
            for stage in reversed(stages):
                if stage.is_cipher:
                    inner = _Branch(stage.reader(self.origin_host, counted), content)
                    stack.callback(inner.close)
                    plain = inner
                else:
                    plain = stage.reader(self.origin_host, plain)
                    stack.callback(plain.close)
            label = f"the dump in {stored.name}"
            dump = VerifyingReader(plain, stored.plain_size, stored.plain_sha256, label)
            pass_on(dump, _nowhere, lambda *_: progress(counted.done, None))
            pass_on(inner, _nowhere)  # what a decompressor did not ask for
        # The digest of the stored bytes is compared at their end, when nobody else reads them any more.
        pass_on(counted, _nowhere, lambda *_: progress(counted.done, None))
        if not stream.complete:
            raise IntegrityError(f"{label} was copied, and what it came from was not read to its end")


def pass_on(reader: Reader, write: Callable[[bytes], object], progress: ReportBytes | None = None) -> None:
    """Give all that ``reader`` has to ``write``, until its end or until the call is cancelled."""
    done = 0
    while block := reader.read(BLOCK * 4):
        raise_if_cancelled()
        write(block)
        done += len(block)
        if progress is not None:
            progress(done, None)


def _dump(record: Record) -> tuple[object, ...]:
    parts = [(part.plain_size, part.plain_sha256, part.section, part.tables) for part in record.objects]
    return parts, record.evidence, record.options, record.suspicions


def _nowhere(_: bytes) -> None:
    """Forget what is given."""


class _Counted:
    """Counts what is read of a stream that is its owner's, in whichever thread."""

    def __init__(self, stream: Reader) -> None:
        self._stream = stream
        self.done = 0

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self.done += len(data)
        return data

    def close(self) -> None:
        """It stays open."""


class _Branch:
    """Writes what is read of a stream into a sink as well."""

    def __init__(self, stream: Reader, sink: HashingWriter) -> None:
        self._stream = stream
        self._sink = sink

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        if data:
            self._sink.write(data)
        return data

    def close(self) -> None:
        self._stream.close()
