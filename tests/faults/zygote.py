"""A process that has imported everything and forks one child for each command line: 200 killings in seconds.

Reads one JSON object per line and answers with one. Each child runs ``dumpty.cli.main`` in a session of its own, as
the installed program does, with the fault that the order asks for:

- ``step``: SIGKILL just before the n-th change it makes below ``top`` (files and flushes), of those whose path has the
  pattern ``among`` in it;
- ``fsync``: the n-th ``os.fsync`` fails;
- ``line``: Ctrl-C's exception before the n-th line that is run of those that commit a backup; where is noted in ``note``;
- ``request``: SIGKILL when the answer to the n-th request over HTTP has come, or the n-th SFTP packet is sent;
- ``clock``: seconds to add to the clock, one more each time it is asked, the last one from then on;
- ``until``: SIGTERM once a run, or what was told, is written down in this folder and let go of;
- ``signal`` and ``delay``: the signal is sent so many seconds after the child is ready for signals, and after ``once``,
  a file, has something in it.
"""

from __future__ import annotations

import contextlib
import errno
import faulthandler
import gc
import itertools
import json
import os
import pkgutil
import re
import signal
import sqlite3
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path


def watch(top: str, act, among: str = "") -> None:
    """Call ``act`` before every change below ``top`` and every flush, of those whose path has ``among`` in it."""
    wanted = re.compile(among)

    def event(name, arguments) -> None:
        changes = name in {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link"} or (
            name == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        )
        if changes and isinstance(arguments[0], (str, bytes)):
            path = os.fsdecode(arguments[0])
            # A name in an open directory is one of the store's.
            if (top in path or not os.path.isabs(path)) and wanted.search(path):
                act()

    real = os.fsync

    def fsync(descriptor) -> None:
        if not among or wanted.search(os.readlink(f"/proc/self/fd/{descriptor}")):
            act()
        real(descriptor)

    sys.addaudithook(event)
    os.fsync = fsync


def kill_at(step: int):
    """Return a function that kills this process at its ``step``-th call."""
    calls = itertools.count(1)

    def act() -> None:
        if next(calls) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    return act


def fail_fsync(number: int, note: str) -> None:
    """Let the ``number``-th flush fail, and leave a note at the path ``note`` that it came to that."""
    real = os.fsync
    calls = itertools.count(1)

    def fsync(descriptor) -> None:
        if next(calls) == number:
            Path(note).touch()
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(descriptor)

    os.fsync = fsync


COMMITTING = re.compile(
    r"/(dumpty/(operations/backup|streaming/pipeline|repository/(protocol/)?\w+)|dumpty_plugins/file/\w+)\.py$"
)


def interrupt_at(line: int, note: str) -> None:
    """Raise ``KeyboardInterrupt`` before the ``line``-th line of those that commit, and leave a note of the place."""
    lines = itertools.count(1)

    def trace(frame, event, _argument):
        code = frame.f_code
        # What is raised in a finalizer is dropped by Python.
        if code.co_name == "__del__" or not COMMITTING.search(code.co_filename):
            return None
        if event == "line" and next(lines) == line:
            sys.settrace(None)
            Path(note).write_text(f"{code.co_filename}:{frame.f_lineno}")
            raise KeyboardInterrupt
        return trace

    sys.settrace(trace)


def kill_at_request(number: int) -> None:
    """Kill this process at its ``number``-th request: when the answer has come, or asyncssh has sent the packet."""
    from asyncssh.sftp import SFTPHandler
    from botocore.httpsession import URLLib3Session
    from requests.adapters import HTTPAdapter

    act = kill_at(number)
    send = SFTPHandler.send_packet

    def dying(ask):
        def ask_and_die(self, *arguments, **options):
            answer = ask(self, *arguments, **options)
            act()
            return answer

        return ask_and_die

    def send_and_die(self, *arguments):
        send(self, *arguments)
        act()

    URLLib3Session.send, HTTPAdapter.send = dying(URLLib3Session.send), dying(HTTPAdapter.send)
    SFTPHandler.send_packet = send_and_die


def shift_clock(offsets: list[float]) -> None:
    """Add the offsets, one after the other, to what ``datetime.now`` and ``time.time`` say in dumpty."""
    import datetime as dt

    real = dt.datetime
    remaining = list(offsets)

    class Shifted(real):
        @classmethod
        def now(cls, tz=None):
            offset = remaining.pop(0) if len(remaining) > 1 else remaining[0]
            moment = real.now(dt.UTC) + dt.timedelta(seconds=offset)
            return moment.astimezone(tz)

    for name, loaded in list(sys.modules.items()):
        if name.startswith("dumpty") and getattr(loaded, "datetime", None) is real:
            loaded.datetime = Shifted
    clock = time.time
    time.time = lambda: clock() + remaining[0]


def end_when_run(folder: str) -> None:
    """End this process by SIGTERM once a run, or what was told, is written down in ``folder``, and let go of.

    What one that was killed claimed stays: nobody is waited for longer than a tenth of a second.
    """

    def names(ending: str) -> list[str]:
        with contextlib.suppress(FileNotFoundError):  # a part, which whoever was killed left, is nothing written down
            return [name for name in os.listdir(folder) if ending in name and not name.endswith(".part")]
        return []

    def watch_folder() -> None:
        while not (names(".result") or names(".told-")):
            time.sleep(0.005)
        end = time.monotonic() + 0.1
        while names(".claim-") and time.monotonic() < end:
            time.sleep(0.005)
        while not callable(signal.getsignal(signal.SIGTERM)):
            time.sleep(0.005)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch_folder, daemon=True).start()


def run_child(order: dict) -> None:
    """Become the command line that was ordered."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would ignore it
    for stream, path in ((1, order["out"]), (2, order["err"])):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), stream)
    os.environ.update(order.get("env", {}))
    faulthandler.enable()
    if "TZ" in order.get("env", {}):
        time.tzset()
    if order.get("step"):
        watch(order["top"], kill_at(order["step"]), order.get("among", ""))
    if order.get("fsync"):
        fail_fsync(order["fsync"], order["note"])
    if order.get("line"):
        interrupt_at(order["line"], order["note"])
    if order.get("request"):
        kill_at_request(order["request"])
    if order.get("until"):
        end_when_run(order["until"])
    if order.get("clock"):
        shift_clock(order["clock"])
    from dumpty.cli import main

    try:
        status = main(order["argv"])
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    except KeyboardInterrupt:  # after all was said, where the program itself would end so
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)


def ready_for_signals(child: int) -> None:
    """Wait until the child has taken SIGTERM over, or has ended."""
    mask = 1 << (signal.SIGTERM - 1)
    with contextlib.suppress(OSError, StopIteration):
        while True:
            status = Path(f"/proc/{child}/status").read_text().splitlines()
            caught = next(line for line in status if line.startswith("SigCgt:"))
            if int(caught.split()[1], 16) & mask or any(line.startswith("State:\tZ") for line in status):
                return
            time.sleep(0.0002)


def is_over(child: int) -> bool:
    """Return whether a child has ended; nobody has waited for it yet."""
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def has_content(path: str) -> bool:
    """Return whether there is a file, and anything in it."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.getsize(path) > 0
    return False


def fork(order: dict) -> dict:
    """Run one child to its end and return what became of it."""
    began = time.monotonic()
    child = os.fork()
    if not child:
        try:
            run_child(order)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(99)
    fired = False
    if order.get("signal"):
        ready_for_signals(child)
        while order.get("once") and not is_over(child) and not has_content(order["once"]):
            time.sleep(0.01)
        time.sleep(order["delay"])
        fired = not is_over(child)
        os.kill(child, order["signal"])
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return {"status": status, "seconds": time.monotonic() - began, "fired": fired}


def warm() -> None:
    """Import everything that a command could import."""
    import asyncssh.sftp  # noqa: F401
    import google.auth.transport.requests  # noqa: F401
    import google_crc32c  # noqa: F401
    import psycopg2  # noqa: F401
    import pymysql.cursors  # noqa: F401

    import dumpty
    import dumpty_plugins
    from dumpty.cli import main
    from dumpty_plugins.s3 import address, requests

    requests._new_client(address.parse_address("s3://bucket"))  # which keeps what it has read
    for package in (dumpty, dumpty_plugins):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.startswith(("dumpty.testing", "dumpty.__main__", "dumpty.cli.skeleton")):
                __import__(module.name)
    with tempfile.TemporaryDirectory() as top, open(os.devnull, "w", encoding="utf-8") as nothing:
        with contextlib.closing(sqlite3.connect(f"{top}/a.db")) as database:
            database.execute("CREATE TABLE t (x)")
        with contextlib.redirect_stdout(nothing), contextlib.redirect_stderr(nothing):
            for form in ("sql", "native"):
                main(["backup", f"sqlite:///{top}/a.db", "--dir", top, "--format", form])
                main(["restore", "latest", "--dir", top, "--to", f"sqlite:///{top}/{form}.db"])
            main(["verify", "--all", "--dir", top])
            main(["prune", "--keep", "1", "--yes", "--dir", top])
            main(["show", "no-such", "--dir", top, "--json"])
            job = f'[jobs.a]\nrepository = "{top}/b"\nsource = "sqlite:///{top}/a.db"\nschedule = "0 0 1 1 *"\n'
            Path(f"{top}/dumpty.toml").write_text(job)
            for _ in range(2):
                main(["run", "--due", "--json", "--config", f"{top}/dumpty.toml"])
    # What is there stays in pages that all children share: their garbage collectors would copy every one.
    gc.collect()
    gc.freeze()


def serve() -> None:
    """Answer orders until there are no more."""
    warm()
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        print(json.dumps(fork(json.loads(line))), flush=True)


if __name__ == "__main__":
    serve()
