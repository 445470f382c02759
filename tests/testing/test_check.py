"""``check``: the verdict on an installed plugin."""

from __future__ import annotations

import sys

import pytest

from dumpty import DependencyError, PluginError, PluginNotFound
from dumpty.testing import check as module
from dumpty.testing.check import check
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
    verdict = check("sqlite", "driver", source, f"sqlite:///{tmp_path}/again.db")
    assert verdict.kept, str(verdict)
    assert {"test_a_database_comes_back", "test_a_failed_restore_leaves_the_old_content"} <= {
        rule.test for rule in verdict.of("kept")
    }
    assert sqlite_files.content(source) == content_before
    created = {f"sqlite:///{path}" for path in tmp_path.iterdir()} - {source}
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
def filed(tmp_path, monkeypatch):
    """Install a plugin that brings a layout of its own, and nothing else."""
    site = tmp_path / "site"
    info = site / "dumpty_filed-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "dumpty_filed.py").write_text(FILED)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: dumpty-filed\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[dumpty]\nfiled = dumpty_filed\n")
    monkeypatch.syspath_prepend(site)
    yield
    sys.modules.pop("dumpty_filed", None)


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
    assert [path for pattern in ("*.bin*", "*.manifest.json") for path in run.rglob(pattern)] == []


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
    with pytest.raises(PluginError, match=r"did not end within 0\.01 seconds"):
        check("sha256", "verifier", timeout=0.01)


def test_without_pytest_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(DependencyError, match=r'pip install "dumpty\[testing\]"'):
        check("sha256", "verifier")


def test_the_check_itself_needs_no_pytest():
    import subprocess

    program = "import sys; sys.modules['pytest'] = None; import dumpty.testing.check, dumpty.testing"
    subprocess.run([sys.executable, "-c", program], check=True)
