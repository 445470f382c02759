"""Plugins of other distributions: found without a line changed, and unable to break what others provide.

The distributions are real ones, checked in as ``pip`` would unpack them: a module and its ``.dist-info``.
"""

from __future__ import annotations

import os
import sqlite3
import sys

import pytest
from support.toys import python

from dumpty import BackupManager, PluginConflict, PluginError, PluginLoadError, PluginNotFound
from dumpty.registry.host import DISABLE, Host, default_host

DISTRIBUTIONS = os.path.join(os.path.dirname(__file__), "distributions")


@pytest.fixture
def install(monkeypatch):
    """Put distributions on the path, the first named first."""

    def install(*folders):
        for folder in reversed(folders):
            monkeypatch.syspath_prepend(os.path.join(DISTRIBUTIONS, folder))

    before = set(sys.modules)
    yield install
    for name in set(sys.modules) - before:
        if name.startswith("dumpty_") and not name.startswith("dumpty_plugins"):
            del sys.modules[name]


def found(name, host=None):
    (plugin,) = [p for p in (host or Host()).plugins() if p.name == name and p.distribution != "dumpty"]
    return plugin


def the_rest_works(tmp_path):
    sqlite3.connect(tmp_path / "a.db").execute("CREATE TABLE t (a)").connection.close()
    result = BackupManager(str(tmp_path / "rest")).create_backup(f"sqlite:///{tmp_path}/a.db")
    return result.error is None


def test_an_installed_driver_answers_its_scheme_through_the_unchanged_facade(install, tmp_path):
    install("good")
    result = BackupManager(str(tmp_path), compressor=None).create_backup("newdb://host/shop")
    assert result.success, result.error
    with open(result.backup.file_path, "rb") as stream:
        assert stream.read() == b"newdb dump of shop"
    plugin = found("newdb")
    assert (plugin.distribution, plugin.version, plugin.state, plugin.kind) == ("dumpty-newdb", "1.0", "ok", "driver")
    assert str(plugin) == "plugin 'newdb' of dumpty-newdb 1.0"


def test_it_works_in_a_process_of_its_own_by_the_path_alone(tmp_path):
    code = "import sys; from dumpty import backup_database; print(backup_database('newdb://h/x', sys.argv[1]).success)"
    assert python(code, tmp_path, env={"PYTHONPATH": os.path.join(DISTRIBUTIONS, "good")}).stdout == "True\n"


def test_the_built_in_plugins_come_in_by_entry_point_like_anyone_elses():
    built_in = {p.name: p.kind for p in Host().plugins() if p.distribution == "dumpty"}
    assert built_in == {
        "sqlite": "driver", "postgres": "driver", "mysql": "driver", "gzip": "compressor", "zstd": "compressor",
        "age": "cipher", "sha256": "verifier", "file": "store", "s3": "store", "sftp": "store",
        "objectstore": "store", "gcs": "store", "webhook": "notifier", "apprise": "notifier", "command": "notifier",
        "ssh": "transport", "docker": "transport", "kubectl": "transport",
    }  # fmt: skip
    assert Host(discover=False).plugins() == []


def test_a_driver_without_restore_backs_up_and_says_so_on_the_way_back(install, tmp_path):
    install("good")
    manager = BackupManager(str(tmp_path))
    backup = manager.create_backup("newdb://host/shop").backup
    result = manager.restore(backup.id, "newdb://host/other")
    assert "plugin 'newdb' of dumpty-newdb 1.0 implements no restore" in result.error
    assert isinstance(result.exception, NotImplementedError)


def test_a_backup_whose_driver_was_uninstalled_says_which_to_install(install, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.syspath_prepend(os.path.join(DISTRIBUTIONS, "good"))
        backup = BackupManager(str(tmp_path)).create_backup("newdb://host/shop").backup
    error = BackupManager(str(tmp_path)).restore(backup.id, "newdb://host/other").error
    assert (
        "needs the driver plugin 'newdb' of dumpty-newdb 1.0, which is not installed: pip install dumpty-newdb" in error
    )


BROKEN = [
    ("raises", "raisesdb", r"dumpty-raises 1\.0 cannot be loaded: RuntimeError: the flux capacitor is missing"),
    ("exits", "exitsdb", r"dumpty-exits 1\.0 cannot be loaded: SystemExit"),
    ("absent", "absentdb", r"dumpty-absent 1\.0 cannot be loaded: ModuleNotFoundError"),
    ("misspelt", "misspelt", r"dumpty-misspelt 1\.0 cannot be loaded: .*restoer"),
    ("argument", "argument", r"dumpty-argument 1\.0 cannot be loaded: .*password"),
    ("rubbish", "rubbish", r"dumpty-rubbish 1\.0 cannot be loaded: describe\(\) returned dict"),
    ("silent", "silent", r"dumpty-silent 1\.0 cannot be loaded: it implements no hook; mark its functions with @dumpty\.hookimpl"),
    ("nameless", "nameless", r"dumpty-nameless 1\.0 cannot be loaded: it implements hooks but not describe"),
    ("unreadable", "unreadable", r"dumpty-unreadable 1\.0 cannot be loaded"),
]  # fmt: skip


@pytest.mark.parametrize(("folder", "name", "text"), BROKEN)
def test_a_broken_plugin_breaks_only_itself_and_is_named_when_it_is_asked_for(install, tmp_path, folder, name, text):
    install(folder)
    plugin = found(name)
    assert (plugin.state, plugin.kind, plugin.info) == ("failed", "", None)
    with pytest.raises(PluginLoadError, match=text):
        Host().driver(name)
    with pytest.raises(PluginLoadError, match=text):
        Host().named("compressor", name)
    assert "\n" not in plugin.error
    assert the_rest_works(tmp_path)
    result = BackupManager(str(tmp_path / "own")).create_backup(f"{name}://host/db")
    assert not result.success
    assert plugin.error in result.error


def test_entry_points_that_cannot_be_read_are_shown_and_break_nobody(install, tmp_path):
    install("malformed", "foreign")
    plugin = found("dumpty-malformed")
    assert plugin.state == "failed"
    assert "the entry points of dumpty-malformed 1.0 cannot be read" in plugin.error
    assert "foreign-malformed" not in {p.distribution for p in Host().plugins()}
    assert the_rest_works(tmp_path)


def test_entry_points_that_are_no_text_break_nobody(monkeypatch, tmp_path):
    info = tmp_path / "site" / "odd-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: odd\nVersion: 1.0\n")
    (info / "entry_points.txt").write_bytes(b"\xff\xfe[dumpty]\nx = y\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert the_rest_works(tmp_path)


def test_a_plugin_without_metadata_works_and_is_called_unnamed(install):
    install("unnamed")
    plugin = found("unnamed")
    assert (plugin.state, plugin.distribution, plugin.version) == ("ok", "an unnamed distribution", "")
    assert str(plugin) == "plugin 'unnamed' of an unnamed distribution"


def test_a_hook_of_a_later_dumpty_may_be_carried_as_optional(install):
    install("newer")
    assert found("newer").state == "ok"


def test_two_plugins_of_one_name_are_a_conflict_that_names_both_and_the_way_out(install, monkeypatch, tmp_path):
    install("good", "rival")
    for scheme in ("newdb", "rivaldb"):
        with pytest.raises(PluginConflict) as caught:
            Host().driver(scheme)
        text = str(caught.value)
        assert "plugin 'newdb' of dumpty-newdb 1.0" in text
        assert "plugin 'newdb' of dumpty-rival 1.0" in text
        assert "claim the name 'newdb'" in text
    assert {p.state for p in Host().plugins() if p.name == "newdb"} == {"conflict"}
    assert the_rest_works(tmp_path)
    monkeypatch.setenv(DISABLE, "dumpty-rival:newdb")
    assert Host().driver("newdb").distribution == "dumpty-newdb"
    monkeypatch.setenv(DISABLE, "dumpty-newdb:newdb")
    assert Host().driver("rivaldb").distribution == "dumpty-rival"
    with pytest.raises(PluginNotFound):
        Host().driver("nobody")


def test_two_plugins_of_one_scheme_are_a_conflict_for_that_scheme_alone(install, monkeypatch):
    install("poacher")
    with pytest.raises(
        PluginConflict,
        match=r"'sqlite' of dumpty .* and .*'poacher' of dumpty-poacher 1\.0 both claim the scheme 'sqlite'|'poacher'.*and.*'sqlite'.*both claim",
    ):
        Host().driver("sqlite")
    assert Host().driver("postgresql").name == "postgres"
    monkeypatch.setenv(DISABLE, "poacher")
    assert Host().driver("sqlite").distribution == "dumpty"


@pytest.mark.parametrize("way", ["newdb", "dumpty-newdb:newdb", " x , newdb ,", "newdb,gzip"])
def test_a_blocked_plugin_is_not_even_imported_and_says_that_it_is_blocked(install, monkeypatch, way):
    install("good")
    monkeypatch.setenv(DISABLE, way)
    plugin = found("newdb")
    assert (plugin.state, plugin.module) == ("blocked", None)
    assert "dumpty_newdb" not in sys.modules
    with pytest.raises(PluginLoadError, match=f"'newdb' of dumpty-newdb is blocked by {DISABLE} in the environment"):
        Host().driver("newdb")


@pytest.mark.parametrize("way", ["dumpty-rival:newdb", "newdb2", "dumpty:newdb", ""])
def test_blocking_another_blocks_not_this_one(install, monkeypatch, way):
    install("good")
    monkeypatch.setenv(DISABLE, way)
    assert found("newdb").state == "ok"


def test_a_blocked_builtin_is_missing_with_the_reason(monkeypatch, tmp_path):
    monkeypatch.setenv(DISABLE, "gzip")
    with pytest.raises(PluginLoadError, match=r"gzip.*blocked"):
        BackupManager(str(tmp_path))


def test_a_second_copy_of_a_distribution_further_down_the_path_is_the_same_plugin(install, tmp_path, monkeypatch):
    import shutil

    install("good")
    shutil.copytree(os.path.join(DISTRIBUTIONS, "good"), tmp_path / "copy")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "copy")])
    assert found("newdb").state == "ok"


def test_a_wrapper_sees_every_routed_call_and_has_no_kind(install, tmp_path):
    install("observer", "good")
    assert (found("observer").state, found("observer").kind) == ("wrapper", "")
    result = BackupManager(str(tmp_path)).create_backup("newdb://u:s3cr3t@host/shop")
    assert result.success, result.error
    assert sys.modules["dumpty_observer"].calls == [("newdb://u:***@host/shop", "sql")]
    with pytest.raises(PluginNotFound):
        Host().named("compressor", "observer")
    with pytest.raises(PluginNotFound):
        Host().driver("observer")


def test_an_unknown_scheme_lists_those_installed_and_what_failed_and_names_no_package(install):
    install("raises", "good")
    with pytest.raises(PluginNotFound) as caught:
        Host().driver("nodb")
    text = str(caught.value)
    assert "no driver answers the scheme 'nodb'; installed: mariadb, mysql, newdb, postgres, postgresql, sqlite" in text
    assert "pip install" not in text
    assert "Not loaded: plugin 'raisesdb' of dumpty-raises 1.0" in text


def test_an_unknown_name_lists_those_of_its_kind():
    with pytest.raises(PluginNotFound, match=r"no compressor is called 'lz4'; installed: gzip, zstd\.$"):
        Host().named("compressor", "lz4")
    with pytest.raises(PluginNotFound, match="no verifier is called 'gzip'; installed: sha256"):
        Host().named("verifier", "gzip")
    with pytest.raises(PluginNotFound, match="no store answers the scheme 'b2'; installed: az, file, gs, s3, sftp"):
        Host().store("B2://bucket")


def test_the_shared_host_notices_what_is_installed_later_and_is_shared_until_then(install, monkeypatch):
    before = default_host()
    assert default_host() is before
    install("good")
    after = default_host()
    assert after is not before
    assert after.driver("newdb").state == "ok"
    monkeypatch.setenv(DISABLE, "newdb")
    with pytest.raises(PluginError, match="blocked"):
        default_host().driver("newdb")
