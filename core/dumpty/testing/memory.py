"""A driver whose databases are bytes in this process: the other half of an end-to-end test of a stage or a store."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dumpty.errors import SourceError, TargetNotEmpty
from dumpty.hookspecs import hookimpl
from dumpty.types import Evidence, Format, Inspection, PluginInfo

if TYPE_CHECKING:
    from dumpty.types import Dump, Sink, Source

__all__ = ["MemoryDriver"]

_STEP = 100_000


@dataclass(eq=False)  # pluggy wants plugins that can be hashed
class MemoryDriver:
    """Backs up and restores ``databases``, by name: ``dumpty-testing:///NAME``."""

    databases: dict[str, bytes] = field(default_factory=dict)
    name: str = "dumpty-testing"

    @hookimpl
    def describe(self) -> PluginInfo:
        """Describe this plugin."""
        return PluginInfo(kind="driver", schemes=(self.name,), formats=(Format(name="bytes", suffix=".bin"),))

    @hookimpl
    def inspect(self, source: Source) -> Inspection:
        """Look."""
        exists = (source.database or "") in self.databases
        return Inspection(exists=exists, empty=not exists)

    @hookimpl
    def backup(self, source: Source, sink: Sink) -> Evidence:
        """Write the bytes."""
        if (source.database or "") not in self.databases:
            raise SourceError(f"there is no database {source.url}")
        data = memoryview(self.databases[source.database or ""])
        for start in range(0, len(data), _STEP):
            sink.write(data[start : start + _STEP])
        return Evidence()

    @hookimpl
    def restore(self, target: Source, dump: Dump, overwrite: bool) -> Evidence:
        """Keep the bytes, once they are complete."""
        if (target.database or "") in self.databases and not overwrite:
            raise TargetNotEmpty(f"{target.url} holds something")
        self.databases[target.database or ""] = dump.open().read()
        return Evidence()

    def url(self, name: str) -> str:
        """Return the URL of a database."""
        return f"{self.name}:///{name}"
