"""What of a backup's record is sealed: encrypted when it is made, and opened for those who have an identity."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from dumpty.encryption import envelope
from dumpty.encryption.identities import IdentityReader
from dumpty.encryption.machine_key import machine_identities, machine_recipients
from dumpty.encryption.recipients import read_recipients
from dumpty.errors import IdentityError, IntegrityError, ManifestError, PluginNotFound
from dumpty.repository import manifest
from dumpty.types import Evidence, SealedPart

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

    from dumpty.registry.host import Host
    from dumpty.registry.plugin import Plugin
    from dumpty.types import Identity, Kind, Options, PluginRef, Recipient, Record

__all__ = ["Encryption", "Keyring", "open_record", "reopen", "require_plugin"]


class Encryption(Struct, frozen=True, kw_only=True):
    """That a backup is to be encrypted, by what, and to whom; ``machine`` reads the sealed part, and nothing else."""

    cipher: Plugin
    recipients: tuple[Recipient, ...]
    machine: tuple[Recipient, ...] = ()

    def rehearse(self, host: Host, options: Options) -> None:
        """Encrypt nothing to all who are to read it: what is wrong with them is known before anything is begun.

        Raises:
            OptionError, DependencyError, PluginError: it is wrong, a library is missing, or the cipher fails.
        """
        for recipients in dict.fromkeys((self.recipients, self._readers)):
            envelope.encrypt(host, self.cipher, b"", recipients, options, f"what {self.cipher} writes")

    @property
    def _readers(self) -> tuple[Recipient, ...]:
        """Who can read the sealed part."""
        return (*self.recipients, *(key for key in self.machine if key not in self.recipients))

    def close(self, host: Host, options: Options, record: Record) -> Record:
        """Return ``record`` as a repository is given it: what only its readers may know of it is encrypted to them.

        Raises:
            OptionError, PluginError, IntegrityError: the cipher failed.
        """
        label = f"the sealed part of backup {record.id}"
        data = envelope.encrypt(host, self.cipher, manifest.encode_sealed(record), self._readers, options, label)
        objects = tuple(
            replace(entry, plain_size=0, plain_sha256="", section="whole", tables=()) for entry in record.objects
        )
        return replace(
            record,
            objects=objects,
            evidence=Evidence(),
            options={},
            recipients=(),
            sealed=SealedPart(data=data, tables=record.tables, rows=record.rows, suspicious=record.suspicious),
            suspicions=(),
        )


class Keyring(Struct, frozen=True, kw_only=True):
    """Reads keys as callers of the facades name them; ``cipher`` is the name of the plugin that encrypts."""

    host: Host
    cipher: str

    def encryption(self, encrypt_to: Iterable[str | os.PathLike[str] | Recipient] | None) -> Encryption | None:
        """Return how to encrypt to these recipients; None for None.

        Raises:
            TypeError: they are one.
            OptionError: one is none, or there is none.
            PluginError: the cipher is not installed, or cannot be loaded.
        """
        if encrypt_to is None:
            return None
        recipients = read_recipients(encrypt_to)
        cipher = self.host.named("cipher", self.cipher)
        return Encryption(cipher=cipher, recipients=recipients, machine=machine_recipients(self.host, cipher))

    def identities(self, values: Iterable[str | os.PathLike[str] | Identity]) -> tuple[Identity, ...]:
        """Return these identities (``IdentityReader.read``)."""
        return IdentityReader(self.host, lambda: self.host.named("cipher", self.cipher)).read(values)

    def machine_identities(self) -> tuple[Identity, ...]:
        """Return this machine's own key; () where there is none."""
        try:
            return machine_identities(self.host, self.host.named("cipher", self.cipher))
        except PluginNotFound:
            return ()

    def open_facts(self, record: Record, values: Iterable[str | os.PathLike[str] | Identity]) -> Record:
        """Return ``record`` with all that is known of it to these identities, or where there is none to this machine.

        Raises:
            IdentityError, PluginNotFound, ManifestError: as for ``open_record``.
        """
        identities = self.identities(values)
        if record.sealed is None or identities:
            return open_record(self.host, record, identities)
        with contextlib.suppress(IdentityError):
            return open_record(self.host, record, self.machine_identities())
        return open_record(self.host, record, identities)


def reopen(committed: Record, known: Record) -> Record:
    """Return a record that a repository has committed with what is known of it, for whoever has just made it."""
    objects = tuple(
        replace(c, plain_size=k.plain_size, plain_sha256=k.plain_sha256, section=k.section, tables=k.tables)
        for c, k in zip(committed.objects, known.objects, strict=True)
    )
    return replace(
        committed,
        objects=objects,
        evidence=known.evidence,
        options=known.options,
        recipients=known.recipients,
        sealed=None,
        suspicions=known.suspicions,
    )


def open_record(host: Host, record: Record, identities: Sequence[Identity]) -> Record:
    """Return ``record`` with all that is known of it; itself, where nothing of it is sealed.

    Raises:
        IdentityError: no identity was given, or they are those of others.
        PluginNotFound: the cipher is not installed.
        ManifestError, IntegrityError: what is sealed is not what it should be.
    """
    if record.sealed is None:
        return record
    kinds = record.recipient_kinds
    whom = f"encrypted to {len(kinds)} recipient{'' if len(kinds) == 1 else 's'} ({', '.join(kinds)})"
    if not identities:
        raise IdentityError(
            f"backup {record.id} is {whom}: give the identity of one of them, --identity FILE (identities=[…])"
        )
    [stage] = [stage for stage in record.objects[0].stages if stage.kind == "cipher"]
    cipher = require_plugin(host, "cipher", stage.plugin, record)
    try:
        content = envelope.decrypt(host, cipher, record.sealed.data, identities, stage.params)
    except IdentityError as error:
        # The manifest carries its own digest, so this is no damage.
        raise IdentityError(f"backup {record.id} is {whom}, and was not opened: {error}") from error
    except IntegrityError as error:
        raise ManifestError(f"the sealed part of the manifest of backup {record.id} is damaged: {error}") from error
    return manifest.open_sealed(record, content, f"the manifest of backup {record.id}")


def require_plugin(host: Host, kind: Kind, ref: PluginRef, record: Record) -> Plugin:
    """Return a plugin that a backup went through.

    Raises:
        PluginNotFound: it is not installed.
    """
    try:
        return host.named(kind, ref.name)
    except PluginNotFound as error:
        # Registered by a program for itself: there is no package to install.
        unpackaged = ref.distribution == "this program"
        remedy = "pass" if unpackaged else f"pip install {ref.distribution}, or pass"
        raise PluginNotFound(
            f"backup {record.id} needs the {kind} {ref}, which is not installed: {remedy} it as plugins=[…]",
            plugin=str(ref),
        ) from error
