"""The page for authors of plugins says what the code says, and its example works."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import dumpty
from dumpty import BackupManager, hookspecs
from dumpty.hookspecs import hookimpl

PAGE = (Path(__file__).parents[1] / "examples" / "AUTHORS.md").read_text()
PYTHON = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def specified() -> dict[str, str]:
    found = {}
    for name, function in vars(hookspecs).items():
        if inspect.isfunction(function) and function.__module__ == hookspecs.__name__:
            found[name] = f"def {name}{inspect.signature(function)}: ...".replace("'", "")
    return found


def test_the_page_has_every_hook_with_its_exact_signature():
    told = dict(re.findall(r"^(def (?P<name>\w+)\(.*\.\.\.)$", PYTHON[0], re.MULTILINE))
    assert {line: name for name, line in specified().items()} == told


def test_every_hook_says_since_when_it_exists():
    for name in specified():
        assert ".. versionadded::" in (getattr(hookspecs, name).__doc__ or ""), name


def test_every_name_in_a_signature_comes_from_dumpty_itself():
    names = {n for line in specified().values() for n in re.findall(r"\b[A-Z]\w+", line)}
    assert {n for n in names if not hasattr(dumpty, n)} == {"None", "AbstractContextManager"}


def test_every_error_and_type_that_the_page_names_exists():
    words = set(re.findall(r"`(?:dumpty\.)?([A-Z]\w+)`", PAGE)) - {"DeprecationWarning", "None", "NAME"}
    assert {w for w in words if not hasattr(dumpty, w)} == set()


def test_every_file_that_the_page_links_exists():
    for link in re.findall(r"\]\(([^)#]+)\)", PAGE):
        if "://" not in link:
            assert (Path(__file__).parents[1] / "examples" / link).exists(), link


@pytest.fixture
def texts(tmp_path):
    [source] = [code for code in PYTHON if 'schemes=("texts",)' in code]
    module = type(dumpty)("dumpty_texts")
    exec(compile(source, "AUTHORS.md", "exec"), vars(module))
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / "a.txt").write_text("humpty")
    (tmp_path / "from" / "b.txt").write_text("dumpty")
    return module


def test_the_whole_driver_on_the_page_works_through_the_facade(texts, tmp_path):
    manager = BackupManager(str(tmp_path / "b"), plugins=[texts])
    made = manager.create_backup(f"texts:///{tmp_path}/from")
    assert made.success, made.error
    assert [o.path for o in made.backup.evidence.objects] == ["a.txt", "b.txt"]
    back = manager.restore(made.backup.id, f"texts:///{tmp_path}/to")
    assert back.success, back.error
    assert (tmp_path / "to" / "b.txt").read_text() == "dumpty"
    again = manager.restore(made.backup.id, f"texts:///{tmp_path}/to")
    assert not again.success


def test_the_observer_on_the_page_sees_the_calls(texts, tmp_path, capsys):
    [source] = [code for code in PYTHON if "wrapper=True" in code]
    module = type(dumpty)("observer")
    exec(compile(source, "AUTHORS.md", "exec"), vars(module))
    manager = BackupManager(str(tmp_path / "b"), plugins=[texts, module])
    assert manager.create_backup(f"texts:///{tmp_path}/from").success
    assert re.fullmatch(r"texts:///.*/from: \d\.\d s\n", capsys.readouterr().out)


def test_hookimpl_is_the_one_name_to_begin_with():
    assert dumpty.hookimpl is hookimpl
