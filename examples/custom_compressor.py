"""A compressor of one's own in fifteen lines, used without packaging: ``BackupManager(plugins=[…])``.

Run it: ``python examples/custom_compressor.py``. It backs up a small database through xz and restores it.
"""

from __future__ import annotations

import contextlib
import lzma
import sqlite3
import tempfile
from typing import TYPE_CHECKING

from dumpty import BackupManager, FramedReader, PluginInfo, hookimpl

if TYPE_CHECKING:
    from dumpty import ByteSink, Reader, Writer


class Xz:
    name = "xz"

    @hookimpl
    def describe(self) -> PluginInfo:
        return PluginInfo(kind="compressor", summary="xz: slow, small, with a checksum", suffix=".xz")

    @hookimpl
    def compress(self, sink: ByteSink) -> Writer:
        return lzma.LZMAFile(sink, "wb", preset=1)  # closing it leaves the sink open, as a stage must

    @hookimpl
    def decompress(self, stream: Reader) -> Reader:
        return FramedReader(stream, lzma.LZMADecompressor, lzma.LZMAError, "xz")


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        with contextlib.closing(sqlite3.connect(f"{directory}/shop.db")) as shop:
            shop.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT)")
            shop.executemany("INSERT INTO item (name) VALUES (?)", [(f"item {i}",) for i in range(10_000)])
            shop.commit()
        manager = BackupManager(f"{directory}/backups", compressor="xz", plugins=[Xz()])
        backed_up = manager.create_backup(f"sqlite:///{directory}/shop.db")
        if not backed_up.success:
            raise SystemExit(backed_up.error)
        backup = backed_up.backup
        print(f"stored {backup.plain_size_bytes} bytes in {backup.size_bytes}, through {backup.stages}")

        restored = manager.restore(backup.id, f"sqlite:///{directory}/again.db")
        if not restored.success:
            raise SystemExit(restored.error)
        with contextlib.closing(sqlite3.connect(f"{directory}/again.db")) as database:
            [(rows,)] = database.execute("SELECT count(*) FROM item")
        print(f"restored {rows} rows")

        # Without the plugin, a later restore says what is missing.
        print(BackupManager(f"{directory}/backups").restore(backup.id, f"sqlite:///{directory}/x.db").error)


if __name__ == "__main__":
    main()
