"""Calls a driver's hooks directly, with real files as sink and dump: for tests of one driver alone."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from dumpty import Evidence, Source, TableContent


class FileSink:
    """A sink that writes a file, or FILE.p1, FILE.p2 …, and keeps the promises of ``dumpty.types.Sink``."""

    def __init__(self, path: Path) -> None:
        self.file = path
        self._stream = path.open("wb")
        self.expected: int | None = None
        self._space = path.with_name(path.name + ".space")
        self._lock = threading.Lock()
        self.parts: list[FilePart] = []

    def write(self, data) -> int:
        return self._stream.write(data)

    def expect(self, total_bytes: int) -> None:
        self.expected = total_bytes

    def directory(self) -> Path:
        self._stream.close()
        self.file.unlink()
        self.file.mkdir()
        return self.file

    @contextlib.contextmanager
    def part(self, *, section="data", suffix: str = "", at_once: int = 1) -> Iterator[FilePart]:
        assert at_once >= 1
        with self._lock:
            part = FilePart(self.file.with_name(f"{self.file.name}.p{len(self.parts) + 1}"), section, suffix)
            self.parts.append(part)
        with part.file.open("xb") as part.stream:
            yield part

    def workspace(self) -> Path:
        self._space.mkdir(exist_ok=True)
        return self._space

    def close(self) -> None:
        self._stream.close()
        shutil.rmtree(self._space, ignore_errors=True)


class FilePart:
    """A part in a file of its own: a ``PartSink`` within its block, and a ``DumpPart`` afterwards."""

    def __init__(self, file: Path, section="whole", suffix: str = "") -> None:
        self.file = file
        self.section = section
        self.suffix = suffix
        self.tables: tuple[TableContent, ...] = ()
        self.stream = None

    def write(self, data) -> int:
        return self.stream.write(data)

    def holds(self, path: str, /, *, rows: int | None = None, range: str = "") -> None:
        assert path not in {table.path for table in self.tables}
        self.tables += (TableContent(path=path, rows=rows, range=range),)

    @property
    def size(self) -> int:
        return os.path.getsize(self.file)

    def open(self):
        return self.file.open("rb")

    def path(self) -> Path:
        return self.file


class FileDump:
    """A dump that is a file, or several, as a driver sees it on the way back."""

    def __init__(
        self, path: Path, format: str, evidence: Evidence | None = None, parts: list[FilePart] | None = None
    ) -> None:
        self.file = path
        self.format = format
        self.evidence = evidence or Evidence()
        self.parts = tuple(parts or [FilePart(path)])
        self._space = path.with_name(path.name + ".space")

    @property
    def size(self) -> int:
        return sum(part.size for part in self.parts)

    @property
    def versions(self) -> Mapping[str, str]:
        return self.evidence.versions

    def open(self):
        [part] = self.parts
        return part.open()

    def path(self) -> Path:
        [part] = self.parts
        return part.path()

    def workspace(self) -> Path:
        self._space.mkdir(exist_ok=True)
        return self._space


def defaults(plugin, verb: str, **overrides):
    """Return the plugin's options for ``verb``, complete with defaults, as the host would."""
    return {o.name: o.default for o in plugin.describe().options if verb in o.verbs} | overrides


def dump(plugin, source: Source, path: Path, format: str, **options) -> FileDump:
    """Back ``source`` up into ``path`` through the plugin's hook, and return it as a dump."""
    sink = FileSink(path)
    try:
        evidence = plugin.backup(source=source, sink=sink, format=format, options=defaults(plugin, "backup", **options))
    finally:
        sink.close()
    return FileDump(path, format, evidence, sink.parts)


def load(plugin, target: Source, dump: FileDump, *, overwrite: bool = False, **options) -> Evidence:
    """Restore ``dump`` into ``target`` through the plugin's hook."""
    return plugin.restore(target=target, dump=dump, overwrite=overwrite, options=defaults(plugin, "restore", **options))
