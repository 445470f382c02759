"""``CompressorSuite``: what ``compress`` and ``decompress`` owe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from dumpty.errors import IntegrityError, PluginError
from dumpty.testing.memory import MemoryDriver
from dumpty.testing.rules import require
from dumpty.testing.stage import StageRules
from dumpty.testing.streams import SAMPLES, BytesReader, Collector

if TYPE_CHECKING:
    from pathlib import Path

    from dumpty.registry.host import Host
    from dumpty.types import Kind, Reader, Writer

__all__ = ["CompressorSuite"]

_CHOICES = 32


class CompressorSuite(StageRules):
    """The rules of a compressor. A subclass needs ``plugin`` and nothing else."""

    kind: ClassVar[Kind] = "compressor"
    stage_hooks: ClassVar[tuple[str, str]] = ("compress", "decompress")

    def writer(self, host: Host, sink: Any, overrides: dict[str, object] | None = None) -> Writer:
        """Return the plugin's writer."""
        options = self.options(host, "compress", **(overrides or {}))
        return host.compress(self.plugin_under_test(host), sink=sink, options=options)

    def reader(self, host: Host, stream: Reader, overrides: dict[str, object] | None = None) -> Reader:
        """Return the plugin's reader of a stored stream."""
        params = self.options(host, "compress", **(overrides or {}))
        return host.decompress(self.plugin_under_test(host), stream=stream, params=params)

    def test_every_declared_choice_works(self, host: Host) -> None:
        """Every choice of every option round-trips, its parameters read back from a manifest's JSON."""
        data = SAMPLES["text"]()
        for option in self.plugin_under_test(host).described.options:
            for choice in option.choices[:_CHOICES]:
                case = f"with {option.name}={choice!r}"
                try:
                    stored = self.packed(host, data, overrides={option.name: choice})
                    read_back = self.plain(host, stored, overrides={option.name: choice})
                except (PluginError, IntegrityError) as error:
                    require(False, "Every declared choice works.", "Mend it, or do not declare it.", f"{case}: {error}")
                self._require_same(read_back, data, case)

    def test_only_declared_options_are_read(self, host: Host) -> None:
        """compress() and decompress() read only options that describe() declares."""
        options, params = self.options(host, "compress"), self.options(host, "compress")
        sink = Collector()
        writer = host.compress(self.plugin_under_test(host), sink=sink, options=options)
        writer.write(b"x")
        writer.close()
        host.decompress(self.plugin_under_test(host), stream=BytesReader(bytes(sink.data)), params=params).read(1)
        options.require_declared()
        params.require_declared()

    def test_a_backup_goes_through_it_and_back(self, host: Host, tmp_path: Path) -> None:
        """BackupManager takes the plugin by name, backs up through it, verifies and restores."""
        from dumpty.backup_manager import BackupManager

        compressor, data = self.plugin_under_test(host), SAMPLES["random"]() + SAMPLES["repetitive"]()
        databases = MemoryDriver({"shop": data})
        remedy = "Mend what the error says."
        try:
            manager = BackupManager(
                str(tmp_path), compressor=self.installed_name(host), plugins=[self.plugin, databases]
            )
        except PluginError as error:
            require(False, "BackupManager takes the plugin by its name.", remedy, f"it said: {error}")
        backed_up = manager.create_backup(databases.url("shop"))
        require(
            backed_up.success and backed_up.backup,
            "A backup through the plugin succeeds.",
            remedy,
            str(backed_up.error),
        )
        if backed_up.backup is not None:
            manager.verify(backed_up.backup.id)
            suffix = compressor.described.suffix
            require(backed_up.backup.file_path.endswith(suffix), "The stored name ends in the suffix.", remedy)
            restored = manager.restore(backed_up.backup.id, databases.url("again"))
            require(restored.success, "Restoring through the plugin succeeds.", remedy, str(restored.error))
        self._require_same(databases.databases["again"], data, "restored by BackupManager")
