"""``dumpty serve``: what is due is run, SIGHUP reads the configuration again, and a signal ends it in good order."""

from __future__ import annotations

import gc
import os
import pty
import signal
import socket
import time

import pytest
from support.replies import check_reply

from dumpty.jobs.serving import Serving

EVERY_YEAR = "0 0 1 1 *"
PATIENCE = 60


@pytest.fixture
def configure(tmp_path, shop):
    def configure(*jobs, schedule=EVERY_YEAR, more=""):
        text = f'[defaults]\nrepository = "{tmp_path}/backups"\n{more}\n'
        text += f'schedule = "{schedule}"\n' if schedule else ""
        path = tmp_path / "dumpty.toml"
        new = tmp_path / "dumpty.toml.new"
        new.write_text(text + "".join(f'[jobs.{name}]\nsource = "{shop}"\n' for name in jobs))
        new.chmod(0o600)
        os.replace(new, path)  # as editors do
        return path

    return configure


def outcomes(dumpty):
    runs = dumpty("runs", "--json").json["runs"]
    return {run["job"]: run["result"] and run["result"]["outcome"] for run in runs}


def test_what_is_due_is_run_and_told_and_a_signal_ends_it(serve, configure, dumpty, shop):
    configure("a", "b")
    served = serve()
    served.said("of 1 database backed up", 2)
    status, out, said = served.end()
    assert (status, out) == (143, "")
    first, *lines = said.splitlines()
    assert first.startswith("serving dumpty.toml: 2 jobs by schedule; next: a, at ")
    assert "a: ok: 1 of 1 database backed up, " in said
    assert f"\na: {shop} is backed up, 1 of 1\n" in said
    assert lines[-1] == "dumpty: interrupted by SIGTERM: what was not complete is removed"
    assert outcomes(dumpty) == {"a": "ok", "b": "ok"}


def test_whoever_serves_next_says_what_was_done_before_and_runs_nothing_twice(serve, configure, dumpty):
    configure("a")
    serve().said("a: ok")
    # Killed or not, its own file is nobody's any more.
    served = serve("--config", configure("a"))
    served.said(f"a: not run for {time.gmtime().tm_year}0101T000000Z: it is done, by {socket.gethostname()}")
    assert served.end()[0] == 143
    assert len(dumpty("list", "--json").json["backups"]) == 1


def test_quietly_only_what_went_wrong_is_told(serve, configure, dumpty, tmp_path):
    path = configure("a")
    path.write_text(path.read_text() + '[jobs.gone]\nsource = "sqlite:////nowhere/at/all.db"\n')
    served = serve("--quiet")
    served.said("gone: FAILED: 0 of 1 database")
    end = time.monotonic() + PATIENCE
    while outcomes(dumpty) != {"a": "ok", "gone": "failed"}:
        assert time.monotonic() < end
    status, _, said = served.end()
    assert status == 143
    assert not [line for line in said.splitlines() if line.startswith(("a:", "serving"))]


def test_json_at_its_end_says_why(serve, configure):
    configure("a")
    served = serve("--json")
    served.said("a: ok")
    status, out, _ = served.end(signal.SIGINT)
    assert status == 130
    assert check_reply(["serve", "--json"], out)["error_type"] == "KeyboardInterrupt"


def test_a_signal_ends_what_hangs_and_leaves_the_run_to_the_next(serve, configure, dumpty):
    path = configure("a")
    path.write_text(path.read_text().replace("sqlite:///", "cmd:sleep 1000 #"))
    served = serve()
    end = time.monotonic() + PATIENCE
    while [run["running"] for run in dumpty("runs", "--json").json["runs"]] != [True]:
        assert time.monotonic() < end
    assert served.end()[0] == 143
    assert [run["running"] for run in dumpty("runs", "--json").json["runs"]] in ([], [False])
    configure("a")
    serve().said("a: ok")


def test_what_a_backup_warns_of_is_told_when_it_happens(serve, configure, tmp_path):
    configure("a")
    (tmp_path / "backups").mkdir()
    (tmp_path / "backups").chmod(0o777)
    served = serve()
    said = served.said("a: ok")
    assert said.count("dumpty: warning: ") == 1
    assert f"{tmp_path}/backups" in said.partition("dumpty: warning: ")[2].splitlines()[0]
    assert served.end()[2].count("dumpty: warning: ") == 1


def test_garbage_is_looked_for_often_by_what_goes_on_for_months(configure, dumpty, monkeypatch):
    """The command line does so seldom; connections of every run would stay open, and memory grow."""
    configure("a")
    seen = []

    def run(_):
        seen.append(gc.get_threshold()[0])
        raise KeyboardInterrupt

    monkeypatch.setattr(Serving, "run", run)
    before = gc.get_threshold()
    gc.set_threshold(500_000)
    try:
        assert dumpty("serve").status == 130
        assert gc.get_threshold()[0] == 500_000
    finally:
        gc.set_threshold(*before)
    assert seen == [5_000]


# -- another configuration --------------------------------------------------------------------------------------------


def test_sighup_takes_up_another_configuration_and_no_wrong_one(serve, configure):
    path = configure("a")
    served = serve()
    served.said("a: ok")
    configure("a", "b")
    served.process.send_signal(signal.SIGHUP)
    served.said("b: ok")
    path.write_text(path.read_text() + "[jobs.c]\nsauce = 1\n")
    served.process.send_signal(signal.SIGHUP)
    said = served.said("the configuration was not taken up: the one from before goes on")
    assert "dumpty.toml is read again: 2 jobs by schedule; next: a, at " in said
    assert "jobs.c.sauce: there is no such key. Did you mean 'source'?" in said
    assert served.end()[0] == 143


def test_a_file_that_is_found_later_is_not_the_one_that_is_served(serve, configure, tmp_path, monkeypatch):
    path = configure("a")
    other = tmp_path / "settings" / "dumpty" / "dumpty.toml"
    other.parent.mkdir(parents=True)
    other.write_text(path.read_text().replace("jobs.a", "jobs.other"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    monkeypatch.delenv("DUMPTY_CONFIG", raising=False)
    served = serve()
    served.said("a: ok")
    path.unlink()
    served.process.send_signal(signal.SIGHUP)
    said = served.said("the configuration was not taken up: the one from before goes on")
    assert f"cannot read the configuration {path}" in said
    assert "other" not in served.end()[2]


def test_two_on_one_machine_do_not_serve_the_same_file(serve, configure, program, tmp_path):
    configure("a")
    served = serve()
    served.said("a: ok")
    refused = program("serve", "--json")
    assert (refused.status, refused.json["error_type"]) == (11, "Locked")
    assert f"another dumpty on this machine serves {tmp_path}/dumpty.toml already" in refused.json["error"]
    # Another file under the same name, once it is taken up, is held as well.
    configure("b")
    served.process.send_signal(signal.SIGHUP)
    served.said("b: ok")
    assert program("serve").status == 11
    served.process.send_signal(signal.SIGHUP)
    served.said("is read again", 2)
    assert served.end()[0] == 143
    serve().said("serving")


def test_the_manager_of_services_is_told(serve, configure, tmp_path):
    configure("a")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE)
        served = serve(env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")})
        assert manager.recv(4096) == b"READY=1"
        served.process.send_signal(signal.SIGHUP)
        assert manager.recv(4096).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
        assert manager.recv(4096) == b"READY=1"
        assert served.end()[0] == 143


def test_a_terminal_that_goes_away_ends_it(serve, configure):
    configure("a")
    ours, theirs = pty.openpty()

    def take_terminal():
        os.setsid()
        import fcntl
        import termios

        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

    served = serve(preexec_fn=take_terminal)
    os.close(theirs)
    served.said("a: ok")
    os.close(ours)
    assert served.process.wait(PATIENCE) == 129
    assert "interrupted by SIGHUP" in served.error.read_text()


# -- what it refuses --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("jobs", "schedule", "reason"),
    [
        (("a",), "", "dumpty.toml has no job with a schedule: nothing would ever be due"),
        ((), EVERY_YEAR, "dumpty.toml has no jobs: add a table [jobs.NAME] with a source"),
        (("a",), "0 0 30 2 *", "dumpty.toml:4: defaults.schedule: '0 0 30 2 *' is no schedule, or never comes"),
    ],
)
def test_a_configuration_of_which_nothing_is_ever_due_is_refused(configure, dumpty, jobs, schedule, reason):
    configure(*jobs, schedule=schedule)
    result = dumpty("serve")
    assert result.status == 2
    assert reason in result.err


def test_jitter_is_a_duration(configure, dumpty):
    configure("a", more='jitter = "soon"')
    result = dumpty("serve")
    assert result.status == 2
    assert "dumpty.toml:3: defaults.jitter: 'soon' is no duration" in result.err


def test_a_repository_that_cannot_be_reached_is_told_and_asked_again(serve, configure, tmp_path):
    path = configure("a")
    (tmp_path / "backups").write_text("in its place")
    served = serve("--config", path)
    served.said("a: FAILED: 0 of 0 databases")
    assert served.process.poll() is None
    assert f"{tmp_path}/backups" in served.said("a: FAILED: ")
    assert served.end()[0] == 143
