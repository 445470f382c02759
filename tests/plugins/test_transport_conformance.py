"""The built-in transports keep the contract: with a real sshd, and with stand-ins of the containers' programs."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from support.echo import Echo
from support.ways import ssh_url

from dumpty import Endpoint
from dumpty.testing import ReachablePlace, TransportSuite
from dumpty_plugins import docker, kubectl, ssh

SILENT = Endpoint(host="127.0.0.1", port=1)


@pytest.fixture
def echo():
    with tempfile.TemporaryDirectory(prefix="decho", dir="/tmp") as directory:
        server = Echo(Path(directory, "socket"))
        server.path = f"{directory}/socket"
        yield server
        server.close()


class TestSSH(TransportSuite):
    plugin = ssh
    malformed = {  # noqa: RUF012 - never changed
        "ssh://": "",
        "ssh:///path": "",
        "ssh://host/path": "",
        "ssh://host:0": "",
        "ssh://[::1": "",
        "ssh://host?proxy=h1dden": "h1dden",
        "ssh://host?identity=-oProxyCommand": "",
        'ssh://host?identity=a"b': "",
        "ssh://ho\nst": "",
        "ssh://-lroot@host": "",
    }

    @pytest.fixture
    def place(self, ssh_server, echo, monkeypatch):
        return ReachablePlace(
            url=ssh_url(ssh_server),
            echo=Endpoint(host="127.0.0.1", port=echo.port),
            silent=SILENT,
            missing=ssh_url(ssh_server, known_hosts="/dev/null"),
            same=[f"ssh://127.0.0.1:{ssh_server.port}", f"ssh://other@127.0.0.1:{ssh_server.port}?config=none"],
            others=["ssh://127.0.0.1", f"ssh://localhost:{ssh_server.port}", "ssh://127.0.0.1:1"],
        )


class TestSSHToASocket(TestSSH):
    """Where the server listens on a Unix socket."""

    @pytest.fixture
    def place(self, ssh_server, echo):
        return ReachablePlace(
            url=ssh_url(ssh_server),
            echo=Endpoint(sockets=("/nowhere/socket", echo.path)),
            silent=Endpoint(sockets=("/nowhere/socket",)),
        )


class InContainers(TransportSuite):
    scheme = ""

    @pytest.fixture
    def place(self, containers):
        containers.start("shop-db", "prod/shop-db-0", p5432="echo")
        containers.add("stopped", None)
        name = {"kubectl": "prod/shop-db-0?context=c"}.get(self.scheme, "shop-db")
        other = {"kubectl": "test/shop-db-0?context=c"}.get(self.scheme, "shop-db2")
        same, elsewhere = f"{name}?user=postgres", f"{name}?context=elsewhere"
        if self.scheme == "kubectl":
            same, elsewhere = "prod/pod/shop-db-0?context=c", "prod/shop-db-0?context=elsewhere"
        return ReachablePlace(
            url=f"{self.scheme}://{name}",
            echo=Endpoint(host="127.0.0.1", port=5432),
            silent=SILENT,
            missing=f"{self.scheme}://{other}",
            same=[f"{self.scheme}://{same}"],
            others=[f"{self.scheme}://{other}", f"{self.scheme}://{elsewhere}"],
        )


class TestDocker(InContainers):
    plugin = docker
    scheme = "docker"
    malformed = {  # noqa: RUF012 - never changed
        "docker://": "",
        "docker://a/b": "",
        "docker://user@a": "",
        "docker://a:80": "",
        "docker://a;b": "",
        "docker://a?user=--privileged": "",
        "docker://a?x=h1dden": "h1dden",
        "podman://.a": "",
    }


class TestPodman(InContainers):
    plugin = docker
    scheme = "podman"
    malformed = TestDocker.malformed


class TestKubectl(InContainers):
    plugin = kubectl
    scheme = "kubectl"
    malformed = {  # noqa: RUF012 - never changed
        "kubectl://": "",
        "kubectl://prod?context=c": "",
        "kubectl://prod/?context=c": "",
        "kubectl://prod/pod/a/b?context=c": "",
        "kubectl://prod/secret/a?context=c": "",
        "kubectl://prod/statefulset/a?context=c": "",
        "kubectl://prod/A?context=c": "",
        "kubectl://prod/a": "",
        "kubectl://user@prod/a?context=c": "",
        "kubectl://prod/a?context=c&container=-x": "",
        "kubectl://prod/a?context=c&x=h1dden": "h1dden",
    }


@pytest.mark.parametrize("programs", [("python3",), ("perl",), ("socat",), ("nc.openbsd",), ("bash",), ()])
@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_a_relay_takes_what_is_there(monkeypatch, tmp_path, echo, programs, kind):
    import shutil

    from dumpty import relay_command
    from dumpty.testing.ways import run_command

    for program in ("sh", "cat", "sleep", *programs):
        found = shutil.which(program)
        assert found, f"there is no {program} here: apt-get install perl socat netcat-openbsd"
        real = Path(os.path.realpath(found))
        if program == "python3":
            real = Path("/usr/bin/python3") if Path("/usr/bin/python3").exists() else real
        (tmp_path / program.partition(".")[0]).symlink_to(real)
    monkeypatch.setenv("PATH", str(tmp_path))
    data = os.urandom(300_000)
    there = {"tcp": Endpoint(host="127.0.0.1", port=echo.port), "unix": Endpoint(sockets=("/nowhere/s", echo.path))}
    absent = {"tcp": SILENT, "unix": Endpoint(sockets=("/nowhere/s",))}
    able = bool(programs) and (programs, kind) != (("bash",), "unix")
    ran = run_command(relay_command(there[kind]), data, seconds=60)
    if not able:
        assert "install python3, perl, socat or netcat-openbsd there" in ran.error
        assert ran.status == 1
        return
    assert (ran.output, ran.status) == (data, 0), ran.error
    ran = run_command(relay_command(absent[kind]), data, seconds=60)
    assert ran.status != 0
    assert ran.error


def test_a_relay_runs_nothing_that_lies_where_it_is(monkeypatch, tmp_path, echo):
    """A container's directory may hold modules of any name, and its environment may name others."""
    from dumpty import relay_command
    from dumpty.testing.ways import run_command

    (tmp_path / "socket.py").write_text("print('HIJACKED')\nraise SystemExit\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    ran = run_command(relay_command(Endpoint(host="127.0.0.1", port=echo.port)), b"data", seconds=60)
    assert (ran.output, ran.status) == (b"data", 0), ran.error


def test_which_cluster_or_machine_is_meant_stands_in_the_url_alone(monkeypatch):
    """Or else what a backup is of would be another database with another current context."""
    way = docker.open_transport(url="docker://db")
    assert way.command(["x"])[:3] == ["docker", "--context", "default"]
    assert not {"DOCKER_*", "DOCKER_HOST", "DOCKER_CONTEXT"} & set(way.environment)
    assert "--context=berlin" in kubectl.open_transport(url="kubectl://ns/pod?context=berlin").command(["x"])
    inside = kubectl.open_transport(url="kubectl://ns/pod?context=in-cluster").command(["x"])
    assert not [word for word in inside if word.startswith("--context")]
