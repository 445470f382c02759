"""The store that the broken ones are made of keeps every rule itself, with every place that goes wrong."""

from __future__ import annotations

from dumpty import Cap, Retained
from testing.shelf import GoodStore, Shelf
from testing.suites import Stores


class InBatches(GoodStore):
    class store(Shelf):
        def capabilities(self):
            return super().capabilities() | Cap.BATCH


class Retaining(GoodStore):
    class store(Shelf):
        def capabilities(self):
            return super().capabilities() | Cap.RETAINS

        def delete(self, names):
            names = list(names)
            super().delete(name for name in names if name != "folder/kept")
            if "folder/kept" in names:
                raise Retained("folder/kept is kept until tomorrow")


class TestShelf(Stores):
    plugin = InBatches()


class TestRetainingShelf(Stores):
    plugin = Retaining()
