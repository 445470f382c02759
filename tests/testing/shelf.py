"""A store that keeps every rule, on top of the built-in one: what the broken ones are made of.

Its place can be made to go wrong, as a place far away does, by the fixtures of its suite.
"""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

from dumpty import Exists, NotPermitted, PluginInfo, StoreError, hookimpl
from dumpty_plugins.file import FileStore


class Lost(Exception):
    """The place did what it was asked, or did not: its answer is lost."""


class Upload:
    """Passes everything on; the broken ones override one method each."""

    def __init__(self, inner, store, name):
        self.inner = inner
        self.store = store
        self.name = name

    def write(self, data):
        return self.inner.write(data)

    def commit(self):
        self.store.ask()
        self.inner.commit()

    def abort(self):
        self.inner.abort()


class Reader:
    """Breaks off where its place cuts it off, and says so."""

    def __init__(self, inner, store, name):
        self.inner = inner
        self.store = store
        self.name = name

    def read(self, size=-1):
        if self.name in self.store.place.cut_off:
            return self.end_early()
        return self.inner.read(size)

    def end_early(self):
        raise StoreError(f"the connection broke off in the midst of {self.name}")

    def close(self):
        self.inner.close()


class Place:
    """How a place goes wrong."""

    def __init__(self):
        self.denied = set()
        self.cut_off = set()
        self.loses_answers = False
        self.answers = threading.Event()
        self.answers.set()

    @contextlib.contextmanager
    def denying(self, name):
        self.denied.add(name)
        try:
            yield
        finally:
            self.denied.clear()

    @contextlib.contextmanager
    def cutting_off(self, name):
        self.cut_off.add(name)
        try:
            yield
        finally:
            self.cut_off.clear()

    @contextlib.contextmanager
    def losing_answers(self):
        self.loses_answers = True
        try:
            yield
        finally:
            self.loses_answers = False

    @contextlib.contextmanager
    def stalled(self):
        self.answers.clear()
        try:
            yield
        finally:
            self.answers.set()


class Shelf(FileStore):
    upload_type = Upload
    reader_type = Reader

    def __init__(self, top, place):
        super().__init__(str(top))
        self.place = place

    def ask(self):
        """Do as every request does: wait for an answer, but not for ever."""
        if not self.place.answers.wait(self.time_limit):
            raise StoreError("there was no answer")

    time_limit = 0.2

    def put(self, name, data, *, new=True):
        self.ask()
        try:
            self.send(name, data, new)
        except Lost:
            self.look_up(name, data)

    def send(self, name, data, new):
        try:
            super().put(name, data, new=new)
        finally:
            if self.place.loses_answers:
                raise Lost

    def look_up(self, name, data):
        if self.get(name) != data:
            raise Exists(f"there is another {name}")

    def upload(self, name, expected=None):
        return self.upload_type(super().upload(name, expected), self, name)

    def open(self, name, offset=0):
        self.ask()
        return self.reader_type(super().open(name, offset), self, name)

    def stat(self, name):
        self.ask()
        return super().stat(name)

    def list(self, folder=""):
        self.ask()
        yield from super().list(folder)

    def delete(self, names):
        self.ask()
        names = list(names)
        super().delete([name for name in names if name not in self.place.denied])
        self.refuse(names)

    def refuse(self, names):
        if self.place.denied & {*names}:
            raise NotPermitted(f"{sorted(self.place.denied)} may not be deleted")

    def now(self):
        self.ask()
        return super().now()


class GoodStore:
    """``shelf://USER:PASSWORD@/PATH``."""

    store = Shelf
    name = "shelf"

    def __init__(self):
        self.place = Place()

    @hookimpl
    def describe(self):
        return PluginInfo(kind="store", schemes=("shelf",))

    @hookimpl
    def open_store(self, url, options):
        path = Path(url.rpartition("@")[2])
        path.mkdir(parents=True, exist_ok=True)
        return self.make_store(path, url, options)

    def make_store(self, path, url, options):
        return self.store(path, self.place)
