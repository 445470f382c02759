"""A real SSH server for the tests, OpenSSH's, started once per run: on a port of the loopback, as the tests' own user.

It has host keys and keys of users of its own, in a temporary directory, and reads no file of the machine's. It ends
with the tests, even if pytest is killed.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from support import sftp_filter
from support.ports import free_port

INSTALL = "apt-get install -y openssh-server openssh-client"
_WAIT_SECONDS = 60
_LAUNCH = """
import ctypes, os, signal, sys
parent, *argv = sys.argv[1:]
try:
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
except (OSError, AttributeError):
    pass
if os.getppid() != int(parent):
    sys.exit("the tests are gone")
os.execv(argv[0], argv)
"""


def _program(name: str) -> str:
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if path is None:
        raise RuntimeError(f"there is no {name}; install it: {INSTALL}")
    return path


def _sftp_server() -> str:
    places = ("/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/libexec/sftp-server")
    return next(filter(os.path.exists, places))


class SSHServer:
    """A running server.

    ``port`` it listens on, ``user`` it lets in; ``identity`` is that user's key file, ``known_hosts`` the file with the
    server's key. ``rules`` are for ``sftp_filter``, where it was started with that.
    """

    def __init__(self, keys: SSHKeys, subsystem: str = "internal-sftp", *settings: str, filtered: bool = False) -> None:
        self.keys = keys
        self.identity = keys.user
        self.user = pwd.getpwuid(os.getuid()).pw_name
        self.root = Path(tempfile.mkdtemp(prefix="dssh"))
        self._rules = self.root / "rules.json"
        self._process: subprocess.Popen[bytes] | None = None
        self._settings = settings
        if filtered:
            subsystem = f"{sys.executable} -S -I {sftp_filter.__file__} {self._rules} {_sftp_server()}"
        self._subsystem = subsystem
        atexit.register(self.stop)
        if os.getuid() == 0:
            os.makedirs("/run/sshd", mode=0o755, exist_ok=True)  # where sshd of root's drops its privileges
        for _ in range(5):  # another process may take the port before it does
            if self._start():
                break
        else:
            raise RuntimeError(f"sshd did not start: {(self.root / 'log').read_text()}")
        self.known_hosts = self.root / "known_hosts"
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {keys.host.with_suffix('.pub').read_text()}")

    def _start(self) -> bool:
        self.port = free_port()
        config = self.root / "sshd_config"
        config.write_text(
            "\n".join(
                (
                    f"Port {self.port}",
                    "ListenAddress 127.0.0.1",
                    f"HostKey {self.keys.host}",
                    f"AuthorizedKeysFile {self.keys.authorized}",
                    *("UsePAM no", "StrictModes no", "PidFile none", "PasswordAuthentication no"),
                    *("KbdInteractiveAuthentication no", "PermitRootLogin prohibit-password", "UseDNS no"),
                    *("MaxStartups 200", "PrintLastLog no", "LogLevel VERBOSE"),
                    *self._settings,
                    f"Subsystem sftp {self._subsystem}",
                    "",
                )
            )
        )
        log = self.root / "log"
        program = [_program("sshd"), "-D", "-f", str(config), "-E", str(log)]
        self._process = subprocess.Popen([sys.executable, "-c", _LAUNCH, str(os.getpid()), *program], cwd="/")
        end = time.monotonic() + _WAIT_SECONDS
        while time.monotonic() < end and self._process.poll() is None:
            if log.exists() and "Server listening" in log.read_text():
                return True
            time.sleep(0.02)
        return False

    def stop(self) -> None:
        """End it, and whoever is logged in."""
        atexit.unregister(self.stop)
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait()
        shutil.rmtree(self.root, ignore_errors=True)

    def url(self, path: object, *, port: int = 0, **options: object) -> str:
        """Return the URL of a directory here, or behind another port, with what is needed to get in."""
        options = {"identity": self.identity, "known_hosts": self._known(port), "config": "none"} | options
        query = "&".join(f"{name}={quote(str(value))}" for name, value in options.items() if value is not None)
        return f"sftp://{self.user}@127.0.0.1:{port or self.port}{quote(str(path))}?{query}"

    def _known(self, port: int) -> Path:
        if not port:
            return self.known_hosts
        path = self.root / f"known_hosts_{port}"
        path.write_text(f"[127.0.0.1]:{port} {self.keys.host.with_suffix('.pub').read_text()}")
        return path

    @contextlib.contextmanager
    def rules(self, **rules: object) -> Iterator[None]:
        """Let requests go wrong within the block (``sftp_filter``)."""
        whole = self._rules.with_suffix(".new")
        whole.write_text(json.dumps(rules))
        whole.replace(self._rules)
        try:
            yield
        finally:
            self._rules.unlink()


class SSHKeys:
    """Key files: of a host, another host, a user, a user that nobody knows, and one with a passphrase."""

    passphrase = "under the hill"

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="dkey"))
        self.host, self.other_host, self.user = (self._make(name) for name in ("host", "other_host", "user"))
        self.stranger, self.secret = self._make("stranger"), self._make("secret", self.passphrase)
        self.authorized = self.root / "authorized_keys"
        known = (path.with_suffix(".pub").read_text() for path in (self.user, self.secret))
        self.authorized.write_text("".join(known))

    def _make(self, name: str, passphrase: str = "") -> Path:
        path = self.root / name
        argv = [_program("ssh-keygen"), "-q", "-t", "ed25519", "-N", passphrase, "-C", name, "-f", str(path)]
        subprocess.run(argv, check=True, capture_output=True)
        return path


@pytest.fixture(scope="session")
def ssh_keys() -> Iterator[SSHKeys]:
    """Key files."""
    keys = SSHKeys()
    yield keys
    shutil.rmtree(keys.root)


@pytest.fixture(scope="session")
def ssh_server(ssh_keys: SSHKeys) -> Iterator[SSHServer]:
    """A server with the SFTP that sshd has in itself."""
    server = SSHServer(ssh_keys)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def unruly_ssh_server(ssh_keys: SSHKeys) -> Iterator[SSHServer]:
    """A server whose SFTP goes wrong where a test wants it to."""
    server = SSHServer(ssh_keys, filtered=True)
    yield server
    server.stop()
