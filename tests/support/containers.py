"""Containers, as far as a database's client sees them: a network of their own, and the programs that lead into it.

Only root can make a network here; who is not makes one within a user namespace, where the system has them.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

# Within the new network: the loopback comes up, and what connects to a port there is passed on to a Unix socket, which
# no network keeps apart. It ends with its input.
_MACHINE = r"""
import contextlib, fcntl, os, socket, struct, sys, threading
control = socket.socket()
request = struct.pack("16sh", b"lo", 1)
fcntl.ioctl(control, 0x8914, request)  # SIOCSIFFLAGS: up
def copy(a, b):
    with contextlib.suppress(OSError):
        while piece := a.recv(65536):
            b.sendall(piece)
        b.shutdown(socket.SHUT_WR)
def serve(listener, path):
    while True:
        client, _ = listener.accept()
        if path == "echo":
            threading.Thread(target=copy, args=(client, client), daemon=True).start()
            continue
        server = socket.socket(socket.AF_UNIX)
        server.connect(path)
        threading.Thread(target=copy, args=(client, server), daemon=True).start()
        threading.Thread(target=copy, args=(server, client), daemon=True).start()
for word in sys.argv[1:]:
    port, _, path = word.partition("=")
    listener = socket.create_server(("127.0.0.1", int(port)))
    threading.Thread(target=serve, args=(listener, path), daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
os._exit(0)
"""


class Containers:
    """Programs ``docker``, ``podman`` and ``kubectl`` in ``bin``, and the containers that they know."""

    def __init__(self) -> None:
        self.bin = Path(tempfile.mkdtemp(prefix="dcnt", dir="/tmp"))
        self._machines: list[subprocess.Popen] = []
        self._known: dict[str, object] = {}
        program = self.bin / "container_program.py"
        shutil.copy(Path(__file__).with_name("container_program.py"), program)
        for name in ("docker", "podman", "kubectl"):
            path = self.bin / name
            text = f"import os, sys\nsys.argv[0] = '{name}'\n__file__ = '{program}'\n"
            path.write_text(f"#!{sys.executable} -IS\n{text}exec(compile(open(__file__).read(), __file__, 'exec'))\n")
            path.chmod(path.stat().st_mode | stat.S_IXUSR)
        self._write()

    def start(self, *names: str, **ports: str) -> None:
        """Start one by all these names, where each port (``p5432``) leads to a Unix socket, or is an ``echo``."""
        words = [f"{port.removeprefix('p')}={path}" for port, path in ports.items()]
        unshare = ["unshare", "--net"] if os.getuid() == 0 else ["unshare", "--map-root-user", "--net"]
        argv = [*unshare, sys.executable, "-IS", "-c", _MACHINE, *words]
        machine = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._machines.append(machine)
        if machine.stdout.readline() != b"ready\n":
            self.stop()
            if os.getuid() == 0 and os.environ.get("CI"):
                pytest.fail("no network can be made (unshare --net)")
            pytest.skip("this machine makes no networks for tests (unshare --net)")
        self._known |= dict.fromkeys(names, machine.pid)
        self._write()

    def add(self, name: str, pid: int | None) -> None:
        """Make one known that does not run."""
        self._known[name] = pid
        self._write()

    def have(self, *programs: str) -> None:
        """Let there be no other programs in them than these, and what every system has."""
        directory = Path(tempfile.mkdtemp(dir=self.bin))
        for program in ("sh", "cat", "sleep", "env", *programs):
            (directory / program).symlink_to(os.path.realpath(shutil.which(program)))
        self._known["PATH"] = str(directory)
        self._write()

    def _write(self) -> None:
        (self.bin / "containers.json").write_text(json.dumps(self._known))

    def stop(self) -> None:
        """End them all."""
        for machine in self._machines:
            machine.stdin.close()
            machine.wait()
            machine.stdout.close()
        self._machines.clear()
        shutil.rmtree(self.bin, ignore_errors=True)


@pytest.fixture
def containers(monkeypatch):
    """Containers, none of which runs yet, and their programs on the PATH."""
    made = Containers()
    monkeypatch.setenv("PATH", f"{made.bin}{os.pathsep}{os.environ['PATH']}")
    yield made
    made.stop()
