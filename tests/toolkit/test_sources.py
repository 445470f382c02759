"""What a URL says to a driver, and the same with another part."""

from __future__ import annotations

import os

import pytest

from dumpty import MalformedURL, Source, TargetNotEmpty, database_file, refuse_full_target, refuse_unknown_parameters
from dumpty.url import parse_url

SECRET = "hunter2-Marker"


@pytest.mark.parametrize(
    ("url", "changes", "expected"),
    [
        ("pg+driver://u:{}@h:5/a%2Fb?x=1", {"database": "c"}, "pg+driver://u:***@h:5/c?x=1"),
        ("pg://u:{}@h:5/a?token={}", {"host": "::1", "port": None}, "pg://u:***@[::1]/a?token=***"),
        ("pg://u:{}@h/a", {"username": "o'n@l", "password": "new-{}"}, "pg://o%27n%40l:***@h/a"),
        ("pg://u:{}@h/a", {"username": None, "password": None}, "pg://h/a"),
        ("pg://u:{}@h/a?x=%2F", {"query": {"api_key": "k-{}", "y": "1,/"}}, "pg://u:***@h/a?api_key=***&y=1,/"),
        ("pg://u:{}@h/a?x=1", {"query": {}}, "pg://u:***@h/a"),
        ("pg://h1:1,h2:2/a?x=1", {"database": "b"}, "pg://h1:1,h2:2/b?x=1"),
        ("pg://h1:1,h2:2/a?x=1", {"host": "h3"}, "pg://h3/a?x=1"),
        ("pg://h1:1,h2:2/a?x=1", {"query": {"y": "2"}}, "pg://h1:1,h2:2/a?y=2"),
        ("lite:////tmp/a.db", {"database": "/tmp/b c.db"}, "lite:////tmp/b%20c.db"),
        ("lite:///a.db", {"scheme": "other"}, "other:///a.db"),
    ],
)
def test_a_replaced_part_shows_in_the_url_and_no_secret_does(url, changes, expected):
    def filled(value):
        return value.format(SECRET, SECRET) if isinstance(value, str) else value

    given = {
        name: {k: filled(v) for k, v in value.items()} if name == "query" else filled(value)
        for name, value in changes.items()
    }
    before = parse_url(filled(url))
    replaced = before.replace(**given)
    assert replaced.url == expected
    assert SECRET not in repr(replaced) + replaced.url
    assert {name: getattr(replaced, name) for name in given if name != "query"} == {
        name: value for name, value in given.items() if name != "query"
    }
    assert set(before.secrets) <= set(replaced.secrets)
    if given.get("password"):
        assert given["password"] in replaced.secrets
    again = parse_url(replaced.url)
    for name in ("scheme", "host", "port", "username", "database"):
        assert getattr(again, name) == getattr(replaced, name)
    assert again.query.keys() == replaced.query.keys()


def test_a_source_made_of_parts_masks_itself():
    source = Source(
        scheme="pg", username="u", password=SECRET, host="h", database="d/e", query={"auth_token": "t-" + SECRET}
    )
    assert source.url == "pg://u:***@h/d%2Fe?auth_token=***"
    assert set(source.secrets) == {SECRET, "t-" + SECRET}
    assert SECRET not in repr(source)


@pytest.mark.parametrize("field", ["url", "secrets"])
def test_what_follows_from_the_parts_is_not_given(field):
    with pytest.raises(TypeError):
        parse_url("pg://h/a").replace(**{field: ("x",)})


def test_a_file_is_absolute_and_links_are_resolved(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("real")
    assert database_file(source=parse_url("lite:///link/a.db")) == f"{os.path.realpath(tmp_path)}/real/a.db"
    assert database_file(source=parse_url("lite:////a.db?timeout=1"), parameters={"timeout"}) == "/a.db"


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("lite://h/a.db", r"names a host.*three slashes, lite:///h/a\.db,.*four, lite:////h/a\.db"),
        ("lite://u@/a.db", "names a host"),
        ("lite://", "names no file"),
        ("lite:///:memory:", "in memory cannot be reached; write lite:///FILE"),
        ("lite:///a?b=1&c=2", r"unknown parameter b, c in lite:///a\?b=1&c=2; lite URLs take none"),
    ],
)
def test_a_url_that_names_no_file_says_what_to_write(url, text):
    with pytest.raises(MalformedURL, match=text):
        database_file(source=parse_url(url))
    with pytest.raises(MalformedURL, match="cannot hold a NUL"):
        database_file(source=Source(scheme="lite", database="a\0b"))


def test_an_unknown_parameter_is_named_with_the_known_ones():
    source = parse_url("pg://h/a?sslmod=x&timeout=1")
    with pytest.raises(MalformedURL, match=r"unknown parameter sslmod in .*; known are sslmode, timeout"):
        refuse_unknown_parameters(source=source, known=("timeout", "sslmode"))
    refuse_unknown_parameters(source=source, known={"sslmod", "timeout"})


def test_a_full_target_is_refused_unless_somebody_insists():
    target = parse_url(f"pg://u:{SECRET}@h/a")
    with pytest.raises(TargetNotEmpty) as raised:
        refuse_full_target(target=target, empty=False, overwrite=False, content="table orders")
    text = "pg://u:***@h/a is not empty (it holds table orders), so nothing was restored; to replace what it holds, "
    assert str(raised.value) == text + "insist: --overwrite (overwrite=True)"
    with pytest.raises(TargetNotEmpty, match=r"^/a\.db is not empty, so"):
        refuse_full_target(target="/a.db", empty=False, overwrite=False)
    refuse_full_target(target=target, empty=False, overwrite=True)
    refuse_full_target(target=target, empty=True, overwrite=False)
