"""The contracts over imports hold, and break where a forbidden import of any kind is planted."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
CONTRACTS = tomllib.loads((TOP / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
LAYERED = [c for c in CONTRACTS if c["type"] == "layers"]
ROOTS = {"dumpty": "core", "dumpty_plugins": "plugins"}
PUBLIC = {"process"}
"""What of the core a plugin may import, beside the root."""
MOST_LINES = {"file": 350, "function": 50}
"""Of the core: what can be read in one sitting."""


@pytest.fixture
def tree(tmp_path):
    """A copy of the sources to plant imports in."""
    shutil.copy(TOP / "pyproject.toml", tmp_path)
    for top in ROOTS.values():
        shutil.copytree(TOP / top, tmp_path / top, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def module_file(tree, module):
    """Return the file of a module, or of a package."""
    path = tree.joinpath(ROOTS[module.partition(".")[0]], *module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def plant(tree, importer, imported):
    with open(module_file(tree, importer), "a") as file:
        file.write(f"\n\ndef planted():\n    import {imported}\n")


def broken_contracts(tree):
    """Return what import-linter says of each contract that is broken, by its name."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(str(tree / top) for top in ROOTS.values()),
        "COLUMNS": "400",
    }
    program = os.path.join(os.path.dirname(sys.executable), "lint-imports")
    process = subprocess.run(
        [program, "--no-cache"], cwd=tree, env=environment, capture_output=True, text=True, check=False
    )
    names = re.findall(r"^(.*) BROKEN", process.stdout, re.MULTILINE)
    assert (process.returncode != 0) == bool(names), process.stdout + process.stderr
    _, _, report = process.stdout.partition("Broken contracts")
    sections = re.split("^(" + "|".join(map(re.escape, names)) + ")$", report, flags=re.MULTILINE) if names else []
    return {name: " ".join(text.split()) for name, text in zip(sections[1::2], sections[2::2], strict=True)}


def members(layer):
    return [name.strip() for name in layer.split("|")]


def test_as_they_stand_all_contracts_are_kept(tree):
    assert broken_contracts(tree) == {}


@pytest.mark.parametrize(
    ("importer", "imported", "contract"),
    [
        ("dumpty.repository.retention", "pluggy", "Only registry.host and hookspecs know pluggy"),
        ("dumpty_plugins.gzip", "pluggy", "Only registry.host and hookspecs know pluggy"),
        (
            "dumpty_plugins.sha256",
            "dumpty.operations.verify",
            "Plugins import the public root and dumpty.process alone",
        ),
        (
            "dumpty_plugins.mysql.backup",
            "dumpty.process.peer",
            "Plugins import the public root and dumpty.process alone",
        ),
        ("dumpty_plugins.mysql.backup", "dumpty_plugins.gzip", "Plugins never import each other"),
        ("dumpty.errors", "dumpty_plugins.gzip", "The core imports no plugin"),
        ("dumpty.cli.commands.verify", "dumpty.cli.commands.drill", "Commands never import each other"),
        ("dumpty.repository.names", "dumpty.streaming.stored_dump", "Wings of the core"),
        ("dumpty.types.plugins", "dumpty.cli.app", "Wings of the core"),
    ],
)
def test_a_forbidden_import_breaks_its_contract(tree, importer, imported, contract):
    plant(tree, importer, imported)
    contracts = broken_contracts(tree)
    assert contract in contracts, contracts
    assert importer in contracts[contract]
    assert imported in contracts[contract]


def test_an_import_upwards_breaks_every_contract_of_layers(tree):
    planted = {}
    for contract in LAYERED:
        (container,) = contract["containers"]
        low, high = members(contract["layers"][-1])[0], members(contract["layers"][0])[-1]
        if low != high:
            planted[contract["name"]] = f"{container}.{low}", f"{container}.{high}"
            plant(tree, *planted[contract["name"]])
    contracts = broken_contracts(tree)
    for name, (low, high) in planted.items():
        assert name in contracts, (name, low, high)
        assert re.search(rf"{re.escape(low)}\S* is not allowed to import {re.escape(high)}", contracts[name]), (
            contracts[name]
        )
    assert len(planted) == len(LAYERED)


def test_a_module_that_no_contract_names_is_an_error(tree):
    for contract in LAYERED:
        (container,) = contract["containers"]
        (module_file(tree, container).parent / "unnamed.py").write_text('"""A module."""\n')
    contracts = broken_contracts(tree)
    for contract in LAYERED:
        assert "unnamed" in contracts.get(contract["name"], ""), contract["name"]


def test_every_package_has_a_contract_over_its_modules():
    packages = {
        ".".join(path.parent.relative_to(TOP / top).parts)
        for top in ROOTS.values()
        for path in (TOP / top).rglob("__init__.py")
    }
    covered = {container for c in LAYERED for container in c["containers"]}
    covered |= {c["modules"][0].removesuffix(".*") for c in CONTRACTS if c["type"] == "independence"}
    assert packages == covered


def test_every_module_of_the_core_is_named_where_plugins_may_not_go():
    (contract,) = [c for c in CONTRACTS if c["name"].startswith("Plugins import the public root")]
    children = {
        p.stem for p in (TOP / "core" / "dumpty").iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()
    }
    inside = {p.stem for p in (TOP / "core" / "dumpty" / "process").glob("*.py")} - {"__init__", "account"}
    expected = {f"dumpty.{c}" for c in children - PUBLIC - {"__init__"}} | {f"dumpty.process.{c}" for c in inside}
    assert set(contract["forbidden_modules"]) == expected


def lengths():
    """Yield every file, function and method of the core with its lines, decorators and comments included."""
    for path in sorted((TOP / "core").rglob("*.py")):
        text, name = path.read_text(), str(path.relative_to(TOP))
        yield "file", name, len(text.splitlines())
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                yield "function", f"{name}: {node.name}", node.end_lineno - first + 1


def test_no_file_and_no_function_of_the_core_is_too_long_to_read_in_one_sitting():
    assert [(kind, name, lines) for kind, name, lines in lengths() if lines >= MOST_LINES[kind]] == []
