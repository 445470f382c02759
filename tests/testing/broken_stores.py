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


class Good:
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
        return self.opened(path, url, options)

    def opened(self, path, url, options):
        return self.store(path, 3.0)


# -- uploads ---------------------------------------------------------------------------------------------------------


@breaks("test_what_was_committed_is_read_back", "test_every_object_is_listed_with_its_size")
class DropsEmptyObjects(Good):
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
class KeepsBuffers(Good):
    class store(Shelf):
        class upload(Upload):
            last = b""

            def write(self, data):
                self.inner.write(self.last)
                self.last = data or memoryview(bytes(data))
                return len(data)

            def commit(self):
                self.inner.write(self.last)
                super().commit()


@breaks("test_nothing_is_visible_before_commit", *ANY)
class VisibleAtOnce(Good):
    class store(Shelf):
        class upload(Upload):
            def __init__(self, inner, store, name):
                super().__init__(inner, store, name)
                with contextlib.suppress(FileExistsError):
                    store.path(name).open("xb").close()


@breaks("test_abort_leaves_nothing", "test_an_object_is_replaced_only_by_commit", "test_backups_live_in_it")
class CommitsWhatIsAborted(Good):
    class store(Shelf):
        class upload(Upload):
            ended = False

            def commit(self):
                self.ended = True
                super().commit()

            def abort(self):
                if not self.ended:
                    self.commit()


@breaks("test_an_object_is_replaced_only_by_commit")
class RemovesTheOldOneFirst(Good):
    class store(Shelf):
        def create(self, name):
            with contextlib.suppress(MissingFile):
                self.delete(name)
            return super().create(name)


# -- objects ---------------------------------------------------------------------------------------------------------


@breaks("test_reading_begins_at_the_offset")
class IgnoresTheOffset(Good):
    class store(Shelf):
        def open(self, name, offset=0):
            return super().open(name, 0)


@breaks("test_read_keeps_to_the_size_it_was_asked_for")
class ReadsWholePages(Good):
    class store(Shelf):
        def open(self, name, offset=0):
            reader = super().open(name, offset)
            read = reader.read
            reader.read = lambda size=-1: read(max(size, 4096) if size > 0 else size)
            return reader


@breaks("test_a_missing_object_is_missing_file", *ANY)
class SaysFileNotFound(Good):
    class store(Shelf):
        def open(self, name, offset=0):
            if not os.path.exists(self.path(name)):
                raise FileNotFoundError(errno.ENOENT, "no such file", name)
            return super().open(name, offset)

        def delete(self, name):
            os.unlink(self.path(name))


@breaks("test_every_object_is_listed_with_its_size")
class ListsTenObjects(Good):
    class store(Shelf):
        def list(self):
            for number, found in enumerate(super().list()):
                if number < 10:
                    yield found


@breaks("test_a_deleted_object_is_gone")
class DeletesByPrefix(Good):
    class store(Shelf):
        def delete(self, name):
            super().delete(name)
            for found in list(self.list()):
                if found.name.startswith(name):
                    super().delete(found.name)


@breaks(
    "test_a_renamed_object_keeps_its_content", "test_objects_can_be_written_under_a_lock", "test_backups_live_in_it"
)
class CopiesInsteadOfRenaming(Good):
    class store(Shelf):
        def rename(self, name, new):
            content = self.path(name).read_bytes() if self.path(name).exists() else None
            if content is None:
                raise MissingFile(f"{name} does not exist")
            self.path(new).write_bytes(content)


@breaks("test_only_bare_names_are_taken")
class FollowsPaths(Good):
    class store(Shelf):
        def path(self, name):
            if not name or "\0" in name:
                raise StoreError("no name")
            return Path(os.path.normpath(self._top / name.lstrip("/")))


@breaks("test_an_object_is_located_without_secrets")
class ShowsThePassword(Good):
    def opened(self, path, url, options):
        class Telling(Shelf):
            def locate(self, name):
                return f"{url}/{name}"

        return Telling(path, 3.0)


# -- behaviour -------------------------------------------------------------------------------------------------------


@breaks("test_memory_stays_flat")
class KeepsUploadsInMemory(Good):
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
class OneBufferForAll(Good):
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
class ForgetsWhenClosed(Good):
    def opened(self, path, url, options):
        return _Fresh(path)


class _Fresh(Shelf):
    """A store in a directory of its own at each opening."""

    def __init__(self, path):
        path = path / os.urandom(8).hex()
        path.mkdir()
        super().__init__(path, 3.0)


@breaks("test_only_declared_options_are_read")
class ReadsWhatNobodyDeclared(Good):
    def opened(self, path, url, options):
        return self.store(path, options.get("timeout", 3.0))


@breaks("test_backups_live_in_it")
class AnswersAnInstalledScheme(Good):
    @hookimpl
    def describe(self):
        return PluginInfo(
            kind="store",
            schemes=("shelf", "file"),
            options=(Option(name="wait", default=1.0, help="seconds", verbs=("open_store",)),),
        )


# -- several users ---------------------------------------------------------------------------------------------------


@breaks("test_a_lock_excludes_other_threads", "test_a_lock_excludes_other_processes")
class LocksNothing(Good):
    class store(Shelf):
        @contextlib.contextmanager
        def lock(self, name):
            if name == "parts":  # the built-in store's own
                with super().lock(name):
                    yield
            else:
                yield


@breaks("test_a_lock_excludes_other_processes")
class LocksThreadsAlone(Good):
    class store(Shelf):
        named: dict = {}  # noqa: RUF012 - the mistake

        @contextlib.contextmanager
        def lock(self, name):
            with self.named.setdefault((self._top, name), threading.Lock()):
                yield


@breaks("test_a_lock_is_released_on_an_error")
class KeepsTheLockOnAnError(Good):
    class store(Shelf):
        named: dict = {}  # noqa: RUF012 - the mistake

        @contextlib.contextmanager
        def lock(self, name):
            if name == "parts":
                with super().lock(name):
                    yield
                return
            with contextlib.ExitStack() as stack:
                stack.enter_context(super().lock(name))
                own = self.named.setdefault((self._top, name), threading.Lock())
                own.acquire()
                yield
                own.release()


@breaks("test_objects_can_be_written_under_a_lock", "test_backups_live_in_it")
class OneLockForEverything(Good):
    class store(Shelf):
        @contextlib.contextmanager
        def lock(self, name):
            with super().lock("parts"):
                yield


@breaks("test_clean_names_what_a_dead_writer_left")
class CleansNothing(Good):
    class store(Shelf):
        def clean(self):
            yield from ()


@breaks("test_clean_spares_the_living", *ANY)
class CleansEverything(Good):
    class store(Shelf):
        def clean(self):
            for part in list(self._top.glob("*.part")):
                yield part.name[: -len(".part")].rpartition(".")[0]
                part.unlink(missing_ok=True) if part.is_file() else part.rmdir()


# -- capabilities ----------------------------------------------------------------------------------------------------


@breaks("test_a_local_object_has_a_path")
class PathsOfCopies(Good):
    def opened(self, path, url, options):
        class Copying(Shelf):
            def path(self, name):
                path = super().path(name)
                # The built-in store finds its objects through path(), too: only the suite is lied to.
                asked_by = sys._getframe(1).f_code.co_name
                return path.with_name(".copy") if asked_by == "test_a_local_object_has_a_path" else path

        (path / ".copy").write_bytes(b"stale")
        return Copying(path, 3.0)


@breaks("test_a_workspace_is_private_and_goes_away")
class WorkspaceForEverybody(Good):
    class store(Shelf):
        @contextlib.contextmanager
        def workspace(self):
            with super().workspace() as path:
                path.chmod(0o755)
                yield path
