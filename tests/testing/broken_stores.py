"""Stores that break one rule each, on top of one that keeps them all."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
from datetime import timedelta
from pathlib import Path

from msgspec.structs import replace

from dumpty import (
    Cap,
    Exists,
    Found,
    MissingFile,
    NotPermitted,
    Option,
    PluginInfo,
    StoreError,
    hookimpl,
    is_object_name,
)
from testing.breaks import ANY
from testing.breaks import breaks as breaks_exactly
from testing.shelf import GoodStore, Reader, Shelf, Upload

RACES = (
    "test_of_all_threads_that_create_one_name_exactly_one_wins",
    "test_of_all_processes_that_create_one_name_exactly_one_wins",
)


def breaks(rule, *may_fail_too):
    """Say which test catches a store. Whatever it breaks may show in the backups that live in it, too."""
    return breaks_exactly(rule, *(may_fail_too if may_fail_too == ANY else (*may_fail_too, "test_backups_live_in_it")))


def parts(store):
    return [path for path in Path(store.locate("")).rglob("*.part") if "dumpty-" in path.name]


@breaks("test_a_forked_process_has_connections_of_its_own")
class KeepsItsConnectionAcrossAFork(GoodStore):
    class store(Shelf):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            self.process = os.getpid()

        def stat(self, name):
            if os.getpid() != self.process:
                raise StoreError("the connection broke off")
            return super().stat(name)


# -- written ---------------------------------------------------------------------------------------------------------


@breaks("test_what_was_put_is_read_back")
class PutsNothingEmpty(GoodStore):
    class store(Shelf):
        def put(self, name, data, *, new=True):
            if data or not new:
                super().put(name, data, new=new)


@breaks("test_put_of_a_name_that_is_taken_is_exists", "test_a_put_whose_answer_is_lost_is_read_back", *RACES)
class PutsOverEverything(GoodStore):
    class store(Shelf):
        def put(self, name, data, *, new=True):
            super().put(name, data, new=False)


@breaks("test_put_replaces_where_it_is_told_to")
class WritesOverTheBeginning(GoodStore):
    class store(Shelf):
        def put(self, name, data, *, new=True):
            if not new:
                with contextlib.suppress(MissingFile):
                    data += self.get(name)[len(data) :]
            super().put(name, data, new=new)


@breaks("test_what_was_committed_is_read_back", "test_every_object_is_listed_as_stat_tells")
class CommitsNothingEmpty(GoodStore):
    class store(Shelf):
        class upload_type(Upload):
            size = 0

            def write(self, data):
                self.size += len(data)
                return super().write(data)

            def commit(self):
                if self.size:
                    super().commit()


@breaks("test_a_buffer_is_the_callers_again_after_the_write")
class KeepsBuffers(GoodStore):
    class store(Shelf):
        class upload_type(Upload):
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
        class upload_type(Upload):
            def __init__(self, inner, store, name):
                super().__init__(inner, store, name)
                store.put(name, b"")

            def commit(self):
                self.inner.publish(new=False)


@breaks("test_commit_of_a_name_that_is_taken_is_exists", *RACES)
class CommitsOverEverything(GoodStore):
    class store(Shelf):
        class upload_type(Upload):
            def commit(self):
                self.store.ask()
                self.inner.publish(new=False)


@breaks("test_abort_leaves_nothing")
class AbortsNothing(GoodStore):
    class store(Shelf):
        class upload_type(Upload):
            def abort(self):
                pass


# -- read ------------------------------------------------------------------------------------------------------------


@breaks("test_reading_begins_at_the_offset")
class IgnoresTheOffset(GoodStore):
    class store(Shelf):
        def open(self, name, offset=0):
            return super().open(name, 0)


@breaks("test_read_keeps_to_the_size_it_was_asked_for")
class ReadsWholePages(GoodStore):
    class store(Shelf):
        class reader_type(Reader):
            def read(self, size=-1):
                return super().read(max(size, 4096) if size > 0 else size)


@breaks("test_a_missing_object_is_missing_file")
class TakesAFolderForAnObject(GoodStore):
    class store(Shelf):
        def stat(self, name):
            if is_object_name(name) and os.path.isdir(self.locate(name)):
                return Found(name=name, size=0, tag="-", modified=self.now())
            return super().stat(name)


# -- listed ----------------------------------------------------------------------------------------------------------


@breaks("test_a_listing_has_every_page", "test_many_objects_are_deleted_in_one_call")
class ListsOnePage(GoodStore):
    class store(Shelf):
        def list(self, folder=""):
            yield from itertools.islice(super().list(folder), 100)


@breaks("test_every_object_is_listed_as_stat_tells")
class ListsWithoutTags(GoodStore):
    class store(Shelf):
        def list(self, folder=""):
            for found in super().list(folder):
                yield replace(found, tag="")


@breaks("test_a_folder_is_listed_without_its_neighbours")
class ListsByPrefix(GoodStore):
    class store(Shelf):
        def list(self, folder=""):
            yield from (found for found in super().list() if found.name.startswith(folder))


# -- deleted ---------------------------------------------------------------------------------------------------------


@breaks("test_a_deleted_object_is_gone_and_no_other")
class DeletesByPrefix(GoodStore):
    class store(Shelf):
        def delete(self, names):
            names = list(names)
            first = next(filter(is_object_name, names), "?")
            super().delete([*names, *(f.name for f in self.list() if f.name.startswith(first))])


@breaks("test_deleting_what_is_gone_is_no_error", *ANY)
class MissesWhatIsGone(GoodStore):
    class store(Shelf):
        def delete(self, names):
            for name in names:
                self.stat(name)
                super().delete([name])


@breaks("test_many_objects_are_deleted_in_one_call")
class DeletesOneBatch(GoodStore):
    class store(Shelf):
        def delete(self, names):
            super().delete(list(names)[:50])  # twice that is not all there are, in whatever order they are listed


# -- named -----------------------------------------------------------------------------------------------------------


@breaks("test_only_names_of_the_contract_are_taken")
class MendsNames(GoodStore):
    class store(Shelf):
        def put(self, name, data, *, new=True):
            super().put(name.replace("+", "_"), data, new=new)


@breaks(
    "test_every_name_of_the_contract_is_taken",
    "test_every_object_is_listed_as_stat_tells",
    "test_a_removal_that_was_stopped_removes_nothing_that_was_pinned_meanwhile",
)
class RefusesDots(GoodStore):
    class store(Shelf):
        def put(self, name, data, *, new=True):
            if name.startswith("."):
                raise StoreError("a name begins with a letter")
            super().put(name, data, new=new)


@breaks("test_an_object_is_located_without_secrets")
class ShowsThePassword(GoodStore):
    def make_store(self, path, url, options):
        class Telling(Shelf):
            def locate(self, name):
                return f"{url}/{name}"

        return Telling(path, self.place)


# -- capabilities ----------------------------------------------------------------------------------------------------


@breaks("test_capabilities_are_told_and_leave_nothing")
class ClaimsByTurns(GoodStore):
    class store(Shelf):
        turn = 0

        def capabilities(self):
            self.turn += 1
            return super().capabilities() | (Cap.BATCH if self.turn % 2 else Cap(0))


@breaks("test_a_strong_list_has_what_was_written_and_not_what_was_deleted", *ANY)
class ListsLate(GoodStore):
    class store(Shelf):
        before: tuple = ()

        def list(self, folder=""):
            listed, self.before = self.before, tuple(super().list(folder))
            yield from listed


@breaks("test_what_is_said_to_be_deletable_can_be_deleted", *ANY)
class MayNotDelete(GoodStore):
    class store(Shelf):
        def delete(self, names):
            raise NotPermitted("this account may only add")


@breaks("test_a_batch_of_any_length_is_deleted", "test_many_objects_are_deleted_in_one_call")
class SendsOneRequest(GoodStore):
    class store(Shelf):
        def capabilities(self):
            return super().capabilities() | Cap.BATCH

        def delete(self, names):
            super().delete(list(names)[:50])  # twice that is not all there are, in whatever order they are listed


@breaks("test_a_removal_that_was_stopped_removes_nothing_that_was_pinned_meanwhile")
class AnswersFromWhatItWrote(GoodStore):
    class store(Shelf):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            self.written = {}

        def put(self, name, data, *, new=True):
            super().put(name, data, new=new)
            self.written[name] = data

        def get(self, name):
            self.ask()
            return self.written.get(name) or super().get(name)

        def delete(self, names):
            names = list(names)
            for name in names:
                self.written.pop(name, None)
            super().delete(names)


@breaks("test_what_the_place_retains_stays_and_says_so")
class RetainsInSilence(GoodStore):
    class store(Shelf):
        def capabilities(self):
            return super().capabilities() | Cap.RETAINS

        def delete(self, names):
            super().delete(name for name in names if name != "folder/kept")


@breaks("test_a_local_object_has_a_path")
class PathsOfCopies(GoodStore):
    class store(Shelf):
        def path(self, name):
            return super().path(name).with_name(".copy")


@breaks("test_a_workspace_is_private_and_goes_away")
class WorkspaceForEverybody(GoodStore):
    class store(Shelf):
        @contextlib.contextmanager
        def workspace(self):
            with super().workspace() as path:
                path.chmod(0o755)
                yield path


# -- several users ---------------------------------------------------------------------------------------------------


class LookingFirst(Shelf):
    """Looks for a name, and writes it then, whoever came between."""

    def put(self, name, data, *, new=True):
        if new:
            self.look(name)
        super().put(name, data, new=False)

    def look(self, name):
        if os.path.exists(self.locate(name)):
            raise Exists(f"there is a {name}")
        time.sleep(0.01)


@breaks(RACES[0], RACES[1], "test_a_put_whose_answer_is_lost_is_read_back")
class LooksFirst(GoodStore):
    store = LookingFirst


@breaks(RACES[1], "test_a_put_whose_answer_is_lost_is_read_back")
class ExcludesItsOwnThreads(GoodStore):
    class store(LookingFirst):
        lock = threading.Lock()

        def put(self, name, data, *, new=True):
            with self.lock:
                super().put(name, data, new=new)

        class upload_type(Upload):
            def commit(self):
                with self.store.lock:
                    super().commit()


@breaks("test_what_a_killed_writer_left_is_never_listed_and_swept")
class SweepsNothing(GoodStore):
    class store(Shelf):
        def sweep(self, older):
            pass


@breaks(
    "test_sweep_spares_live_writers",
    "test_sweep_spares_a_writer_that_is_stopped",
    "test_a_workspace_is_private_and_goes_away",
)
class SweepsEverything(GoodStore):
    class store(Shelf):
        def sweep(self, older):
            super().sweep(older)
            for path in parts(self):
                path.unlink() if path.is_file() else [*(p.unlink() for p in path.iterdir()), path.rmdir()]


@breaks("test_sweep_spares_a_writer_that_is_stopped")
class SweepsWhatStandsStill(GoodStore):
    class store(Shelf):
        def sweep(self, older):
            super().sweep(older)
            held_by_stopped = set()
            for process in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):
                    if process.joinpath("stat").read_text().rpartition(") ")[2][0] == "T":
                        held_by_stopped |= {os.readlink(link) for link in process.joinpath("fd").iterdir()}
            for path in parts(self):
                if str(path) in held_by_stopped:
                    path.unlink()


# -- places that go wrong --------------------------------------------------------------------------------------------


@breaks("test_a_denied_deletion_says_so_and_the_rest_is_deleted")
class StopsAtARefusal(GoodStore):
    class store(Shelf):
        def delete(self, names):
            for name in names:
                super().delete([name])


@breaks("test_a_read_that_is_cut_off_is_an_error")
class TakesACutForTheEnd(GoodStore):
    class store(Shelf):
        class reader_type(Reader):
            def end_early(self):
                return b""


@breaks("test_a_put_whose_answer_is_lost_is_read_back")
class TakesALostAnswerForAFailure(GoodStore):
    class store(Shelf):
        def look_up(self, name, data):
            raise Exists(f"it seems that there is a {name}")


@breaks("test_a_place_that_stalls_is_an_error_within_bounded_time")
class WaitsForEver(GoodStore):
    flags = {"bound": 1.0}  # noqa: RUF012 - never changed

    class store(Shelf):
        time_limit = None


# -- behaviour -------------------------------------------------------------------------------------------------------


@breaks("test_stat_tells_of_now")
class RemembersWhatItTold(GoodStore):
    class store(Shelf):
        def __init__(self, top, place):
            super().__init__(top, place)
            self.told = {}

        def stat(self, name):
            return self.told.setdefault(name, super().stat(name))

        def put(self, name, data, *, new=True):
            self.told.pop(name, None)
            super().put(name, data, new=new)

        def delete(self, names):
            names = list(names)
            for name in names:
                self.told.pop(name, None)
            super().delete(names)


@breaks("test_a_tag_changes_with_its_object")
class TagsBySize(GoodStore):
    class store(Shelf):
        def stat(self, name):
            found = super().stat(name)
            return replace(found, tag=f"size-{found.size}")

        def list(self, folder=""):
            for found in super().list(folder):
                yield replace(found, tag=f"size-{found.size}")


@breaks("test_all_times_are_of_one_clock")
class TrustsThisMachinesClock(GoodStore):
    class store(Shelf):
        def now(self):
            return super().now() - timedelta(hours=1)


@breaks("test_memory_stays_flat")
class KeepsUploadsInMemory(GoodStore):
    class store(Shelf):
        class upload_type(Upload):
            def __init__(self, inner, store, name):
                super().__init__(inner, store, name)
                self.data = bytearray()

            def write(self, data):
                self.data += data
                return len(data)

            def commit(self):
                self.inner.write(self.data)
                super().commit()


@breaks(
    "test_several_threads_do_not_mix",
    "test_a_removal_that_was_stopped_removes_nothing_that_was_pinned_meanwhile",
)
class OneBufferForAll(GoodStore):
    class store(Shelf):
        pending: list = []  # noqa: RUF012 - the mistake

        class upload_type(Upload):
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
        path /= os.urandom(8).hex()
        path.mkdir()
        return Shelf(path, self.place)


@breaks("test_only_declared_options_are_read")
class ReadsWhatNobodyDeclared(GoodStore):
    def make_store(self, path, url, options):
        options.get("timeout", 3.0)
        return self.store(path, self.place)


@breaks("test_backups_live_in_it")
class AnswersAnInstalledScheme(GoodStore):
    @hookimpl
    def describe(self):
        return PluginInfo(
            kind="store",
            schemes=("shelf", "file"),
            options=(Option(name="wait", default=1.0, help="seconds", verbs=("open_store",)),),
        )
