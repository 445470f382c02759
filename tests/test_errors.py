"""The errors: each also is what the contract, or Python's habit, says it is."""

from __future__ import annotations

import inspect

import pytest

import dumpty
from dumpty import errors

ALSO = {
    "InvalidName": ValueError,
    "OptionError": ValueError,
    "MissingFile": FileNotFoundError,
    "UnknownBackup": LookupError,
    "DependencyError": ImportError,
    "RestoreNotSupported": NotImplementedError,
    "CommandError": RuntimeError,
    "SourceError": RuntimeError,
    "Locked": RuntimeError,
    "StoreError": OSError,
    "PluginNotFound": dumpty.PluginError,
    "PluginConflict": dumpty.PluginError,
    "PluginLoadError": dumpty.PluginError,
}


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_is_public_documented_one_of_dumptys_and_says_its_text(name):
    error = getattr(dumpty, name)
    assert issubclass(error, dumpty.DumptyError)
    assert issubclass(error, ALSO.get(name, Exception))
    assert inspect.getdoc(error)
    assert str(error("what failed, and why")) == "what failed, and why"


def test_the_tree_at_the_top_of_the_module_names_every_error():
    drawn = {name for name in errors.__doc__.replace(",", " ").split() if name in vars(errors)}
    assert drawn == set(errors.__all__)
    assert {n for n, v in vars(errors).items() if inspect.isclass(v) and issubclass(v, Exception)} == drawn


def test_a_plugin_error_says_which_plugin_and_hook():
    error = dumpty.PluginError("x", plugin="p", hook="backup")
    assert (error.plugin, error.hook) == ("p", "backup")
    assert (dumpty.PluginError("x").plugin, dumpty.PluginError("x").hook) == ("", "")


def test_a_command_error_keeps_what_became_of_the_child():
    error = dumpty.CommandError("x", argv=["a", "b"], returncode=-9, stderr_tail="t", plugin="p", hook="h")
    assert (error.argv, error.returncode, error.stderr_tail) == (("a", "b"), -9, "t")
    assert (error.plugin, error.hook) == ("p", "h")
    assert dumpty.CommandError("x").returncode is None
