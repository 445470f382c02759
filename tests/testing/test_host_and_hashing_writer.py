"""Two promises of the core that the kit stands on."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import pytest

from dumpty import BackupManager, PluginInfo, PluginLoadError, hookimpl
from dumpty.registry.host import Host
from dumpty.streaming.streams import HashingWriter
from dumpty.testing.memory import MemoryDriver
from dumpty_plugins import file, gzip


def test_registering_an_installed_module_returns_the_installed_plugin():
    host = Host()
    assert host.register(gzip) == host.named("compressor", "gzip")
    assert [p.name for p in host.plugins()].count("gzip") == 1


def test_registering_a_module_twice_returns_the_first(tmp_path):
    host = Host([gzip, gzip], discover=False)
    assert [p.name for p in host.plugins()] == ["gzip"]


def test_a_plugin_that_cannot_be_hashed_is_refused_when_it_is_registered():
    @dataclass
    class Unhashable:
        name: str = "unhashable"

        @hookimpl
        def describe(self) -> PluginInfo:
            return PluginInfo(kind="compressor", suffix=".u")

    with pytest.raises(PluginLoadError, match="eq=False"):
        Host([Unhashable()], discover=False)


class _Full:
    def write(self, data):
        raise OSError("no space left on device")


def test_a_hashing_writer_raises_its_first_error_again_though_the_sink_has_recovered():
    writer = HashingWriter(_Full(), ())
    with pytest.raises(OSError, match="no space"):
        writer.write(b"x")
    writer._sink = bytearray()
    with pytest.raises(OSError, match="no space"):
        writer.write(b"y")
    with pytest.raises(OSError, match="no space"):
        writer.require_intact()


class _Swallowing:
    """A compressor that stores bytes as they are, and carries on where the store is full."""

    name = "swallowing"

    @hookimpl
    def describe(self) -> PluginInfo:
        return PluginInfo(kind="compressor", suffix=".swallowed")

    @hookimpl
    def compress(self, sink):
        class Writer:
            def write(self, data):
                with contextlib.suppress(OSError):
                    sink.write(data)
                return memoryview(data).nbytes

            def close(self):
                pass

        return Writer()


class _FullOnce:
    """The directory store, whose disk is full for one write."""

    name = "full-once"

    @hookimpl
    def describe(self) -> PluginInfo:
        return PluginInfo(kind="store", schemes=("full-once",))

    @hookimpl
    def open_store(self, url):
        store = file.FileStore(url.removeprefix("full-once://"))
        begin, failed = store.upload, []

        def failing(name, expected=None):
            upload = begin(name, expected)
            write = upload.write

            def write_or_fail(data):
                if not failed:
                    failed.append(name)
                    raise OSError("no space left on device")
                return write(data)

            upload.write = write_or_fail
            return upload

        store.upload = failing
        return store


def test_a_compressor_that_swallows_the_stores_error_makes_no_good_backup(tmp_path):
    databases = MemoryDriver({"shop": bytes(1_000_000)})
    plugins = [databases, _Swallowing(), _FullOnce()]
    manager = BackupManager(f"full-once://{tmp_path}", compressor="swallowing", plugins=plugins)
    result = manager.create_backup(databases.url("shop"))
    assert not result.success
    assert "no space left on device" in result.error
    assert manager.list_backups() == []
    assert [p for p in tmp_path.iterdir() if not p.name.startswith(".")] == []
