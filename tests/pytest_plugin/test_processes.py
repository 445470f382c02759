"""Several processes of tests, and those that end in the midst: one restore for all, and nothing left of it."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest
from pytest_plugin.conftest import PATIENCE, PYTEST, THREE, wait_until
from support.places import left_over

CRASH = """
import os, time

import pytest

from reads import rows

def test_crashes(dumpty_database):
    with open("path", "w") as file:
        file.write(dumpty_database.path)
    os._exit(3)

@pytest.mark.parametrize("number", range(4))
def test_goes_on(dumpty_database, number):
    assert rows(dumpty_database) == 2
"""
WAITS = """
import time

def test_waits(dumpty_database):
    with open("path.part", "w") as file:
        file.write(dumpty_database.path)
    import os
    os.rename("path.part", "path")
    time.sleep(1000)
"""


def is_gone(project, temporary):
    """Return whether nothing is left of a session."""
    path = (project.path / "path").read_text()
    return not os.path.exists(path) and not left_over(project.path / "backups") and not os.listdir(temporary)


def test_several_processes_share_one_restore(project, proofs):
    project.write(THREE, "test_one", "test_two", "test_three")
    project.run_apart("-n2").assert_outcomes(passed=9)
    assert [proof.level for proof in proofs()] == ["restore"]
    assert left_over(project.path / "backups") == []


def test_a_crashed_worker_leaves_nothing_and_the_others_go_on(project, proofs, temporary):
    project.write(CRASH)
    result = project.run_apart("-n2")
    result.assert_outcomes(passed=4, failed=1)
    assert len(proofs()) == 1
    assert is_gone(project, temporary)


def test_a_crash_of_the_only_process_leaves_nothing(project, temporary):
    project.write(CRASH)
    assert project.run_apart().status == 3
    wait_until(lambda: is_gone(project, temporary))


@pytest.mark.parametrize("arguments", [(), ("-n1",)])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_session_that_is_ended_leaves_nothing(project, temporary, arguments, number):
    project.write(WAITS)
    process = subprocess.Popen([*PYTEST, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    with process:
        wait_until((project.path / "path").exists)
        assert not is_gone(project, temporary)
        process.send_signal(number)
        process.communicate(timeout=PATIENCE)
    if number == signal.SIGINT:
        assert is_gone(project, temporary)
    wait_until(lambda: is_gone(project, temporary))


def test_a_worker_whose_controller_is_elsewhere_restores_for_itself(project, proofs):
    project.write(
        """
        def pytest_configure(config):
            if hasattr(config, "workerinput"):
                config.workerinput["dumpty_session"][2] = "another machine"
        """,
        "conftest",
    )
    project.write(THREE, "test_one", "test_two")
    project.run_apart("-n2", "--dist=loadfile").assert_outcomes(passed=6)
    assert len(proofs()) == 2
