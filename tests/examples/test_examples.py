"""The packages under ``examples``, as their users get them: installed beside dumpty's wheel, and nothing of this tree.

One clean environment takes them all, which shows that they get along, too. Their own tests run there, all at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.environments import ENVIRONMENT, CleanEnvironment, run

TOP = Path(__file__).parents[2]
EXAMPLES = TOP / "examples"
PACKAGES = sorted(p.parent.name for p in EXAMPLES.glob("*/pyproject.toml"))
PROGRAMS = sorted(p.name for p in EXAMPLES.glob("*.py"))


@pytest.fixture(scope="module")
def programs(tmp_path_factory) -> Path:
    """The programs of a clean environment that has dumpty's wheel, every example package, and pytest."""
    environment = CleanEnvironment(tmp_path_factory.mktemp("examples"))
    environment.install("hatchling>=1.24,<2", "pytest>=8,<10")
    environment.install(*environment.wheels(TOP, *(EXAMPLES / p for p in PACKAGES)).glob("*.whl"))
    return environment.programs


@pytest.fixture(scope="module", autouse=True)
def outcomes(programs, tmp_path_factory) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """The packages' own tests, running beside the tests of this module."""
    children = {}
    for name in PACKAGES:
        # Tests alone: what they import can only be what is installed.
        directory = tmp_path_factory.mktemp(name)
        shutil.copytree(EXAMPLES / name / "tests", directory / "tests", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(EXAMPLES / name / "pyproject.toml", directory)
        argv = [programs / "pytest", "-q", "-rs", "-p", "no:cacheprovider", "--basetemp", directory / "tmp", "tests"]
        with (directory / "output").open("wb") as output:
            children[name] = subprocess.Popen(
                argv, cwd=directory, env=ENVIRONMENT, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
    yield children
    for child in children.values():
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)  # what the tests started goes with them
        child.wait()


def test_there_are_packages_of_every_kind_and_both_programs():
    assert PACKAGES == ["dumpty-blake3", "dumpty-brotli", "dumpty-duckdb", "dumpty-redis"]
    assert PROGRAMS == ["custom_compressor.py", "timing_observer.py"]


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_runs_as_it_stands(program, programs, tmp_path):
    output = run(programs / "python", "-W", "error", EXAMPLES / program, cwd=tmp_path)
    assert len(output.splitlines()) >= 3
    expected = {"custom_compressor.py": "restored 10000 rows", "timing_observer.py": "backup   MissingFile"}
    assert expected[program] in output


def test_a_backup_through_a_programs_own_plugin_says_what_is_missing_without_it(programs, tmp_path):
    last_line = run(programs / "python", EXAMPLES / "custom_compressor.py", cwd=tmp_path).splitlines()[-1]
    assert "needs the compressor plugin 'xz' of this program" in last_line
    assert last_line.endswith("not installed: pass it as plugins=[…]")


def test_the_command_lists_every_package_as_installed(programs, tmp_path):
    plugins = json.loads(run(programs / "dumpty", "plugins", "--json", cwd=tmp_path))
    states = {p["distribution"]: p["state"] for p in plugins["plugins"]}
    assert {name: states.get(name) for name in PACKAGES} == dict.fromkeys(PACKAGES, "ok")


def test_the_command_backs_up_and_restores_duckdb(programs, tmp_path):
    fill = "import duckdb; duckdb.connect('a.duckdb').execute('CREATE TABLE t AS SELECT range AS i FROM range(7)')"
    run(programs / "python", "-c", fill, cwd=tmp_path)
    for form in ("parquet", "native"):
        run(programs / "dumpty", "backup", "duckdb:///a.duckdb", "--format", form, cwd=tmp_path)
        run(programs / "dumpty", "verify", "latest", cwd=tmp_path)
        run(programs / "dumpty", "restore", "latest", "--to", f"duckdb:///{form}.duckdb", cwd=tmp_path)
        count = f"import duckdb; print(duckdb.connect('{form}.duckdb').execute('SELECT sum(i) FROM t').fetchone())"
        assert "(21,)" in run(programs / "python", "-c", count, cwd=tmp_path)


def test_the_command_backs_up_and_restores_redis(programs, tmp_path):
    with redis_server() as socket:
        cli = ("redis-cli", "-s", socket)
        run(*cli, "-n", "0", "rpush", "list", "a", "b", cwd=tmp_path)
        run(programs / "dumpty", "backup", f"redis:///0?unix_socket_path={socket}", cwd=tmp_path)
        run(programs / "dumpty", "restore", "latest", "--to", f"redis:///1?unix_socket_path={socket}", cwd=tmp_path)
        assert run(*cli, "-n", "1", "lrange", "list", "0", "-1", cwd=tmp_path) == "a\nb\n"


def test_the_command_uses_brotli_and_blake3_for_a_built_in_driver(programs, tmp_path):
    with contextlib.closing(sqlite3.connect(tmp_path / "a.db")) as database:
        database.executescript("CREATE TABLE t (i); INSERT INTO t VALUES (7);")
    run(
        programs / "dumpty", "backup", "sqlite:///a.db", "--compressor", "brotli", "--verifier", "blake3", "-o",
        "quality=6", cwd=tmp_path,
    )  # fmt: skip
    [backup] = json.loads(run(programs / "dumpty", "show", "latest", "--json", cwd=tmp_path))["backups"]
    assert backup["files"][0].endswith(".br")
    assert set(backup["details"]["digests"]) == {"blake3"}
    run(programs / "dumpty", "verify", "latest", cwd=tmp_path)
    run(programs / "dumpty", "restore", "latest", "--to", "sqlite:///b.db", cwd=tmp_path)
    with contextlib.closing(sqlite3.connect(tmp_path / "b.db")) as database:
        assert database.execute("SELECT i FROM t").fetchall() == [(7,)]


@pytest.mark.parametrize("name", PACKAGES)
def test_a_packages_own_tests_pass_beside_the_wheel(name, outcomes):
    child = outcomes[name]
    child.wait(600)
    output = Path(child.args[child.args.index("--basetemp") + 1]).with_name("output").read_text()
    assert child.returncode == 0, output
    assert " passed" in output
    assert "skipped" not in output


@contextlib.contextmanager
def redis_server() -> Iterator[str]:
    program = shutil.which("redis-server")
    if program is None:
        pytest.fail("no redis-server on the PATH; install it: apt-get install -y redis-server", pytrace=False)
    with tempfile.TemporaryDirectory(prefix="drd", dir="/tmp") as directory:
        socket = f"{directory}/s"
        argv = [program, "--port", "0", "--unixsocket", socket, "--dir", directory, "--save", ""]
        with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as server:
            try:
                deadline = time.monotonic() + 30
                while not os.path.exists(socket):
                    assert server.poll() is None, "redis-server ended at once"
                    assert time.monotonic() < deadline, "redis-server did not start"
                    time.sleep(0.02)
                yield socket
            finally:
                server.kill()
