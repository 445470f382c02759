"""``import dumpty``: every public name is there, and nothing heavy comes with it."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata

import importlib_metadata
import pytest
from support.toys import python

import dumpty


@pytest.mark.parametrize("name", dumpty.__all__)
def test_every_public_name_resolves_and_is_listed(name):
    value = getattr(dumpty, name)
    assert name in dir(dumpty)
    home = dumpty._HOME.get(name)
    assert home is None or value is getattr(importlib.import_module(home), name)


def test_type_checkers_and_the_interpreter_see_the_same_names():
    with open(dumpty.__file__) as stream:
        tree = ast.parse(stream.read())
    block = next(n for n in tree.body if isinstance(n, ast.If))
    checked = {a.asname: node.module for node in block.body if isinstance(node, ast.ImportFrom) for a in node.names}
    assert checked == dumpty._HOME
    assert all(a.asname == a.name for node in block.body for a in node.names)


def test_star_import_gives_the_public_names():
    names: dict = {}
    exec("from dumpty import *", names)
    assert set(dumpty.__all__) <= set(names)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'dumpty' has no attribute 'no_such'"):
        _ = dumpty.no_such
    with pytest.raises(ImportError):
        exec("from dumpty import no_such")


def test_sources_that_are_not_installed_have_a_version_too(monkeypatch):
    from dumpty import _version

    def missing(name):
        raise importlib_metadata.PackageNotFoundError(name)

    assert _version.__version__ == importlib.metadata.version("dumpty") == dumpty.__version__
    with monkeypatch.context() as patch:
        patch.setattr(importlib_metadata, "distribution", missing)
        assert importlib.reload(_version).__version__ == "unknown"
    importlib.reload(_version)


def test_what_plugins_use_of_processes_is_imported_when_it_is_used():
    from dumpty import process

    assert {name: getattr(process, name) for name in process.__all__}.keys() == set(process.__all__)
    with pytest.raises(AttributeError, match=r"module 'dumpty\.process' has no attribute 'no_such'"):
        _ = process.no_such
    code = "import sys, dumpty.process.peer; sys.exit('subprocess' in sys.modules)"
    python(code)


HEAVY = (
    "typer",
    "rich",
    "click",
    "psycopg2",
    "pymysql",
    "sqlite3",
    "isal",
    "backports.zstd",
    "dumpty_plugins",
)


@pytest.mark.parametrize(
    "code", ["import dumpty", "from dumpty import hookimpl, PluginInfo, FramedReader, SourceError"]
)
def test_importing_dumpty_brings_in_nothing_heavy(code):
    loaded = python(
        f"import sys; before = set(sys.modules); {code}; print(*(set(sys.modules) - before))"
    ).stdout.split()
    assert not [m for m in loaded for h in HEAVY if m == h or m.startswith(h + ".")]


def test_the_facades_are_imported_without_any_driver_or_command_line(tmp_path):
    code = "import sys; from dumpty import *; from dumpty import BackupManager; BackupManager(sys.argv[1]); print(*sys.modules)"
    loaded = set(python(code, tmp_path).stdout.split())
    assert not loaded & {"typer", "rich", "psycopg2", "pymysql", "sqlite3", "isal", "backports.zstd"}


def test_a_plugin_needs_nothing_but_hookimpl_to_begin():
    @dumpty.hookimpl
    def describe():
        return None

    assert describe.dumpty_impl["wrapper"] is False


def test_a_host_takes_a_programs_own_plugins_and_routes_to_them():
    class Letters:
        name = "letters"

        @dumpty.hookimpl
        def describe(self):
            formats = (dumpty.Format(name="text", suffix=".txt"),)
            return dumpty.PluginInfo(kind="driver", schemes=("letters",), formats=formats)

    letters = Letters()
    host = dumpty.Host(discover=False)
    registered = host.register(letters)
    assert isinstance(registered, dumpty.Plugin)
    assert (registered.state, registered.distribution) == ("ok", "this program")
    assert host.driver("letters") == host.named("driver", "letters") == registered
    assert dumpty.Host([letters], discover=False).plugins() == [registered]
    with pytest.raises(dumpty.PluginNotFound):
        host.driver("numbers")
