"""The fixtures, in a pytest within this process: what each test gets, from where, and what it hears when it cannot."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pytest_plugin.conftest import THREE
from support.places import left_over

from dumpty import BackupManager, DatabaseBackup


def test_each_test_has_its_own_database_of_one_restore_and_none_is_left(project, proofs):
    project.write(THREE)
    project.run().assert_outcomes(passed=3)
    assert [proof.level for proof in proofs()] == ["restore"]
    assert left_over(project.path / "backups") == []


def test_a_database_says_where_it_is_and_is_gone_after_its_test(project):
    project.write(
        """
        import os

        kept = []

        def test_it_is_there(dumpty_database):
            assert dumpty_database.url == dumpty_database.shown_url == f"sqlite:///{dumpty_database.path}"
            assert dumpty_database.environment == {}
            assert os.path.exists(dumpty_database.path)
            kept.append(dumpty_database.path)

        def test_it_is_gone():
            assert not os.path.exists(kept[0])
        """
    )
    project.run().assert_outcomes(passed=2)


def test_tests_that_only_read_may_share_one(project, proofs):
    project.write(
        """
        from reads import clear, rows

        seen = set()

        def test_once(dumpty_shared_database, dumpty_database):
            clear(dumpty_database)
            seen.add(dumpty_shared_database.path)

        def test_again(dumpty_shared_database):
            seen.add(dumpty_shared_database.path)
            assert rows(dumpty_shared_database) == 2
            assert len(seen) == 1
        """
    )
    project.run().assert_outcomes(passed=2)
    assert len(proofs()) == 1


@pytest.mark.parametrize("named", ["copies/before", "FILE"])
def test_a_copy_of_databasebackups_is_restored(project, named):
    copy = DatabaseBackup(project.path / "copies").backup_sqlite(str(project.path / "shop.db"), "before")
    project.ini(f"dumpty_dump = {copy.file_path if named == 'FILE' else named}")
    project.write(THREE)
    project.run().assert_outcomes(passed=3)


def test_a_live_database_is_backed_up_once_and_its_url_comes_from_elsewhere(project, monkeypatch, proofs):
    monkeypatch.setenv("SHOP", "sqlite:///shop.db")
    project.ini("dumpty_url = env:SHOP")
    project.write(THREE)
    project.run().assert_outcomes(passed=3)
    assert proofs() == []


def test_the_command_line_replaces_what_the_ini_file_says(project):
    project.ini("dumpty_backup = latest:nothing", "dumpty_dir = nowhere")
    project.write(THREE)
    project.run("--dumpty-url=sqlite:///shop.db").assert_outcomes(passed=3)
    given = ("--dumpty-backup=latest", "--dumpty-dir=backups", "--dumpty-option=fingerprint=on")
    project.run(*given).assert_lines("dumpty: *fingerprint*", 3)
    project.run(*given[:2]).assert_outcomes(passed=3)


def test_the_repository_may_be_named_by_the_environment(project, monkeypatch):
    monkeypatch.setenv("DUMPTY_DIR", "backups")
    project.ini("dumpty_backup = latest")
    project.write(THREE)
    project.run().assert_outcomes(passed=3)


def test_a_conftest_names_other_sources_and_several(project):
    project.ini()
    project.write(
        """
        import pytest
        from dumpty.pytest_plugin import RestoreSource

        @pytest.fixture(scope="session")
        def dumpty_source():
            return RestoreSource(backup="latest:shop", dir="backups")

        @pytest.fixture
        def live(dumpty_clone):
            with dumpty_clone(RestoreSource(url="sqlite:///shop.db")) as database:
                yield database
        """,
        "conftest",
    )
    project.write(
        """
        from reads import clear, rows

        def test_both(dumpty_database, live):
            clear(live)
            assert (rows(dumpty_database), rows(live)) == (2, 0)
        """
    )
    project.run().assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        ((), "nothing says what the database is to be restored from: write * dumpty_backup = latest:DATABASE*"),
        (("dumpty_url = sqlite:///a", "dumpty_dump = a/b"), "dumpty_dump and dumpty_url exclude each other: *"),
        (
            ("dumpty_backup = latest",),
            "nothing says in which repository the backup latest is: *dumpty_dir = REPOSITORY*",
        ),
        (("dumpty_backup = latest", "dumpty_dir = nowhere"), "there is no repository */nowhere for the backup latest"),
        (("dumpty_backup = latest:crm", "dumpty_dir = backups"), "*crm*"),
        (("dumpty_dump = nowhere/copy",), "there is no directory */nowhere of the copy nowhere/copy"),
        (("dumpty_dump = shop.db",), "shop.db is no copy that DatabaseBackup made: those in * are none.*dumpty_url"),
        (("dumpty_url = env:NOT_SET",), "the environment has no variable 'NOT_SET' to take the database URL from"),
        (("dumpty_url = sqlite:///nothing.db",), "*nothing.db*"),
        (
            ("dumpty_url = sqlite:///shop.db", "dumpty_option = fast"),
            "dumpty_option = fast is not of the form KEY=VALUE*",
        ),
        (("dumpty_url = sqlite:///shop.db", "dumpty_on = sqlite:///x"), "*SQLite has no server to restore on*"),
        (("dumpty_backup = latest", "dumpty_dir = backups", "dumpty_identity = nokey"), "*nokey*"),
    ],
)
def test_what_cannot_be_restored_is_said_by_each_test_that_asks_and_by_no_other(project, lines, text):
    project.ini(*lines)
    project.write("def test_a(dumpty_database): pass\ndef test_b(dumpty_database): pass\ndef test_c(): pass")
    result = project.run()
    result.assert_outcomes(passed=1, error=2)
    result.assert_lines(f"dumpty: {text}", 2)


def test_a_damaged_backup_fails_every_test_and_is_tried_once(project, proofs):
    [backup] = BackupManager(project.path / "backups").list_backups()
    Path(backup.file_path).chmod(0o600)
    data = bytearray(Path(backup.file_path).read_bytes())
    data[-9] ^= 1
    Path(backup.file_path).write_bytes(data)
    project.write(THREE)
    result = project.run()
    result.assert_outcomes(error=3)
    result.assert_lines("dumpty: *was altered or damaged", 3)
    assert [proof.ok for proof in proofs()] == [False]


def test_a_url_is_shown_without_its_password():
    from dumpty.pytest_plugin import RestoreSource

    source = RestoreSource(url="postgresql://u:verysecret@h/shop", on="postgresql://a:verysecret@h")
    assert "verysecret" not in repr(source)
    assert "u:***@h/shop" in repr(source)
    assert repr(RestoreSource(url="env:SHOP")) == "RestoreSource(url='env:SHOP')"
    assert repr(RestoreSource(url="u:verysecret@h")) == "RestoreSource(url='***')"


def test_whoever_does_not_use_it_pays_for_no_more_than_a_small_module(temporary):
    script = """
import sys
import pytest
before = set(sys.modules)
import dumpty.pytest_plugin.plugin
print(*sorted(set(sys.modules) - before - set(sys.stdlib_module_names)))
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True)
    ours = {"dumpty", "dumpty.hookspecs", "dumpty.pytest_plugin", "dumpty.pytest_plugin.plugin"}
    assert {name for name in done.stdout.split() if name.partition(".")[0] not in sys.stdlib_module_names} == ours


def test_a_project_that_does_not_use_it_is_not_disturbed(project, proofs, temporary):
    project.ini("dumpty_backup = latest:nothing", "dumpty_url = nothing")
    project.write(
        "import sys\ndef test_alone():\n    assert 'dumpty.pytest_plugin.client' not in sys.modules\n"
        * (os.name == "posix")
    )
    for arguments in ((), ("-n2",)):
        project.run_apart(*arguments).assert_outcomes(passed=1)
    assert proofs() == []
