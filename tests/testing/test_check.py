"""``check``: the verdict on an installed plugin."""

from __future__ import annotations

import sys
import textwrap

import pytest

from dumpty import BackupManager, DependencyError, PluginError, PluginNotFound
from dumpty.repository.protocol.layout import TOMBSTONE
from dumpty.testing import check as module
from dumpty.testing.check import check
from dumpty.testing.memory import MemoryDriver
from testing import sqlite_files


def test_a_compressor_that_keeps_every_rule_is_kept():
    verdict = check("gzip", "compressor")
    assert verdict.kept
    assert not verdict.of("broken")
    assert not verdict.of("unproved")
    assert str(verdict).startswith("plugin 'gzip' of dumpty")
    assert str(verdict).endswith(f"{len(verdict.rules)} kept, 0 broken, 0 unproved")


def test_a_driver_without_urls_is_told_what_was_not_proved():
    verdict = check("postgres", "driver")
    assert verdict.kept
    unproved = {rule.test: rule.reason for rule in verdict.of("unproved")}
    assert "--source" in unproved["test_a_database_comes_back"]
    assert {rule.test for rule in verdict.of("kept")} == {
        "test_describe_says_what_the_plugin_is",
        "test_the_hooks_of_its_kind_are_implemented",
        "test_describe_brings_in_no_library",
        "test_describe_prints_nothing",
        "test_options_are_declared_with_sane_defaults",
    }


def test_a_driver_with_urls_is_proved_and_says_what_it_left(tmp_path):
    source = sqlite_files.filled(tmp_path / "shop.db", sqlite_files.SHOP)
    content_before = sqlite_files.content(source)
    others = {sqlite_files.filled(tmp_path / f"again_{number}.db", sqlite_files.SHOP) for number in range(3)}
    verdict = check("sqlite", "driver", source, f"sqlite:///{tmp_path}/again.db")
    assert verdict.kept, str(verdict)
    assert {"test_a_database_comes_back", "test_a_failed_restore_leaves_the_old_content"} <= {
        rule.test for rule in verdict.of("kept")
    }
    assert sqlite_files.content(source) == content_before
    assert [sqlite_files.content(url) for url in others] == [content_before] * len(others)
    created = {f"sqlite:///{path}" for path in tmp_path.iterdir()} - {source} - others
    assert set(verdict.remaining_databases) == created
    assert created


def test_a_store_with_a_url_is_proved_beside_what_is_there_and_nothing_is_left(tmp_path):
    (tmp_path / "kept").write_bytes(b"kept")
    verdict = check("file", "store", target=str(tmp_path))
    assert verdict.kept, str(verdict)
    assert {"test_what_was_put_is_read_back", "test_a_local_object_has_a_path"} <= {r.test for r in verdict.of("kept")}
    unproved = {rule.test: rule.reason for rule in verdict.of("unproved")}
    assert unproved["test_a_batch_of_any_length_is_deleted"] == "the store does not claim BATCH"
    assert "fixture stalled()" in unproved["test_a_place_that_stalls_is_an_error_within_bounded_time"]
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert verdict.remaining_databases == ()


def test_a_notifier_is_told_what_was_not_proved_without_a_recipient():
    verdict = check("webhook", "notifier")
    assert verdict.kept, str(verdict)
    unproved = {rule.test: rule.reason for rule in verdict.of("unproved")}
    assert "only a suite of one's own has recipients" in unproved["test_a_message_arrives_whole_and_once"]
    assert "test_describe_brings_in_no_library" in {rule.test for rule in verdict.of("kept")}


def test_a_transport_is_told_what_was_not_proved_without_a_place():
    verdict = check("docker", "transport")
    assert verdict.kept, str(verdict)
    unproved = {rule.test: rule.reason for rule in verdict.of("unproved")}
    assert "only a suite of one's own has a place" in unproved["test_arguments_arrive_as_they_are"]
    assert "test_a_password_is_refused_and_not_shown" in {rule.test for rule in verdict.of("kept")}


def test_what_a_store_keeps_for_itself_goes_with_the_folder_of_the_check(tmp_path, monkeypatch):
    """The mark that the store ``file`` leaves where its file system is a network's."""
    (tmp_path / "site").mkdir()
    (tmp_path / "place").mkdir()
    for_the_check = "from dumpty_plugins.file import filesystem\nfilesystem._LINUX_LOCAL = ()\n"
    (tmp_path / "site/sitecustomize.py").write_text(for_the_check)
    monkeypatch.syspath_prepend(tmp_path / "site")
    verdict = check("file", "store", target=str(tmp_path / "place"))
    assert verdict.kept, str(verdict)
    assert "STRONG_LIST" in str([rule.reason for rule in verdict.of("unproved")])
    assert list((tmp_path / "place").iterdir()) == []


FILED = """
import os
from dumpty import PluginInfo, hookimpl
from dumpty.repository.plain import PlainRepository
from dumpty_plugins.file import FileStore

@hookimpl
def describe():
    return PluginInfo(kind="store", schemes=("filed",))

@hookimpl
def open_repository(url):
    path = url.rpartition("@")[2]
    os.makedirs(path, exist_ok=True)
    return PlainRepository(FileStore(path))
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a plugin: ``install(name, program)``."""
    modules = []

    def install(name, program):
        site, module = tmp_path / "site", f"dumpty_{name}"
        info = site / f"{module}-1.0.dist-info"
        info.mkdir(parents=True)
        (site / f"{module}.py").write_text(program)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: dumpty-{name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[dumpty]\n{name} = {module}\n")
        monkeypatch.syspath_prepend(site)
        modules.append(module)

    yield install
    for name in modules:
        sys.modules.pop(name, None)


@pytest.fixture
def filed(install):
    """A plugin that brings a layout of its own, and nothing else."""
    install("filed", FILED)


@pytest.mark.usefixtures("filed")
def test_a_store_of_a_layout_of_its_own_is_proved_as_a_repository_and_what_it_leaves_is_told(tmp_path):
    place = tmp_path / "place"
    verdict = check("filed", "store", target=f"filed://tester:s3cret-word@{place}")
    assert verdict.kept, str(verdict)
    assert "test_a_pinned_backup_stays" in {rule.test for rule in verdict.of("kept")}
    assert not verdict.of("unproved")
    [remaining] = verdict.remaining_databases
    [run] = place.iterdir()
    assert str(run) in remaining
    assert "s3cret-word" not in str(verdict)
    left = [path for pattern in ("*.bin*", "*.manifest.json") for path in run.rglob(pattern)]
    assert {path.read_bytes() for path in left} <= {TOMBSTONE}  # what says that a backup never comes stays for a week


FLAT = """
from dumpty import PluginInfo, hookimpl
from dumpty.repository.plain import PlainRepository
from dumpty_plugins.file import FileStore

@hookimpl
def describe():
    return PluginInfo(kind="store", schemes=("flat",))

@hookimpl
def {hook}(url):
    return {kind}(FileStore(url.partition("://")[2].partition("/dumpty-check-")[0]))
"""


@pytest.mark.parametrize(("hook", "kind"), [("open_store", ""), ("open_repository", "PlainRepository")])
def test_where_a_store_makes_one_place_of_all_folders_nothing_that_is_there_is_touched(install, tmp_path, hook, kind):
    place, databases = tmp_path / "place", MemoryDriver({"shop": b"content"})
    manager = BackupManager(str(place), plugins=[databases])
    backup = manager.create_backup(databases.url("shop")).raise_for_error()
    install("flat", FLAT.format(hook=hook, kind=kind))
    verdict = check("flat", "store", target=f"flat://{place}")
    assert manager.list_backups() == [backup]
    manager.verify(backup.id)
    assert not verdict.kept
    reasons = {rule.test: rule.reason for rule in verdict.of("broken")}
    assert "Nothing was written or removed here" in reasons["test_only_declared_options_are_read"]


def test_a_source_that_cannot_be_read_breaks_rules_and_shows_no_password(tmp_path):
    url = f"postgresql://tester:s3cret-word@/none?host={tmp_path}"
    verdict = check("postgres", "driver", url)
    assert not verdict.kept
    assert verdict.of("broken")
    assert "s3cret-word" not in str(verdict)


def test_an_unknown_plugin_is_not_found():
    with pytest.raises(PluginNotFound, match="no compressor is called 'none-such'"):
        check("none-such", "compressor")


def test_a_check_that_takes_too_long_is_given_up():
    with pytest.raises(PluginError, match=r"did not end within 0\.01 seconds$"):
        check("sha256", "verifier", timeout=0.01)


def test_a_check_that_is_given_up_says_what_it_may_have_left(tmp_path):
    with pytest.raises(PluginError, match=r"; what has [0-9a-f]{8} in its name there is the check's, and yours to"):
        check("file", "store", target=str(tmp_path), timeout=0.01)


HANGING = """
import time
from dumpty import PluginInfo, hookimpl

@hookimpl
def describe():
    return PluginInfo(kind="verifier")

@hookimpl
def verify():
    time.sleep(600)
"""


def test_a_check_that_is_given_up_says_which_rule_came_to_no_end(install):
    install("hanging", HANGING)
    with pytest.raises(PluginError, match=r"did not end within 15 seconds; it was at test_\w+"):
        check("hanging", "verifier", timeout=15)


def test_dumps_of_the_source_do_not_pile_up(tmp_path, monkeypatch):
    """Nobody knows how large a stranger's source is, and there are dozens of rules."""
    (tmp_path / "site").mkdir()
    program = """
        import atexit, os, pathlib, sys
        def tell():
            for word in (w for w in sys.argv if w.endswith("/tmp")):
                files = [str(p) for p in pathlib.Path(word).rglob("dump") if p.is_file()]
                pathlib.Path(os.environ["DUMPS"]).write_text("\\n".join(files))
        atexit.register(tell)
    """
    (tmp_path / "site/sitecustomize.py").write_text(textwrap.dedent(program))
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setenv("DUMPS", str(tmp_path / "dumps"))
    verdict = check("sqlite", "driver", sqlite_files.filled(tmp_path / "shop.db", sqlite_files.SHOP))
    assert verdict.kept
    assert [name for name in (tmp_path / "dumps").read_text().split("\n") if "/dumps" not in name] == []


def test_without_pytest_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(DependencyError, match=r'pip install "dumpty\[testing\]"'):
        check("sha256", "verifier")


def test_the_check_itself_needs_no_pytest():
    import subprocess

    program = "import sys; sys.modules['pytest'] = None; import dumpty.testing.check, dumpty.testing"
    subprocess.run([sys.executable, "-c", program], check=True)
