"""``CipherSuite``: what ``encrypt`` and ``decrypt`` owe."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, ClassVar

from msgspec.structs import replace

from dumpty.encryption.header import require_encrypted
from dumpty.encryption.machine_key import VARIABLE
from dumpty.errors import IdentityError, IntegrityError, OptionError, PluginError
from dumpty.registry.host import Host, default_host
from dumpty.testing.memory import MemoryDriver
from dumpty.testing.rules import refused, require, shown
from dumpty.testing.stage import StageRules
from dumpty.testing.streams import SAMPLES, BytesReader, Collector, read_blocks
from dumpty.types import Identity, KeyPair, Recipient

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pytest

    from dumpty.types import Kind, Reader, Writer

__all__ = ["CipherSuite"]

_WINDOW = 16
"""So many bytes in a row are in no output by chance."""
_PATIENCE = 10.0
_ENDING = 3.0

_KEEPING = threading.Lock()


class CipherSuite(StageRules):
    """The rules of a cipher. A subclass needs ``plugin``, and ``key_pair`` where the plugin makes no identities."""

    kind: ClassVar[Kind] = "cipher"
    stage_hooks: ClassVar[tuple[str, str]] = ("encrypt", "decrypt")
    damage_errors: ClassVar[tuple[type[Exception], ...]] = (IntegrityError, IdentityError)

    makes_identities: ClassVar[bool] = True
    """False where ``new_identity`` is not implemented."""

    takes_passphrases: ClassVar[bool] = True
    """False where what a passphrase seals is neither written nor read: then ``dumpty keys new --passphrase`` fails."""

    claims: ClassVar[dict[str, tuple[str, ...]]] = {
        "makes_identities": ("test_a_new_identity_opens_what_is_encrypted_to_its_recipient",),
        "takes_passphrases": ("test_a_passphrase_seals_and_opens_and_another_one_does_not",),
    }

    def key_pair(self, host: Host) -> KeyPair:
        """Return a new identity and its recipient."""
        if self.makes_identities:
            return host.new_identity(self.plugin_under_test(host))
        return default_host().new_identity(self._built_in())

    def writer(self, host: Host, sink: Any, overrides: dict[str, object] | None = None) -> Writer:
        """Return the plugin's writer."""
        return self._writer_to(host, sink, [self._keys(host).recipient], overrides)

    def reader(self, host: Host, stream: Reader, overrides: dict[str, object] | None = None) -> Reader:
        """Return the plugin's reader of a stored stream."""
        return self._reader_by(host, stream, [self._keys(host).identity], overrides)

    # -- for whom ------------------------------------------------------------------------------------------------

    def test_each_of_several_recipients_opens_it_alone(self, host: Host) -> None:
        """What is encrypted to several recipients is opened by the identity of each, among others' too."""
        pairs, data = [self.key_pair(host) for _ in range(3)], SAMPLES["text"]()
        stored = self._encrypted(host, data, [pair.recipient for pair in pairs])
        stranger = self.key_pair(host).identity
        for number, pair in enumerate(pairs, 1):
            for identities in ([pair.identity], [stranger, pair.identity]):
                try:
                    read_back = self._decrypted(host, stored, identities)
                except (PluginError, IdentityError, IntegrityError) as error:
                    read_back = shown(error).encode()
                require(
                    read_back == data,
                    "The identity of each recipient opens it, whatever other identities are given beside it.",
                    "Encrypt the file's key to every recipient, and try every identity.",
                    f"that of number {number} of 3, of {len(identities)} given, gave {read_back[:80]!r}",
                )

    def test_another_identity_is_told_and_opens_nothing(self, host: Host) -> None:
        """Where none of the identities is a recipient's, IdentityError is raised, and not a byte comes out."""
        stored = self._encrypted(host, SAMPLES["text"](), [self.key_pair(host).recipient])
        stranger, sink = self.key_pair(host).identity, Collector()
        rule = "An identity of nobody whom it is encrypted to raises IdentityError: that is no damage."
        with refused(IdentityError, rule, "Tell it from damage: no stanza of the header was opened."):
            read_blocks(self._reader_by(host, BytesReader(stored), [stranger]), sink)
        require(
            not sink.data, "Nothing is read by another identity.", "Decrypt nothing.", f"{len(sink.data)} bytes were"
        )

    def test_the_header_is_that_of_an_age_file_and_names_every_recipient(self, host: Host) -> None:
        """It begins as an age file does, with one stanza for each recipient, and none for anybody else."""
        for count in (1, 2, 5):
            recipients = [self.key_pair(host).recipient for _ in range(count)]
            stored = self._encrypted(host, SAMPLES["text"](), recipients)
            try:
                require_encrypted(BytesReader(stored), [r.kind for r in recipients], "what it wrote")
            except IntegrityError as error:
                rule = "What a cipher writes is an age file, with one stanza for each recipient."
                require(False, rule, "Write one; dumpty reads its header back.", f"for {count} recipients {error}")

    def test_any_age_reads_what_it_writes_and_it_reads_any_age_file(self, host: Host) -> None:
        """What it writes is read by another implementation of the format, and the other way round."""
        built_in, pair, data = self._built_in(), self.key_pair(host), SAMPLES["random"]()
        ways = {
            "the built-in cipher read what it wrote": (host, self.plugin_under_test(host), default_host(), built_in),
            "it read what the built-in cipher wrote": (default_host(), built_in, host, self.plugin_under_test(host)),
        }
        for way, (writing_host, writing, reading_host, reading) in ways.items():
            sink, read_back = Collector(), Collector()
            try:
                writer = writing_host.encrypt(writing, sink=sink, recipients=[pair.recipient], options={})
                writer.write(data)
                writer.close()
                stream = BytesReader(bytes(sink.data))
                reader = reading_host.decrypt(reading, stream=stream, identities=[pair.identity], params={})
                read_blocks(reader, read_back)
            except (PluginError, IdentityError, IntegrityError) as error:
                rule = "It is the format of age-encryption.org/v1, and no other."
                require(False, rule, "See where they differ.", f"when {way}: {shown(error)}")
            self._require_same(bytes(read_back.data), data, way)

    # -- secrecy -------------------------------------------------------------------------------------------------

    def test_nothing_of_what_was_written_is_in_the_output(self, host: Host) -> None:
        """No part of the dump is in the output, and the same dump gives other bytes each time."""
        data, recipient = SAMPLES["random"](), self.key_pair(host).recipient
        first, second = self._encrypted(host, data, [recipient]), self._encrypted(host, data, [recipient])
        windows = (data[start : start + _WINDOW] for start in range(0, len(data) - _WINDOW, 4099))
        seen = [window for window in windows if window in first]
        rule = "Nothing of what was written is in the output."
        require(not seen, rule, "Encrypt it.", f"{len(seen)} parts of it are there as they were")
        tail = min(len(first), len(second)) // 2
        remedy = "Make a key of its own for every file."
        require(first[-tail:] != second[-tail:], "The same dump gives other bytes each time.", remedy)

    def test_a_recipient_that_is_none_is_an_option_error(self, host: Host) -> None:
        """A recipient that is mistyped raises OptionError from encrypt(), before anything is written."""
        good, sink = self.key_pair(host).recipient, Collector()
        mistyped = replace(good, text=good.text[:-1] + ("p" if good.text[-1] == "q" else "q"))
        rule = "A mistyped recipient raises OptionError from encrypt() itself: a backup is not begun."
        with refused(OptionError, rule, "Parse all recipients before you return the writer."):
            host.encrypt(self.plugin_under_test(host), sink=sink, recipients=[good, mistyped], options={})
        require(not sink.data, "Nothing is written then.", "Parse them first.")

    def test_an_identity_that_is_none_is_told_without_showing_it(self, host: Host) -> None:
        """An identity that is mistyped raises IdentityError, whose text does not hold it."""
        stored = self._encrypted(host, b"egg", [self.key_pair(host).recipient])
        good = self.key_pair(host).identity
        mistyped = replace(good, text=good.text[:-1] + ("P" if good.text[-1] == "Q" else "Q"), origin="the key")
        error: Exception | None = None
        try:
            # Called bare, for what comes through a host has its secrets masked.
            reader = self.call_bare("decrypt", stream=BytesReader(stored), identities=[mistyped], params={})
            read_blocks(reader, Collector())
        except Exception as caught:  # noqa: BLE001 - looked at below
            error = caught
        rule = "A mistyped identity raises IdentityError."
        require(
            isinstance(error, IdentityError), rule, "Raise it.", f"it raised {shown(error) if error else 'nothing'}"
        )
        texts: list[str] = []
        cause: BaseException | None = error
        while cause is not None:
            texts.append(str(cause))
            cause = cause.__cause__ or cause.__context__
        parts = [mistyped.text[start : start + _WINDOW] for start in range(16, len(mistyped.text) - _WINDOW)]
        rule = "No error shows an identity, or a part of one."
        require(not any(part in text for part in parts for text in texts), rule, "Name its origin instead.")

    # -- ending --------------------------------------------------------------------------------------------------

    def test_what_is_abandoned_midway_leaves_no_thread(self, host: Host) -> None:
        """A writer that is abandoned, and a reader that is closed, midway, are over then: no thread stays."""
        before = set(threading.enumerate())
        for blocks in (0, 1, 40):
            writer: Any = self.writer(host, Collector())
            for _ in range(blocks):
                writer.write(bytes(100_000))
            self._within_patience(writer.abandon, "abandon()")
            stored = self.packed(host, bytes(3_000_000))
            reader = self.reader(host, BytesReader(stored))
            reader.read(blocks * 1000 or 1)
            self._within_patience(reader.close, "close() of a reader that was not read to its end")
        left = self._left(before)
        rule = "What a writer or reader holds ends with abandon() or close(), whenever that comes."
        require(not left, rule, "dumpty.TransformingWriter and TransformingReader do so.", f"left: {', '.join(left)}")

    # -- keys ----------------------------------------------------------------------------------------------------

    def test_a_new_identity_opens_what_is_encrypted_to_its_recipient(self, host: Host) -> None:
        """new_identity() makes another pair each time, whose halves belong together."""
        pairs, data = [host.new_identity(self.plugin_under_test(host)) for _ in range(2)], b"egg"
        remedy = "Take the machine's source of random numbers."
        require(pairs[0] != pairs[1], "Every new identity is another one.", remedy)
        for pair in pairs:
            stored = self._encrypted(host, data, [pair.recipient])
            try:
                read_back = self._decrypted(host, stored, [pair.identity])
            except IdentityError as error:
                read_back = shown(error).encode()
            rule = "A new identity opens what is encrypted to its recipient."
            require(read_back == data, rule, "Return the two that belong together.", f"it gave {read_back[:80]!r}")

    def test_a_passphrase_seals_and_opens_and_another_one_does_not(self, host: Host) -> None:
        """A recipient of kind scrypt seals what is small with a passphrase; another passphrase is IdentityError."""
        stored = self._encrypted(host, b"a key", [Recipient(kind="scrypt", text="open, sesame")])
        read_back = self._decrypted(host, stored, [Identity(kind="scrypt", text="open, sesame")])
        self._require_same(read_back, b"a key", "sealed with a passphrase")
        rule = "Another passphrase raises IdentityError."
        with refused(IdentityError, rule, "Raise it; it is no damage."):
            self._decrypted(host, stored, [Identity(kind="scrypt", text="open, barley")])

    def test_a_backup_goes_through_it_and_back(
        self, host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """BackupManager takes the plugin by name, encrypts with it, verifies and restores."""
        from dumpty.backup_manager import BackupManager

        monkeypatch.setenv(VARIABLE, "off")  # whose machine it is keeps no key of the plugin's
        data, pair = SAMPLES["random"]() + SAMPLES["repetitive"](), self.key_pair(host)
        databases, remedy = MemoryDriver({"shop": data}), "Mend what the error says."
        manager = BackupManager(str(tmp_path), cipher=self.installed_name(host), plugins=[self.plugin, databases])
        backed_up = manager.create_backup(databases.url("shop"), encrypt_to=[pair.recipient])
        rule = "A backup through the plugin succeeds."
        require(backed_up.success and backed_up.backup, rule, remedy, str(backed_up.error))
        if backed_up.backup is not None:
            manager.verify(backed_up.backup.id, identities=[pair.identity])
            restored = manager.restore(backed_up.backup.id, databases.url("again"), identities=[pair.identity])
            require(restored.success, "Restoring through the plugin succeeds.", remedy, str(restored.error))
        self._require_same(databases.databases["again"], data, "restored by BackupManager")

    # -- in other words ------------------------------------------------------------------------------------------

    def _keys(self, host: Host) -> KeyPair:
        """Return the keys of this test."""
        kept: dict[Host, KeyPair] = self.__dict__.setdefault("_kept", {})
        with _KEEPING:  # several threads of a rule may be the first at once
            if host not in kept:
                kept[host] = self.key_pair(host)
        return kept[host]

    def _built_in(self) -> Any:
        try:
            cipher = default_host().named("cipher", "age")
            default_host().new_identity(cipher)
        except (PluginError, ImportError):
            self.unproved('the built-in cipher is not installed: pip install "dumpty[age]"')
        return cipher

    def _writer_to(
        self, host: Host, sink: Any, recipients: Sequence[Recipient], overrides: dict[str, object] | None = None
    ) -> Writer:
        options = self.options(host, "encrypt", **(overrides or {}))
        return host.encrypt(self.plugin_under_test(host), sink=sink, recipients=recipients, options=options)

    def _reader_by(
        self, host: Host, stream: Reader, identities: Sequence[Identity], overrides: dict[str, object] | None = None
    ) -> Reader:
        params = self.options(host, "encrypt", **(overrides or {}))
        return host.decrypt(self.plugin_under_test(host), stream=stream, identities=identities, params=params)

    def _encrypted(self, host: Host, data: bytes, recipients: Sequence[Recipient]) -> bytes:
        sink = Collector()
        writer = self._writer_to(host, sink, recipients)
        writer.write(data)
        writer.close()
        return bytes(sink.data)

    def _decrypted(self, host: Host, stored: bytes, identities: Sequence[Identity]) -> bytes:
        reader, sink = self._reader_by(host, BytesReader(stored), identities), Collector()
        try:
            read_blocks(reader, sink)
        finally:
            reader.close()
        return bytes(sink.data)

    def _left(self, before: set[threading.Thread]) -> list[str]:
        """Return the names of threads that stay: one that is over in Python takes another moment to be gone."""
        end = time.monotonic() + _ENDING
        while (left := set(threading.enumerate()) - before) and time.monotonic() < end:
            time.sleep(0.01)
        return [thread.name for thread in left]

    def _within_patience(self, work: Any, what: str) -> None:
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join(_PATIENCE)
        require(not thread.is_alive(), f"{what} waits for nothing that does not come.", "End the thread first.")
