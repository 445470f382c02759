"""Where a database URL comes from, and where its password never goes."""

from __future__ import annotations

import io
import os
import sys
import time

import pytest

MARK = "Zq7marker"


@pytest.fixture
def url(shop) -> str:
    return shop


@pytest.mark.parametrize("form", ["env", "file", "cmd", "stdin"])
def test_a_url_can_be_read_from_where_ps_does_not_look(dumpty, url, monkeypatch, tmp_path, form):
    (tmp_path / "secret url").write_text(url + "\n")
    monkeypatch.setenv("SHOP_URL", url)
    monkeypatch.setattr(sys, "stdin", io.StringIO(url + "\n"))
    argument = {"env": "env:SHOP_URL", "file": "file:secret url", "cmd": "cmd:cat 'secret url'", "stdin": "-"}[form]
    result = dumpty("backup", argument, "--json")
    assert result.status == 0
    [backup] = dumpty("show", "latest", "--json").json["backups"]
    assert backup["details"]["database_url"] == url


def test_the_target_of_a_restore_can_be_read_so_too(dumpty, url, monkeypatch, orders, tmp_path):
    dumpty("backup", url)
    monkeypatch.setenv("TARGET", f"sqlite:///{tmp_path}/new.db")
    assert dumpty("restore", "latest", "--to", "env:TARGET").status == 0
    assert len(orders(tmp_path / "new.db")) == 2


@pytest.mark.parametrize(
    ("argument", "status", "says"),
    [
        ("env:NOT_THERE", 2, "no variable 'NOT_THERE'"),
        ("env:EMPTY", 2, "0 lines"),
        ("file:not-there", 2, "No such file"),
        ("file:.", 2, "directory"),
        ("file:latin1", 2, "not UTF-8"),
        ("file:two-lines", 2, "2 lines"),
        ("file:a\0b", 2, "cannot read"),
        ("cmd:", 2, "nothing stands after cmd:"),
        ("cmd:echo 'unbalanced", 2, "cannot take the command"),
        ("cmd:false", 1, "exited with status 1"),
        ("cmd:no-such-program-here", 1, "could not be started"),
        ("cmd:true", 2, "0 lines"),
        ("-", 2, "0 lines"),
        ("file:nonsense", 2, "has no scheme"),
        ("shop.db", 2, "sqlite:///relative.db"),
        ("", 2, "has no scheme"),
        ("postgresql://host:port/db", 2, "port"),
        ("sqlite:///%00", 2, "NUL"),
    ],
)
def test_a_url_that_cannot_be_had_is_one_line_that_says_why(dumpty, monkeypatch, tmp_path, argument, status, says):
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    (tmp_path / "latin1").write_bytes(b"sqlite:///caf\xe9.db")
    (tmp_path / "two-lines").write_text("sqlite:///a\nsqlite:///b\n")
    (tmp_path / "nonsense").write_text(MARK)
    result = dumpty("backup", argument)
    assert result.status == status
    assert says in result.err
    assert result.err.count("\n") == 1
    assert not os.path.exists("backups")


@pytest.mark.parametrize(
    "argv",
    [
        ("backup", "URL"),
        ("backup", "env:SECRET_URL"),
        ("backup", "URL", "--json"),
        ("backup", "URL", "extra", "URL"),
        ("URL",),
        ("restore", "URL"),
        ("restore", "latest", "URL"),
        ("restore", "latest", "--to=URL"),
        ("restore", "latest", "--too=URL"),
        ("show", "URL"),
        ("verify", "URL", "--json"),
        ("doctor", "URL"),
        ("doctor", "URL", "--json"),
        ("plugins", "show", "URL"),
        ("prune", "--keep", "URL"),
        ("backup", "URL", "--format", "URL"),
        ("backup", "URL", "-o", "URL"),
        ("list", "--dir", "URL"),
    ],
)
@pytest.mark.parametrize(
    "url", [f"odd://user:{MARK}@unreachable/db", f"odd://user:a/b@{MARK}@host/db", f"odd://fine/db?password={MARK}"]
)
def test_no_password_in_a_url_is_ever_shown_wherever_it_stands(dumpty, odd, monkeypatch, argv, url):
    monkeypatch.setenv("SECRET_URL", url)
    monkeypatch.setenv("DUMPTY_DEBUG", "1")
    os.makedirs("backups")
    result = dumpty(*(argument.replace("URL", url) if "SECRET" not in argument else argument for argument in argv))
    assert MARK not in result.out + result.err
    for folder, _, files in os.walk("backups"):
        assert all(MARK.encode() not in open_(folder, name) for name in files)


@pytest.mark.parametrize("verb", ["backup", "doctor"])
@pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
def test_no_password_is_shown_by_a_driver_that_cannot_connect(dumpty, verb, scheme):
    result = dumpty(verb, f"{scheme}://user:{MARK}@localhost:1/db")
    assert result.status == 1
    assert f"{scheme}://user:***@localhost:1/db" in result.out + result.err or "localhost" in result.err
    assert MARK not in result.out + result.err


def open_(folder: str, name: str) -> bytes:
    with open(os.path.join(folder, name), "rb") as stream:
        return stream.read()


def test_secrets_of_one_command_line_do_not_blank_the_next(dumpty, odd, make):
    dumpty("backup", "odd://user:warning@fine/db")
    assert "dumpty: warning: a note" in dumpty("backup", "odd://user@fine/db").err


def test_a_command_that_hangs_does_not_outlive_the_interrupt(dumpty, monkeypatch):
    import _thread
    import threading

    timer = threading.Timer(2, _thread.interrupt_main)
    timer.start()
    started = time.monotonic()
    result = dumpty("backup", "cmd:sleep 600")
    timer.join()
    assert result.status == 130
    assert time.monotonic() - started < 120
