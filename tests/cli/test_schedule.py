"""``dumpty schedule``: units that systemd finds right, a line that a shell runs, and no file of anybody else's replaced."""

from __future__ import annotations

import hashlib
import os
import pwd
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dumpty import OptionError
from dumpty.jobs.units import Command, crontab, serving_units, timer_units

SYSTEM = "etc/systemd/system"


@pytest.fixture
def configure(tmp_path, shop):
    def configure(folder=tmp_path, source=shop, schedule='schedule = "30 2 * * *"'):
        folder.mkdir(parents=True, exist_ok=True)
        (tmp_path / "image").mkdir(exist_ok=True)
        path = folder / "dumpty.toml"
        path.write_text(f'[jobs.shop]\nsource = "{source}"\nrepository = "{tmp_path}/backups"\n{schedule}\n')
        path.chmod(0o600)
        return path

    return configure


def verify(*units):
    """Let systemd say what is wrong with units."""
    found = shutil.which("systemd-analyze")
    assert found, "systemd-analyze is missing: apt-get install systemd"
    return subprocess.run([found, "verify", "--man=no", *map(str, units)], capture_output=True, text=True, check=False)


def values(unit, key):
    """The values of a key in a unit."""
    return [line.partition("=")[2] for line in Path(unit).read_text().splitlines() if line.startswith(f"{key}=")]


def systemd_words(line):
    """Split a command line as systemd does: quotes, backslashes, ``%%`` and ``$$``; nothing else is special."""
    return [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(line)]


def crons_command(line):
    """What cron hands to the shell: all as far as a percent sign that no backslash hides."""
    assert "\\" not in line.replace(r"\%", "")  # on which crons disagree
    return line.replace(r"\%", "\0").partition("%")[0].replace("\0", "%")


# -- systemd ----------------------------------------------------------------------------------------------------------


def test_the_units_are_right_and_run_what_is_due(configure, dumpty, tmp_path):
    path = configure()
    assert dumpty("schedule", "systemd", "--root", tmp_path / "image").status == 0
    service, timer = (tmp_path / "image" / SYSTEM / f"dumpty.{kind}" for kind in ("service", "timer"))
    said = verify(service, timer)
    assert (said.returncode, said.stderr) == (0, "")
    [start] = values(service, "ExecStart")
    assert systemd_words(start) == [sys.executable, "-m", "dumpty", "run", "--due", "--config", str(path)]
    done = subprocess.run(systemd_words(start), capture_output=True, text=True, check=False, env={}, cwd="/")
    assert done.returncode == 0
    assert done.stderr.splitlines()[-1].startswith("shop: ok: 1 of 1 database backed up, ")  # for the journal
    assert len(dumpty("list", "--dir", tmp_path / "backups", "--json").json["backups"]) == 1
    assert values(timer, "OnCalendar") == ["*:0/5"]
    assert {oct(file.stat().st_mode & 0o777) for file in (service, timer)} == {"0o644"}


@pytest.mark.parametrize("minutes", [1, 7, 59])
def test_systemd_understands_how_often(configure, dumpty, tmp_path, minutes):
    configure()
    assert dumpty("schedule", "systemd", "--every", minutes, "--root", "image").status == 0
    [calendar] = values(tmp_path / "image" / SYSTEM / "dumpty.timer", "OnCalendar")
    analyzed = subprocess.run(["systemd-analyze", "calendar", calendar], capture_output=True, text=True, check=False)
    assert analyzed.returncode == 0, analyzed.stderr


def test_the_unit_of_a_service_is_right_and_serves(configure, dumpty, tmp_path):
    path = configure()
    assert dumpty("schedule", "systemd", "--serve", "--run-as", "daemon", "--root", "image").status == 0
    unit = tmp_path / "image" / SYSTEM / "dumpty-serve.service"
    said = verify(unit)
    assert (said.returncode, said.stderr) == (0, "")
    assert systemd_words(*values(unit, "ExecStart"))[-3:] == ["serve", "--config", str(path)]
    assert values(unit, "User") == ["daemon"]
    assert values(unit, "SuccessExitStatus") == ["143"]
    assert values(unit, "WantedBy") == ["multi-user.target"]


WORDS = st.text(st.characters(min_codepoint=0x20, exclude_categories=["Cs", "Cc"]), min_size=1).map(lambda t: f"/{t}")


PROGRAMS = WORDS.filter(lambda path: not set(path) & set("'\"\\"))


@given(PROGRAMS, WORDS)
def test_any_path_comes_through_systemds_quotes_and_crons(program, config):
    command = Command((program,), config, "", of_user=False)
    for file, words in (
        (timer_units(command, 5)[0], ["run", "--due"]),
        (serving_units(command)[0], ["serve"]),
    ):
        [line] = [line for line in file.text.split("\n") if line.startswith("ExecStart=")]
        first, *rest = shlex.split(line.removeprefix("ExecStart="))
        assert first.replace("%%", "%") == program  # no variable is looked for in a program's path
        assert [word.replace("%%", "%").replace("$$", "$") for word in rest] == [*words, "--config", config]
    if "\\" in program + config:
        with pytest.raises(OptionError, match="crons disagree on backslashes"):
            crontab(command, 5)
        return
    [line] = [line for line in crontab(command, 5).text.split("\n") if line.startswith("*/5")]
    words = shlex.split(crons_command(line.split("root  ", 1)[1]))
    assert words == [program, "run", "--due", "--quiet", "--config", config]


def test_systemd_finds_no_fault_with_a_peculiar_path(configure, dumpty, tmp_path):
    """Spaces, quotes, a percent sign, a dollar, a backslash, and letters of other scripts."""
    path = configure(tmp_path / "a b'c\"d %n $HOME \\t ü 名")
    assert dumpty("schedule", "systemd", "--config", path, "--root", "image").status == 0
    unit = tmp_path / "image" / SYSTEM / "dumpty.service"
    said = verify(unit)
    assert (said.returncode, said.stderr) == (0, "")
    done = subprocess.run(
        systemd_words(*values(unit, "ExecStart")), capture_output=True, text=True, check=False, env={}, cwd="/"
    )
    assert (done.returncode, "shop: ok: " in done.stderr) == (0, True)


def test_a_path_that_no_unit_can_hold_is_refused(configure, dumpty, tmp_path):
    path = configure(tmp_path / "a\nExecStartPre=evil")
    for manager in ("systemd", "cron"):
        result = dumpty("schedule", manager, "--config", path)
        assert result.status == 2
        assert "cannot stand in a unit or a crontab" in result.err


# -- cron -------------------------------------------------------------------------------------------------------------


def test_the_line_of_the_crontab_runs_as_cron_runs_it(configure, dumpty, tmp_path):
    path = configure(tmp_path / "a b %d 'c'")
    assert dumpty("schedule", "cron", "--config", path, "--every", 10, "--root", "image").status == 0
    lines = (tmp_path / "image/etc/cron.d/dumpty").read_text().splitlines()
    settings = dict(line.split("=", 1) for line in lines if re.match("[A-Z]+=", line))
    minute, hour, day, month, weekday, user, command = lines[-1].split(None, 6)
    assert [minute, hour, day, month, weekday, user] == ["*/10", "*", "*", "*", "*", "root"]
    line = crons_command(command)
    done = subprocess.run(
        [settings["SHELL"], "-c", line], env={"PATH": settings["PATH"]}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(dumpty("list", "--dir", tmp_path / "backups", "--json").json["backups"]) == 1


def test_somebody_else_is_shown_a_line_of_a_crontab_and_installs_none(configure, dumpty, monkeypatch, tmp_path):
    path = configure()
    if not os.geteuid():
        os.chown(path, 65534, 65534)
        monkeypatch.setattr(os, "geteuid", lambda: 65534)
    shown = dumpty("schedule", "cron")
    assert shown.status == 0
    assert shown.out.splitlines()[-1].startswith(f"*/5 * * * *  {sys.executable} -m dumpty run --due")
    refused = dumpty("schedule", "cron", "--install")
    assert refused.status == 2
    assert "cron's own files belong to root" in refused.err


def test_somebody_elses_units_are_their_own(configure, dumpty, monkeypatch, tmp_path):
    path = configure()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    if not os.geteuid():
        os.chown(path, 65534, 65534)
        monkeypatch.setattr(os, "geteuid", lambda: 65534)
    files = {Path(entry["path"]): entry["text"] for entry in dumpty("schedule", "systemd", "--json").json["files"]}
    files |= {Path(e["path"]): e["text"] for e in dumpty("schedule", "systemd", "--serve", "--json").json["files"]}
    assert {file.parent for file in files} == {tmp_path / "settings" / "systemd" / "user"}
    assert all("network-online" not in text and "User=" not in text for text in files.values())
    serving = files[tmp_path / "settings" / "systemd" / "user" / "dumpty-serve.service"]
    assert "WantedBy=default.target" in serving
    assert "--run-as is for root" in dumpty("schedule", "systemd", "--run-as", "daemon").err


# -- what systemd says of it --------------------------------------------------------------------------------------


@pytest.fixture
def installing(configure, dumpty, monkeypatch, tmp_path):
    """Install as an ordinary user; returns the function, and what systemctl was called with.

    No systemd runs where tests do, so a program of that name stands in for its own.
    """
    path, calls = configure(), tmp_path / "calls"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    if not os.geteuid():
        os.chown(path, 65534, 65534)
        monkeypatch.setattr(os, "geteuid", lambda: 65534)

    def install(*argv, systemd=True, failing="nothing"):
        (tmp_path / "bin").mkdir(exist_ok=True)
        program = tmp_path / "bin" / "systemctl"
        program.write_text(f'#!/bin/sh\necho "$*" >> {calls}\ncase "$*" in *{failing}*) echo no >&2; exit 3;; esac\n')
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}/bin{os.pathsep}{os.environ['PATH']}")
        isdir = os.path.isdir
        monkeypatch.setattr(os.path, "isdir", lambda p: systemd if p == "/run/systemd/system" else isdir(p))
        calls.write_text("")
        return dumpty("schedule", "systemd", "--install", *argv), calls.read_text().splitlines()

    return install


def test_what_is_installed_is_started_and_asked_after(installing):
    result, calls = installing()
    assert result.status == 0
    verbs = ["daemon-reload", "enable dumpty.timer", "restart dumpty.timer"]
    asked = ["is-enabled dumpty.timer", "is-active dumpty.timer"]
    assert calls == [f"--user {verb}" for verb in (*verbs, *asked)]
    assert "it runs only while you are logged in, unless you call: loginctl enable-linger" in result.err
    _, again = installing()  # what is as it was is not interrupted
    assert again == [f"--user {verb}" for verb in (*verbs[:2], "start dumpty.timer", *asked)]


@pytest.mark.parametrize("failing", ["daemon-reload", "restart", "is-active"])
def test_what_systemd_does_not_run_is_not_called_installed(installing, failing):
    result, _ = installing("--serve", failing=failing)
    assert result.status == 1
    assert f"the units are written, and not in use: systemctl --user {failing}" in result.err


def test_where_no_systemd_runs_it_says_what_is_left_to_do(installing):
    result, calls = installing("--json", systemd=False)
    verbs = ("daemon-reload", "enable dumpty.timer", "restart dumpty.timer")
    assert result.json["commands"] == [f"systemctl --user {verb}" for verb in verbs]
    assert calls == []


def test_that_a_timer_and_a_service_do_the_same_is_told(installing):
    installing()
    result, _ = installing("--serve")
    assert (
        "dumpty.timer is installed, too, and does the same: systemctl --user disable --now dumpty.timer" in result.err
    )


# -- what is there already --------------------------------------------------------------------------------------------


def test_what_dumpty_wrote_is_replaced_and_what_anybody_changed_is_not(configure, dumpty, tmp_path):
    configure()
    install = ("schedule", "systemd", "--root", "image", "--every")
    timer, service = (tmp_path / "image" / SYSTEM / f"dumpty.{kind}" for kind in ("timer", "service"))
    assert "dumpty.timer is written" in dumpty(*install, 5).out
    assert "dumpty.timer is there already" in dumpty(*install, 5).out
    assert "dumpty.timer is written" in dumpty(*install, 6).out
    before = timer.read_text()
    service.write_text(service.read_text().replace("Nice=19", "Nice=5"))
    changed = service.read_text()
    refused = dumpty(*install, 7)
    assert refused.status == 2
    assert f"{SYSTEM}/dumpty.service was changed since dumpty wrote it, and is not replaced" in refused.err
    assert (timer.read_text(), service.read_text()) == (before, changed)
    service.write_text("[Service]\nExecStart=/bin/true\n")
    assert "dumpty.service is not dumpty's, and is not replaced" in dumpty(*install, 7).err
    service.unlink()
    service.symlink_to("/dev/null")  # which is how systemd masks a unit
    assert "dumpty.service cannot be replaced" in dumpty(*install, 7).err
    assert timer.read_text() == before
    assert sorted(os.listdir(timer.parent)) == ["dumpty.service", "dumpty.timer"]


def test_all_units_are_written_or_none(configure, dumpty, tmp_path, monkeypatch):
    configure()
    rename = os.rename

    def full(source, target):
        if str(target).endswith(".timer"):
            raise OSError(28, "No space left on device")
        rename(source, target)

    folder = tmp_path / "image" / SYSTEM
    assert dumpty("schedule", "systemd", "--root", "image", "--every", 5).status == 0
    before = {file.name: file.read_text() for file in folder.iterdir()}
    (tmp_path / "dumpty.toml").rename(tmp_path / "other.toml")
    monkeypatch.setattr(os, "rename", full)
    result = dumpty("schedule", "systemd", "--root", "image", "--config", "other.toml", "--every", 6)
    assert result.status == 1
    assert "No space left on device; nothing was written" in result.err
    monkeypatch.undo()
    assert {file.name: file.read_text() for file in folder.iterdir()} == before


def test_the_mark_is_the_digest_of_the_rest(configure, dumpty, tmp_path):
    configure()
    [entry] = dumpty("schedule", "cron", "--root", "image", "--json").json["files"]
    first, rest = entry["text"].split("\n", 1)
    assert hashlib.sha256(rest.encode()).hexdigest() in first
    assert Path(entry["path"]).read_text() == entry["text"]


# -- for whom ---------------------------------------------------------------------------------------------------------


def test_it_runs_as_somebody_who_can_read_the_configuration_and_run_dumpty(configure, dumpty, monkeypatch):
    path = configure()
    refused = dumpty("schedule", "systemd", "--run-as", "root\nExecStartPre=evil", "--root", "image")
    assert refused.status == 2
    assert "cannot be the name of a user" in refused.err
    if os.geteuid():
        assert "--run-as is for root" in dumpty("schedule", "cron", "--run-as", "nobody").err
        return
    assert "there is no user 'nosuch'" in dumpty("schedule", "cron", "--run-as", "nosuch").err
    assert f"{path} belongs to" not in dumpty("schedule", "cron", "--run-as", "nobody").err
    place = Path(tempfile.mkdtemp(dir="/tmp"))
    try:
        program = place / "bin" / "dumpty"
        program.parent.mkdir()
        program.write_text("#!/bin/sh\n")
        program.chmod(0o700)
        monkeypatch.setattr(sys, "argv", [str(program)])
        path = configure(place)
        schedule = ("schedule", "cron", "--run-as", "nobody", "--config", path)
        place.chmod(0o755)
        assert f"nobody cannot read {path}: let that user do so" in dumpty(*schedule).err
        os.chown(path, 0, pwd.getpwnam("nobody").pw_gid)
        path.chmod(0o640)
        assert f"nobody cannot run {program}: let that user do so" in dumpty(*schedule).err
        program.chmod(0o755)
        assert f"*/5 * * * *  nobody  {program} run --due" in dumpty(*schedule).out
        place.chmod(0o700)  # nobody comes as far as either
        assert f"nobody cannot read {path}" in dumpty(*schedule).err
        place.chmod(0o755)
        os.chown(path, pwd.getpwnam("daemon").pw_uid, 0)
        assert dumpty(*schedule).status == 2
    finally:
        shutil.rmtree(place)


def test_a_program_that_systemd_would_not_run_is_refused(configure, dumpty, monkeypatch, tmp_path):
    configure()
    program = tmp_path / "o'brien" / "dumpty"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(program)])
    refused = dumpty("schedule", "systemd")
    assert refused.status == 2
    assert "systemd runs no program whose path holds quotes or backslashes" in refused.err
    assert dumpty("schedule", "cron").status == 0


@pytest.mark.parametrize("manager", ["systemd", "cron"])
def test_an_image_that_is_not_there_is_not_made(configure, dumpty, tmp_path, manager):
    configure()
    refused = dumpty("schedule", manager, "--root", tmp_path / "imgae")
    assert refused.status == 2
    assert f"--root: there is no directory {tmp_path}/imgae" in refused.err
    assert not (tmp_path / "imgae").exists()


def test_what_enables_a_unit_in_an_image_is_told(configure, dumpty, tmp_path):
    configure()
    result = dumpty("schedule", "systemd", "--root", "image", "--json")
    assert result.json["commands"] == ["systemctl --root=image enable dumpty.timer"]
    assert result.json["warnings"] == [
        f"image has no {sys.executable}: install dumpty there, at this very path, or nothing is run"
    ]


def test_the_file_of_variables_is_found_in_a_folder_whose_name_is_a_pattern(configure, dumpty, tmp_path):
    path = configure(tmp_path / "x[1]*")
    assert f"EnvironmentFile=-{tmp_path}/x\\[1\\]\\*/dumpty.env" in dumpty("schedule", "systemd", "--config", path).out


def test_a_configuration_in_an_image_is_named_as_the_image_has_it(configure, dumpty, tmp_path):
    path = configure(tmp_path / "image" / "etc" / "dumpty")
    result = dumpty("schedule", "systemd", "--config", path, "--root", "image", "--json")
    assert " --config /etc/dumpty/dumpty.toml\n" in result.json["files"][0]["text"]


def test_what_jobs_read_from_the_environment_is_told(configure, dumpty, tmp_path):
    configure(source="env:SHOP_URL")
    shown = dumpty("schedule", "systemd")
    assert f"the jobs read SHOP_URL: write them into {tmp_path}/dumpty.env, a line NAME=value for each" in shown.err
    assert f"EnvironmentFile=-{tmp_path}/dumpty.env" in shown.out
    assert "cron knows none of the variables that jobs read: SHOP_URL" in dumpty("schedule", "cron").err
    (tmp_path / "dumpty.env").touch()
    assert dumpty("schedule", "systemd").err == ""


def test_a_configuration_without_a_schedule_is_refused(configure, dumpty):
    configure(schedule="")
    for manager in ("systemd", "cron"):
        result = dumpty("schedule", manager)
        assert result.status == 2
        assert "has no job with a schedule" in result.err


def test_nothing_is_written_unless_that_is_asked_for(configure, dumpty, tmp_path):
    path = configure()
    before = sorted(os.listdir(tmp_path))
    shown = dumpty("schedule", "systemd", "--json")
    assert (shown.json["installed"], len(shown.json["files"])) == (False, 2)
    assert sorted(os.listdir(tmp_path)) == before
    assert str(path) in shown.json["files"][0]["text"]
