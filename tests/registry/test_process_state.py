"""Plugins that leave their process other than they found it, and plugins that others must not be taken for."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support.toys import ToyDriver

from dumpty import BackupManager, Evidence, hookimpl

# In a program of its own, whose only thread is the one that backs up.
PROGRAM = """
import json, logging, os, signal, sys, threading
sys.path.insert(0, sys.argv[1])
from support.toys import ToyDriver
from dumpty import BackupManager, Evidence, hookimpl

def ignore(*_): pass

def state():
    return [os.getcwd(), os.umask(0o27) or os.umask(0o27), dict(os.environ) == environment, signal.getsignal(signal.SIGUSR1) == 0]

DEEDS = {
    "directory": lambda: os.chdir("/"),
    "umask": lambda: os.umask(0),
    "added": lambda: os.environ.update(PGPASSWORD="s3cret"),
    "removed": lambda: os.environ.pop("PATH"),
    "handler": lambda: signal.signal(signal.SIGUSR1, ignore),
    "nothing": lambda: os.environ.update(PATH=os.environ["PATH"]),
}

class Altering(ToyDriver):
    name = "altering"
    fails = False

    @hookimpl
    def restore(self, target, dump):
        DEEDS[self.deed]()
        stream = dump.open()
        while block := stream.read(1000):
            self.databases[target.database] = block
        return Evidence()

    @hookimpl
    def backup(self, source, sink, options):
        DEEDS[self.deed]()
        if self.fails:
            raise OSError("the line broke")
        return super().backup(source, sink, options)

class Around:
    name = "around"

    @hookimpl(wrapper=True)
    def backup(self):
        evidence = yield
        os.chdir("/")
        return evidence

os.umask(0o27)
os.chdir(sys.argv[2])
environment, results = dict(os.environ), {}

class Noting(logging.Handler):
    def emit(self, record):
        if getattr(record, "event", "") == "process-altered":
            warnings.append(record.getMessage())

warnings = []
logging.getLogger("dumpty").addHandler(Noting())

def attempt(name, driver, *wrappers, around=lambda work: work()):
    manager = BackupManager("backups-" + name, plugins=[driver, *wrappers])
    outcome = []
    warnings.clear()
    around(lambda: outcome.append(manager.create_backup("toy://host/db")))
    results[name] = [outcome[0].error, len(manager.list_backups()), state(), list(warnings)]
    os.chdir(sys.argv[2])

for deed in DEEDS:
    driver = Altering(db=b"x" * 100)
    driver.deed = deed
    attempt(deed, driver)
driver = Altering(db=b"x")
driver.deed = "added"
manager = BackupManager("backups-restore", plugins=[driver])
backup = manager.create_backup("toy://host/db").raise_for_error()
warnings.clear()
restored = manager.restore(backup.id, "toy://host/new")
results["restore"] = [restored.error, driver.databases.get("new") == b"x", state(), list(warnings)]
driver = Altering(db=b"x")
driver.deed, driver.fails = "directory", True
attempt("failing", driver)
attempt("wrapper", ToyDriver(db=b"x"), Around())

def among_threads(work):
    threads = [threading.Thread(target=work)]
    threads[0].start()
    threads[0].join()

driver = Altering(db=b"x")
driver.deed = "directory"
attempt("threads", driver, around=among_threads)
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    place = tmp_path_factory.mktemp("altered")
    tests = str(Path(__file__).parents[1])
    argv = [sys.executable, "-c", PROGRAM, tests, str(place)]
    process = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    intact = [str(place), 0o27, True, True]
    return json.loads(process.stdout), intact


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("directory", "the working directory (/, before "),
        ("umask", "the umask (0000, before 0027)"),
        ("added", "the environment variable PGPASSWORD;"),
        ("removed", "the environment variable PATH;"),
        ("handler", "the handling of SIGUSR1;"),
    ],
)
def test_a_plugin_that_leaves_the_process_altered_is_named_and_it_is_put_back(results, name, left):
    (error, backups, state, [warning]), intact = results[0][name], results[1]
    assert (error, backups, state) == (None, 1, intact)
    assert warning.startswith("plugin 'altering' of this program left altered after backup: ")
    assert left in warning
    assert warning.endswith("; it was put back")
    assert "s3cret" not in warning


def test_a_restore_that_is_done_is_no_failure_for_what_it_left_altered(results):
    error, restored, state, [warning] = results[0]["restore"]
    assert (error, restored, state) == (None, True, results[1])
    assert "left altered after restore: the environment variable PGPASSWORD; it was put back" in warning


def test_what_is_as_it_was_in_the_end_is_told_nobody(results):
    assert results[0]["nothing"] == [None, 1, results[1], []]


def test_a_failure_stays_the_one_it_was_and_the_process_is_put_back(results):
    error, backups, state, [warning] = results[0]["failing"]
    assert error == "plugin 'altering' of this program failed in backup: OSError: the line broke"
    assert (backups, state) == (0, results[1])
    assert "left altered after backup: the working directory" in warning


def test_a_wrapper_that_leaves_the_process_altered_is_named_and_not_the_plugin_inside(results):
    error, backups, state, [warning] = results[0]["wrapper"]
    assert warning.startswith("wrapper 'around' of this program left altered after backup: the working directory")
    assert (error, backups, state) == (None, 1, results[1])


def test_nobody_is_accused_where_another_thread_may_have_done_it(results):
    error, backups, state, warnings = results[0]["threads"]
    assert (error, backups, warnings) == (None, 1, [])
    assert state[0] == "/"


def test_of_several_facades_at_once_none_answers_for_what_another_one_does(tmp_path, monkeypatch):
    """Each driver alters the environment while all are inside, and puts its part back before it returns."""
    count, errors = 4, []
    inside = threading.Barrier(count, timeout=60)

    class Altering(ToyDriver):
        @hookimpl
        def backup(self, source, sink):
            import os

            name = f"TOY_{threading.get_ident()}"
            os.environ[name] = "x"
            inside.wait()
            sink.write(b"x")
            del os.environ[name]
            return Evidence()

    def work(number):
        result = BackupManager(tmp_path / str(number), plugins=[Altering(db=b"x")]).create_backup("toy://host/db")
        errors.append(result.error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == [None] * count
