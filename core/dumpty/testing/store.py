"""``StoreSuite``: what ``open_store`` and the objects behind it owe."""

from __future__ import annotations

import functools
import threading
import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, ClassVar

import pytest

from dumpty.errors import Exists, MissingFile, NotPermitted, PluginError, Retained, StoreError
from dumpty.testing.capabilities import CapabilityRules
from dumpty.testing.memory import MemoryDriver
from dumpty.testing.objects import ObjectRules
from dumpty.testing.rules import refused, require, shown
from dumpty.testing.sleeping import SleepingRules
from dumpty.testing.streams import BLOCK, SAMPLES, Collector, at_once, peak_memory, read_blocks
from dumpty.types import Cap

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from dumpty.registry.host import Host
    from dumpty.types import Buffer, Store

__all__ = ["StoreSuite"]

_NAME = "folder/object.bin"


class StoreSuite(SleepingRules, CapabilityRules, ObjectRules):
    """The rules of a store.

    A subclass needs ``plugin``, and a fixture ``store_url``: the URL of a place of its own for every test, which is
    empty or does not exist. Rules of what the store does not claim (``Store.capabilities``) are unproved, and so are
    those for which a place must go wrong, unless the subclass has a fixture that makes it: ``denied``, ``cut_off``,
    ``lost_answers``, ``stalled``.
    """

    large: ClassVar[int] = 64 << 20
    """How many bytes the large object has."""

    bound: ClassVar[float] = 300.0
    """Within how many seconds whatever is asked of a place that stalls ends in an error."""

    granularity: ClassVar[timedelta] = timedelta(seconds=2)
    """How coarse the place's times are."""

    # -- places that go wrong ------------------------------------------------------------------------------------

    @pytest.fixture
    def denied(self) -> Callable[[str], AbstractContextManager[object]]:
        """In the block of ``denied(name)`` the place refuses to delete the object of that name; to be overridden."""
        return self.unproved("no fixture denied(name) makes the place refuse to delete an object")

    @pytest.fixture
    def cut_off(self) -> Callable[[str], AbstractContextManager[object]]:
        """In the block of ``cut_off(name)`` what is read of that object breaks off midway; to be overridden.

        It is open by then, and a thousand bytes were read: let whatever stands before your place hold back part of each
        answer, and break it off, and each one that follows, once the block begins.
        """
        return self.unproved("no fixture cut_off(name) breaks off what is read")

    @pytest.fixture
    def lost_answers(self) -> Callable[[], AbstractContextManager[object]]:
        """In the block of ``lost_answers()`` the place does what put() asks, and fails then; to be overridden.

        So it does with each request that makes an object, those of retries too; what is asked else is answered.
        """
        return self.unproved("no fixture lost_answers() makes the place do as it is told and say it failed")

    @pytest.fixture
    def stalled(self) -> Callable[[], AbstractContextManager[object]]:
        """In the block of ``stalled()`` the place answers nothing; to be overridden."""
        return self.unproved("no fixture stalled() makes the place answer nothing")

    def test_a_denied_deletion_says_so_and_the_rest_is_deleted(
        self, store: Store, denied: Callable[[str], AbstractContextManager[object]]
    ) -> None:
        """delete() raises NotPermitted or Retained where the place refuses one, and deletes all the others."""
        self.put_all(store, ["a/1", "a/2", "a/3"])
        rule = "delete() of what the place refuses to delete raises dumpty.NotPermitted or dumpty.Retained."
        with denied("a/2"), refused((NotPermitted, Retained), rule, "Tell refusals from other failures."):
            store.delete(["a/1", "a/2", "a/3"])
        names = self.settled(store, {"a/2"})
        rule = "delete() deletes all that can be deleted."
        require(names == {"a/2"}, rule, "Go on past what is refused, and raise at the end.", f"left: {names}")

    def test_a_read_that_is_cut_off_is_an_error(
        self, store: Store, cut_off: Callable[[str], AbstractContextManager[object]]
    ) -> None:
        """A read that breaks off midway raises StoreError: only the end of the object is its end."""
        data = SAMPLES["random"]()
        store.put(_NAME, data)
        reader, sink = store.open(_NAME), Collector()
        sink.write(reader.read(1000))
        rule = "Whatever ends a read before the object's last byte is dumpty.StoreError."
        with cut_off(_NAME), refused(StoreError, rule, "Count what came, against the size it must have."):
            read_blocks(reader, sink)
            require(len(sink.data) < len(data), "cut_off(name) breaks off what is read.", "Mend your fixture.")
        reader.close()

    def test_a_put_whose_answer_is_lost_is_read_back(
        self, store: Store, lost_answers: Callable[[], AbstractContextManager[object]]
    ) -> None:
        """After a failure that may have been a success, put() looks: its own bytes are one, others are Exists."""
        store.put("folder/taken", b"another's")
        rule = "put() whose answer was lost succeeds where its own bytes are there."
        try:
            with lost_answers():
                store.put("folder/own", b"own")
        except Exception as error:  # noqa: BLE001 - any is one too many
            require(False, rule, "Read back what is there.", f"it raised {shown(error)}")
        require(store.get("folder/own") == b"own", rule, "Read back what is there.", "other bytes are there")
        rule = "put() whose answer was lost raises dumpty.Exists where other bytes are there."
        with lost_answers(), refused(Exists, rule, "Read back what is there, and compare it."):
            store.put("folder/taken", b"own")
        require(store.get("folder/taken") == b"another's", rule, "Change nothing.", "it was replaced")

    def test_a_place_that_stalls_is_an_error_within_bounded_time(
        self, store: Store, stalled: Callable[[], AbstractContextManager[object]]
    ) -> None:
        """Whatever is asked of a place that answers nothing ends in StoreError, and does not wait for ever."""
        store.put(_NAME, SAMPLES["random"]())
        upload = store.upload("folder/begun")
        upload.write(b"x")
        calls: dict[str, Callable[[], object]] = {
            "put()": lambda: store.put("folder/new", b"x"),
            "commit()": upload.commit,
            "get()": lambda: store.get(_NAME),
            "open()": lambda: store.open(_NAME).read(),
            "stat()": lambda: store.stat(_NAME),
            "list()": lambda: list(store.list()),
            "delete()": lambda: store.delete([_NAME]),
            "now()": store.now,
        }
        with stalled():
            outcomes = _outcomes(calls, self.bound)
        for name, outcome in outcomes.items():
            rule = f"Whatever is asked of a place that answers nothing ends in dumpty.StoreError; so does {name}."
            seen = shown(outcome) if isinstance(outcome, BaseException) else str(outcome)
            if name == "now()" and isinstance(outcome, datetime):
                continue  # carried on from what the place said a moment ago
            require(isinstance(outcome, StoreError), rule, "Give every request a time limit.", seen)

    # -- what is known of an object ------------------------------------------------------------------------------

    def test_stat_tells_of_now(self, host: Host, store: Store, store_url: str) -> None:
        """stat() tells what the place holds now, whoever changed it, and never what it told before."""
        other_store = self.opened(host, store_url)
        for data in (b"first", b"second, longer"):
            other_store.put(_NAME, data, new=False)
            size = store.stat(_NAME).size
            rule = "stat() asks the place, every time."
            require(size == len(data), rule, "Keep nothing.", f"of {len(data)} bytes another wrote it told {size}")
        if Cap.DELETE in store.capabilities():
            other_store.delete([_NAME])
            with refused(MissingFile, "stat() of what another deleted is dumpty.MissingFile.", "Keep nothing."):
                store.stat(_NAME)

    def test_a_tag_changes_with_its_object(self, host: Host, store: Store, store_url: str) -> None:
        """Found.tag is a text that changes whenever the object does, and for nothing else."""
        tags: list[str] = []
        for data in (b"one", b"two", b"longer"):
            store.put(_NAME, data, new=False)
            tag = store.stat(_NAME).tag
            again = self.opened(host, store_url).stat(_NAME).tag
            rule = "Found.tag is a text, and stays as long as the object does."
            require(isinstance(tag, str) and tag and again == tag, rule, "Use an ETag.", f"{tag!r} became {again!r}")
            tags.append(tag)
        rule = "Found.tag changes whenever the object does, if its size does not, too."
        require(len(set(tags)) == len(tags), rule, "Use an ETag, or inode and time of change.", f"they were {tags}")

    def test_all_times_are_of_one_clock(self, store: Store) -> None:
        """now() and Found.modified are aware, in UTC, and of one clock: that of the place."""
        before = store.now()
        store.put("folder/put", b"x")
        self.store_object(store, "folder/uploaded", b"x")
        self.settled(store, {"folder/put", "folder/uploaded"})
        times = [found.modified for found in (*store.list(), *map(store.stat, ("folder/put", "folder/uploaded")))]
        after = store.now()
        for moment in (before, *times, after):
            rule = "A time is aware, in UTC."
            require(moment.tzinfo is not None and moment.utcoffset() == timedelta(0), rule, "Use UTC.", shown(moment))
        rule = "now() is of the clock that Found.modified is of."
        remedy = "Ask the place: the time of an object written just now, or what it says with an answer."
        seen = f"between {before} and {after} objects were written at {sorted({str(t) for t in times})}"
        fits = all(before - self.granularity <= moment <= after + self.granularity for moment in times)
        require(fits, rule, remedy, seen)
        names = self.settled(store, {"folder/put", "folder/uploaded"})
        require(len(names) == 2, "now() leaves nothing.", "Delete it.", f"listed: {names}")  # noqa: PLR2004 - as written

    # -- behaviour -----------------------------------------------------------------------------------------------

    def test_memory_stays_flat(self, store: Store) -> None:
        """Writing and reading take no more memory for a large object than for a small one."""

        def write() -> None:
            upload, block = store.upload("folder/large"), bytes(BLOCK)
            for _ in range(self.large // BLOCK):
                upload.write(block)
            upload.commit()

        class Count(Collector):
            def write(self, data: Buffer) -> int:
                return len(data)

        def read() -> None:
            reader = store.open("folder/large")
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
            data, upload = bytes([number]) * 10_000, store.upload(f"folder/object-{number}")
            for start in range(0, len(data), 2500):
                meet()
                upload.write(data[start : start + 2500])
            meet()
            upload.commit()
            content = self.content(store, f"folder/object-{number}")
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
        self.store_object(store, "folder/object.bin", b"content")
        reopened = self.opened(host, store_url)
        same_objects = (
            self.names(reopened) == {"folder/object.bin"} and self.content(reopened, "folder/object.bin") == b"content"
        )
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
        self.claimed(self.opened(host, store_url), Cap.STRONG_LIST)  # else it is removed by a run a day later
        remaining = {n for n in self.names(self.opened(host, store_url)) if not n.startswith(".prune/")}
        require(not remaining, "Removing a backup removes its objects.", remedy, f"left: {sorted(remaining)}")


def _outcomes(calls: dict[str, Callable[[], object]], bound: float) -> dict[str, object]:
    """Run calls at once, and return for each the error it ended with, or what else became of it."""
    outcomes: dict[str, object] = dict.fromkeys(calls, "it waited for ever")

    def run(name: str) -> None:
        try:
            returned = calls[name]()
            outcomes[name] = returned if isinstance(returned, datetime) else "it returned as if all were well"
        except BaseException as error:  # noqa: BLE001 - handed to the caller
            outcomes[name] = error

    threads = [threading.Thread(target=run, args=(name,), daemon=True) for name in calls]
    for thread in threads:
        thread.start()
    end = time.monotonic() + bound
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    return dict(outcomes)
