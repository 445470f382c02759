"""What an sftp:// URL says, and how it is refused."""

from __future__ import annotations

import os

import pytest

from dumpty import MalformedURL
from dumpty_plugins.sftp.address import DEFAULT_TIMEOUT, parse_address


@pytest.mark.parametrize(
    ("url", "host", "port", "user", "path"),
    [
        ("sftp://h/srv/b", "h", None, None, "/srv/b"),
        ("SFTP://u@h:2222/srv//b/./c/", "h", 2222, "u", "/srv/b/c"),
        ("sftp://h/~/b/c", "h", None, None, "~/b/c"),
        ("sftp://h/~", "h", None, None, "~"),
        ("sftp://u%40corp@[::1]:22/b%20c", "::1", 22, "u@corp", "/b c"),
        ("sftp://alias//", "alias", None, None, "/"),
    ],
)
def test_a_url_is_taken_apart(url, host, port, user, path):
    address = parse_address(url)
    assert (address.host, address.port, address.user, address.path) == (host, port, user, path)
    assert address.timeout == DEFAULT_TIMEOUT


def test_options_are_read_and_paths_made_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/u")
    address = parse_address("sftp://h/b?identity=~/.ssh/k%26&known_hosts=kh&config=none&timeout=2.5")
    assert address.identity == "/home/u/.ssh/k&"
    assert address.known_hosts == os.path.join(tmp_path, "kh")
    assert (address.config, address.timeout) == ("none", 2.5)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("sftp://h", "names no directory"),
        ("sftp:///b", "names no host"),
        ("sftp://-oProxyCommand=x/b", "names no host"),
        ("sftp://h:none/b", "port"),
        ("sftp://h:0/b", "port"),
        ("sftp://[::1/b", "IPv6"),
        ("sftp://h/a/../b", r"no '\.\.'"),
        ("sftp://h/~bob/b", "no other user's home"),
        ("sftp://h/b?identiy=k", "Did you mean 'identity'"),
        ("sftp://h/b?port=22", "known are config, identity, known_hosts, timeout$"),
        ("sftp://h/b?passphrase=hill", r"\$DUMPTY_SFTP_PASSPHRASE"),
        ("sftp://h/b?timeout=0", "timeout"),
        ("sftp://h/b?timeout=inf", "timeout"),
        ("sftp://h/b?timeout=1&timeout=2", "twice"),
        ("sftp://h/b?timeout", "key=value"),
        ("sftp://h/b?identity=", "empty"),
        ("sftp://h/b%00", "control"),
        ("sftp://h/b%ff", "UTF-8"),
        ("scp://h/b", "no sftp URL"),
    ],
)
def test_what_is_no_such_url_is_refused(url, text):
    with pytest.raises(MalformedURL, match=text):
        parse_address(url)


@pytest.mark.parametrize("url", ["sftp://u:hush@h/b", "sftp://u:hu/sh@h/b", "sftp://u:hush@/b", "sftp://:hush@h/b"])
def test_a_password_is_refused_and_not_shown(url):
    with pytest.raises(MalformedURL, match="password") as error:
        parse_address(url)
    assert "hu" not in str(error.value).replace("has", "")


def test_a_location_can_be_given_back_as_a_url():
    for text in ("sftp://u%40corp@[::1]:22/b%20c", "sftp://h/~/b", "sftp://h/"):
        address = parse_address(f"{text}?timeout=9&identity=/key")
        assert address.locate() == text
        assert parse_address(address.locate("folder/name")).path.endswith("folder/name")
