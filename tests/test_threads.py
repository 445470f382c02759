"""Several threads may read what was written down in a process that has read none before.

msgspec 0.22 learns the fields of a type when it first meets it, and crashes the process where several threads do that
at once. So each type is made known with its module, which one thread does.
"""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest
from support.pages import TOP

LEARNS = """
import importlib, sys
import msgspec
importlib.import_module(sys.argv[1])
kind = getattr(importlib.import_module(sys.argv[2]), sys.argv[3])
called = set()
sys.setprofile(lambda frame, *_: called.add(frame.f_code.co_name))
try:
    msgspec.json.decode(b"{}", type=kind)
except msgspec.ValidationError:
    pass
sys.setprofile(None)
sys.exit("it learns the fields only now" if "get_class_annotations" in called else 0)
"""
READS = """
import sys, threading
from dumpty.jobs import alarms
sys.setswitchinterval(1e-6)
note = b'''{"open": {"k": {"kind": "failed", "subject": "s", "text": "t", "since": "2026-11-11T00:00:00Z",
    "told": "2026-11-11T00:00:00Z"}}, "at": "2026-11-11T00:00:00Z"}'''
barrier = threading.Barrier(16)
def read():
    barrier.wait()
    assert "k" in alarms.decode([note])
threads = [threading.Thread(target=read) for _ in range(16)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
READ = [
    ("dumpty.jobs.outcomes", "dumpty.jobs.outcomes", "JobRun"),
    ("dumpty.jobs.alarms", "dumpty.jobs.alarms", "_State"),
    ("dumpty.jobs.alarms", "dumpty.types", "Notice"),
    ("dumpty.replies.jobs", "dumpty.replies.runs", "JobRun"),
    *(("dumpty.jobs.configuration", "dumpty.jobs.document", name) for name in ("Defaults", "Limits", "Job")),
    *(
        ("dumpty.repository.manifest", "dumpty.repository.manifest_schema", name)
        for name in ("Manifest", "Content", "Evidence", "Entry")
    ),
    ("dumpty_plugins.postgres.accounts.script", "dumpty_plugins.postgres.accounts.facts", "AnyFact"),
    ("dumpty_plugins.mysql.accounts.script", "dumpty_plugins.mysql.accounts.facts", "AnyFact"),
]


def run(*words):
    return subprocess.run([sys.executable, "-c", *words], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("reader", "module", "kind"), READ, ids=lambda value: value.rpartition(".")[2])
def test_a_type_that_is_read_is_known_with_the_module_that_reads_it(reader, module, kind):
    learned = run(LEARNS, reader, module, kind)
    assert (learned.returncode, learned.stderr) == (0, "")


def test_several_threads_read_what_was_told_in_a_process_that_has_read_nothing():
    ended = [run(READS) for _ in range(4)]
    assert [(process.returncode, process.stderr) for process in ended] == [(0, "")] * 4


def test_no_function_makes_a_type_known_when_it_is_first_called():
    found = []
    for path in sorted([*(TOP / "core").rglob("*.py"), *(TOP / "plugins").rglob("*.py")]):
        for function in (n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, _FUNCTIONS)):
            for call in (n for n in ast.walk(function) if isinstance(n, ast.Call)):
                named = {keyword.arg for keyword in call.keywords}
                name = ast.unparse(call.func)
                if name == "msgspec.json.Decoder" or (name == "msgspec.json.decode" and "type" in named):
                    found.append(f"{path.relative_to(TOP)}:{call.lineno}")
    assert found == []
