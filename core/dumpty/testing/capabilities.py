"""What a store claims (``Store.capabilities``), each claim put to the test under its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty.errors import Retained
from dumpty.testing.places import StoreRules
from dumpty.testing.rules import require, shown
from dumpty.types import Cap, LocalStore

if TYPE_CHECKING:
    from dumpty.registry.host import Host
    from dumpty.types import Store

__all__ = ["CapabilityRules"]


class CapabilityRules(StoreRules):
    """The part of ``StoreSuite`` about capabilities. What is not claimed is unproved, and no failure."""

    def test_capabilities_are_told_and_leave_nothing(self, host: Host, store: Store, store_url: str) -> None:
        """capabilities() returns a Cap, the same at every call, and whatever it tried is gone."""
        caps = store.capabilities()
        rule = "capabilities() returns a dumpty.Cap."
        require(type(caps) is Cap, rule, "Join those that the place has with |.", shown(caps))
        rule = "capabilities() says the same of the same place."
        for again in (store.capabilities(), self.opened(host, store_url).capabilities()):
            require(again == caps, rule, "Find it out the same way.", f"{caps} became {again}")
        names = self.names(store)
        require(not names, "What capabilities() wrote to find out is gone.", "Remove it in finally.", f"left: {names}")

    def test_a_strong_list_has_what_was_written_and_not_what_was_deleted(
        self, host: Host, store: Store, store_url: str
    ) -> None:
        """STRONG_LIST: a listing has at once whatever was written before it began, and not what was deleted."""
        self.claimed(store, Cap.STRONG_LIST)
        other_store = self.opened(host, store_url)
        written: set[str] = set()
        remedy = "Do not claim it where a listing can be late."
        for number in range(12):
            name = f"folder/{number}"
            (store.put(name, b"x") if number % 2 else self.store_object(store, name, b"x"))
            written.add(name)
            for user in (store, other_store):
                missing = written - self.names(user)
                rule = "Capability STRONG_LIST: a listing has all that was written before it began."
                require(not missing, rule, remedy, f"{sorted(missing)} was not in it")
        if Cap.DELETE in store.capabilities():
            for name in sorted(written):
                store.delete([name])
                rule = "Capability STRONG_LIST: a listing has nothing that was deleted before it began."
                listed = {name} & self.names(other_store)
                require(not listed, rule, remedy, f"{sorted(listed)} was still in it")

    def test_what_is_said_to_be_deletable_can_be_deleted(self, store: Store) -> None:
        """DELETE: an object, small or large, can be deleted with the rights at hand."""
        self.claimed(store, Cap.DELETE)
        store.put("folder/small", b"x")
        self.store_object(store, "folder/large", b"x")
        for name in ("folder/small", "folder/large"):
            try:
                store.delete([name])
            except Retained as error:
                self.unproved(f"the place keeps what was just written: {error}")
            except Exception as error:  # noqa: BLE001 - any is one too many
                rule = "Capability DELETE: objects can be deleted with the rights at hand."
                require(False, rule, "Do not claim it where they cannot.", f"it raised {shown(error)}")
        names = self.settled(store, set())
        rule = "Capability DELETE: what was deleted is gone."
        require(not names, rule, "Do not claim it where it stays.", f"left: {names}")

    def test_a_batch_of_any_length_is_deleted(self, store: Store) -> None:
        """BATCH: one call of delete() takes more names than fit into one request, and deletes each."""
        self.claimed(store, Cap.BATCH)
        self.claimed(store, Cap.DELETE)
        names = [f"folder/{number}" for number in range(self.many)]
        self.put_all(store, names)
        store.delete(iter(names))
        left = self.settled(store, set())
        rule = "Capability BATCH: delete() cuts what it is given into requests that the place takes."
        require(not left, rule, "Send one after another until all are sent.", f"{len(left)} of {len(names)} were left")

    def test_what_the_place_retains_stays_and_says_so(self, store: Store) -> None:
        """RETAINS: an object that the place keeps is dumpty.Retained when it is deleted, and stays listed."""
        self.claimed(store, Cap.RETAINS)
        store.put("folder/kept", b"x")
        rule = "Capability RETAINS: a deletion that the place refuses until later is dumpty.Retained."
        try:
            store.delete(["folder/kept"])
        except Retained:
            names = self.names(store)
            rule = "Capability RETAINS: what is kept is listed."
            require(names == {"folder/kept"}, rule, "Raise Retained only for what is still there.", f"{names}")
        except Exception as error:  # noqa: BLE001 - any other is one too many
            require(False, rule, "Tell it from other refusals.", f"it raised {shown(error)}")
        else:
            rule = "Capability RETAINS: what was deleted without an error is gone."
            names = self.settled(store, set())
            require(not names, rule, "Raise dumpty.Retained where it stays.", f"left: {names}")

    def test_a_local_object_has_a_path(self, store: Store) -> None:
        """LOCAL: path() tells the file that is the object."""
        local_store = self._local(store)
        self.store_object(store, "folder/object.bin", b"content")
        path = local_store.path("folder/object.bin")
        rule = "Capability LOCAL: path() returns the file that is the object."
        held = path.is_file() and path.read_bytes() == b"content"
        require(held, rule, "Or do not claim it.", f"{path} holds something else, or nothing")

    def test_a_workspace_is_private_and_goes_away(self, store: Store) -> None:
        """LOCAL: workspace() is an empty directory of its owner's alone, that goes away with the block."""
        local_store = self._local(store)
        with local_store.workspace() as path:
            (path / "spool").write_bytes(b"x")
            mode = path.stat().st_mode & 0o077
            names = self.names(store)
            store.sweep(self.young)
            require(not mode, "A workspace is its owner's alone.", "Create it with mode 0700.", f"{mode:#o} is open")
            require(not names, "A workspace is no object.", "Leave it out of list().", f"listed: {names}")
            rule = "A workspace in use is never swept away."
            require((path / "spool").exists(), rule, "Lock it.", "it was swept away")
        require(not path.exists(), "A workspace goes away with its block.", "Remove it.", f"{path} is still there")

    def _local(self, store: Store) -> LocalStore:
        self.claimed(store, Cap.LOCAL)
        rule = "Capability LOCAL: the store has the methods of dumpty.LocalStore, path() and workspace()."
        if not isinstance(store, LocalStore):
            require(False, rule, "Add them, or do not claim it.", f"it is a {type(store).__name__}")
        return store  # type: ignore[return-value]
