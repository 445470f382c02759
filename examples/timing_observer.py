"""Watch every stage of a backup and a restore through hook wrappers, and say how long each took.

A wrapper (``@hookimpl(wrapper=True)``) surrounds every routed call of its hook, whichever plugin serves it; it is not a
plugin of a kind, and never picked. It yields once, gets what the plugin returned, and has to return it. ``backup``
and ``restore`` do their work inside the call; a stage is *returned* by its call and works later, in a thread of its
own, so what is returned is wrapped, too.

Run it: ``python examples/timing_observer.py``.
"""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from dumpty import BackupManager, hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from dumpty import Buffer, Source

    HookWrapper = Generator[None, Any, Any]


class TimedStream:
    """A writer or reader that notes how long it works."""

    def __init__(self, stream: Any, spent: dict[str, float], name: str) -> None:
        self._stream = stream
        self._spent = spent
        self._name = name

    def write(self, data: Buffer) -> int:
        return self._timed(self._stream.write, data)

    def read(self, size: int = -1) -> bytes:
        return self._timed(self._stream.read, size)

    def close(self) -> None:
        self._timed(self._stream.close)

    def _timed(self, call: Callable[..., Any], *args: object) -> Any:
        started = time.perf_counter()
        try:
            return call(*args)
        finally:
            self._spent[self._name] += time.perf_counter() - started


class TimingObserver:
    name = "timing"

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextlib.contextmanager
    def _clock(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield  # an error of the plugin passes through here, and on
        finally:
            self.seconds[name] += time.perf_counter() - started

    @hookimpl(wrapper=True)
    def inspect(self, source: Source) -> HookWrapper:
        with self._clock(f"inspect {source.scheme}"):
            return (yield)

    @hookimpl(wrapper=True)
    def backup(self, source: Source, format: str) -> HookWrapper:
        with self._clock(f"backup {source.scheme} ({format})"):
            return (yield)

    @hookimpl(wrapper=True)
    def restore(self, target: Source) -> HookWrapper:
        with self._clock(f"restore {target.scheme}"):
            return (yield)

    @hookimpl(wrapper=True)
    def compress(self) -> HookWrapper:
        return TimedStream((yield), self.seconds, "compress (beside the driver)")

    @hookimpl(wrapper=True)
    def decompress(self) -> HookWrapper:
        return TimedStream((yield), self.seconds, "decompress (ahead of the driver)")


def main() -> None:
    observer = TimingObserver()
    with tempfile.TemporaryDirectory() as directory:
        with contextlib.closing(sqlite3.connect(f"{directory}/shop.db")) as shop:
            shop.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT)")
            shop.executemany("INSERT INTO item (name) VALUES (?)", [(f"item {i}",) for i in range(50_000)])
            shop.commit()
        manager = BackupManager(f"{directory}/backups", plugins=[observer])
        backed_up = manager.create_backup(f"sqlite:///{directory}/shop.db")
        if not backed_up.success:
            raise SystemExit(backed_up.error)
        restored = manager.restore(backed_up.backup.id, f"sqlite:///{directory}/again.db")
        if not restored.success:
            raise SystemExit(restored.error)
    for name, seconds in observer.seconds.items():
        print(f"{name:35} {seconds * 1000:8.1f} ms")


if __name__ == "__main__":
    main()
