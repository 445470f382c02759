"""What a store owes for single objects: written once and whole, read as written, listed, deleted."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pytest

from dumpty.errors import Exists, MissingFile, StoreError
from dumpty.testing.places import StoreRules
from dumpty.testing.rules import difference, refused, require, shown
from dumpty.testing.streams import SAMPLES
from dumpty.types import Cap

if TYPE_CHECKING:
    from dumpty.types import Store

__all__ = ["ObjectRules"]

_NAME = "folder/object.bin"
_BAD_NAMES = (
    *("", ".", "..", "a/..", "../outside", "a/./b", "/outside", "a//b", "a/", "a/b/c/d/e"),
    *("a\0b", "a b", "a\\b", "a+b", "a\n", "ä", "x" * 201, "/".join(["x" * 133] * 3)),
)
_LONG_NAMES = ("x" * 200, "/".join(["a" * 99, "b" * 99, "c", "d" * 198]), ".hidden/.x/-/_", "A.b-C_d/0")


class ObjectRules(StoreRules):
    """The part of ``StoreSuite`` about single objects."""

    # -- written -------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("sample", ["empty", "one_byte", "random"])
    def test_what_was_put_is_read_back(self, store: Store, sample: str) -> None:
        """put() writes a new object that get() and open() return byte for byte, an empty one included."""
        data = SAMPLES[sample]()
        store.put(_NAME, data)
        for read_back in (store.get(_NAME), self.content(store, _NAME)):
            rule = "An object holds the bytes that were put."
            require(read_back == data, rule, "See where it differs.", difference(data, read_back))

    def test_put_of_a_name_that_is_taken_is_exists(self, store: Store) -> None:
        """put() of a name that is taken raises Exists and changes nothing, whether it was put or uploaded."""
        store.put("folder/put", b"old")
        self.store_object(store, "folder/uploaded", b"old")
        for name in ("folder/put", "folder/uploaded"):
            rule = "put() of a name that is taken raises dumpty.Exists."
            with refused(Exists, rule, "Let the place refuse it; look first where it cannot."):
                store.put(name, b"new, longer")
            kept = store.get(name) == b"old"
            require(kept, "put() of a name that is taken changes nothing.", "Refuse it first.", "it was replaced")

    def test_put_replaces_where_it_is_told_to(self, store: Store) -> None:
        """put(new=False) replaces an object all at once, and makes one where there is none."""
        for data in (b"first", b"second, longer", b""):
            store.put(_NAME, data, new=False)
            read_back = store.get(_NAME)
            rule = "put(new=False) leaves the new bytes, all of them and no others."
            require(read_back == data, rule, "Write it elsewhere, and rename.", f"it holds {shown(read_back)}")

    @pytest.mark.parametrize("sample", ["empty", "one_byte", "random"])
    def test_what_was_committed_is_read_back(self, store: Store, sample: str) -> None:
        """What was written and committed is read back byte for byte, an empty object included."""
        data = SAMPLES[sample]()
        self.store_object(store, _NAME, data[:1000], bytearray(data[1000:5000]), memoryview(data)[5000:])
        read_back = self.content(store, _NAME)
        rule = "A committed object holds the bytes that were written, in their order."
        require(read_back == data, rule, "See where it differs.", difference(data, read_back))

    def test_a_buffer_is_the_callers_again_after_the_write(self, store: Store) -> None:
        """write() takes every byte, returns their number, and leaves the buffer to the caller."""
        upload, buffer = store.upload(_NAME, expected=8), bytearray()
        for chunk in (b"one", b"", b"other"):
            buffer[:] = chunk
            written = upload.write(buffer)
            rule = "write() takes every byte and returns their number."
            seen = f"it returned {written!r} for {chunk!r}"
            require(written == len(chunk), rule, "Write on until all is taken.", seen)
            buffer[:] = b"\xff" * len(buffer)
        upload.commit()
        unchanged = self.content(store, _NAME) == b"oneother"
        require(unchanged, "The buffer is the caller's again after write().", "Copy what you keep.", "it was kept")

    def test_nothing_is_visible_before_commit(self, store: Store) -> None:
        """An object is neither listed nor found under its name before commit(), and whole after it."""
        upload = store.upload(_NAME)
        upload.write(b"half")
        rule = "Nothing is visible under an object's name before commit()."
        remedy = "Write to another name, or elsewhere, and let commit() give it its own."
        for operation, look in (("open", store.open), ("get", store.get), ("stat", store.stat)):
            with refused(MissingFile, f"{rule} {operation}() says MissingFile.", remedy):
                look(_NAME)
        names = self.names(store)
        require(not names, rule, remedy, f"list() had {names}")
        upload.commit()
        size = store.stat(_NAME).size
        require(size == len(b"half"), "A committed object is visible whole.", remedy, f"it had {size} bytes")
        upload.abort()
        names = self.settled(store, {_NAME})
        require(names == {_NAME}, "abort() after commit() does nothing.", "Note that it has ended.", f"left: {names}")

    def test_commit_of_a_name_that_is_taken_is_exists(self, store: Store) -> None:
        """commit() raises Exists where the name was taken meanwhile, and changes nothing."""
        upload = store.upload(_NAME)
        upload.write(b"new, longer")
        store.put(_NAME, b"old")
        with refused(Exists, "commit() of a name that is taken raises dumpty.Exists.", "Make it as put() does."):
            upload.commit()
        upload.abort()
        read_back = store.get(_NAME)
        rule = "commit() of a name that is taken changes nothing, nor does the abort() after it."
        require(read_back == b"old", rule, "Make it as put() does.", f"it holds {shown(read_back)}")

    def test_abort_leaves_nothing(self, store: Store) -> None:
        """abort() drops the object and whatever it left; it may be called again."""
        store.put("folder/kept", b"x")  # with its first object a store may leave something of its own
        files_before = self.raw_files(store)
        upload = store.upload(_NAME)
        upload.write(b"half")
        upload.abort()
        upload.abort()
        new_files = (self.raw_files(store) or set()) - (files_before or set())
        remains = sorted(self.names(store) - {"folder/kept"} | new_files)
        require(not remains, "abort() leaves nothing.", "Remove what was written.", f"{remains} was left")
        with refused(MissingFile, "An aborted object is not there.", "Never make it visible."):
            store.open(_NAME)

    # -- read ----------------------------------------------------------------------------------------------------

    def test_reading_begins_at_the_offset(self, store: Store) -> None:
        """open(name, offset) reads from that byte on, to the end; at the end there is nothing."""
        store.put(_NAME, b"0123456789")
        for offset in (0, 1, 7, 10):
            content = self.content(store, _NAME, offset)
            expected = b"0123456789"[offset:]
            rule = "open(name, offset) reads from that byte on."
            require(content == expected, rule, "Seek, or ask for that range.", f"offset {offset} gave {content!r}")

    def test_read_keeps_to_the_size_it_was_asked_for(self, store: Store) -> None:
        """read(n) returns up to n bytes, b"" at the end only and ever after; read(-1) reads to the end."""
        data = SAMPLES["random"]()[:10_000]
        self.store_object(store, _NAME, data)
        rule, remedy = "read(n) returns at most n bytes, b'' at the end only.", "Keep the rest for the next read."
        reader, content = store.open(_NAME), bytearray()
        while block := reader.read(777):
            require(len(block) <= 777, rule, remedy, f"read(777) returned {len(block)} bytes")  # noqa: PLR2004 - as asked
            content += block
        require(content == data and reader.read(777) == b"", rule, remedy, f"{len(content)} of {len(data)} bytes came")
        reader.close()
        reader.close()
        reader = store.open(_NAME)
        blocks = []
        while block := reader.read(-1):
            blocks.append(block)
        reader.close()
        require(b"".join(blocks) == data, "read(-1) reads to the end.", remedy)

    def test_a_missing_object_is_missing_file(self, store: Store) -> None:
        """get, open and stat of an object that is not there raise MissingFile, also of a folder of objects."""
        store.put("folder/deep/object", b"x")
        for name in ("none", "folder/none", "other/none", "folder", "folder/deep"):
            for operation, call in (
                ("get()", store.get),
                ("open()", lambda name: store.open(name).read(1)),
                ("stat()", store.stat),
            ):
                rule = f"An object that is not there is dumpty.MissingFile. So says {operation} of {name!r}."
                with refused(MissingFile, rule, "Raise it, and dumpty.StoreError for every other failure."):
                    call(name)
        names = self.settled(store, {"folder/deep/object"})
        rule = "Asking for a missing object creates nothing."
        require(names == {"folder/deep/object"}, rule, "Open without creating.", f"listed: {names}")

    # -- listed --------------------------------------------------------------------------------------------------

    def test_a_listing_has_every_page(self, store: Store) -> None:
        """list() yields every object once, however many there are."""
        names = {f"folder/{number}" for number in range(self.many)}
        self.put_all(store, sorted(names))
        self.settled(store, names)
        listed = [found.name for found in store.list()]
        rule = "list() yields every object once, to the last page."
        seen = f"of {len(names)} objects {len(names & set(listed))} were listed, {len(listed)} names in all"
        require(sorted(listed) == sorted(names), rule, "Ask for the next page until there is none.", seen)

    def test_every_object_is_listed_as_stat_tells(self, store: Store) -> None:
        """list() yields objects at any depth, with the size and the tag that stat() tells."""
        expected = {"a": 0, "b/c": 10, "b/d/e": 20, "b/d/f/g": 30, ".h/-/_": 40}
        for name, size in expected.items():
            self.store_object(store, name, bytes(size))
        self.settled(store, set(expected))
        listed = {found.name: (found.size, found.tag) for found in store.list()}
        told = {found.name: (found.size, found.tag) for found in map(store.stat, expected)}
        rule = "list() yields every object at any depth, with the size and the tag that stat() tells."
        right = listed == told and {name: size for name, (size, _) in told.items()} == expected
        require(right, rule, "Walk every folder; take both from one source.", difference(told, listed) or shown(told))

    def test_a_folder_is_listed_without_its_neighbours(self, store: Store) -> None:
        """list(folder) yields what is below that folder, and not what only begins alike."""
        objects = {"a/1", "a/b/2", "a/b/c/3", "a/bc/4", "ab/5", "a-b/6", "a.b", "A/7"}
        self.put_all(store, sorted(objects))
        self.settled(store, objects)
        for folder in ("a", "a/b", "a/b/c", "ab", "a-b", "b", "a/1", "none"):
            names = self.names(store, folder)
            expected = {name for name in objects if name.startswith(f"{folder}/")}
            rule = f"list({folder!r}) yields what is below that folder, and nothing else."
            require(names == expected, rule, "Ask for names that begin with FOLDER and a slash.", f"it had {names}")

    # -- deleted -------------------------------------------------------------------------------------------------

    def test_a_deleted_object_is_gone_and_no_other(self, store: Store) -> None:
        """delete() removes what it is given, and nothing else: no neighbour, no folder."""
        self._deletable(store)
        objects = {"a/1", "a/12", "a/1.more", "a/2", "b/1", "ab/1"}
        self.put_all(store, sorted(objects))
        store.delete(["a/1", "a"])
        names = self.settled(store, objects - {"a/1"})
        rule = "delete() removes the objects of those names, and no other."
        require(names == objects - {"a/1"}, rule, "Compare whole names.", f"left: {names}")
        with refused(MissingFile, "A deleted object is not there.", "Delete it for good."):
            store.stat("a/1")

    def test_deleting_what_is_gone_is_no_error(self, store: Store) -> None:
        """delete() of an object that is not there, or named twice, is no error, and of none at all."""
        self._deletable(store)
        self.put_all(store, ["a/1", "a/2"])
        try:
            store.delete(["a/none", "a/1", "none/none", "a/1"])
            store.delete(["a/1"])
            store.delete([])
            store.delete(iter(()))
        except Exception as error:  # noqa: BLE001 - any is one too many
            rule = "delete() of what is gone already is no error."
            require(False, rule, "Take 'not found' for done.", f"it raised {shown(error)}")
        names = self.settled(store, {"a/2"})
        require(names == {"a/2"}, "delete() deletes all the others.", "Go on past what is gone.", f"left: {names}")

    def test_many_objects_are_deleted_in_one_call(self, store: Store) -> None:
        """delete() takes any number of names, from an iterator, too."""
        self._deletable(store)
        names = [f"folder/{number}" for number in range(self.many)]
        self.put_all(store, [*names, "other/kept"])
        store.delete(found.name for found in store.list("folder"))
        store.delete(iter(names))
        left = self.settled(store, {"other/kept"})
        rule = "delete() deletes all it is given."
        require(left == {"other/kept"}, rule, "Send batches until all are sent.", f"{len(left)} objects were left")

    def _deletable(self, store: Store) -> None:
        self.claimed(store, Cap.DELETE)

    # -- named ---------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("name", _BAD_NAMES, ids=range(len(_BAD_NAMES)))
    def test_only_names_of_the_contract_are_taken(self, store: Store, name: str) -> None:
        """What is no name of the contract is refused with StoreError, whatever is asked, and reaches nothing."""
        store.put("a/b", b"x")
        rule = f"{shown(name)} is no object's name: it is refused with dumpty.StoreError, whatever is asked."
        remedy = "Call dumpty.check_object_name(name) before anything else."
        for call in (
            functools.partial(store.put, name, b"x"),
            functools.partial(store.put, name, b"x", new=False),
            functools.partial(self.store_object, store, name, b"x"),
            functools.partial(store.get, name),
            functools.partial(store.open, name),
            functools.partial(store.stat, name),
            functools.partial(store.delete, [name]),
        ):
            with refused((StoreError, MissingFile), rule, remedy):
                call()
        names = self.settled(store, {"a/b"})
        require(names == {"a/b"}, rule, remedy, f"the store now holds {shown(names)}")

    @pytest.mark.parametrize("name", _LONG_NAMES, ids=range(len(_LONG_NAMES)))
    def test_every_name_of_the_contract_is_taken(self, store: Store, name: str) -> None:
        """Whatever the contract calls a name can be put, uploaded, read and listed, the longest ones too."""
        rule = f"{shown(name)} is the name of an object."
        try:
            store.put(name, b"put")
            content, names = store.get(name), self.settled(store, {name})
        except Exception as error:  # noqa: BLE001 - any is one too many
            require(False, rule, "Keep it, or an encoding of it.", f"it raised {shown(error)}")
        require(content == b"put" and names == {name}, rule, "Keep it, or an encoding of it.", f"listed: {names}")
        if name.count("/") < 3 and len(name) < 190:  # noqa: PLR2004 - one more segment fits
            self.store_object(store, f"{name}.2", b"uploaded")
            require(self.content(store, f"{name}.2") == b"uploaded", rule, "Upload as you put.")

    def test_an_object_is_located_without_secrets(self, store: Store, store_url: str) -> None:
        """locate() tells where an object is, one that does not exist too, and shows no password of the URL."""
        location = store.locate(_NAME)
        rule = "locate() returns a text that names the object and holds no secret."
        password = store_url.partition("://")[2].rpartition("@")[0].partition(":")[2]
        well_formed = isinstance(location, str) and _NAME in location and not (password and password in location)
        require(well_formed, rule, "Build it from the URL without its password.", shown(location))
