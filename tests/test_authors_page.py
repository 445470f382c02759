"""The manual's page ``plugins`` says what the code says, and its examples work."""

from __future__ import annotations

import atexit
import importlib
import inspect
import re
import shutil
import sys
import tempfile
import types
from pathlib import Path

import pytest
from support.drive import FileSink
from support.pages import MANUAL, blocks

import dumpty
import dumpty.process
from dumpty import BackupManager, hookspecs
from dumpty.hookspecs import hookimpl
from dumpty.testing.dumps import RecordedDump, RecordedPart

PAGE = (MANUAL / "plugins.md").read_text()
PYTHON = [block.text for block in blocks(MANUAL / "plugins.md") if block.language == "python"]


def specified() -> dict[str, str]:
    signatures = {}
    for name, function in vars(hookspecs).items():
        if inspect.isfunction(function) and function.__module__ == hookspecs.__name__:
            signatures[name] = f"def {name}{inspect.signature(function)}: ...".replace("'", "")
    return signatures


def test_the_page_has_every_hook_with_its_exact_signature():
    in_lines = re.sub(r"\(\n +(.*)\n\)", r"(\1)", PYTHON[0])  # one that is too long for a line has three
    signatures = dict(re.findall(r"^(def (?P<name>\w+)\(.*\.\.\.)$", in_lines, re.MULTILINE))
    assert {line: name for name, line in specified().items()} == signatures


def test_every_hook_says_since_when_it_exists():
    for name in specified():
        assert ".. versionadded::" in (getattr(hookspecs, name).__doc__ or ""), name


def test_every_name_in_a_signature_comes_from_dumpty_itself():
    names = {n for line in specified().values() for n in re.findall(r"\b[A-Z]\w+", line)}
    assert {n for n in names if not hasattr(dumpty, n)} == {
        "None",
        "AbstractContextManager",
        "Iterable",
        "Mapping",
        "Sequence",
    }


def test_every_error_and_type_that_the_page_names_exists():
    names = set(re.findall(r"`(?:dumpty\.)?([A-Z]\w+)`", PAGE)) - {"DeprecationWarning", "None", "NAME"}
    assert {w for w in names if not hasattr(dumpty, w)} == set()


DIRECTORY = Path(tempfile.mkdtemp(prefix="dumpty-page-"))
atexit.register(shutil.rmtree, DIRECTORY, ignore_errors=True)
sys.path.append(str(DIRECTORY))  # where the suite's child processes find the modules, too


def made_from(sign: str, name: str) -> types.ModuleType:
    """Return the module that the one example with ``sign`` in it makes."""
    [source] = [code for code in PYTHON if sign in code]
    (DIRECTORY / f"{name}.py").write_text(source)
    return importlib.import_module(name)


TEXTS = made_from('schemes=("texts",)', "dumpty_texts")
SUITE = made_from("class TestTexts(DriverSuite)", "page_test_texts")


class TestTexts(SUITE.TestTexts):
    """The whole driver on the page passes the suite that the page tells its readers to write."""


@pytest.fixture
def texts(tmp_path):
    SUITE.filled(tmp_path / "from", a="humpty", b="dumpty")
    return TEXTS


def test_the_whole_driver_on_the_page_works_through_the_facade(texts, tmp_path):
    manager = BackupManager(str(tmp_path / "b"), plugins=[texts])
    backed_up = manager.create_backup(f"texts:///{tmp_path}/from")
    assert backed_up.success, backed_up.error
    assert [o.path for o in backed_up.backup.evidence.objects] == ["a.txt", "b.txt"]
    restored = manager.restore(backed_up.backup.id, f"texts:///{tmp_path}/to")
    assert restored.success, restored.error
    assert (tmp_path / "to" / "b.txt").read_text() == "dumpty"
    refused = manager.restore(backed_up.backup.id, f"texts:///{tmp_path}/to")
    assert not refused.success


FOLDERS = made_from('schemes=("folders",)', "dumpty_folders")


class TestFolders(SUITE.TestTexts):
    """So does the driver in parts."""

    plugin = FOLDERS

    @pytest.fixture
    def source(self, tmp_path):
        return SUITE.filled(tmp_path / "from", a="humpty", b="dumpty").replace("texts:", "folders:")

    @pytest.fixture
    def target(self, tmp_path):
        return f"folders:///{tmp_path}/to"

    @pytest.fixture
    def full_target(self, tmp_path):
        return SUITE.filled(tmp_path / "full", c="wall").replace("texts:", "folders:")

    def content(self, url):
        return super().content(url.replace("folders:", "texts:"))

    def drop(self, url):
        super().drop(url.replace("folders:", "texts:"))


def test_the_driver_in_parts_on_the_page_stores_a_file_for_each_and_writes_nowhere_else(tmp_path):
    SUITE.filled(tmp_path / "from", a="humpty", b="dumpty")
    manager = BackupManager(str(tmp_path / "b"), plugins=[FOLDERS])
    backup = manager.create_backup(f"folders:///{tmp_path}/from").raise_for_error()
    assert [file.rpartition(".p")[2] for file in backup.files] == ["1.list.gz", "2.txt.gz", "3.txt.gz"]
    assert manager.restore(backup.id, f"folders:///{tmp_path}/to").success
    assert (tmp_path / "to" / "b.txt").read_text() == "dumpty"
    part = RecordedPart(file=tmp_path / "from" / "a.txt", tables=(dumpty.TableContent(path="../../x"),))
    dump = RecordedDump(recorded=(part,), format="files", evidence=dumpty.Evidence())
    target = dumpty.Source(scheme="folders", database=str(tmp_path / "other"), url="folders:///other")
    with pytest.raises(dumpty.IntegrityError, match="no file of a folder"):
        FOLDERS.restore(target=target, dump=dump, overwrite=False)


def test_the_observer_on_the_page_is_told_how_everything_ended(texts, tmp_path, capsys):
    manager = BackupManager(
        str(tmp_path / "b"), plugins=[texts, made_from("def finished(event: Event) -> None:\n", "page_observer")]
    )
    assert manager.create_backup(f"texts:///{tmp_path}/from").success
    assert not manager.create_backup(f"texts:///{tmp_path}/nothing").success
    done, failed = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"backup texts:///.*/from: ok, in \d\.\d s", done)
    assert re.fullmatch(r"backup texts:///.*/nothing: \w+: .*, in \d\.\d s", failed)


def test_the_wrapper_on_the_page_sees_the_calls(texts, tmp_path, capsys):
    manager = BackupManager(str(tmp_path / "b"), plugins=[texts, made_from("wrapper=True", "page_wrapper")])
    assert manager.create_backup(f"texts:///{tmp_path}/from").success
    assert re.fullmatch(r"texts:///.*/from: \d\.\d s\n", capsys.readouterr().out)


def test_hookimpl_is_the_one_name_to_begin_with():
    assert dumpty.hookimpl is hookimpl


def test_every_name_of_the_toolkits_section_can_be_called_as_it_says():
    section = PAGE.partition("## The toolkit\n")[2].partition("\n## ")[0]
    table = "\n".join(line for line in section.splitlines() if line.startswith("|"))
    calls = dict(re.findall(r"`(?:with )?([A-Za-z_]+)\(((?:[^()]|\(\))*)\)", table))
    assert len(calls) >= 10
    for name, arguments in calls.items():
        function = getattr(dumpty, name, None) or getattr(dumpty.process, name)
        given = re.findall(r"(\w+)=", arguments)
        assert set(given) <= set(inspect.signature(function).parameters), name


def test_the_example_of_a_child_copies_notes_and_keeps_the_password(tmp_path, monkeypatch):
    module = made_from("newdb-dump", "page_child")
    program = tmp_path / "newdb-dump"
    program.write_text('#!/bin/sh\necho "using $NEWDB_PASSWORD" >&2\nprintf "dump of $1"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    source = dumpty.Source(scheme="newdb", host="h", password="hunter2-x", database="shop")
    sink = FileSink(tmp_path / "dump")
    assert module.copy_output(source, sink) == ["using ***"]
    sink.close()
    assert (tmp_path / "dump").read_text() == "dump of shop"
