"""Programs that run where a way leads: by every shell that is here, with this machine for the other one."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.ways import command_lines, eventually, gone, running

from dumpty import CommandError, Endpoint
from dumpty.process import RemoteChild, run

SECRET = "s3cr3t-Marker $HOME `id` \"' \\n"
SHELLS = [["dash"], ["bash", "--posix"], ["busybox", "sh"]]


class Way:
    """A ``Remote`` that leads to this machine, by a shell and what ``wrapped`` puts before that."""

    shown = "test://there"
    endpoint = Endpoint(host="localhost", port=1)

    def __init__(self, shell=("sh",), wrapped=()):
        self.shell, self.wrapped, self.words = shell, wrapped, []
        self.environment = {"ONLY_HERE": None}

    def command(self, argv):
        assert argv[0] == "sh"
        return [*self.wrapped, *self.shell, *argv[1:]]

    def lost(self, text):
        self.words.append(text)


@pytest.fixture(params=SHELLS, ids=lambda words: words[0])
def way(request):
    return Way(request.param)


def test_arguments_and_variables_arrive_as_they_are_and_the_environment_is_the_one_there(way, monkeypatch):
    monkeypatch.setenv("GONE", "x")
    monkeypatch.setenv("KEPT", "kept")
    monkeypatch.setenv("ONLY_HERE", "x")
    script = 'printf "%s|" "$1" "$2" "$WORD" "${GONE-none}" "$KEPT" "${ONLY_HERE-none}"'
    argv = ["sh", "-c", script, "sh", "a  b\n'c'", "$HOME *", ""]
    output = run(argv, env={"WORD": SECRET, "GONE": None, "OTHER": ""}, remote=way)
    assert output == f"a  b\n'c'|$HOME *|{SECRET}|none|kept|none|"
    assert way.words == []


def test_what_it_reads_and_writes_passes_byte_for_byte(way, tmp_path):
    data = os.urandom(3 << 20) + b"\n.\n+X=1\n\n"
    path = tmp_path / "data"
    path.write_bytes(data)
    for given in (path, data):
        with RemoteChild(way, ["cat"], env={"A": "1"}, stdin=given) as child:
            output = bytearray()
            while piece := child.read():
                output += piece
            child.wait()
        assert bytes(output) == data
    assert run(["cat"], stdin=b"words", remote=way) == "words"


def test_one_that_reads_nothing_finds_no_input(way):
    assert run(["cat"], remote=way) == ""


def test_a_failure_tells_the_status_there_and_the_programs_own_words(way):
    with pytest.raises(CommandError) as caught:
        run(["sh", "-c", "echo first >&2; printf 'no end' >&2; exit 7"], remote=way)
    assert str(caught.value) == "sh, run by test://there, exited with status 7: no end"
    assert caught.value.returncode == 7
    assert caught.value.stderr_tail == "first\nno end"
    assert caught.value.argv[0] == "sh"
    assert way.words == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_an_end_by_a_signal_is_told_as_one(way, number):
    with pytest.raises(CommandError, match=f"was ended by signal {int(number)}, and said nothing") as caught:
        run(["sh", "-c", f"kill -{int(number)} $$"], remote=way)
    assert caught.value.returncode == -number


def test_lines_come_as_they_are_written_and_none_is_ours(way):
    lines = []
    with RemoteChild(way, ["sh", "-c", "echo one >&2; echo two >&2"], on_line=lines.append) as child:
        child.wait()
    assert [line for line in lines if line] == ["one", "two"]


def test_a_way_that_ends_well_without_a_word_of_the_program_is_no_success():
    """As some programs do where they lose the connection."""
    way = Way(wrapped=["sh", "-c", "echo 'connection lost' >&2; exit 0", "way"])
    with pytest.raises(CommandError, match="was not seen to end: the way there broke: connection lost"):
        run(["true"], remote=way)
    assert way.words == ["connection lost"]


def test_a_way_that_fails_behind_a_program_that_did_not_is_no_success():
    """What the program wrote last may not have come."""
    way = Way(wrapped=["sh", "-c", '"$@"; exit 255', "way"])
    with pytest.raises(CommandError, match="ended well, but not the way there, which exited with status 255"):
        run(["echo", "words"], remote=way)
    assert len(way.words) == 1


def test_output_that_did_not_all_come_is_no_success(way):
    """As where a way has a stream of its own for each, and one of them breaks off."""
    way.wrapped = ["bash", "-c", 'exec 4>&1; { "$@" 2>&5 | { head -c 60 >&4; cat >/dev/null; }; } 5>&2', "way"]
    with pytest.raises(CommandError, match="ended well, but not all that it wrote came: the way there broke"):
        run(["printf", "%0100d", "1"], remote=way)
    with (
        RemoteChild(way, ["printf", "%0100d", "1"]) as child,
        pytest.raises(CommandError, match="not all that it wrote"),
    ):
        child.copy_to(io.BytesIO())
    assert len(way.words) == 2


def test_a_program_that_was_told_to_end_has_not_ended_well(way):
    script = "trap 'exit 0' TERM; kill -s TERM $PPID; while :; do sleep 0.1; done"
    with pytest.raises(CommandError, match="was ended by signal 15"):
        run(["sh", "-c", script], remote=way)


def test_a_way_that_is_not_there_is_said():
    way = Way(wrapped=["/nonexistent/ssh"])
    with pytest.raises(CommandError, match="ssh could not be started"):
        run(["true"], remote=way)


def test_a_program_that_takes_too_long_is_ended_there(way):
    with pytest.raises(CommandError, match=r"did not end within 0\.2 s"):
        run(["sleep", "86401"], timeout=0.2, remote=way)
    assert gone("sleep 86401")


def test_all_of_an_input_that_came_short_is_needed_by_who_takes_its_end_for_the_end(way, tmp_path):
    """A tar archive that is cut off is a good one to pg_restore."""
    path = tmp_path / "data"
    path.write_bytes(bytes(3 << 20))
    way.wrapped = ["sh", "-c", 'head -c 1000000 | { trap "" TERM; "$@"; }', "way"]
    with (
        RemoteChild(way, ["sh", "-c", "trap '' TERM; cat >/dev/null; sleep 0.2"], stdin=path) as child,
        pytest.raises(CommandError, match="the way there broke"),
    ):
        child.wait()
    assert way.words


def test_a_program_that_ends_well_before_it_has_read_all_has_ended_well(way, tmp_path):
    path = tmp_path / "data"
    path.write_bytes(b"0123456789" * (1 << 19))
    with RemoteChild(way, ["head", "-c", "10"], stdin=path) as child:
        assert child.read() == b"0123456789"
        assert child.read() == b""
        child.wait()
    assert way.words == []


def test_a_program_that_fails_before_it_has_read_all_is_no_matter_of_the_way(way, tmp_path):
    path = tmp_path / "data"
    path.write_bytes(bytes(5 << 20))
    with (
        RemoteChild(way, ["sh", "-c", "head -c 10 >/dev/null; echo no >&2; exit 3"], stdin=path) as child,
        pytest.raises(CommandError, match="exited with status 3: no"),
    ):
        child.wait()
    assert way.words == []


def test_a_file_that_becomes_shorter_while_it_is_sent_is_no_input(way, tmp_path):
    path = tmp_path / "data"
    path.write_bytes(bytes(20 << 20))
    with RemoteChild(way, ["sh", "-c", "sleep 3; cat >/dev/null"], stdin=path) as child:
        os.truncate(path, 1000)
        with pytest.raises(OSError, match="became shorter"):
            child.wait()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="no file that could be sent"):
        RemoteChild(way, ["cat"], stdin=f"/dev/fd/{os.open(tmp_path / 'pipe', os.O_RDWR)}")
    with pytest.raises(FileNotFoundError):
        RemoteChild(way, ["cat"], stdin=tmp_path / "none")


def test_what_a_shell_says_to_who_logs_in_is_no_output_of_the_program(way):
    way.wrapped = ["sh", "-c", 'echo "Welcome to db1"; printf "\\033]0;x"; exec "$@"', "way"]
    assert run(["echo", "words"], remote=way) == "words\n"
    way.wrapped = ["sh", "-c", "echo Welcome; exit 0", "way"]
    with pytest.raises(CommandError, match="was not seen to end"):
        run(["echo", "words"], remote=way)


READS = "cat; while :; do sleep 0.1; done; : 86402"
READS_NOTHING = "while :; do sleep 0.1; done; : 86402"
"""Nobody sees the end of an input that is not read; but what there is to be told cannot be told any more."""


@pytest.mark.parametrize(
    ("script", "stdin"),
    [(READS, "None"), (READS, "b'all that it reads'"), (READS_NOTHING, "bytes(5 << 20)")],
    ids=["no input", "read", "unread"],
)
@pytest.mark.parametrize("ignored", ["", "trap '' TERM HUP INT; "])
def test_what_runs_there_ends_where_this_process_is_killed(way, ignored, script, stdin):
    text = (
        "import sys; sys.path[:0] = sys.argv[1:3]\n"
        "from process.test_remote_child import Way\n"
        "from dumpty.process import RemoteChild, remote_child\n"
        "remote_child.SCRIPT = remote_child.SCRIPT.replace('sleep 15', 'sleep 0.5')\n"
        # In a session of its own, as sshd's is: a signal to our own does not get there.
        f"way = Way({way.shell!r}, wrapped=['setsid', '--wait'])\n"
        f"child = RemoteChild(way, ['sh', '-c', {ignored + script!r}], stdin={stdin})\n"
        "child.wait()\n"
    )
    tests = Path(__file__).parents[1]
    process = subprocess.Popen([sys.executable, "-c", text, str(tests), str(tests / "process")])
    try:
        assert eventually(lambda: running("do sleep 0.1", ": 86402"))
    finally:
        process.kill()
        process.wait()
    assert gone(": 86402")


def test_what_a_program_there_started_ends_with_it(way):
    with RemoteChild(way, ["sh", "-c", "sleep 86405; :"]):
        assert eventually(lambda: running("sleep 86405"))
    assert gone("86405")


def test_no_value_of_a_variable_is_in_a_command_line(way):
    with RemoteChild(way, ["sh", "-c", "sleep 86403; :"], env={"PGPASSWORD": "s3cr3t-Marker"}) as child:
        assert eventually(lambda: running("sleep 86403"))
        assert not [line for line in command_lines().values() if "s3cr3t-Marker" in line]
        child.end()
    assert gone("86403")


@pytest.mark.parametrize("env", [{"A": "two\nlines"}, {"A B": "x"}, {"A": "x\0y"}])
def test_a_variable_that_cannot_be_handed_over_is_refused(way, env):
    with pytest.raises(CommandError, match="cannot be handed to true there"):
        run(["true"], env=env, remote=way)
