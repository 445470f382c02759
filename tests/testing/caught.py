"""Runs a suite over broken plugins, in a pytest of its own, and tells which tests caught each."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from support.places import memory

from testing.breaks import BrokenRule

DIRECTORY = Path(__file__).parent

MODULE = """
import pytest
from testing import {module} as broken
from testing.suites import SMALL

{classes}
"""
CLASS = """
class Test{name}(SMALL["{module}"]):
    plugin = broken.{name}()
    locals().update(getattr(plugin, "flags", {{}}))
"""


def plugins(module: str) -> dict[str, BrokenRule]:
    """Return the broken plugins of a module."""
    loaded = importlib.import_module(f"testing.{module}")
    return {
        name: plugin.__dict__["broken"]
        for name, plugin in vars(loaded).items()
        if "broken" in getattr(plugin, "__dict__", {})
    }


def tests_of(suite: type) -> set[str]:
    """Return the names of all tests of a suite."""
    return {name for name in dir(suite) if name.startswith("test_") and getattr(suite, name) is not None}


def run(module: str) -> dict[str, dict[str, str]]:
    """Return for each broken plugin of ``module`` the tests that failed, with their messages."""
    classes = "".join(CLASS.format(name=name, module=module) for name in plugins(module))
    with tempfile.TemporaryDirectory(prefix="dumpty-", dir=memory()) as directory:
        file = Path(directory, "test_broken.py")
        file.write_text(MODULE.format(module=module, classes=classes))
        verdict = Path(directory, "verdict.json")
        environment = {k: v for k, v in os.environ.items() if k != "PYTEST_ADDOPTS"}
        argv = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "--tb=no",
            "-p",
            "no:cacheprovider",
            "-p",
            "dumpty.testing.record",
        ]
        argv += ["-c", os.devnull, "--rootdir", directory, f"--basetemp={directory}/tmp", f"--dumpty-verdict={verdict}"]
        argv.append(str(file))
        process = subprocess.run(
            argv,
            env={**environment, "PYTHONPATH": str(DIRECTORY.parent), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            cwd=directory,
            capture_output=True,
            text=True,
            check=False,
        )
        assert verdict.exists(), process.stdout + process.stderr
        failed: dict[str, dict[str, str]] = {name: {} for name in plugins(module)}
        for entry in json.loads(verdict.read_text()):
            if entry["outcome"] == "failed":
                failed[entry["suite"].removeprefix("Test")][entry["test"]] = entry["reason"]
    return failed
