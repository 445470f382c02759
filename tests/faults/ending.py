"""Work that is ended in a child process at one of its steps: killed, or interrupted, there or again and again.

Killed: the child is ended with ``os._exit`` just before the n-th change it makes to a directory. Interrupted:
KeyboardInterrupt comes up in it before the n-th line of chosen modules, from the first change on.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import sys
import warnings

KILLED = 9
FAILED = 1
_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link"}


def ends_early(work, seconds=300):
    """Do ``work`` in a child; return whether that was ended before it was done, by KILLED or KeyboardInterrupt.

    One that takes longer than so many ``seconds`` is ended, too, and that is an error.
    """
    with warnings.catch_warnings():
        # Python 3.12 warns of other tests' threads; the child takes no lock that they could hold.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        status = FAILED
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(seconds)  # a lock that nobody frees is an error, not a wait without end
        try:
            work()
            status = 0
        except KeyboardInterrupt:
            status = KILLED
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in {0, KILLED}
    return status == KILLED


def changing(top, change):
    """Call ``change`` with the name of every change that is about to be made under ``top``, from now on.

    A name without a directory counts: it is one below an open directory of the store.
    """

    def watch(event, arguments):
        writes = event in _CHANGES or (
            event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        )
        if writes and isinstance(arguments[0], (str, bytes)):
            path = os.fsdecode(arguments[0])
            if str(top) in path or not os.path.isabs(path):
                change(event)

    sys.addaudithook(watch)


def killed_at(step, top, work):
    """Do ``work`` in a child that dies before its ``step``-th change under ``top``; return whether it did."""
    changes = itertools.count(1)

    def change(_):
        if next(changes) == step:
            os._exit(KILLED)

    def watched():
        changing(top, change)
        work()

    return ends_early(watched)


def in_finalizer(frame):
    """Return whether a finalizer runs: what is raised there is dropped by Python."""
    while frame is not None:
        if frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False


def interrupt(step, top, modules):
    """Raise KeyboardInterrupt before the ``step``-th line of ``modules`` that is run after a change under ``top``."""
    files = {m.__file__ for m in modules}
    lines = itertools.count(1)
    changes = []

    def watch(frame, event, _):
        if frame.f_code.co_filename not in files or in_finalizer(frame):
            return None
        if event == "line" and changes and next(lines) == step:
            sys.settrace(None)
            raise KeyboardInterrupt
        return watch

    changing(top, changes.append)
    sys.settrace(watch)


def interrupted_at(modules):
    """Return a function like ``killed_at`` that interrupts at the lines of ``modules``."""

    def interrupted(step, top, work):
        def watched():
            interrupt(step, top, modules)
            work()

        return ends_early(watched)

    return interrupted


def every_step(ended_at, template, open_copy, work, check, stride=1):
    """End ``work`` before each ``stride``-th of its steps, in a fresh copy of ``template``; return how many there were.

    ``work`` and ``check`` are given what ``open_copy`` returns for the copy's path.
    """
    for step in itertools.count(1, stride):
        top = template.with_name(f"{template.name}-{step}")
        shutil.copytree(template, top, symlinks=True)
        opened = open_copy(top)
        ended = ended_at(step, top, lambda: work(opened))  # noqa: B023 - called before the loop goes on
        check(opened, top, ended)
        shutil.rmtree(top)
        if not ended:
            return step - 1
    raise AssertionError
