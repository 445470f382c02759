"""The program as a whole: entry points, help, completion, start-up, signals."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.places import left_over, stored_files
from support.processor import times_a_start_of_python
from support.replies import check_reply

import dumpty as package
from dumpty import errors
from dumpty.cli import main, program, status
from dumpty.types import LEVELS

VERBS = (
    "backup",
    "restore",
    "list",
    "show",
    "verify",
    "drill",
    "pin",
    "unpin",
    "remove",
    "prune",
    "doctor",
    "demo",
    "plugins",
)
DISTS = str(Path(__file__).parent / "dists")


def test_the_command_is_installed_beside_python():
    entry = next(e for e in importlib.metadata.entry_points(group="console_scripts") if e.name == "dumpty")
    assert entry.load() is program


def test_the_installed_command_runs():
    command = shutil.which("dumpty", path=os.path.dirname(sys.executable))
    assert command is not None
    process = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert process.stdout == f"dumpty {package.__version__}\n"


def test_python_runs_the_package(program):
    assert program("--version").out == f"dumpty {package.__version__}\n"


def test_main_takes_the_programs_own_arguments(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["dumpty", "--version"])
    handled = (
        signal.SIGINT,
        signal.SIGTERM,
        signal.SIGHUP,
        signal.SIGALRM,
    )  # it ends with main(): they are left ignored
    handlers = [signal.getsignal(number) for number in handled]
    try:
        assert main() == 0
    finally:
        for number, handler in zip(handled, handlers, strict=True):
            signal.signal(number, handler)
    assert capsys.readouterr().out == f"dumpty {package.__version__}\n"


def test_help_lists_every_verb_and_every_exit_status(dumpty):
    out = dumpty("--help").out
    assert all(f"\n  {verb} " in out for verb in VERBS)
    documented = {int(n) for n in re.findall(r"(?m)^  +(\d+) ", out)}
    assert documented == {0, 130} | {value for _, value in status.TABLE} | {status.FAILED}


@pytest.mark.parametrize("verb", [(v,) for v in VERBS] + [("plugins", verb) for verb in ("show", "new", "check")])
def test_every_verb_has_help_with_examples_that_parse(dumpty, verb):
    result = dumpty(*verb, "--help")
    assert result.status == 0
    assert {"--json", "--quiet"} <= set(re.findall(r"--\w+", result.out))
    assert result.out == dumpty(*verb, "-h").out


def test_every_example_is_a_command_line_that_is_understood(dumpty):
    from dumpty.cli import app
    from dumpty.cli.commands import plugins

    examples = [line for verb in app.VERBS for line in app.verb_of(verb)[1].strip().splitlines()]
    examples += plugins.EXAMPLES.strip().splitlines()
    assert len(examples) >= len(VERBS)
    for line in examples:
        arguments = line.split()
        assert arguments[0] == "dumpty"
        # --help is eager: an option before it that does not exist is still an error. What is behind -- is a program's.
        end = arguments.index("--") if "--" in arguments else len(arguments)
        assert dumpty(*arguments[1:end], "--help", *arguments[end:]).status == 0


@pytest.mark.parametrize("verb", ["list", "verify", "pin"])
def test_a_verb_brings_in_no_other_and_no_parser_of_mail(verb, tmp_path):
    (tmp_path / "backups").mkdir()
    code = (
        f"import sys; from dumpty.cli import main; main([{verb!r}, '--dir', 'backups', *sys.argv[1:]]); "
        "print(sorted(m for m in sys.modules if m.startswith('dumpty.cli.commands.') or m == 'email.parser'))"
    )
    arguments = [] if verb == "list" else ["latest"]
    process = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert process.stdout.splitlines()[-1] == f"['dumpty.cli.commands.{verb}']"


def test_the_help_of_verify_names_every_level_of_proof(dumpty):
    assert f"How far to go: {', '.join(LEVELS)}." in " ".join(dumpty("verify", "--help").out.split())


def test_without_a_verb_the_help_is_shown_and_nothing_was_done(dumpty):
    result = dumpty()
    assert result.status == 2
    assert "Commands:" in result.err
    assert result.out == ""


def test_help_answers_at_once_and_looks_for_no_plugin(program):
    code = (
        "import sys; from dumpty.cli import main; status = main(['--help']); "
        "print(sorted({'rich', 'importlib_metadata', 'dumpty.registry.host', 'dumpty_plugins', 'pydantic', 'sqlite3', 'msgspec', 'dumpty.operations'} & set(sys.modules)))"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.splitlines()[-1] == "[]"
    assert times_a_start_of_python([sys.executable, "-m", "dumpty", "--help"]) < 3


def test_importing_dumpty_brings_in_no_command_line():
    code = "import dumpty, sys; print(sorted({'typer', 'rich', 'dumpty.cli', 'dumpty_plugins'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.fixture
def completed(dumpty, monkeypatch):
    """Return what bash would be offered for the word that ends ``command_line``."""

    def run(command_line: str) -> list[str]:
        monkeypatch.setenv("_DUMPTY_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", command_line)
        monkeypatch.setenv("COMP_CWORD", str(len(command_line.split(" ")) - 1))
        result = dumpty()
        assert (result.status, result.err) == (0, "")
        return result.out.split()

    return run


@pytest.mark.parametrize(
    ("command_line", "offered"), [("dumpty ba", {"backup"}), ("dumpty p", {"pin", "prune", "plugins"})]
)
def test_the_shell_completes_verbs(completed, command_line, offered):
    assert set(completed(command_line)) == offered


def test_the_shell_completes_ids(completed, make, shop, monkeypatch):
    backup = make(shop)
    assert completed("dumpty show ") == ["latest", "latest-verified", backup["id"]]
    assert completed(f"dumpty show {backup['id'][:3]}") == [backup["id"]]
    os.rename("backups", "elsewhere")
    assert completed("dumpty verify ") == ["latest", "latest-verified"]
    monkeypatch.setenv("DUMPTY_DIR", "elsewhere")
    assert completed("dumpty verify ") == ["latest", "latest-verified", backup["id"]]


def test_completion_can_be_had_for_a_shell(program):
    result = program(env={**os.environ, "_DUMPTY_COMPLETE": "source_bash"})
    assert result.status == 0
    assert "complete -o" in result.out


@pytest.mark.parametrize("name", [n for n in errors.__all__ if n != "DumptyError"])
def test_every_public_error_has_a_documented_status_and_name(name):
    error = getattr(errors, name)("text")
    assert status.status_of(error) in {1, 2, 3, 4, 11}
    assert status.error_type(error) == name


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("SourceError", 1),
        ("MissingFile", 1),
        ("UnknownBackup", 1),
        ("CommandError", 1),
        ("StoreError", 1),
        ("TargetNotEmpty", 1),
        ("ManifestError", 1),
        ("RestoreNotSupported", 1),
        ("InvalidName", 2),
        ("OptionError", 2),
        ("PluginNotFound", 2),
        ("PluginConflict", 2),
        ("PluginLoadError", 2),
        ("DependencyError", 2),
        ("IntegrityError", 4),
        ("Locked", 11),
    ],
)
def test_the_table_of_statuses(kind, expected):
    assert status.status_of(getattr(errors, kind)("text")) == expected


@pytest.fixture
def hangs():
    """Start a backup whose driver has started a child and waits for it; return the program and the child's id.

    Another ``host`` behaves in another way, and has no child: then 0.
    """
    started = []

    def start(*argv: str, host: str = "hangs") -> tuple[subprocess.Popen, int]:
        program = subprocess.Popen(
            [*argv, sys.executable, "-m", "dumpty", "backup", f"odd://{host}/db", "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": DISTS},
        )
        started.append(program)
        mark, _, child = next(line for line in program.stderr if line.startswith(("child", host))).partition(" ")
        return program, int(child) if mark == "child" else 0

    yield start
    for command in started:
        command.kill()
        command.communicate(timeout=120)


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_children_removes_partial_files_and_is_told(hangs, number, expected):
    program, child = hangs()
    assert any(name.endswith(".part") for name in left_over("backups"))
    program.send_signal(number)
    out, err = program.communicate(timeout=120)
    assert program.returncode == expected
    reply = check_reply(["backup", "--json"], out)
    assert (reply["success"], reply["status"], err) == (False, expected, "")
    assert number.name in reply["error"]
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
    assert stored_files("backups") == []


@pytest.mark.parametrize(("name", "expected"), [("INT", 130), ("TERM", 143), ("HUP", 129)])
def test_an_interrupt_is_one_line(dumpty, name, expected):
    started = time.monotonic()
    result = dumpty("backup", f"cmd:sh -c 'sleep 1; kill -{name} $PPID; sleep 600'")
    assert (result.status, result.out) == (expected, "")
    assert result.err == f"dumpty: interrupted by SIG{name}: what was not complete is removed\n"
    assert time.monotonic() - started < 120


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_second_signal_ends_what_does_not_listen_to_the_first(hangs, number, expected):
    program, _ = hangs(host="stubborn")
    program.send_signal(number)
    for next_signal in (number, signal.SIGTERM) * 60:  # the first ones may come as the echo of the first
        with contextlib.suppress(subprocess.TimeoutExpired):
            program.wait(0.5)
            break
        program.send_signal(next_signal)
    out, err = program.communicate(timeout=30)
    assert program.returncode == expected
    reply = check_reply(["backup", "--json"], out)
    assert (reply["success"], reply["status"], err.replace("stubborn\n", "")) == (False, expected, "")
    assert f"interrupted by {number.name}, and by a second signal" in reply["error"]
    assert not any(name.endswith(".json") for name in stored_files("backups"))


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_that_a_plugin_swallowed_makes_no_backup(hangs, number, expected):
    program, _ = hangs(host="swallows")
    program.send_signal(number)
    out, _ = program.communicate(timeout=30)
    assert program.returncode == expected
    assert check_reply(["backup", "--json"], out)["status"] == expected
    assert stored_files("backups") == []


def test_a_signal_that_interrupts_no_waiting_is_heard_all_the_same(hangs):
    program, _ = hangs(host="elsewhere")
    program.send_signal(signal.SIGTERM)
    out, _ = program.communicate(timeout=60)
    assert program.returncode == 143
    assert "what was not complete is removed" in check_reply(["backup", "--json"], out)["error"]


def test_the_echo_of_a_signal_does_not_disturb_the_cleaning_up(hangs):
    program, child = hangs()
    for _ in range(3):
        program.send_signal(signal.SIGINT)
    program.communicate(timeout=120)
    assert program.returncode == 130
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
    assert stored_files("backups") == []


def test_a_signal_that_is_ignored_stays_ignored(hangs):
    program, _ = hangs("nohup")
    program.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        program.wait(0.5)
    program.terminate()
    program.communicate(timeout=120)
    assert program.returncode == 143


def waits_with_its_signals_caught(pid):
    """Return when the program handles SIGTERM itself, and has slept for some time."""
    asleep, until = 0, time.monotonic() + 60
    while asleep < 10:
        assert time.monotonic() < until
        status_fields = dict(
            line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "\t" in line
        )
        caught = int(status_fields["SigCgt"], 16) >> (signal.SIGTERM - 1) & 1
        asleep = asleep + 1 if caught and status_fields["State"].startswith("S") else 0
        time.sleep(0.05)


def test_an_interrupt_while_the_result_is_written_is_one_line_too(make, shop):
    make(shop)
    read, write = os.pipe()  # full at once, and nobody reads
    os.set_blocking(write, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(write, b"x" * 65536)
    os.set_blocking(write, True)
    program = subprocess.Popen(
        [sys.executable, "-m", "dumpty", "list"], stdout=write, stderr=subprocess.PIPE, text=True
    )
    waits_with_its_signals_caught(program.pid)
    program.terminate()
    _, err = program.communicate(timeout=120)
    os.close(read)
    os.close(write)
    assert program.returncode == 143
    assert err.count("\n") == 1
    assert "SIGTERM" in err


FINALIZED = """
import os, signal, sys, time
from dumpty.backup_manager import BackupManager
from dumpty.cli import main
class Dying:
    def __del__(self):
        os.kill(os.getpid(), getattr(signal, sys.argv[1]))
        time.sleep(0.1)
def listing(self):
    Dying()
    time.sleep(600)
    sys.exit("nobody was interrupted")
BackupManager.listing = listing
hook = sys.unraisablehook
status = main(["list"])
assert sys.unraisablehook is hook
sys.exit(status)
"""
"""A command that gets its signal while a finalizer runs, where Python drops what is raised."""


@pytest.mark.parametrize(("name", "expected"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_an_interrupt_that_comes_up_in_a_finalizer_still_interrupts_and_is_one_line(make, shop, name, expected):
    make(shop)
    process = subprocess.run([sys.executable, "-c", FINALIZED, name], capture_output=True, text=True, timeout=120)
    assert (process.returncode, process.stdout) == (expected, "")
    assert process.stderr == f"dumpty: interrupted by {name}: what was not complete is removed\n"


FAILING = """
import os, signal, sys, time
from dumpty import StoreError
from dumpty.backup_manager import BackupManager
from dumpty.cli import main
def listing(self):
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(600)
    finally:
        raise {"dumpty": StoreError, "python": RuntimeError}[sys.argv[1]]("the part cannot be removed")
BackupManager.listing = listing
sys.exit(main(["list", *sys.argv[2:]]))
"""
"""A command that is interrupted, and whose cleaning up fails."""


@pytest.mark.parametrize(("kind", "text"), [("dumpty", ""), ("python", "RuntimeError: ")])
def test_an_interrupt_does_not_hide_that_cleaning_up_failed(make, shop, kind, text):
    make(shop)
    process = subprocess.run([sys.executable, "-c", FAILING, kind], capture_output=True, text=True, timeout=120)
    message = f"interrupted by SIGTERM, and then it failed: {text}the part cannot be removed"
    assert (process.returncode, process.stdout, process.stderr) == (143, "", f"dumpty: {message}\n")
    process = subprocess.run(
        [sys.executable, "-c", FAILING, kind, "--json"], capture_output=True, text=True, timeout=120
    )
    assert process.returncode == 143
    reply = check_reply(["list", "--json"], process.stdout)
    assert (reply["status"], reply["error"], reply["error_type"]) == (143, message, "Terminated")


LINGERING = """
import ssl, sys, threading
from dumpty.backup_manager import BackupManager
from dumpty.cli import program
def linger():
    while True:
        ssl.create_default_context()
def listing(self, list_before=BackupManager.listing):
    for _ in range(4):
        threading.Thread(target=linger, daemon=True).start()
    return list_before(self)
BackupManager.listing = listing
sys.argv = ["dumpty", "list", "--json"]
sys.exit(program())
"""
"""A command that ends while threads of a library are in OpenSSL, which takes its memory from under them."""


def test_threads_that_still_run_do_not_change_how_a_command_ends(make, shop):
    make(shop)
    for _ in range(5):
        process = subprocess.run([sys.executable, "-c", LINGERING], capture_output=True, text=True, timeout=120)
        assert (process.returncode, process.stderr) == (0, "")
        assert check_reply(["list", "--json"], process.stdout)["status"] == 0


LEAVING = """
import atexit, sys, threading, time
from dumpty.backup_manager import BackupManager
from dumpty.cli import program
def listing(self, list_before=BackupManager.listing):
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
    threading.Thread(target=lambda: (time.sleep(0.5), sys.stderr.write("thread,"))).start()
    if sys.argv[1:] == ["list", "-q"]:
        threading._register_atexit(lambda: 1 / 0)
    return list_before(self)
BackupManager.listing = listing
atexit.register(sys.stderr.write, "atexit")
sys.argv = ["dumpty", "list", *sys.argv[1:]]
sys.exit(program())
"""
"""A command whose plugin has work to be waited for, some to be done at the end, and a thread that never ends."""


def test_what_a_plugin_leaves_to_the_end_of_the_process_is_done(make, shop):
    make(shop)
    process = subprocess.run([sys.executable, "-c", LEAVING], capture_output=True, text=True, timeout=120)
    assert (process.returncode, process.stderr) == (0, "thread,atexit")
    process = subprocess.run([sys.executable, "-c", LEAVING, "-q"], capture_output=True, text=True, timeout=120)
    assert process.returncode == 0
    assert "ZeroDivisionError" in process.stderr


TAKING = """
import os, signal, sys, threading, time
from dumpty.backup_manager import BackupManager
from dumpty.cli import main
lock = threading.Lock()
class Lock:
    pass
exec(compile('''
def enter(self):
    lock.acquire()
    os.kill(os.getpid(), getattr(signal, sys.argv[1]))
    time.sleep(0.1)
''', threading.__file__, "exec"))
Lock.__enter__ = enter
Lock.__exit__ = lambda self, *error: lock.release()
def listing(self):
    with Lock():
        time.sleep(600)
    sys.exit("nobody was interrupted")
BackupManager.listing = listing
if sys.argv[2] == "used":
    signal.signal(signal.SIGALRM, lambda *_: sys.exit("not mine"))
status = main(["list"])
assert lock.locked() == (sys.argv[2] == "used")
sys.exit(status)
"""
"""A command that gets its signal where the standard library has just taken a lock."""


@pytest.mark.parametrize("alarm", ["free", "used"])
@pytest.mark.parametrize(("name", "expected"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_an_interrupt_waits_until_a_lock_that_is_being_taken_has_its_owner(make, shop, name, expected, alarm):
    make(shop)
    process = subprocess.run([sys.executable, "-c", TAKING, name, alarm], capture_output=True, text=True, timeout=120)
    assert process.stderr == f"dumpty: interrupted by {name}: what was not complete is removed\n"
    assert (process.returncode, process.stdout) == (expected, "")


JUST_BEFORE = """
import os, signal, sys, threading, time
from dumpty.backup_manager import BackupManager
from dumpty.cli import main
lock, moments = threading.Lock(), iter(range(300))
class Lock:
    pass
exec(compile('''
def enter(self):
    lock.acquire()
    os.kill(os.getpid(), getattr(signal, sys.argv[1]))
    end = time.monotonic() + 0.0019 + next(moments) / 1e6
    while time.monotonic() < end:
        pass
''', threading.__file__, "exec"))
Lock.__enter__ = enter
Lock.__exit__ = lambda self, *error: lock.release()
def listing(self):
    with Lock():
        time.sleep(600)
BackupManager.listing = listing
for _ in range(300):
    status = main(["list"])
sys.exit(status)
"""
"""A program that runs a command 300 times, each of which is to be interrupted about when it begins to wait."""


@pytest.mark.parametrize(("name", "expected"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_an_interrupt_that_waited_is_heard_though_it_comes_just_before_the_command_waits(make, shop, name, expected):
    make(shop)
    process = subprocess.run([sys.executable, "-c", JUST_BEFORE, name], capture_output=True, timeout=120)
    assert process.returncode == expected
    assert process.stderr.count(b"interrupted by") == 300


def test_the_signals_are_the_callers_again_afterwards(dumpty):
    handlers_before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    dumpty("plugins")
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == handlers_before


def test_main_runs_in_a_thread_too(dumpty):
    import threading

    statuses = []
    thread = threading.Thread(target=lambda: statuses.append(dumpty("plugins").status))
    thread.start()
    thread.join()
    assert statuses == [0]
