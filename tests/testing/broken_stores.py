"""Stores that break one rule each, on top of the built-in one."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import threading
from pathlib import Path

from dumpty import MissingFile, Option, PluginInfo, StoreError, hookimpl
from dumpty_plugins.file import FileStore
from testing.breaks import ANY, breaks


class Upload:
    """Passes everything on; the broken ones override one method each."""

    def __init__(self, inner, store, name):
        self.inner = inner
        self.store = store
        self.name = name

    def write(self, data):
        return self.inner.write(data)

    def commit(self):
        self.inner.commit()

    def abort(self):
        self.inner.abort()


class Shelf(FileStore):
    upload = Upload

    def create(self, name):
        return self.upload(super().create(name), self, name)


class GoodStore:
    """What the broken ones are made of: ``shelf://USER:PASSWORD@/PATH``."""

    store = Shelf
    name = "shelf"

    @hookimpl
    def describe(self):
        return PluginInfo(kind="store", schemes=("shelf",))

    @hookimpl
    def open_store(self, url, options):
        path = Path(url.rpartition("@")[2])
        path.mkdir(parents=True, exist_ok=True)
        return self.make_store(path, url, options)

    def make_store(self, path, url, options):
        return self.store(path, 3.0)


# -- uploads ---------------------------------------------------------------------------------------------------------


@breaks("test_what_was_committed_is_read_back", "test_every_object_is_listed_with_its_size")
class DropsEmptyObjects(GoodStore):
    class store(Shelf):
        class upload(Upload):
            size = 0

            def write(self, data):
                self.size += len(data)
                return super().write(data)

            def commit(self):
                if self.size:
                    super().commit()
                else:
                    self.abort()


@breaks("test_a_buffer_is_the_callers_again_after_the_write")
class KeepsBuffers(GoodStore):
    class store(Shelf):
        class upload(Upload):
            last_buffer = b""

            def write(self, data):
                self.inner.write(self.last_buffer)
                self.last_buffer = data or memoryview(bytes(data))
                return len(data)

            def commit(self):
                self.inner.write(self.last_buffer)
                super().commit()


@breaks("test_nothing_is_visible_before_commit", *ANY)
class VisibleAtOnce(GoodStore):
    class store(Shelf):
        class upload(Upload):
            def __init__(self, inner, store, name):
                super().__init__(inner, store, name)
                with contextlib.suppress(FileExistsError):
                    store.path(name).open("xb").close()


@breaks("test_abort_leaves_nothing", "test_an_object_is_replaced_only_by_commit", "test_backups_live_in_it")
class CommitsWhatIsAborted(GoodStore):
    class store(Shelf):
        class upload(Upload):
            committed = False

            def commit(self):
                self.committed = True
                super().commit()

            def abort(self):
                if not self.committed:
                    self.commit()


@breaks("test_an_object_is_replaced_only_by_commit")
class RemovesTheOldOneFirst(GoodStore):
    class store(Shelf):
        def create(self, name):
            with contextlib.suppress(MissingFile):
                self.delete(name)
            return super().create(name)


# -- objects ---------------------------------------------------------------------------------------------------------


@breaks("test_reading_begins_at_the_offset")
class IgnoresTheOffset(GoodStore):
    class store(Shelf):
        def open(self, name, offset=0):
            return super().open(name, 0)


@breaks("test_read_keeps_to_the_size_it_was_asked_for")
class ReadsWholePages(GoodStore):
    class store(Shelf):
        def open(self, name, offset=0):
            reader = super().open(name, offset)
            read = reader.read
            reader.read = lambda size=-1: read(max(size, 4096) if size > 0 else size)
            return reader


@breaks("test_a_missing_object_is_missing_file", *ANY)
class SaysFileNotFound(GoodStore):
    class store(Shelf):
        def open(self, name, offset=0):
            if not os.path.exists(self.path(name)):
                raise FileNotFoundError(errno.ENOENT, "no such file", name)
            return super().open(name, offset)

        def delete(self, name):
            os.unlink(self.path(name))


@breaks("test_every_object_is_listed_with_its_size")
class ListsTenObjects(GoodStore):
    class store(Shelf):
        def list(self):
            for number, entry in enumerate(super().list()):
                if number < 10:
                    yield entry


@breaks("test_a_deleted_object_is_gone")
class DeletesByPrefix(GoodStore):
    class store(Shelf):
        def delete(self, name):
            super().delete(name)
            for entry in list(self.list()):
                if entry.name.startswith(name):
                    super().delete(entry.name)


@breaks(
    "test_a_renamed_object_keeps_its_content", "test_objects_can_be_written_under_a_lock", "test_backups_live_in_it"
)
class CopiesInsteadOfRenaming(GoodStore):
    class store(Shelf):
        def rename(self, name, new_name):
            content = self.path(name).read_bytes() if self.path(name).exists() else None
            if content is None:
                raise MissingFile(f"{name} does not exist")
            self.path(new_name).write_bytes(content)


@breaks("test_only_bare_names_are_taken")
class FollowsPaths(GoodStore):
    class store(Shelf):
        def path(self, name):
            if not name or "\0" in name:
                raise StoreError("no name")
            return Path(os.path.normpath(self._top / name.lstrip("/")))


@breaks("test_an_object_is_located_without_secrets")
class ShowsThePassword(GoodStore):
    def make_store(self, path, url, options):
        class Telling(Shelf):
            def locate(self, name):
                return f"{url}/{name}"

        return Telling(path, 3.0)


# -- behaviour -------------------------------------------------------------------------------------------------------


@breaks("test_memory_stays_flat")
class KeepsUploadsInMemory(GoodStore):
    class store(Shelf):
        class upload(Upload):
            def __init__(self, inner, store, name):
                super().__init__(inner, store, name)
                self.data = bytearray()

            def write(self, data):
                self.data += data
                return len(data)

            def commit(self):
                self.inner.write(self.data)
                super().commit()


@breaks("test_several_threads_do_not_mix")
class OneBufferForAll(GoodStore):
    class store(Shelf):
        pending: list = []  # noqa: RUF012 - the mistake

        class upload(Upload):
            def write(self, data):
                self.store.pending.append(bytes(data))
                if len(self.store.pending) > 1:
                    self.flush()
                return len(data)

            def flush(self):
                while self.store.pending:
                    self.inner.write(self.store.pending.pop(0))

            def commit(self):
                self.flush()
                super().commit()

            def abort(self):
                super().abort()
                self.store.pending.clear()


@breaks("test_a_store_opened_again_has_its_objects", *ANY)
class ForgetsWhenClosed(GoodStore):
    def make_store(self, path, url, options):
        return _Fresh(path)


class _Fresh(Shelf):
    """A store in a directory of its own at each opening."""

    def __init__(self, path):
        path = path / os.urandom(8).hex()
        path.mkdir()
        super().__init__(path, 3.0)


@breaks("test_only_declared_options_are_read")
class ReadsWhatNobodyDeclared(GoodStore):
    def make_store(self, path, url, options):
        return self.store(path, options.get("timeout", 3.0))


@breaks("test_backups_live_in_it")
class AnswersAnInstalledScheme(GoodStore):
    @hookimpl
    def describe(self):
        return PluginInfo(
            kind="store",
            schemes=("shelf", "file"),
            options=(Option(name="wait", default=1.0, help="seconds", verbs=("open_store",)),),
        )


# -- several users ---------------------------------------------------------------------------------------------------


@breaks("test_a_lock_excludes_other_threads", "test_a_lock_excludes_other_processes")
class LocksNothing(GoodStore):
    class store(Shelf):
        @contextlib.contextmanager
        def lock(self, name):
            if name == "parts":  # the built-in store's own
                with super().lock(name):
                    yield
            else:
                yield


@breaks("test_a_lock_excludes_other_processes")
class LocksThreadsAlone(GoodStore):
    class store(Shelf):
        locks: dict = {}  # noqa: RUF012 - the mistake

        @contextlib.contextmanager
        def lock(self, name):
            with self.locks.setdefault((self._top, name), threading.Lock()):
                yield


@breaks("test_a_lock_is_released_on_an_error")
class KeepsTheLockOnAnError(GoodStore):
    class store(Shelf):
        locks: dict = {}  # noqa: RUF012 - the mistake

        @contextlib.contextmanager
        def lock(self, name):
            if name == "parts":
                with super().lock(name):
                    yield
                return
            with contextlib.ExitStack() as stack:
                stack.enter_context(super().lock(name))
                thread_lock = self.locks.setdefault((self._top, name), threading.Lock())
                thread_lock.acquire()
                yield
                thread_lock.release()


@breaks("test_objects_can_be_written_under_a_lock", "test_backups_live_in_it")
class OneLockForEverything(GoodStore):
    class store(Shelf):
        @contextlib.contextmanager
        def lock(self, name):
            with super().lock("parts"):
                yield


@breaks("test_clean_names_what_a_dead_writer_left")
class CleansNothing(GoodStore):
    class store(Shelf):
        def clean(self):
            yield from ()


@breaks("test_clean_spares_the_living", *ANY)
class CleansEverything(GoodStore):
    class store(Shelf):
        def clean(self):
            for partial in list(self._top.glob("*.part")):
                yield partial.name[: -len(".part")].rpartition(".")[0]
                partial.unlink(missing_ok=True) if partial.is_file() else partial.rmdir()


# -- capabilities ----------------------------------------------------------------------------------------------------


@breaks("test_a_local_object_has_a_path")
class PathsOfCopies(GoodStore):
    def make_store(self, path, url, options):
        class Copying(Shelf):
            def path(self, name):
                path = super().path(name)
                # The built-in store finds its objects through path(), too: only the suite is lied to.
                asked_by = sys._getframe(1).f_code.co_name
                return path.with_name(".copy") if asked_by == "test_a_local_object_has_a_path" else path

        (path / ".copy").write_bytes(b"stale")
        return Copying(path, 3.0)


@breaks("test_a_workspace_is_private_and_goes_away")
class WorkspaceForEverybody(GoodStore):
    class store(Shelf):
        @contextlib.contextmanager
        def workspace(self):
            with super().workspace() as path:
                path.chmod(0o755)
                yield path
