"""``StoreSuite``: what ``open_store`` and the objects behind it owe."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, ClassVar

import pytest

from dumpty.errors import MissingFile, PluginError, StoreError
from dumpty.testing.memory import MemoryDriver
from dumpty.testing.rules import difference, refused, require, shown
from dumpty.testing.sharing import SharingRules
from dumpty.testing.streams import BLOCK, SAMPLES, Collector, at_once, peak_memory, read_blocks

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from dumpty.registry.host import Host
    from dumpty.types import Buffer, Kind, Store

__all__ = ["StoreSuite"]

_MISSING_RULE = "An object that is not there is dumpty.MissingFile."
_ADVICE = "Raise dumpty.MissingFile, and dumpty.StoreError for every other failure."


class StoreSuite(SharingRules):
    """The rules of a store.

    A subclass needs ``plugin``, and a fixture ``store_url``: the URL of a place of its own for every test, which is
    empty or does not exist.
    """

    kind: ClassVar[Kind] = "store"

    large: ClassVar[int] = 64 << 20
    """How many bytes the large object has."""

    local: ClassVar[bool] = False
    """True for a store whose objects are files on this machine (``dumpty.LocalStore``)."""

    claims: ClassVar[dict[str, tuple[str, ...]]] = {
        "local": ("test_a_local_object_has_a_path", "test_a_workspace_is_private_and_goes_away")
    }

    @pytest.fixture
    def store_url(self) -> str:
        """The URL of the store; to be overridden."""
        return pytest.fail("give your suite a fixture store_url: the URL of an empty place, a new one for every test")

    @pytest.fixture
    def store(self, host: Host, store_url: str) -> Store:
        """The store behind ``store_url``."""
        return self.opened(host, store_url)

    # -- uploads -------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("sample", ["empty", "one_byte", "random"])
    def test_what_was_committed_is_read_back(self, store: Store, sample: str) -> None:
        """What was written and committed is read back byte for byte, an empty object included."""
        data = SAMPLES[sample]()
        self.store_object(store, "object.bin", data[:1000], bytearray(data[1000:5000]), memoryview(data)[5000:])
        read_back = self.content(store, "object.bin")
        rule = "A committed object holds the bytes that were written, in their order."
        require(read_back == data, rule, "See where it differs.", difference(data, read_back))

    def test_a_buffer_is_the_callers_again_after_the_write(self, store: Store) -> None:
        """write() takes every byte, returns their number, and leaves the buffer to the caller."""
        upload, buffer = store.create("object.bin"), bytearray()
        for chunk in (b"one", b"", b"other"):
            buffer[:] = chunk
            written = upload.write(buffer)
            rule = "write() takes every byte and returns their number."
            require(
                written == len(chunk), rule, "Write on until all is taken.", f"it returned {written!r} for {chunk!r}"
            )
            buffer[:] = b"\xff" * len(buffer)
        upload.commit()
        unchanged = self.content(store, "object.bin") == b"oneother"
        require(unchanged, "The buffer is the caller's again after write().", "Copy what you keep.", "it was kept")

    def test_nothing_is_visible_before_commit(self, store: Store) -> None:
        """An object is neither listed nor found under its name before commit(), and whole after it."""
        upload = store.create("object.bin")
        upload.write(b"half")
        rule = "Nothing is visible under an object's name before commit()."
        remedy = "Write to another name, or elsewhere, and rename in commit()."
        for operation, look in (("open", store.open), ("stat", store.stat)):
            with refused(MissingFile, f"{rule} {operation}() says MissingFile.", remedy):
                look("object.bin")
        names = [entry.name for entry in store.list()]
        require(not names, rule, remedy, f"list() had {names}")
        upload.commit()
        size = store.stat("object.bin").size
        require(size == len(b"half"), "A committed object is visible whole.", remedy, f"it had {size} bytes")
        upload.abort()
        require(self.names(store) == {"object.bin"}, "abort() after commit() does nothing.", "Note that it has ended.")

    def test_abort_leaves_nothing(self, store: Store) -> None:
        """abort() drops the object; it may be called again."""
        upload = store.create("object.bin")
        upload.write(b"half")
        upload.abort()
        upload.abort()
        remains = self.names(store) | set(store.clean())
        require(not remains, "abort() leaves nothing.", "Remove what was written.", f"{sorted(remains)} was left")
        with refused(MissingFile, "An aborted object is not there.", "Never make it visible."):
            store.open("object.bin")

    def test_an_object_is_replaced_only_by_commit(self, store: Store) -> None:
        """An existing object stays as it was until a new one of its name is committed."""
        self.store_object(store, "object.bin", b"old")
        upload = store.create("object.bin")
        upload.write(b"new, longer")
        rule, remedy = "An existing object is replaced by commit(), all at once.", "Write beside it, and rename."
        require(self.content(store, "object.bin") == b"old", rule, remedy, "it changed while the new one was written")
        upload.abort()
        require(self.content(store, "object.bin") == b"old", rule, remedy, "it was gone after abort()")
        self.store_object(store, "object.bin", b"new, longer")
        require(self.content(store, "object.bin") == b"new, longer", rule, remedy, "commit() left the old one")

    # -- objects -------------------------------------------------------------------------------------------------

    def test_reading_begins_at_the_offset(self, store: Store) -> None:
        """open(name, offset) reads from that byte on, to the end; at the end there is nothing."""
        self.store_object(store, "object.bin", b"0123456789")
        for offset in (0, 1, 7, 10):
            content = self.content(store, "object.bin", offset)
            expected = b"0123456789"[offset:]
            rule = "open(name, offset) reads from that byte on."
            require(content == expected, rule, "Seek, or ask for that range.", f"offset {offset} gave {content!r}")

    def test_read_keeps_to_the_size_it_was_asked_for(self, store: Store) -> None:
        """read(n) returns up to n bytes, b"" at the end only and ever after; read(-1) reads to the end."""
        data = SAMPLES["random"]()[:10_000]
        self.store_object(store, "object.bin", data)
        rule, remedy = "read(n) returns at most n bytes, b'' at the end only.", "Keep the rest for the next read."
        reader, content = store.open("object.bin"), bytearray()
        while block := reader.read(777):
            require(len(block) <= 777, rule, remedy, f"read(777) returned {len(block)} bytes")  # noqa: PLR2004 - as asked
            content += block
        require(content == data and reader.read(777) == b"", rule, remedy, f"{len(content)} of {len(data)} bytes came")
        reader.close()
        reader.close()
        reader = store.open("object.bin")
        blocks = []
        while block := reader.read(-1):
            blocks.append(block)
        reader.close()
        require(b"".join(blocks) == data, "read(-1) reads to the end.", remedy)

    def test_a_missing_object_is_missing_file(self, store: Store) -> None:
        """open, stat, rename and delete of an object that is not there raise MissingFile."""
        for operation, call in (
            ("open()", lambda: store.open("none").read(1)),
            ("stat()", lambda: store.stat("none")),
            ("rename()", lambda: store.rename("none", "other")),
            ("delete()", lambda: store.delete("none")),
        ):
            with refused(MissingFile, f"{_MISSING_RULE} So says {operation}.", _ADVICE):
                call()
        require(not self.names(store), "Asking for a missing object creates nothing.", "Open without creating.")

    def test_every_object_is_listed_with_its_size(self, store: Store) -> None:
        """list() yields every committed object, once, with its name and size, as stat() says."""
        expected = {f"object-{i}.bin": i * 10 for i in range(12)}
        for name, size in expected.items():
            self.store_object(store, name, bytes(size))
        entries = [(entry.name, entry.size) for entry in store.list()]
        require(
            sorted(entries) == sorted(expected.items())
            and {name: store.stat(name).size for name in expected} == expected,
            "list() yields every committed object once, with the size that stat() tells.",
            "List to the last page; leave out what is not committed, and your own files.",
            f"it yielded {shown(sorted(entries))}",
        )

    def test_a_deleted_object_is_gone(self, store: Store) -> None:
        """delete() removes that object and no other."""
        for name in ("one", "one.more", "other"):
            self.store_object(store, name, b"x")
        store.delete("one")
        names = self.names(store)
        require(names == {"one.more", "other"}, "delete() removes that object and no other.", "", f"left: {names}")

    def test_a_renamed_object_keeps_its_content(self, store: Store) -> None:
        """rename() gives an object another name, and its old one is gone."""
        self.store_object(store, "one", b"content")
        store.rename("one", "other")
        renamed = self.names(store) == {"other"} and self.content(store, "other") == b"content"
        require(renamed, "rename() moves the object, whole.", "Copy and delete, in this order.", f"{self.names(store)}")

    def test_only_bare_names_are_taken(self, store: Store) -> None:
        """A name with a separator, a NUL, or that is empty, '.' or '..' is refused with StoreError."""
        self.store_object(store, "bare", b"x")
        for name in ("", ".", "..", "a/b", "../outside", "/outside", "a\0b"):
            rule = f"Names are bare: {name!r} is refused with StoreError, whatever is asked, and reaches nothing."
            remedy = "Check every name before it is used."
            for call in (
                functools.partial(self.store_object, store, name, b"x"),
                functools.partial(store.open, name),
                functools.partial(store.stat, name),
                functools.partial(store.delete, name),
                functools.partial(store.rename, "bare", name),
            ):
                with refused((StoreError, MissingFile), rule, remedy):
                    call()
            require(self.names(store) == {"bare"}, rule, remedy, f"the store now holds {self.names(store)}")

    def test_an_object_is_located_without_secrets(self, store: Store, store_url: str) -> None:
        """locate() tells where an object is, one that does not exist too, and shows no password of the URL."""
        location = store.locate("object.bin")
        rule = "locate() returns a text that names the object and holds no secret."
        password = store_url.partition("://")[2].rpartition("@")[0].partition(":")[2]
        well_formed = isinstance(location, str) and "object.bin" in location and not (password and password in location)
        require(well_formed, rule, "Build it from the URL without its password.", shown(location))

    # -- behaviour -----------------------------------------------------------------------------------------------

    def test_memory_stays_flat(self, store: Store) -> None:
        """Writing and reading take no more memory for a large object than for a small one."""

        def write() -> None:
            upload, block = store.create("large"), bytes(BLOCK)
            for _ in range(self.large // BLOCK):
                upload.write(block)
            upload.commit()

        class Count(Collector):
            def write(self, data: Buffer) -> int:
                return len(data)

        def read() -> None:
            reader = store.open("large")
            read_blocks(reader, Count())
            reader.close()

        for activity, work in (("writing", write), ("reading", read)):
            peak = peak_memory(work)
            require(
                peak < self.memory,
                "A store streams: memory does not grow with the object.",
                "Send parts of bounded size.",
                f"{activity} {self.large >> 20} MiB held {peak >> 20} MiB",
            )

    def test_several_threads_do_not_mix(self, store: Store) -> None:
        """Several threads may write and read objects at once."""

        def work(number: int, meet: Callable[[], None]) -> None:
            data, upload = bytes([number]) * 10_000, store.create(f"object-{number}")
            for start in range(0, len(data), 2500):
                meet()
                upload.write(data[start : start + 2500])
            meet()
            upload.commit()
            content = self.content(store, f"object-{number}")
            require(content == data, "Uploads do not mix.", "Keep state in the upload, not in the store.")

        errors = at_once([functools.partial(work, number) for number in range(3)])
        require(
            not errors and len(self.names(store)) == 3,  # noqa: PLR2004 - one for each thread
            "Several threads may use one store at once.",
            "Give every upload a place of its own, and share nothing that is not locked.",
            shown(errors[0]) if errors else f"left: {self.names(store)}",
        )

    def test_a_store_opened_again_has_its_objects(self, host: Host, store: Store, store_url: str) -> None:
        """Opening the same URL again shows the same objects."""
        self.store_object(store, "object.bin", b"content")
        reopened = self.opened(host, store_url)
        same_objects = self.names(reopened) == {"object.bin"} and self.content(reopened, "object.bin") == b"content"
        rule = "The URL decides what a store holds: opened again, it has the same objects."
        require(same_objects, rule, "Keep nothing in memory alone.", f"the second time it had {self.names(reopened)}")

    def test_only_declared_options_are_read(self, host: Host, store_url: str) -> None:
        """open_store() reads only options that describe() declares."""
        options = self.options(host, "open_store")
        host.open_store(self.plugin_under_test(host), url=store_url, options=options)
        options.require_declared()

    def test_backups_live_in_it(self, host: Host, store_url: str) -> None:
        """BackupManager(store_url) backs up, lists, verifies, restores and removes."""
        from dumpty.backup_manager import BackupManager

        databases = MemoryDriver({"shop": SAMPLES["random"]()})
        remedy = "Mend what the error says."
        try:
            manager = BackupManager(store_url, plugins=[self.plugin, databases])
        except PluginError as error:
            require(False, "BackupManager opens the store by its URL.", remedy, f"it said: {error}")
        backed_up = manager.create_backup(databases.url("shop"))
        require(
            backed_up.success and backed_up.backup, "A backup into the store succeeds.", remedy, str(backed_up.error)
        )
        later = BackupManager(store_url, plugins=[self.plugin, databases])
        require(later.list_backups() == [backed_up.backup], "Another BackupManager lists it.", remedy)
        for backup in later.list_backups():
            later.verify(backup.id)
            restored = later.restore(backup.id, databases.url("again"))
            require(restored.success, "Restoring out of the store succeeds.", remedy, str(restored.error))
            identical = databases.databases["again"] == databases.databases["shop"]
            require(identical, "What was backed up comes back.", remedy, "other bytes came back")
            later.remove(backup.id)
        remaining = self.names(self.opened(host, store_url))
        require(not remaining, "Removing a backup removes its objects.", remedy, f"left: {sorted(remaining)}")

    # -- capabilities --------------------------------------------------------------------------------------------

    def test_a_local_object_has_a_path(self, store: Store) -> None:
        """A local store tells the path of an object, and the file there is the object."""
        self.store_object(store, "object.bin", b"content")
        path: Path = store.path("object.bin")  # type: ignore[attr-defined]
        rule = "path() returns the file that is the object."
        require(path.read_bytes() == b"content", rule, "Or set local = False.", f"{path} holds something else")

    def test_a_workspace_is_private_and_goes_away(self, store: Store) -> None:
        """workspace() is an empty directory, readable by its owner alone, that goes away with the block."""
        scope: AbstractContextManager[Path] = store.workspace()  # type: ignore[attr-defined]
        with scope as path:
            (path / "spool").write_bytes(b"x")
            mode = path.stat().st_mode & 0o077
            names = self.names(store)
            cleaned = set(store.clean())
            require(not mode, "A workspace is its owner's alone.", "Create it with mode 0700.", f"{mode:#o} is open")
            require(not names, "A workspace is no object.", "Leave it out of list().", f"listed: {names}")
            in_use = not cleaned and path.exists()
            require(in_use, "A workspace in use is never cleaned away.", "Lock it.", "it was cleaned")
        require(not path.exists(), "A workspace goes away with its block.", "Remove it.", f"{path} is still there")
