"""Calls a driver's hooks directly, with a real file as sink and dump: for tests of one driver alone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from dumpty import Evidence, Source


class FileSink:
    """A sink that writes a file, and keeps the promises of ``dumpty.types.Sink``."""

    def __init__(self, path: Path) -> None:
        self.file = path
        self._stream = path.open("wb")
        self.expected: int | None = None
        self._space = path.with_name(path.name + ".space")

    def write(self, data) -> int:
        return self._stream.write(data)

    def expect(self, total_bytes: int) -> None:
        self.expected = total_bytes

    def directory(self) -> Path:
        self._stream.close()
        self.file.unlink()
        self.file.mkdir()
        return self.file

    def workspace(self) -> Path:
        self._space.mkdir(exist_ok=True)
        return self._space

    def close(self) -> None:
        self._stream.close()
        shutil.rmtree(self._space, ignore_errors=True)


class FileDump:
    """A dump that is a file, as a driver sees it on the way back."""

    def __init__(self, path: Path, format: str, evidence: Evidence | None = None) -> None:
        self.file = path
        self.format = format
        self.evidence = evidence or Evidence()
        self._space = path.with_name(path.name + ".space")

    @property
    def size(self) -> int:
        return os.path.getsize(self.file)

    @property
    def versions(self) -> Mapping[str, str]:
        return self.evidence.versions

    def open(self):
        return self.file.open("rb")

    def path(self) -> Path:
        return self.file

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
    return FileDump(path, format, evidence)


def load(plugin, target: Source, dump: FileDump, *, overwrite: bool = False, **options) -> Evidence:
    """Restore ``dump`` into ``target`` through the plugin's hook."""
    return plugin.restore(target=target, dump=dump, overwrite=overwrite, options=defaults(plugin, "restore", **options))
