"""What a store owes to several users: one winner of each name, and a sweep that spares whoever still writes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from dumpty.errors import Exists
from dumpty.testing.children import location_of, start, wait_stopped
from dumpty.testing.places import StoreRules
from dumpty.testing.rules import require, shown
from dumpty.testing.streams import at_once
from dumpty.types import Cap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dumpty.registry.host import Host
    from dumpty.types import Store

__all__ = ["SharingRules"]

_OPEN = """
from dumpty.errors import Exists
from dumpty.registry.host import Host
host = Host([load(location)], discover=False)
plugin = host.plugins()[0]
options = host.options({"open_store": plugin}, {})["open_store"]
store = host.open_store(plugin, url=arguments[0], options=options)
"""
_WRITE = """
upload = store.upload("folder/unfinished")
upload.write(b"half")
print("ready", flush=True)
if sys.stdin.readline() != "commit\\n":
    os._exit(9)
upload.write(b" and half")
upload.commit()
"""
_RACE = """
print("ready", flush=True)
sys.stdin.readline()
won = []
for number in range(int(arguments[2])):
    try:
        store.put(f"race/{number}", arguments[1].encode() * 3000)
        won.append(number)
    except Exists:
        pass
print(json.dumps(won), flush=True)
"""
_FORK = """
sizes = {"folder/one": 1, "folder/two": 20_000}
for name, size in sizes.items():
    store.put(name, bytes(size))
print("ready", flush=True)
child = os.fork()
name = list(sizes)[bool(child)]
sizes_seen = {store.stat(name).size for _ in range(40)} | {len(store.get(name)) for _ in range(10)}
if not child:
    os._exit(sizes_seen != {sizes[name]})
status = os.waitpid(child, 0)[1]
print(json.dumps([sorted(sizes_seen), sizes[name], status]), flush=True)
"""
_SPARES = "sweep() never touches what a live writer still writes."


def _first_line(descriptor: int) -> bytes:
    """Return the first line, and read nothing of what follows: ``communicate`` does not look into a stream's buffer."""
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(descriptor, 1)):
        line += byte
    return line


class SharingRules(StoreRules):
    """The part of ``StoreSuite`` that needs a second user: a thread, or a process."""

    contenders: ClassVar[int] = 4
    """How many threads, and processes, make one name at the same moment."""

    # -- one winner ----------------------------------------------------------------------------------------------

    def test_of_all_threads_that_create_one_name_exactly_one_wins(
        self, host: Host, store: Store, store_url: str
    ) -> None:
        """CREATE_NEW: of several threads that put or upload one new name, one wins, and the others get Exists."""
        self.claimed(store, Cap.CREATE_NEW)
        won: dict[str, list[bytes]] = {}

        def work(number: int, meet: Callable[[], None]) -> None:
            own_store, data = self.opened(host, store_url), bytes([65 + number]) * 3000
            for turn in range(6):
                name = f"race/{turn}"
                meet()
                with contextlib.suppress(Exists):
                    if turn % 2:
                        own_store.put(name, data)
                    else:
                        self.store_object(own_store, name, data)
                    won.setdefault(name, []).append(data)

        works = [lambda meet, number=number: work(number, meet) for number in range(self.contenders)]
        errors = at_once(works, self.patience)
        remedy = "Let the place decide: a link, If-None-Match; never look first and write then. Or do not claim it."
        rule = "Capability CREATE_NEW: of all that create one name, one wins and the others get dumpty.Exists."
        require(not errors, rule, remedy, f"it raised {shown(errors[0])}" if errors else "")
        self._require_winners(store, {name: [d[:1] for d in data] for name, data in won.items()}, 6, "threads")

    def test_of_all_processes_that_create_one_name_exactly_one_wins(self, store: Store, store_url: str) -> None:
        """CREATE_NEW: of several processes that put one new name, one wins, and the others get Exists."""
        self.claimed(store, Cap.CREATE_NEW)
        turns = 25
        with contextlib.ExitStack() as stack:
            letters = [chr(65 + number) for number in range(self.contenders)]
            children = [stack.enter_context(self._child(_RACE, store_url, letter, str(turns))) for letter in letters]
            with ThreadPoolExecutor(len(children)) as pool:
                outcomes = list(pool.map(lambda child: child.communicate("\n", timeout=self.patience), children))
        won: dict[str, list[bytes]] = {}
        for letter, (output, error) in zip(letters, outcomes, strict=True):
            rule = "Capability CREATE_NEW: whoever comes too late gets dumpty.Exists."
            require(
                output, rule, "Mend what it says.", f"a process ended with {error.strip().rpartition(chr(10))[2]!r}"
            )
            for number in json.loads(output):
                won.setdefault(f"race/{number}", []).append(letter.encode())
        self._require_winners(store, won, turns, "processes")

    def _require_winners(self, store: Store, won: dict[str, list[bytes]], turns: int, rivals: str) -> None:
        remedy = "Let the place decide: a link, If-None-Match; never look first and write then. Or do not claim it."
        for name in (f"race/{turn}" for turn in range(turns)):
            winners = won.get(name, [])
            rule = f"Capability CREATE_NEW: of all {rivals} that create one name, exactly one wins."
            require(len(winners) == 1, rule, remedy, f"{len(winners)} of {self.contenders} won")
            rule = "Capability CREATE_NEW: what is there is the winner's, whole."
            require(self.content(store, name) == winners[0] * 3000, rule, remedy, "it holds something else")

    def test_a_forked_process_has_connections_of_its_own(self, store_url: str) -> None:
        """A process that is forked from one that used the store uses it, too, and neither hears the other's answers."""
        rule = "A store keeps no connection across a fork."
        remedy = "Remember os.getpid() beside what is connected, and connect anew where it differs."
        with self._child(_FORK, store_url) as process:
            try:
                output, error = process.communicate(timeout=self.patience)
            except subprocess.TimeoutExpired:
                require(False, rule, remedy, f"nothing came of two processes within {self.patience:g} s")
        last_words = f"{error.strip().rpartition(chr(10))[2]!r}, status {process.returncode}"
        require(output, rule, remedy, f"one ended with {last_words}")
        seen, size, status = json.loads(output)
        require(seen == [size], rule, remedy, f"an object of {size} bytes had {seen}")
        require(not status, rule, remedy, f"the forked one ended with {error.strip().rpartition(chr(10))[2]!r}")

    # -- whoever dies, and whoever lives -------------------------------------------------------------------------

    def test_what_a_killed_writer_left_is_never_listed_and_swept(self, store: Store, store_url: str) -> None:
        """A writer that is killed before commit() leaves nothing that is listed, and nothing that sweep() leaves."""
        self.store_object(store, "folder/kept", b"x")
        files_before = self.raw_files(store)
        with self._child(_WRITE, store_url) as child:
            child.kill()
        names = self.names(store)
        rule = "Nothing is listed of an upload whose writer was killed before commit()."
        require(names == {"folder/kept"}, rule, "Write elsewhere, or under a name that is none.", f"it was: {names}")
        store.sweep(timedelta(0))
        names = self.settled(store, {"folder/kept"})
        require(names == {"folder/kept"}, "sweep() touches no committed object.", "Leave it.", f"left: {names}")
        files = self.raw_files(store)
        if files is None or files_before is None:
            self.unproved("what sweep() removes cannot be seen; override raw_files()")
        rule = "sweep() removes what uploads left that were ended before commit()."
        require(files <= files_before, rule, "Find and remove it.", f"there still is {sorted(files - files_before)}")

    def test_sweep_spares_live_writers(self, host: Host, store: Store, store_url: str) -> None:
        """sweep() never touches an upload whose writer lives, in this process or in another."""
        upload = store.upload("folder/living")
        upload.write(b"half")
        with self._child(_WRITE, store_url) as child:
            for user in (store, self.opened(host, store_url)):
                user.sweep(self.young)
            output = child.communicate("commit\n", timeout=self.patience)
            self._require_committed(store, child, output[1])
        upload.write(b" and half")
        try:
            upload.commit()
            content = self.content(store, "folder/living")
        except Exception as error:  # noqa: BLE001 - any is one too many
            require(False, _SPARES, "Ask for a sign of life.", f"it could not be committed any more: {shown(error)}")
        require(content == b"half and half", _SPARES, "Ask for a sign of life.", f"it holds {content!r}")

    def test_sweep_spares_a_writer_that_is_stopped(self, store: Store, store_url: str) -> None:
        """sweep() never touches an upload whose writer is stopped: it may go on."""
        with self._child(_WRITE, store_url) as child:
            child.send_signal(signal.SIGSTOP)
            wait_stopped(child)
            try:
                store.sweep(self.young)
            finally:
                child.send_signal(signal.SIGCONT)
            output = child.communicate("commit\n", timeout=self.patience)
            self._require_committed(store, child, output[1])

    def _require_committed(self, store: Store, child: subprocess.Popen[str], error: str) -> None:
        remedy = "Ask for a sign of life that a process gives by being there (a file lock), or keep what is young."
        seen = f"it could not be committed any more: {error.strip().rpartition(chr(10))[2]}"
        require(child.returncode == 0, _SPARES, remedy, seen)
        content = self.content(store, "folder/unfinished")
        require(content == b"half and half", _SPARES, remedy, f"it holds {content!r}")

    # -- in other words ------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _child(self, program: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        location: dict[str, Any] | None = location_of(self.plugin)
        if location is None:
            self.unproved("another process finds only a module, or a class that is made without arguments")
        child = start(location, _OPEN + program, *arguments)
        try:
            if child.stdout is not None and _first_line(child.stdout.fileno()) != b"ready\n":
                error = child.communicate()[1].strip().rpartition("\n")[2]
                require(False, "Another process can use the store.", "Mend what it says.", f"it ended with {error!r}")
            yield child
        finally:
            child.kill()
            child.communicate()
