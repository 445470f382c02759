"""The package as a stranger gets it: cloned, built, installed in a clean environment, used."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from support.environments import CleanEnvironment

TOP = Path(__file__).parents[2]

SMOKE = """
import sqlite3, sys
from contextlib import closing
import dumpty
from dumpty import BackupManager, DatabaseBackup, backup_database
with closing(sqlite3.connect("a.db")) as c:
    c.execute("CREATE TABLE t (x)"); c.execute("INSERT INTO t VALUES (7)"); c.commit()
r = backup_database("sqlite:///a.db")
assert r.success, r.error
r = BackupManager("backups").restore(r.backup.id, "sqlite:///b.db")
assert r.success, r.error
d = DatabaseBackup("named")
d.backup_sqlite("a.db", "one")
assert d.restore_sqlite("one", "c.db")
for name in ("b.db", "c.db"):
    with closing(sqlite3.connect(name)) as c:
        assert c.execute("SELECT x FROM t").fetchall() == [(7,)]
r = BackupManager("backups").create_backup("postgresql://localhost/x")
assert isinstance(r.exception, ImportError) and 'pip install "dumpty[postgres]"' in r.error, r.error
print("smoke passed, dumpty", dumpty.__version__)
"""


def run(*argv: object, cwd: Path, env: dict[str, str] | None = None) -> str:
    process = subprocess.run([str(a) for a in argv], cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert process.returncode == 0, f"{argv}\n{process.stdout}\n{process.stderr}"
    return process.stdout


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """A copy of what git has, or would take in: nothing that only lies about here."""
    top = tmp_path_factory.mktemp("clone")
    names = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=TOP)
    for name in filter(None, names.split("\0")):
        if (TOP / name).is_file():
            (top / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(TOP / name, top / name)
    return top


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> dict[str, str]:
    """The environment of a stranger: ``python3`` is this Python without what is installed beside it."""
    programs = tmp_path_factory.mktemp("bin")
    (programs / "python3").symlink_to(
        Path(sys.base_prefix) / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    )
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "COV_", "VIRTUAL_ENV", "DUMPTY"))}
    return keep | {"PATH": f"{programs}:{os.environ['PATH']}"}


@pytest.fixture(scope="module")
def built(clone, tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", directory, clone, cwd=clone)
    return directory


def test_the_readmes_first_command_ends_in_a_restored_compared_database(clone, environment):
    [command] = re.findall(r"^python3 -m venv .*dumpty demo$", (clone / "README.md").read_text(), re.MULTILINE)
    output = run("sh", "-c", command, cwd=clone, env=environment)
    assert "same" in output
    installed = run(clone / ".venv/bin/pip", "list", cwd=clone, env=environment)
    assert not re.search(r"(?i)^(psycopg|pymysql|pytest)", installed, re.MULTILINE)


def test_the_wheel_holds_the_two_packages_and_nothing_else(built):
    [wheel] = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {n.split("/")[0] for n in names if ".dist-info" not in n} == {"dumpty", "dumpty_plugins"}
    assert {"dumpty/py.typed", "dumpty_plugins/py.typed"} <= set(names)
    assert {f"dumpty/manual/{page.name}" for page in (TOP / "core/dumpty/manual").glob("*.md")} <= set(names)
    assert "dumpty/replies/json_schema.json" in names
    assert any(n.endswith("licenses/LICENSE") for n in names)
    points = configparser.ConfigParser()
    points.read_string(zipfile.ZipFile(wheel).read(next(n for n in names if n.endswith("entry_points.txt"))).decode())
    assert {"sqlite", "postgres", "mysql", "gzip", "zstd", "sha256", "file", "sftp", "objectstore", "gcs"} | {
        *("webhook", "apprise", "command", "ssh", "docker", "kubectl")
    } <= set(points["dumpty"])
    assert dict(points["pytest11"]) == {"dumpty": "dumpty.pytest_plugin.plugin"}


def test_the_sdist_holds_sources_tests_and_examples_and_no_rubbish(built):
    [sdist] = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {n.partition("/")[2] for n in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "core/dumpty/__init__.py"} <= names
    assert {"tests/run.sh", "CONTRIBUTING.md", "SECURITY.md", "core/dumpty/manual/restoring.md"} <= names
    assert not [n for n in names if "__pycache__" in n or n.endswith(".pyc")]


def test_the_wheel_works_in_a_clean_environment(built, tmp_path, environment):
    [wheel] = built.glob("*.whl")
    CleanEnvironment(tmp_path).install(wheel)
    (tmp_path / "smoke.py").write_text(SMOKE)
    assert "smoke passed" in run(tmp_path / "venv/bin/python", "-W", "error", "smoke.py", cwd=tmp_path, env=environment)
    assert "dumpty 1." in run(tmp_path / "venv/bin/dumpty", "--version", cwd=tmp_path, env=environment)
