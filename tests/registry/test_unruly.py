"""Plugins that misbehave while they are used: through facade and command line, named, and never with a good backup."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.places import stored_files
from support.processor import times_a_start_of_python
from support.replies import check_reply
from support.toys import python

from dumpty import BackupManager, PluginError, PluginNotFound, StoreError

DISTRIBUTIONS = Path(__file__).parent / "distributions"
# All that are of no harm to the scheme sqlite: dumpty-poacher claims it.
ALL_FOLDERS = sorted(p.name for p in DISTRIBUTIONS.iterdir() if p.name != "poacher")


@pytest.fixture
def install(monkeypatch):
    """Put distributions on the path of this process, and take their modules away afterwards."""

    def install(*plugin_folders):
        for folder in reversed(plugin_folders):
            monkeypatch.syspath_prepend(str(DISTRIBUTIONS / folder))

    before = set(sys.modules)
    yield install
    for name in set(sys.modules) - before:
        if name.startswith("dumpty_") and not name.startswith("dumpty_plugins"):
            del sys.modules[name]


@dataclass(frozen=True)
class CommandResult:
    status: int
    out: str
    err: str


@pytest.fixture
def dumpty(tmp_path):
    """Run a command line as a program of its own, with distributions on its path, in the test's directory."""

    def run(*argv, plugin_folders=(), limit=None):
        def forbid_large_files():
            if limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        done = subprocess.run(
            [sys.executable, "-m", "dumpty", *argv],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(str(DISTRIBUTIONS / name) for name in plugin_folders)},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            preexec_fn=forbid_large_files,
        )
        if "--json" in argv:
            assert check_reply(argv, done.stdout)["status"] == done.returncode
        return CommandResult(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def shop(tmp_path) -> str:
    with contextlib.closing(sqlite3.connect(tmp_path / "shop.db")) as database:
        database.executescript("CREATE TABLE t (i); INSERT INTO t VALUES (7);")
    return f"sqlite:///{tmp_path}/shop.db"


def visible(directory: Path) -> list[str]:
    """Return what stands in a backup directory, dumpty's own locks aside."""
    return stored_files(directory)


WRONG = [
    ("none", "plugin 'none' of dumpty-unruly 1.0 returned NoneType from backup, not Evidence: taken as a failure"),
    ("wrong", "plugin 'wrong' of dumpty-unruly 1.0 returned bool from backup, not Evidence: taken as a failure"),
]


@pytest.mark.parametrize(("scheme", "text"), WRONG)
def test_a_driver_that_returns_no_evidence_fails_by_name_and_leaves_nothing(install, tmp_path, scheme, text):
    install("unruly")
    manager = BackupManager(str(tmp_path / "backups"))
    result = manager.create_backup(f"{scheme}://host/db")
    assert (result.success, result.backup, result.error) == (False, None, text)
    assert isinstance(result.exception, PluginError)
    assert manager.list_backups() == []
    assert visible(tmp_path / "backups") == []


@pytest.mark.parametrize(("scheme", "text"), WRONG)
def test_the_command_fails_by_name_where_a_driver_returns_no_evidence(dumpty, tmp_path, scheme, text):
    ran = dumpty("backup", f"{scheme}://host/db", plugin_folders=["unruly"])
    assert (ran.status, ran.out, ran.err) == (1, "", f"dumpty: {text}\n")
    assert visible(tmp_path / "backups") == []


QUITS = "plugin 'quits' of dumpty-unruly 1.0 called sys.exit(0) in backup: taken as a failure"


def test_a_driver_that_calls_sys_exit_ends_the_program_by_name_and_leaves_nothing(install, tmp_path):
    install("unruly")
    manager = BackupManager(str(tmp_path / "backups"))
    with pytest.raises(SystemExit) as caught:  # the facades promise that it comes out
        manager.create_backup("quits://host/db")
    assert caught.value.code == QUITS  # which Python prints, with status 1
    assert manager.list_backups() == []
    assert visible(tmp_path / "backups") == []


@pytest.mark.parametrize("json_too", [(), ("--json",)])
def test_the_command_fails_by_name_where_a_driver_calls_sys_exit(dumpty, tmp_path, json_too):
    ran = dumpty("backup", "quits://host/db", *json_too, plugin_folders=["unruly"])
    assert ran.status == 1
    if json_too:
        result = json.loads(ran.out)
        assert (result["success"], result["error"]) == (False, QUITS)
    else:
        assert (ran.out, ran.err) == ("", f"dumpty: {QUITS}\n")
    assert visible(tmp_path / "backups") == []


def test_after_a_hard_exit_nothing_is_listed_and_the_next_run_works_and_clears_up(dumpty, tmp_path, shop):
    ran = dumpty("backup", "dies://host/db", plugin_folders=["unruly"])
    assert (ran.status, ran.out) == (7, "")
    assert [name for name in visible(tmp_path / "backups") if name.endswith(".part")]
    assert json.loads(dumpty("list", "--json").out)["backups"] == []
    assert dumpty("verify", "--all").status == 0
    assert dumpty("backup", shop, plugin_folders=["unruly"]).status == 0
    assert len(json.loads(dumpty("list", "--json").out)["backups"]) == 1
    assert not [name for name in visible(tmp_path / "backups") if name.endswith(".part")]
    assert dumpty("verify", "--all").status == 0


def test_a_hard_exit_within_a_program_leaves_its_older_backups_as_they_were(tmp_path, shop):
    code = (
        "import sys; from dumpty import BackupManager; m = BackupManager(sys.argv[1]); "
        "assert m.create_backup(sys.argv[2]).success; m.create_backup('dies://host/db'); print('survived')"
    )
    path = {"PYTHONPATH": str(DISTRIBUTIONS / "unruly")}
    done = python(code, tmp_path / "backups", shop, env=path, check=False)
    assert (done.returncode, done.stdout) == (7, "")
    manager = BackupManager(str(tmp_path / "backups"))
    (backup,) = manager.list_backups()
    manager.verify(backup.id)
    assert manager.create_backup(shop).success


def test_a_driver_that_swallows_the_sinks_error_has_made_no_backup(install, tmp_path, shop):
    code = (
        "import resource, sys; from dumpty import BackupManager; m = BackupManager(sys.argv[1]); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000)); r = m.create_backup('swallows://host/db'); "
        "print(r.success, type(r.exception).__name__, r.error); print(m.list_backups())"
    )
    done = python(code, tmp_path / "backups", env={"PYTHONPATH": str(DISTRIBUTIONS / "unruly")})
    outcome, listed = done.stdout.splitlines()
    assert outcome.startswith(f"False {StoreError.__name__} cannot write {tmp_path}/backups/")
    assert "File too large" in outcome
    assert listed == "[]"
    assert visible(tmp_path / "backups") == []


def test_the_command_fails_where_a_driver_swallows_the_sinks_error(dumpty, tmp_path):
    ran = dumpty("backup", "swallows://host/db", plugin_folders=["unruly"], limit=500_000)
    assert (ran.status, ran.out) == (1, "")
    assert "File too large" in ran.err
    assert ran.err.count("\n") == 1
    assert visible(tmp_path / "backups") == []
    assert (
        dumpty("backup", "swallows://host/db", plugin_folders=["unruly"]).status == 0
    )  # where nothing fails, nothing is wrong


def test_what_a_plugin_writes_to_standard_output_is_in_no_result(dumpty, tmp_path):
    for verb in (("backup", "chatty://host/db"), ("list",), ("verify", "latest"), ("plugins",), ("show", "latest")):
        ran = dumpty(*verb, "--json", plugin_folders=["chatty"])
        assert json.loads(ran.out)["success"], ran
        assert ran.out.count("\n") == 1
    ran = dumpty("backup", "chatty://host/db", plugin_folders=["chatty"])
    assert "chatty" not in ran.out.replace("chatty://", "").replace("chatty-", "")
    for way in ("says", "writes", "echoes"):
        for where in ("import", "describe", "backup"):
            assert f"chatty {way} {where}" in ran.err


def test_a_backup_of_a_plugin_that_writes_to_standard_output_is_a_good_one(install, tmp_path, capfd):
    install("chatty")
    result = BackupManager(str(tmp_path), compressor=None).create_backup("chatty://host/db")
    assert result.success, result.error
    assert Path(result.backup.file_path).read_bytes() == b"chatty dump of host/db".replace(b"host/", b"")
    assert "chatty writes backup" in capfd.readouterr().out


def test_a_plugin_that_hangs_for_a_moment_on_import_works_and_is_named(install, dumpty, tmp_path):
    install("slow")
    assert BackupManager(str(tmp_path)).create_backup("slow://host/db").success
    ran = dumpty("plugins", plugin_folders=["slow"])
    assert ran.status == 0
    (line,) = [line for line in ran.out.splitlines() if "took" in line and "dumpty-slow" in line]
    assert re.search(r"plugin 'slow' of dumpty-slow 1\.0 took \d", line)
    assert "DUMPTY_DISABLE_PLUGINS=dumpty-slow:slow" in line
    seconds = {
        p["name"]: p["load_seconds"]
        for p in json.loads(dumpty("plugins", "--json", plugin_folders=["slow"]).out)["plugins"]
    }
    assert seconds["slow"] >= 0.6
    assert seconds["sha256"] < seconds["slow"]


def test_among_all_of_them_every_other_plugin_works_and_each_is_listed_by_its_distribution(dumpty, tmp_path, shop):
    assert dumpty("backup", shop, plugin_folders=ALL_FOLDERS).status == 0
    assert dumpty("verify", "latest", plugin_folders=ALL_FOLDERS).status == 0
    assert dumpty("restore", "latest", "--to", f"sqlite:///{tmp_path}/again.db", plugin_folders=ALL_FOLDERS).status == 0
    with contextlib.closing(sqlite3.connect(tmp_path / "again.db")) as database:
        assert database.execute("SELECT i FROM t").fetchall() == [(7,)]
    ran = dumpty("plugins", "--json", plugin_folders=ALL_FOLDERS)
    assert ran.status == 0
    listed = json.loads(ran.out)["plugins"]
    named = {p["distribution"] for p in listed}
    assert {f"dumpty-{name}" for name in ALL_FOLDERS} - named == {"dumpty-foreign", "dumpty-good", "dumpty-unnamed"}
    assert {"dumpty-newdb", "an unnamed distribution"} <= named
    for plugin in listed:
        if plugin["distribution"] == "dumpty":
            assert plugin["state"] == "ok", plugin
        if plugin["state"] != "ok" and plugin["state"] != "wrapper":
            assert plugin["distribution"] in plugin["error"]


@pytest.mark.parametrize(
    ("folder", "scheme"),
    [("raises", "raisesdb"), ("exits", "exitsdb"), ("misspelt", "misspelt"), ("rubbish", "rubbish")],
)
def test_the_command_names_a_plugin_that_does_not_load_where_it_is_asked_for(dumpty, folder, scheme):
    ran = dumpty("backup", f"{scheme}://host/db", plugin_folders=[folder])
    assert (ran.status, ran.out) == (2, "")
    assert f"of dumpty-{folder} 1.0 cannot be loaded" in ran.err
    assert ran.err.count("\n") == 1


def test_the_command_names_both_claimants_of_a_name_and_of_a_scheme(dumpty, tmp_path, shop):
    ran = dumpty("backup", "newdb://host/db", plugin_folders=["good", "rival"])
    assert ran.status == 2
    assert "dumpty-newdb 1.0" in ran.err
    assert "dumpty-rival 1.0" in ran.err
    ran = dumpty("backup", shop, plugin_folders=["poacher", "good"])
    assert ran.status == 2
    assert "plugin 'poacher' of dumpty-poacher 1.0" in ran.err
    assert "plugin 'sqlite' of dumpty " in ran.err
    assert not (tmp_path / "backups").exists() or visible(tmp_path / "backups") == []
    assert dumpty("backup", "newdb://host/db", plugin_folders=["poacher", "good"]).status == 0


# -- uninstalled later ---------------------------------------------------------------------------------------------

MISSING = [
    ({"compressor": "squeezer"}, "compressor plugin 'squeezer'"),
    ({"verifier": "checker"}, "verifier plugin 'checker'"),
    ({"compressor": "squeezer", "verifier": "checker"}, "verifier plugin 'checker'"),
]


@pytest.mark.parametrize(("chosen", "plugin"), MISSING)
def test_a_backup_says_which_plugin_it_needs_when_that_is_uninstalled(
    install, dumpty, tmp_path, shop, monkeypatch, chosen, plugin
):
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(DISTRIBUTIONS / "squeezer"))
        manager = BackupManager(str(tmp_path / "backups"), **chosen)
        backup = manager.create_backup(shop).backup
        manager.verify(backup.id)
    target = f"sqlite:///{tmp_path}/again.db"
    expected = (
        f"backup {backup.id} needs the {plugin} of dumpty-squeezer 1.0, which is not installed: "
        "pip install dumpty-squeezer, or pass it as plugins=[…]"
    )
    without = BackupManager(str(tmp_path / "backups"))
    result = without.restore(backup.id, target)
    assert (result.success, result.error) == (False, expected)
    assert isinstance(result.exception, PluginNotFound)
    with pytest.raises(PluginNotFound, match=r"dumpty-squeezer 1\.0"):
        without.verify(backup.id)
    for argv in (("restore", "latest", "--to", target), ("verify", "latest")):
        ran = dumpty(*argv)
        assert ran.status == 2, ran
        assert "pip install dumpty-squeezer" in ran.err
        assert plugin in ran.err
    assert not (tmp_path / "again.db").exists()
    assert dumpty("restore", "latest", "--to", target, plugin_folders=["squeezer"]).status == 0


def test_the_command_says_which_driver_a_backup_needs_when_that_is_uninstalled(dumpty):
    assert dumpty("backup", "newdb://host/shop", plugin_folders=["good"]).status == 0
    ran = dumpty("restore", "latest", "--to", "newdb://host/again")
    assert ran.status == 2
    assert "needs the driver plugin 'newdb' of dumpty-newdb 1.0, which is not installed" in ran.err
    assert dumpty("verify", "latest").status == 0  # the bytes are good, whoever wrote them


# -- speed ---------------------------------------------------------------------------------------------------------


def test_the_command_lists_twenty_plugins_of_which_three_are_broken_at_once(tmp_path):
    site = tmp_path / "site"
    for n in range(20):
        info = site / f"dumpty_p{n}-1.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: dumpty-p{n}\nVersion: 1\n")
        (info / "entry_points.txt").write_text(f"[dumpty]\np{n} = dumpty_p{n}\n")
        broken = {0: "raise ValueError('no')", 1: "import not_there", 2: "def describe(): pass"}
        code = "import dumpty\n@dumpty.hookimpl\ndef describe():\n    return dumpty.PluginInfo(kind='verifier')\n"
        (site / f"dumpty_p{n}.py").write_text(broken.get(n, code))
    command = [sys.executable, "-m", "dumpty", "plugins", "--json"]
    env = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    states = [p["state"] for p in json.loads(done.stdout)["plugins"] if p["distribution"].startswith("dumpty-p")]
    assert (states.count("ok"), states.count("failed")) == (17, 3)
    assert times_a_start_of_python(command, env) < 5
