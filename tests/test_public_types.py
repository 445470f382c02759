"""What the facades take and return has a name that ``dumpty`` exports, so that whoever calls them can annotate."""

from __future__ import annotations

import ast
import builtins
import inspect
import pydoc
import subprocess
import sys
import typing
from pathlib import Path

import msgspec
import pytest
from support.pages import README, blocks, manual

import dumpty

TYPING = "from collections.abc import Iterable, Mapping, Sequence\nfrom contextlib import AbstractContextManager\n"
FACADES = ("BackupManager", "DatabaseBackup", "backup_database")


def foreign_names(module: str) -> set[str]:
    """Return the names that a module imports from outside of dumpty, those for type checkers included."""
    tree = ast.parse(Path(sys.modules[module].__file__).read_text())
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not (node.module or "").startswith("dumpty"):
            names |= {alias.asname or alias.name for alias in node.names}
    return names


def annotations(value: object) -> list[str]:
    """Return the annotations of a function, or of a class's fields and public methods."""
    if inspect.isclass(value):
        homes = [c for c in value.__mro__ if c.__module__.startswith("dumpty") and not c.__name__.startswith("_")]
        members = [m for c in homes for n, m in vars(c).items() if not n.startswith("_") or n == "__init__"]
        members = [m.fget if isinstance(m, property) else m for m in members]
        functions = [m for m in members if inspect.isfunction(m) and m.__module__ in {c.__module__ for c in homes}]
        own = [a for n, a in vars(value).get("__annotations__", {}).items() if not n.startswith("_")]
    else:
        functions, own = [value], []
    return [a for a in (*own, *(a for f in functions for a in f.__annotations__.values())) if isinstance(a, str)]


def names_in(annotation: str) -> set[str]:
    tree = ast.parse(annotation, mode="eval")
    texts = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    return {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} | {t for t in texts if t.isidentifier()}


def unexported(value: object) -> set[str]:
    """Return the names in the signatures of a public thing that are neither dumpty's, nor Python's."""
    homes = {c.__module__ for c in getattr(value, "__mro__", ()) if c.__module__.startswith("dumpty")}
    known = {*dumpty.__all__, *dir(builtins), *(n for m in {value.__module__, *homes} for n in foreign_names(m))}
    module = sys.modules[value.__module__]
    variables = {n for n, v in vars(module).items() if type(v).__name__ == "TypeVar"}
    return {n for a in annotations(value) for n in names_in(a)} - known - variables


def reachable() -> set[str]:
    """Return the exported names that the facades' signatures lead to, however far."""
    found, queue = set(), list(FACADES)
    while queue:
        name = queue.pop()
        if name in found or name not in dumpty.__all__:
            continue
        found.add(name)
        value = getattr(dumpty, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            queue += {n for a in annotations(value) for n in names_in(a)}
    return found


@pytest.mark.parametrize("name", [n for n in dumpty.__all__ if inspect.isclass(getattr(dumpty, n))])
def test_the_help_of_every_public_type_tells_how_to_make_it(name):
    text = pydoc.plain(pydoc.render_doc(getattr(dumpty, name)))
    if issubclass(getattr(dumpty, name), msgspec.Struct):
        fields = typing.get_type_hints(getattr(dumpty, name))
        assert all(f"{field}: " in text.split("\n\n")[1] for field in fields)


def test_the_walk_leads_to_what_the_facades_take_and_return():
    assert {"Backup", "Pruning", "Rules", "Decision", "Level", "Proof", "Verification"} <= reachable()
    assert {"Cancellation", "ProgressCallback"} <= reachable()


@pytest.mark.parametrize("name", sorted({*reachable(), "Event", "EventBackup", "Candidate", "Progress"}))
def test_every_name_in_a_public_signature_is_exported_or_pythons_own(name):
    value = getattr(dumpty, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert unexported(value) == set()


def test_a_repository_is_given_as_a_path_of_any_make(tmp_path):
    manager = dumpty.BackupManager(tmp_path / "managed")
    assert manager.list_backups() == []
    assert dumpty.DatabaseBackup(tmp_path / "named").list_backups() == []
    result = dumpty.backup_database(f"sqlite:///{tmp_path}/none.db", tmp_path / "once")
    assert isinstance(result.exception, FileNotFoundError)
    for directory in ("managed", "named", "once"):
        assert (tmp_path / directory).is_dir()


def test_the_python_of_readme_and_manual_passes_a_strict_type_checker(tmp_path):
    files = []
    for page in (README, *manual()):
        imports = f"from dumpty import {', '.join(dumpty.__all__)}\n{TYPING}" if page.stem == "plugins" else ""
        for block in blocks(page):
            if block.language == "python" and not (block.note == "signature" and not imports):
                files.append(tmp_path / block.file_name)
                files[-1].write_text(imports * (block.note == "signature") + block.text)
    assert len(files) >= 5
    files.append(tmp_path / "paths.py")
    files[-1].write_text(
        "from pathlib import Path\n"
        "from dumpty import Backup, BackupManager, Event, Rules, hookimpl\n\n\n"
        "def kept(directory: Path, rules: Rules) -> list[Backup]:\n"
        "    return [d.backup for d in BackupManager(directory).prune(rules).decisions if d.keep]\n\n\n"
        "@hookimpl\n"
        "def finished(event: Event) -> None:\n"
        "    print(event.backup.id if event.backup else event.error)\n"
    )
    argv = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), *map(str, files)]
    process = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stdout + process.stderr
