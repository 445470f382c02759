"""Fresh processes of Python that load the plugin under test: for what one process cannot prove."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["DescribeRun", "describe_in_child", "location_of", "start", "wait_stopped"]

_LOAD = """
import importlib, importlib.util, json, os, sys
def load(location):
    sys.path[:] = location["path"]
    try:
        plugin = importlib.import_module(location["module"])
    except ModuleNotFoundError:
        if not location["file"]:
            raise
        spec = importlib.util.spec_from_file_location(location["module"], location["file"])
        plugin = importlib.util.module_from_spec(spec)
        sys.modules[location["module"]] = plugin
        spec.loader.exec_module(plugin)
    for name in location["attribute"].split(".") if location["attribute"] else ():
        plugin = getattr(plugin, name)
    return plugin() if location["attribute"] else plugin
location, arguments = json.loads(sys.argv[1])
"""

_DESCRIBE = """
plugin = load(location)
plugin.describe()
with open(arguments[0], "w") as result:
    json.dump(sorted(sys.modules), result)
"""


def location_of(plugin: object) -> dict[str, Any] | None:
    """Return where another process finds ``plugin``; None where it cannot.

    A module is found by its name or file; any other object by its class, which is called without arguments.
    """
    owner = type(plugin)
    name = plugin.__name__ if isinstance(plugin, ModuleType) else owner.__module__
    attribute = "" if isinstance(plugin, ModuleType) else owner.__qualname__
    module = plugin if isinstance(plugin, ModuleType) else sys.modules.get(name)
    if name == "__main__" or "<locals>" in attribute or module is None:
        return None
    return {
        "path": [p for p in sys.path if isinstance(p, str)],
        "module": name,
        "file": getattr(module, "__file__", None) or "",
        "attribute": attribute,
    }


def start(location: dict[str, Any], program: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a fresh Python that has ``load(location)`` and ``arguments``, and speak with it through its pipes."""
    argv = [sys.executable, "-c", _LOAD + program, json.dumps([location, arguments])]
    pipe = subprocess.PIPE
    return subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, text=True)  # noqa: S603 - this Python


def wait_stopped(child: subprocess.Popen[str]) -> None:
    """Wait until a child that SIGSTOP was sent to has stopped, which takes it a moment, or until it has ended."""
    _, status = os.waitpid(child.pid, os.WUNTRACED)
    if not os.WIFSTOPPED(status):
        child.returncode = os.waitstatus_to_exitcode(status)


@dataclass(frozen=True)
class DescribeRun:
    """What happened when a fresh process imported the plugin and called ``describe``."""

    status: int
    modules: frozenset[str]
    output: str
    error: str


def describe_in_child(plugin: object) -> DescribeRun | None:
    """Import ``plugin`` in a fresh process and call its ``describe``; None where no other process finds it."""
    location = location_of(plugin)
    return None if location is None else _describe_in_child(json.dumps(location))


@functools.cache
def _describe_in_child(location_json: str) -> DescribeRun:
    with tempfile.TemporaryDirectory(prefix="dumpty-") as directory:
        result = Path(directory, "modules.json")
        child = start(json.loads(location_json), _DESCRIBE, str(result))
        output, error = child.communicate(timeout=60)
        modules = json.loads(result.read_text()) if result.exists() else []
    return DescribeRun(child.returncode, frozenset(modules), output, error.strip().rpartition("\n")[2])
