"""Objects that are replaced on a server that cannot do so at once: the old one or the new one is there at any moment."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta

import pytest

from dumpty import Exists, MissingFile
from dumpty_plugins.sftp.connection import Connection
from dumpty_plugins.sftp.names import FORMER

OLD, NEW, LATER = b"old", b"new, and longer", b"later"

# Does to a/b what it is told, once for each number that it reads, and is killed when so many of its renames and
# removals were answered.
KILLED = """
import os, signal, sys
from dumpty.registry.host import Host
from dumpty_plugins import sftp
from dumpty_plugins.sftp.connection import Connection
from dumpty_plugins.sftp.store import SFTPStore
url, what = sys.argv[1:]
host = Host([sftp], discover=False)

def do(steps):
    def counted(request):
        async def ask(self, *arguments):
            nonlocal steps
            try:
                return await request(self, *arguments)
            finally:
                steps -= 1
                if not steps:
                    os.kill(os.getpid(), signal.SIGKILL)
        return ask
    Connection.rename, Connection.remove = counted(Connection.rename), counted(Connection.remove)
    store = host.open_store(host.store(url), url=url, options={})
    store.delete(["a/b"]) if what == "delete" else store.put("a/b", what.encode(), new=False)

for line in sys.stdin:
    child = os.fork()
    if not child:
        try:
            do(int(line))
        finally:
            os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture
def server(start_server):
    """A server that renames onto nothing."""
    return start_server("internal-sftp -P posix-rename")


@pytest.fixture
def store(open_store, server, top):
    return open_store(server.url(top))


@pytest.fixture
def killed(server, top):
    """Do something in a process that is killed after so many steps; return whether it was, and did not come to its end."""
    children = {}

    def run(what, steps):
        if what not in children:
            argv = [sys.executable, "-c", KILLED, server.url(top), what]
            children[what] = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        print(steps, file=children[what].stdin, flush=True)
        status = int(children[what].stdout.readline())
        assert status in {0, -signal.SIGKILL}
        return status != 0

    yield run
    for child in children.values():
        child.communicate()


def listed(store):
    return {found.name: (found.size, found.tag) for found in store.list()}


def read_all_ways(store):
    """Return an object's content, which all that can be asked agrees on."""
    content = store.get("a/b")
    reader = store.open("a/b")
    assert reader.read(-1) == content
    reader.close()
    found = store.stat("a/b")
    assert found.size == len(content)
    assert listed(store) == {"a/b": (found.size, found.tag)} == {f.name: (f.size, f.tag) for f in store.list("a")}
    return content


def every_kill(killed, what):
    """Yield after each step that is the last, until it comes to its end."""
    steps = 1
    while killed(what, steps):
        yield steps
        steps += 1
    assert steps > 4


def then_replaced(store, files):
    store.put("a/b", LATER, new=False)
    assert read_all_ways(store) == LATER
    assert {name for name in files() if not name.endswith(".part")} == {"a/b"}


def then_deleted(store, files):
    store.delete(["a/b"])
    assert listed(store) == {}
    assert not [name for name in files() if not name.endswith(".part")]
    with pytest.raises(MissingFile):
        store.get("a/b")
    store.put("a/b", LATER)
    assert read_all_ways(store) == LATER


def then_swept(store, files, top):
    content = store.get("a/b")
    for name in files():
        os.utime(top / name, (time.time() - 2 * 86_400,) * 2)
    store.sweep(timedelta(0))
    assert read_all_ways(store) == content
    assert len(files()) == 1
    then_replaced(store, files)


@pytest.mark.parametrize("then", ["replaced", "deleted", "swept"])
def test_a_replacement_that_is_killed_leaves_the_old_or_the_new(store, killed, files, top, then):
    contents, between = set(), False
    store.put("a/b", OLD)
    for _ in every_kill(killed, NEW.decode()):
        contents.add(read_all_ways(store))
        between = between or files() & {"a/b", "a/b" + FORMER} == {"a/b" + FORMER}
        with pytest.raises(Exists):
            store.put("a/b", b"another's")
        if then == "replaced":
            then_replaced(store, files)
        elif then == "deleted":
            then_deleted(store, files)
        else:
            then_swept(store, files, top)
        store.put("a/b", OLD, new=False)
    assert contents == {OLD, NEW}
    assert between  # the moment that all this is about
    assert read_all_ways(store) == NEW


def test_a_commit_finds_the_name_taken_of_what_a_kill_left_half_replaced(store, top, files):
    store.put("a/b", OLD)
    (top / "a" / "b").rename(top / "a" / f"b{FORMER}")
    upload = store.upload("a/b")
    upload.write(b"another's")
    with pytest.raises(Exists):
        upload.commit()
    upload.abort()
    assert store.get("a/b") == OLD
    assert files() == {"a/b" + FORMER}


def test_a_deletion_that_is_killed_brings_nothing_back(store, killed, top):
    steps = 0
    while True:
        steps += 1
        store.put("a/b", NEW, new=False)
        (top / "a" / f"b{FORMER}").write_bytes(OLD)
        is_killed = killed("delete", steps)
        if listed(store):
            assert is_killed
            assert read_all_ways(store) == NEW
        if not is_killed:
            break
    assert steps > 2


def test_what_a_kill_left_is_an_object_of_any_server(store, open_store, ssh_server, top, files):
    """It may get another program, or be reached by an account that may do more."""
    store.put("a/b", OLD)
    (top / "a" / "b").rename(top / "a" / f"b{FORMER}")
    other = open_store(ssh_server.url(top))
    assert read_all_ways(other) == OLD
    other.delete(["a/b"])
    assert files() == set()


def test_whoever_reads_what_is_replaced_finds_the_old_or_the_new(store, open_store, server, top):
    store.put("a/b", OLD)
    done = threading.Event()
    contents, failures = set(), []

    def read():
        reading = open_store(server.url(top))
        try:
            while not done.is_set():
                contents.add(reading.get("a/b"))
                assert reading.stat("a/b").size in {len(OLD), len(NEW)}
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for turn in range(60):
        store.put("a/b", OLD if turn % 2 else NEW, new=False)
    done.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert contents <= {OLD, NEW}


@pytest.mark.parametrize("reads", ["stat", "get"])
def test_what_is_replaced_again_and_again_while_it_is_looked_for_is_found(store, monkeypatch, top, reads):
    """Each time it has the other one of its two names: three times in a row."""
    store.put("a/b", OLD)
    names = [top / "a" / "b", top / "a" / f"b{FORMER}"]
    one_after_the_other = asyncio.Lock()

    def evading(request):
        left = 3

        async def ask(self, path):
            nonlocal left
            async with one_after_the_other:
                for sought, other in (names, names[::-1]):
                    if left and path == os.fsencode(sought):
                        left -= 1
                        if sought.exists():
                            sought.rename(other)
                        break
                return await request(self, path)

        return ask

    monkeypatch.setattr(Connection, "lstat", evading(Connection.lstat))
    monkeypatch.setattr(Connection, "open", evading(Connection.open))
    if reads == "stat":
        assert store.stat("a/b").size == len(OLD)
    else:
        assert store.get("a/b") == OLD


def test_what_is_replaced_while_it_is_opened_is_read_to_its_own_end(store, monkeypatch, top):
    """Not to the end of the one that was looked at."""
    opening = Connection.open

    async def open_later(self, path):
        await asyncio.sleep(0.1)
        (top / "a" / "other").write_bytes(NEW)
        (top / "a" / "other").replace(top / "a" / "b")
        return await opening(self, path)

    monkeypatch.setattr(Connection, "open", open_later)
    for read in (store.get, lambda name: store.open(name).read(-1)):
        store.put("a/b", OLD, new=False)
        assert read("a/b") == NEW


def test_of_several_who_replace_at_once_one_is_the_last(open_store, server, top, files):
    failures = []

    def replace(number):
        store = open_store(server.url(top))
        try:
            for turn in range(12):
                store.put("a/b", bytes(number * 100 + turn), new=False)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=replace, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(open_store(server.url(top)).get("a/b")) % 100 == 11
    assert files() == {"a/b"}
