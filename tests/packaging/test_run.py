"""``tests/run.sh`` sets up what is missing; with ``--fast``, only where something changed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

RUN = Path(__file__).parents[1] / "run.sh"
SET_UP = """#!/bin/sh
echo "set up $1" >>calls
[ ! -e broken ] || exit 1
mkdir -p "$1/bin"
printf '#!/bin/sh\\necho "ran $*" >>calls\\n' >"$1/bin/python"
chmod +x "$1/bin/python"
"""


@pytest.fixture
def tree(tmp_path):
    """A checkout with the real script, in which setting up and running are only noted."""
    (tmp_path / "tests" / "support").mkdir(parents=True)
    shutil.copy(RUN, tmp_path / "tests")
    (tmp_path / "tests" / "support" / "set_up.sh").write_text(SET_UP)
    (tmp_path / "tests" / "support" / "fetch_mysql.sh").write_text("")
    (tmp_path / "tests" / "test_it.py").write_text("")
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    return tmp_path


def run(tree, *arguments, status=0):
    """Run the script and return what it called since it was last run."""
    (tree / "calls").write_text("")
    environment = {k: v for k, v in os.environ.items() if k != "DUMPTY_TEST_VENV"}
    process = subprocess.run(["sh", "tests/run.sh", *arguments], cwd=tree, env=environment, check=False)
    assert process.returncode == status
    return (tree / "calls").read_text().splitlines()


SETTING_UP = "set up .venv-test"


def test_everything_is_set_up_and_the_whole_suite_run_in_two_processes(tree):
    assert run(tree, "-q") == [SETTING_UP, "ran -m pytest --numprocesses=3 -q"]
    assert run(tree, "-q")[0] == SETTING_UP


def test_one_path_runs_in_one_process(tree):
    assert run(tree, "tests/test_it.py::test_a") == [SETTING_UP, "ran -m pytest tests/test_it.py::test_a"]


def test_fast_sets_nothing_up_twice_and_all_again_after_a_change(tree):
    ran = "ran -m pytest tests/test_it.py"
    assert run(tree, "--fast", "tests/test_it.py") == [SETTING_UP, ran]
    assert run(tree, "--fast", "tests/test_it.py") == [ran]
    (tree / "pyproject.toml").write_text("[project]\ndependencies = ['another']\n")
    assert run(tree, "--fast", "tests/test_it.py") == [SETTING_UP, ran]
    assert run(tree, "--fast", "tests/test_it.py") == [ran]


def test_fast_does_not_rely_on_a_set_up_that_failed(tree):
    run(tree)
    (tree / "broken").write_text("")
    assert run(tree, status=1) == [SETTING_UP]
    assert run(tree, "--fast", status=1) == [SETTING_UP]
    (tree / "broken").unlink()
    assert run(tree, "--fast")[0] == SETTING_UP
