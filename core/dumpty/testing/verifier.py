"""``VerifierSuite``: what ``verify`` owes."""

from __future__ import annotations

import functools
import hashlib
import re
from typing import TYPE_CHECKING, ClassVar

from dumpty.errors import PluginError
from dumpty.testing.memory import MemoryDriver
from dumpty.testing.rules import require, shown
from dumpty.testing.streams import BLOCK, SAMPLES, at_once, peak_memory
from dumpty.testing.suite import Suite

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from dumpty.registry.host import Host
    from dumpty.types import Buffer, Kind

__all__ = ["VerifierSuite"]

_HEX = re.compile(r"[0-9a-f]+")


class VerifierSuite(Suite):
    """The rules of a verifier. A subclass needs ``plugin`` and nothing else."""

    kind: ClassVar[Kind] = "verifier"

    large: ClassVar[int] = 64 << 20
    """How many bytes the long digest takes."""

    known: ClassVar[Mapping[bytes, str]] = {}
    """Digests that the algorithm's authors publish, by input."""

    claims: ClassVar[dict[str, tuple[str, ...]]] = {"known": ("test_known_inputs_have_their_published_digests",)}

    def digest(self, host: Host, *chunks: Buffer) -> str:
        """Return the digest of ``chunks``."""
        verifier = host.verify(self.plugin_under_test(host))
        for chunk in chunks:
            verifier.update(chunk)
        return verifier.hexdigest()

    def test_the_digest_is_lower_case_hexadecimal(self, host: Host) -> None:
        """hexdigest() returns lower-case hexadecimal of one length, for the empty input too."""
        digests = [self.digest(host, sample()) for sample in SAMPLES.values()]
        for digest in digests:
            require(
                isinstance(digest, str) and _HEX.fullmatch(digest) and len(digest) == len(digests[0]),
                "A digest is a str of lower-case hexadecimal digits, always of one length.",
                "Return .hexdigest(), or .hex() of the bytes.",
                f"it is {shown(digest)}",
            )

    def test_chunks_of_any_size_and_type_make_no_difference(self, host: Host) -> None:
        """How the bytes are cut into updates, and the type of the buffers, make no difference."""
        data = SAMPLES["text"]()
        expected = self.digest(host, data)
        kinds: tuple[Callable[[bytes], Buffer], ...] = (bytes, bytearray, memoryview)
        for kind in kinds:
            for size in (1, 63, 64, 65, 4096):
                pieces = [kind(data[i : i + size]) for i in range(0, len(data), size)] + [kind(b"")]
                try:
                    equal = self.digest(host, *pieces) == expected
                except Exception as error:  # noqa: BLE001 - any is one too many
                    require(False, "update() takes bytes, bytearray and memoryview.", "Accept them.", shown(error))
                require(
                    equal,
                    "The digest depends on the bytes alone, not on how they were cut.",
                    "Carry the state from update to update.",
                    f"pieces of {size} bytes, as {kind.__name__}, give another digest",
                )

    def test_a_buffer_is_the_callers_again_after_the_update(self, host: Host) -> None:
        """The buffer of an update belongs to the caller again when update returns."""
        verifier, buffer = host.verify(self.plugin_under_test(host)), bytearray()
        for chunk in (b"one", b"other"):
            buffer[:] = chunk
            verifier.update(buffer)
            buffer[:] = b"\0" * len(buffer)
        remedy = "Consume or copy the bytes within update()."
        equal = verifier.hexdigest() == self.digest(host, b"one", b"other")
        require(equal, "A verifier holds on to no buffer.", remedy, "changing a buffer afterwards changed the digest")

    def test_every_accumulator_is_fresh(self, host: Host) -> None:
        """verify() returns a fresh accumulator at every call: two of them, side by side, do not mix."""
        first, second = host.verify(self.plugin_under_test(host)), host.verify(self.plugin_under_test(host))
        first.update(b"one")
        second.update(b"other")
        require(
            first.hexdigest() == self.digest(host, b"one") and second.hexdigest() == self.digest(host, b"other"),
            "verify() returns a fresh accumulator at every call.",
            "Make a new object in verify(); keep no state in the module.",
            "what one was given changed the digest of another",
        )

    def test_any_difference_changes_the_digest(self, host: Host) -> None:
        """One flipped bit, one byte more, or two bytes exchanged give another digest."""
        data = SAMPLES["text"]()
        digests = {self.digest(host, data): "the whole"}
        changed = {"a byte more": data + b"\0", "a byte less": data[:-1], "another order": data[1:] + data[:1]}
        for position in (0, 1, len(data) // 2, len(data) - 1):
            for bit in (0, 3, 7):
                flipped = bytearray(data)
                flipped[position] ^= 1 << bit
                changed[f"bit {bit} of byte {position} flipped"] = bytes(flipped)
        for change, variant in (*changed.items(), ("nothing", b""), ("a zero", b"\0"), ("two zeros", b"\0\0")):
            digest = self.digest(host, variant)
            require(
                digest not in digests,
                "Other bytes have another digest.",
                "Digest every byte, and the length.",
                f"{change} has the digest of {digests.get(digest)}",
            )
            digests[digest] = change

    def test_asking_changes_nothing(self, host: Host) -> None:
        """hexdigest() may be asked again, says the same, and leaves the accumulator ready for more."""
        verifier = host.verify(self.plugin_under_test(host))
        remedy = "Finish a copy of the state, not the state."
        rule = "hexdigest() is of all bytes so far, and changes nothing."
        try:
            verifier.update(b"one")
            first, second = verifier.hexdigest(), verifier.hexdigest()
            verifier.update(b"other")
            third = verifier.hexdigest()
        except Exception as error:  # noqa: BLE001 - any is one too many
            require(False, rule, remedy, f"asking again raised {shown(error)}")
        require(first == second == self.digest(host, b"one"), rule, remedy, "asking again gave another digest")
        require(third == self.digest(host, b"oneother"), rule, remedy, "bytes added after asking gave a wrong digest")

    def test_known_inputs_have_their_published_digests(self, host: Host) -> None:
        """The digests that the algorithm's authors publish come out."""
        for data, digest in self.known.items():
            actual = self.digest(host, data)
            rule = "A digest is what other programs compute, too."
            require(actual == digest, rule, "Check algorithm and parameters.", f"{shown(data)} gives {actual}")

    def test_memory_stays_flat(self, host: Host) -> None:
        """A digest takes no more memory for a long stream than for a short one."""

        def work() -> None:
            verifier, block = host.verify(self.plugin_under_test(host)), bytes(BLOCK)
            for _ in range(self.large // BLOCK):
                verifier.update(block)
            verifier.hexdigest()

        peak = peak_memory(work)
        require(
            peak < self.memory,
            "update() consumes: memory does not grow with the dump.",
            "Keep the algorithm's state, not the bytes.",
            f"it held {peak >> 20} MiB for {self.large >> 20} MiB",
        )

    def test_several_digests_at_once_do_not_mix(self, host: Host) -> None:
        """Several threads may compute digests at once."""
        digests: dict[int, str] = {}

        def work(number: int, meet: Callable[[], None]) -> None:
            verifier = host.verify(self.plugin_under_test(host))
            for _ in range(5):
                meet()
                verifier.update(bytes([number]) * 100_000)
            digests[number] = verifier.hexdigest()

        errors = at_once([functools.partial(work, number) for number in range(3)])
        expected = {number: self.digest(host, bytes([number]) * 500_000) for number in range(3)}
        require(
            not errors and digests == expected,
            "Several backups may run at once: each has an accumulator of its own.",
            "Keep no state in the module.",
            f"{shown(errors[0]) if errors else 'digests came out wrong'} with three threads",
        )

    def test_a_backup_keeps_its_digest(self, host: Host, tmp_path: Path) -> None:
        """BackupManager takes the plugin by name, keeps its digest of the stored file, and verifies by it."""
        from dumpty.backup_manager import BackupManager

        databases = MemoryDriver({"shop": SAMPLES["random"]()})
        remedy = "Mend what the error says."
        try:
            name = self.installed_name(host)
            manager = BackupManager(str(tmp_path), verifier=name, plugins=[self.plugin, databases])
        except PluginError as error:
            require(False, "BackupManager takes the plugin by its name.", remedy, f"it said: {error}")
        backed_up = manager.create_backup(databases.url("shop"))
        require(
            backed_up.success and backed_up.backup, "A backup with the verifier succeeds.", remedy, str(backed_up.error)
        )
        if backed_up.backup is not None:
            with open(backed_up.backup.file_path, "rb") as file:
                stored = file.read()
            digests = {"sha256": hashlib.sha256(stored).hexdigest(), **backed_up.backup.digests}
            rule = "The digest that is kept is that of the stored file."
            require(digests.get(name) == self.digest(host, stored), rule, remedy, shown(digests))
            manager.verify(backed_up.backup.id)
