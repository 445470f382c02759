"""What a store owes to several users: locks that exclude, and cleaning that spares the living."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any, ClassVar

from dumpty.testing.children import location_of, start
from dumpty.testing.rules import RuleBroken, require, shown
from dumpty.testing.streams import Collector, read_blocks
from dumpty.testing.suite import Suite

if TYPE_CHECKING:
    import subprocess

    from dumpty.registry.host import Host
    from dumpty.types import Buffer, Store

__all__ = ["SharingRules"]

_OPEN = """
from dumpty.registry.host import Host
host = Host([load(location)], discover=False)
plugin = host.plugins()[0]
options = host.options({"open_store": plugin}, {})["open_store"]
store = host.open_store(plugin, url=arguments[0], options=options)
"""
_DIE = """
upload = store.create("dead")
upload.write(b"half")
print("ready", flush=True)
sys.stdin.readline()
os._exit(9)
"""
_HOLD = """
with store.lock("catalog"):
    print("ready", flush=True)
    sys.stdin.readline()
print("released", flush=True)
"""


class SharingRules(Suite):
    """The part of ``StoreSuite`` that needs a second user: a thread, or a process."""

    patience: ClassVar[float] = 20.0
    """For how many seconds a lock that is free may keep somebody waiting."""

    moment: ClassVar[float] = 0.2
    """For how many seconds a lock is watched that somebody else holds."""

    def opened(self, host: Host, url: str) -> Store:
        """Open the store behind ``url``."""
        return host.open_store(self.plugin_under_test(host), url=url, options=self.options(host, "open_store"))

    def store_object(self, store: Store, name: str, *chunks: Buffer) -> None:
        """Write and commit an object."""
        upload = store.create(name)
        for chunk in chunks:
            upload.write(chunk)
        upload.commit()

    def content(self, store: Store, name: str, offset: int = 0) -> bytes:
        """Return an object's bytes, from ``offset`` on."""
        try:
            reader, sink = store.open(name, offset), Collector()
            read_blocks(reader, sink)
            reader.close()
        except Exception as error:
            rule = "A committed object can be read until it is deleted or renamed."
            raise RuleBroken(f"{rule} Here {shown(error)}. Keep it.") from error
        return bytes(sink.data)

    def names(self, store: Store) -> set[str]:
        """Return the names of all objects."""
        return {entry.name for entry in store.list()}

    # -- locks ---------------------------------------------------------------------------------------------------

    def test_a_lock_excludes_other_threads(self, host: Host, store: Store, store_url: str) -> None:
        """While one thread holds a lock, no other gets it, through the same store or one opened again."""
        for second_store in (store, self.opened(host, store_url)):
            with store.lock("catalog"):
                waiting = _LockWaiter(second_store)
                self._require_excluded(waiting, "thread")
            self._require_lock(waiting, "was released")

    def test_a_lock_excludes_other_processes(self, store: Store, store_url: str) -> None:
        """While one process holds a lock, no other gets it."""
        child = self._child(_HOLD, store_url)
        try:
            waiting = _LockWaiter(store)
            self._require_excluded(waiting, "process")
            child.communicate("\n", timeout=self.patience)
            self._require_lock(waiting, "was released by another process")
        finally:
            _end(child)

    def test_a_lock_is_released_on_an_error(self, store: Store) -> None:
        """An error within the block releases the lock, and comes out."""
        error = RuntimeError("on purpose")
        raised: BaseException | None = None
        try:
            with store.lock("catalog"):
                raise error
        except RuntimeError as caught:
            raised = caught
        rule = "An error within the block of a lock comes out."
        require(raised is error, rule, "Release in finally, and let it pass.", "it was swallowed")
        self._require_lock(_LockWaiter(store), "was left by an error")

    def test_objects_can_be_written_under_a_lock(self, store: Store) -> None:
        """Who holds a lock can write, list, rename, clean and delete: locks of other names are others."""
        finished = threading.Event()
        errors: list[BaseException] = []

        def work() -> None:
            try:
                with store.lock("catalog"):
                    self.store_object(store, "one", b"x")
                    list(store.list())
                    store.rename("one", "other")
                    list(store.clean())
                    store.delete("other")
                    with store.lock("another"):
                        finished.set()
            except Exception as error:  # noqa: BLE001 - reported below
                errors.append(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join(self.patience)
        rule = "Under a lock the store can be used, and a lock of another name can be had."
        observed = shown(errors[0]) if errors else "it waited for ever"
        require(finished.is_set(), rule, "Never take the named lock inside an operation.", observed)

    # -- cleaning ------------------------------------------------------------------------------------------------

    def test_clean_names_what_a_dead_writer_left(self, store: Store, store_url: str) -> None:
        """clean() yields the name of an upload whose writer was killed, removes what it left, and no object."""
        self.store_object(store, "kept", b"x")
        child = self._child(_DIE, store_url)
        child.communicate("\n", timeout=self.patience)
        remedy = "Leave a mark that dies with the writer: a file lock, or a lease."
        cleaned = list(store.clean())
        rule = "clean() yields the name of each upload whose writer died before commit()."
        require(cleaned == ["dead"], rule, remedy, f"it yielded {cleaned}")
        cleaned_again = list(store.clean())
        require(
            not cleaned_again,
            "clean() removes what the dead writer left.",
            "Remove it when resumed.",
            f"again: {cleaned_again}",
        )
        require(self.names(store) == {"kept"}, "clean() touches no committed object.", remedy, f"{self.names(store)}")

    def test_clean_spares_the_living(self, host: Host, store: Store, store_url: str) -> None:
        """clean() never touches an upload whose writer lives, in this process or in another."""
        upload = store.create("living")
        upload.write(b"half")
        child = self._child(_DIE, store_url)
        rule = "clean() never touches what a live writer still writes."
        remedy = "Ask for the writer's mark, not for the upload's age."
        try:
            for user in (store, self.opened(host, store_url)):
                cleaned = list(user.clean())
                require(not cleaned, rule, remedy, f"it yielded {cleaned}")
        finally:
            _end(child)
        upload.write(b" and half")
        try:
            upload.commit()
            content = self.content(store, "living")
        except Exception as error:  # noqa: BLE001 - any is one too many
            require(False, rule, remedy, f"the upload could not be committed any more: {shown(error)}")
        require(content == b"half and half", rule, remedy, f"it holds {content!r}")

    # -- in other words ------------------------------------------------------------------------------------------

    def _child(self, program: str, url: str) -> subprocess.Popen[str]:
        location: dict[str, Any] | None = location_of(self.plugin)
        if location is None:
            self.unproved("another process finds only a module, or a class that is made without arguments")
        child = start(location, _OPEN + program, url)
        if child.stdout is not None and child.stdout.readline() != "ready\n":
            error = child.communicate()[1].strip().rpartition("\n")[2]
            require(False, "Another process can open the store.", "Mend what it says.", f"it ended with {error!r}")
        return child

    def _require_excluded(self, waiting: _LockWaiter, rival: str) -> None:
        rule = f"A lock excludes every other {rival} that uses the store."
        remedy = "Use one lock for all that share the URL (filelock does it for files)."
        require(not waiting.has_lock.wait(self.moment), rule, remedy, "two had it at once")

    def _require_lock(self, waiting: _LockWaiter, when: str) -> None:
        in_time = waiting.has_lock.wait(self.patience)
        require(in_time, f"A lock can be had once it {when}.", "Release it in finally.", "nobody got it")


class _LockWaiter:
    """A thread that takes the lock and gives it back; ``has_lock`` is set when it has it."""

    def __init__(self, store: Store) -> None:
        self.has_lock = threading.Event()
        self._store = store
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        # Who does not get it at all has not got it: that is what the rules ask.
        with contextlib.suppress(Exception), self._store.lock("catalog"):
            self.has_lock.set()


def _end(child: subprocess.Popen[str]) -> None:
    child.kill()
    child.communicate()
