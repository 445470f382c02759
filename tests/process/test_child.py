"""Child processes, all of them real: their output, their end, their last words, and that none is left behind."""

# ruff: noqa: PT012, SIM117 - a child may fail in any call of a loop; what follows its start is inside it

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time

import pytest

from dumpty import CommandError
from dumpty.process import BLOCK, Child, find_program, run

SECRET = "s3cr3t-Marker"


def sh(script, *arguments):
    return ["sh", "-c", script, "sh", *map(str, arguments)]


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stream:
            return stream.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def ends(pid):
    until = time.monotonic() + 60
    while alive(pid) and time.monotonic() < until:
        time.sleep(0.01)
    return not alive(pid)


def written(path):
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if path.exists() and path.read_text().endswith("\n"):
            return int(path.read_text())
        time.sleep(0.01)
    raise AssertionError(f"nobody wrote {path}")


class RecordingSink:
    def __init__(self):
        self.data = b""

    def write(self, data):
        self.data += bytes(data)


def test_a_commands_output_comes_back_as_text():
    assert run(sh("printf 'd\\303\\251p\\303\\264t \\377'")) == "dépôt \ufffd"


def test_input_reaches_the_command():
    assert run(["cat"], stdin=b"x" * (3 << 20)) == "x" * (3 << 20)
    assert run(["cat"]) == ""  # not the terminal's input


def test_the_environment_is_changed_and_variables_removed(monkeypatch):
    monkeypatch.setenv("GONE", "1")
    monkeypatch.setenv("KEPT", "2")
    assert run(sh('echo "$GONE-$KEPT-$NEW"'), env={"GONE": None, "NEW": "3"}) == "-2-3\n"


def test_a_missing_program_is_named_with_how_to_get_it():
    with pytest.raises(CommandError, match="no-such-program was not found on the PATH; install it: apt-get install x"):
        find_program("no-such-program", install="apt-get install x")
    with pytest.raises(CommandError, match=r"no-such-program could not be started: .*No such file") as caught:
        run(["no-such-program", SECRET], secrets=[SECRET])
    assert caught.value.argv == ("no-such-program", "***")
    assert caught.value.returncode is None
    assert os.access(find_program("sh"), os.X_OK)


def test_a_file_that_is_no_program_is_an_error(tmp_path):
    (tmp_path / "tool").write_text("no program")
    with pytest.raises(CommandError, match="tool could not be started"):
        run([str(tmp_path / "tool")])
    (tmp_path / "tool").chmod(0o755)
    with pytest.raises(CommandError, match="tool could not be started"):
        run([str(tmp_path / "tool")])


def test_a_nul_in_an_argument_or_a_variable_is_an_error_of_ours():
    with pytest.raises(CommandError, match="could not be started"):
        run(["echo", "a\0b"])
    with pytest.raises(CommandError, match="could not be started"):
        run(["echo"], env={"A": "b\0"})


def test_a_failure_holds_status_last_words_and_command_without_secrets():
    with pytest.raises(CommandError) as caught:
        run(sh(f"echo first >&2; echo 'no {SECRET} here' >&2; exit 7", SECRET), secrets=[SECRET])
    error = caught.value
    assert str(error) == "sh exited with status 7: no *** here"
    assert error.returncode == 7
    assert error.stderr_tail == "first\nno *** here"
    assert error.argv[-1] == "***"
    assert SECRET not in repr(vars(error))


def test_a_failure_without_words_says_so():
    with pytest.raises(CommandError, match=r"^sh exited with status 3, and said nothing$"):
        run(sh("exit 3"))


def test_an_end_by_a_signal_is_a_failure_that_names_it():
    with pytest.raises(CommandError, match=f"sh was ended by signal {int(signal.SIGKILL)}") as caught:
        run(sh("kill -9 $$"))
    assert caught.value.returncode == -signal.SIGKILL


def test_much_on_stderr_never_blocks_the_child_and_only_its_end_is_kept():
    script = "i=0; while [ $i -lt 300 ]; do printf '%01000d\\n' $i >&2; i=$((i+1)); done; echo done; exit 1"
    with pytest.raises(CommandError) as caught:
        run(sh(script), timeout=30)
    assert len(caught.value.stderr_tail.splitlines()) == 40
    assert caught.value.stderr_tail.endswith("299")


def test_an_endless_line_on_stderr_takes_no_endless_memory():
    with pytest.raises(CommandError) as caught:
        run([sys.executable, "-c", "import sys; sys.stderr.write('x' * (5 << 20) + 'end'); sys.exit(1)"])
    assert caught.value.stderr_tail.endswith("end")
    assert len(caught.value.stderr_tail) <= 70_000


def test_a_stream_that_ended_is_not_yet_a_success():
    sink = RecordingSink()
    with Child(sh("printf data; exit 4")) as child, pytest.raises(CommandError, match="status 4"):
        child.copy_to(sink)
    assert sink.data == b"data"


def test_the_whole_output_is_copied():
    sink = RecordingSink()
    with Child([sys.executable, "-c", f"import os; os.write(1, b'x'); os.write(1, bytes({BLOCK * 2}))"]) as child:
        assert child.copy_to(sink) == BLOCK * 2 + 1 or child.returncode == 0
    assert sink.data.startswith(b"x\0")


def test_what_a_program_writes_in_small_pieces_is_read_in_fewer_larger_ones_to_its_end():
    code = "import os\nfor _ in range(3000): os.write(1, b'x' * 1000)"
    with Child([sys.executable, "-c", code]) as child:
        pieces = []
        while piece := child.read():
            pieces.append(piece)
        assert child.read() == b""
        child.wait()
    assert b"".join(pieces) == b"x" * 3_000_000
    assert len(pieces) < 1000


def test_a_sink_that_fails_ends_the_child_before_the_error_goes_on(tmp_path):
    class Full:
        def write(self, data):
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"), Child(["yes"]) as child:
        child.copy_to(Full())
    assert ends(child.pid)
    assert child.returncode == -signal.SIGTERM


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_no_child_outlives_its_block_whatever_leaves_it(error):
    with pytest.raises(error), Child(["sleep", "600"]) as child:
        raise error
    assert ends(child.pid)


def test_a_child_that_ignores_sigterm_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr("dumpty.process.child._GRACE_SECONDS", 0.2)
    mark = tmp_path / "pid"
    with Child(sh("trap '' TERM; echo $$ > $1; while :; do sleep 0.05; done", mark)) as child:
        assert written(mark) == child.pid
    assert ends(child.pid)
    assert child.returncode == -signal.SIGKILL


def test_a_stopped_child_is_killed_too(monkeypatch):
    monkeypatch.setattr("dumpty.process.child._GRACE_SECONDS", 0.2)
    with Child(["sleep", "600"]) as child:
        os.kill(child.pid, signal.SIGSTOP)
    assert ends(child.pid)


@pytest.mark.parametrize("ignoring", ["", "trap '' TERM; "])
def test_what_a_child_started_ends_with_it(tmp_path, ignoring):
    mark = tmp_path / "pid"
    with Child(sh(f"({ignoring}sleep 60 & echo $! > $1; wait) & wait", mark)):
        grandchild = written(mark)
        assert alive(grandchild)
    assert ends(grandchild)


def test_what_a_child_left_behind_neither_delays_nor_survives_it(tmp_path):
    mark = tmp_path / "pid"
    begun = time.monotonic()
    assert run(sh("sleep 600 & echo $! > $1; echo out", mark)) == "out\n"
    assert time.monotonic() - begun < 60
    assert ends(written(mark))


def test_a_child_that_closes_its_input_early_is_quoted():
    with Child(sh("exec 0<&-; echo 'syntax error' >&2; exit 3"), stdin=True) as child:
        with pytest.raises(CommandError, match="sh stopped reading its input: syntax error"):
            while True:
                child.write(bytes(BLOCK))
        with pytest.raises(CommandError, match="status 3"):
            child.wait()


def test_a_child_that_closes_its_input_and_lives_on_is_an_error_at_once():
    with Child(sh("exec 0<&-; exec sleep 600"), stdin=True) as child:
        begun = time.monotonic()
        with pytest.raises(CommandError, match="stopped reading its input, and said nothing"):
            while True:
                child.write(bytes(BLOCK))
        assert time.monotonic() - begun < 60
    assert ends(child.pid)


def test_writing_after_the_end_is_an_error():
    with Child(["cat"], stdin=True) as child:
        assert child.write(memoryview(b"abcd").cast("I")) == 4
        child.wait()
        with pytest.raises(CommandError, match="stopped reading"):
            child.write(b"x")


def test_waiting_has_an_end():
    begun = time.monotonic()
    with pytest.raises(CommandError, match=r"sleep did not end within 0\.2 s"):
        run(["sleep", "600"], timeout=0.2)
    assert time.monotonic() - begun < 60


def test_a_command_that_takes_no_input_has_an_end_too():
    begun = time.monotonic()
    with pytest.raises(CommandError, match=r"sleep did not read its input within 0\.2 s"):
        run(["sleep", "600"], stdin=bytes(8 << 20), timeout=0.2)
    assert time.monotonic() - begun < 60


def test_without_a_timeout_input_is_waited_for():
    assert run(sh("sleep 0.1; cat"), stdin=b"x", timeout=None) == "x"


def test_a_command_that_refuses_its_input_fails_in_its_own_words():
    with pytest.raises(CommandError, match="stopped reading its input: no, thanks"):
        run(sh("echo 'no, thanks' >&2; exit 1"), stdin=bytes(8 << 20))


def test_streams_that_were_not_asked_for_are_not_there():
    with Child(["true"], stdout=False) as child:
        child.wait()
        with pytest.raises(ValueError, match="stdin=True"):
            _ = child.stdin
        with pytest.raises(ValueError, match="stdout=False"):
            _ = child.stdout


def test_output_nobody_asked_for_blocks_nobody():
    with Child(sh("head -c 3000000 /dev/zero"), stdout=False) as child:
        child.wait(20)


def test_the_child_is_out_of_reach_of_a_ctrl_c_meant_for_us():
    with Child(["sleep", "600"]) as child:
        assert os.getsid(child.pid) == child.pid != os.getsid(0)
        assert child.returncode is None


def test_killing_twice_and_after_the_end_is_harmless():
    with Child(["true"]) as child:
        child.wait()
        child.kill()
        child.kill()
    assert child.returncode == 0


def test_no_thread_and_no_descriptor_is_left():
    gc.collect()  # what earlier tests left
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        run(["cat"], stdin=b"x")
        with pytest.raises(CommandError):
            run(["false"])
    assert len(os.listdir("/proc/self/fd")) <= before
    assert not [t for t in threading.enumerate() if t.name.endswith(("-stderr", "-stdout"))]


def test_a_secret_in_the_environment_is_in_no_command_line():
    with Child(["sleep", "600"], env={"PGPASSWORD": SECRET}, secrets=[SECRET]) as child:
        with open(f"/proc/{child.pid}/cmdline") as stream:
            assert SECRET not in stream.read()


def test_each_line_that_a_child_says_is_told_as_it_comes_without_secrets():
    lines = []
    with Child(
        sh('for i in 1 2 3; do echo "line $i: $TOKEN" >&2; done; printf "no end" >&2; seq 100 >&2'),
        env={"TOKEN": SECRET},
        secrets=[SECRET],
        on_line=lines.append,
    ) as child:
        child.wait()
    assert lines[:4] == ["line 1: ***", "line 2: ***", "line 3: ***", "no end1"]
    assert lines[-1] == "100"
    assert len(lines) == 103  # more than its last words


def test_a_line_is_told_before_the_child_ends():
    said = threading.Event()
    with Child(sh("echo ready >&2; read answer; exit 0"), stdin=True, on_line=lambda _: said.set()) as child:
        assert said.wait(60)
        assert child.returncode is None
        child.write(b"go on\n")
        child.wait()


def test_an_error_in_what_is_told_of_lines_comes_out_and_the_child_is_read_on():
    def refuse(line):
        raise ValueError(line)

    with Child(sh("seq 200000 >&2; echo done"), on_line=refuse) as child:
        with pytest.raises(ValueError, match=r"^1$"):
            child.wait()
        assert child.read() == b"done\n"


def test_what_runs_bare_has_neither_our_environment_nor_our_directory(monkeypatch):
    monkeypatch.setenv("TOKEN", SECRET)
    assert run(sh('echo "$PWD-$TOKEN"; pwd'), bare=True) == "/-\n/\n"
