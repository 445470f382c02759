"""One URL for several databases: what a pattern means, the URL of each, and what is said where nothing is meant."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.toys import ToyDriver

from dumpty import (
    BackupManager,
    Evidence,
    Format,
    MalformedURL,
    Option,
    OptionError,
    PluginInfo,
    SourceError,
    hookimpl,
)
from dumpty.url import parse_url, with_database

SECRET = "s3cr3t/Marker"
NAMES = ("blog", "shop_1", "shop_2", "shop_test", "shop[1]", "a*b", "A")


def server(*names):
    return ListingDriver(names or NAMES)


class ListingDriver:
    name = "toy"

    def __init__(self, names):
        self.names = names
        self.asked = []

    @hookimpl
    def describe(self):
        options = (
            Option(name="depth", default=1, help="how far to look", verbs=("databases",)),
            Option(name="chunk", default=1, help="bytes written at a time"),
        )
        return PluginInfo(
            kind="driver", schemes=("toy",), formats=(Format(name="sql", suffix=".sql"),), options=options
        )

    @hookimpl
    def databases(self, source, options):
        self.asked.append((source, dict(options)))
        return (source.replace(database=name) for name in self.names)

    @hookimpl
    def backup(self, source, sink):
        sink.write(str(source.database).encode())
        return Evidence()


def found(tmp_path, driver, path, **scope):
    manager = BackupManager(tmp_path / "backups", plugins=[driver])
    url = f"toy://u:{quote(SECRET, safe='')}@h:1/{path}?a=b%2Fc"
    return [database.source.database for database in manager.databases(url, **scope)]


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("*", [*sorted(NAMES)]),
        ("shop_*", ["shop_1", "shop_2", "shop_test"]),
        ("shop_[12]", ["shop_1", "shop_2"]),
        ("shop_[!1]", ["shop_2"]),
        ("shop[1]", ["shop[1]"]),  # as it stands it is the name of one
        ("shop%5B*", ["shop[1]"]),
        ("a%2A*", ["a*b"]),
        ("*%2A*", ["a*b"]),
        ("%41*", ["A"]),
        ("[a]*", ["a*b"]),
    ],
)
def test_a_pattern_means_whole_names_and_what_is_percent_encoded_is_no_wildcard(tmp_path, path, names):
    assert found(tmp_path, server(), path) == names


@pytest.mark.parametrize("path", ["blog", "a%2Ab", "shop%5B1%5D", "a[b", "", "gone"])
def test_a_url_without_wildcards_is_itself_and_nobody_is_asked(tmp_path, path):
    driver = server()
    manager = BackupManager(tmp_path / "backups", plugins=[driver])
    (database,) = manager.databases(f"toy://h/{path}")
    assert database.url == f"toy://h/{path}"
    assert driver.asked == []


def test_the_driver_is_asked_about_the_server_with_the_options_that_it_takes_for_that(tmp_path):
    driver = server()
    found(tmp_path, driver, "*", depth="3", chunk=7)
    ((source, options),) = driver.asked
    assert (source.database, source.password, source.host, dict(source.query)) == (None, SECRET, "h", {"a": "b/c"})
    assert options == {"depth": 3}
    with pytest.raises(OptionError, match="depth"):
        found(tmp_path, driver, "*", depth="deep")


@pytest.mark.parametrize(
    ("scope", "names"),
    [
        ({"include": ["shop_*"]}, ["shop_1", "shop_2", "shop_test"]),
        ({"include": ["shop_*", "blog"], "exclude": ["*_test"]}, ["blog", "shop_1", "shop_2"]),
        ({"exclude": iter(["shop*", "?"])}, ["a*b", "blog"]),
        ({"include": ["SHOP_*", "a"], "exclude": ["x"]}, None),
    ],
)
def test_include_and_exclude_choose_by_name_and_case_counts(tmp_path, scope, names):
    if names is None:
        with pytest.raises(SourceError, match=r"include and exclude leave none .*: A, a\*b, blog, "):
            found(tmp_path, server(), "*", **scope)
    else:
        assert found(tmp_path, server(), "*", **scope) == names


def test_what_matches_nothing_is_an_error_that_says_what_there_is_and_shows_no_secret(tmp_path):
    names = [f"n{number:02}" for number in range(12)]
    with pytest.raises(SourceError, match=r"no database is called as toy://u:\*\*\*@h:1/shop\*") as caught:
        found(tmp_path, server(SECRET, *names), "shop*")
    assert SECRET not in str(caught.value)
    assert "n00, n01" in str(caught.value)
    assert str(caught.value).count("n0") + str(caught.value).count("n1") == 10
    assert "and 3 more" in str(caught.value)
    nothing = server("x")
    nothing.names = ()
    with pytest.raises(SourceError, match="there is none that this account sees"):
        found(tmp_path, nothing, "*")


def test_without_wildcards_there_is_nothing_to_choose_from(tmp_path):
    for scope in ({"include": ["x"]}, {"exclude": ["x"]}):
        with pytest.raises(OptionError, match="names one database"):
            found(tmp_path, server(), "blog", **scope)


@pytest.mark.parametrize("scope", [{"include": "shop_*"}, {"exclude": [1]}])
def test_patterns_of_another_type_are_a_wrong_call(tmp_path, scope):
    with pytest.raises(TypeError):
        found(tmp_path, server(), "*", **scope)


def test_a_driver_that_lists_nothing_takes_one_database(tmp_path):
    manager = BackupManager(tmp_path / "backups", plugins=[ToyDriver()])
    with pytest.raises(MalformedURL, match=r"plugin 'toy' of this program cannot tell .* %2A"):
        manager.databases("toy://h/*")
    assert manager.databases("toy://h/x")[0].url == "toy://h/x"


def test_each_is_backed_up_by_its_own_url_and_the_password_shows_nowhere(tmp_path):
    manager = BackupManager(tmp_path / "backups", plugins=[server("a/b", "ü?")])
    listed = manager.databases(f"toy://u:{quote(SECRET, safe='')}@h/*")
    results = [manager.create_backup(database.url) for database in listed]
    assert [(r.success, r.backup.database_url) for r in results] == [
        (True, "toy://u:***@h/a%2Fb"),
        (True, "toy://u:***@h/%C3%BC%3F"),
    ]
    assert not re.search(f"{SECRET}|{quote(SECRET, safe='')}", repr(listed))


# A name that looks like a connection string is refused in any URL: people paste those there, password and all.
NAME = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1).filter(
    lambda name: not re.search(r"://|(?:pass|pwd)\w*\s*=", name, re.IGNORECASE)
)


@given(NAME, st.sampled_from(["u:p%2F%3F@", "u@", ""]), st.sampled_from(["h:7", "[::1]", "h,i:3", ""]), st.booleans())
@example("100%/*?#[a]&'\"@:ä ", "u:p%40@", "h", False)
@example("/srv/ä b/*.db", "", "", True)
@example("bytes\udcff that are no text", "u@", "h", False)
def test_a_rebuilt_url_is_of_that_name_and_else_as_it_was(name, user, hosts, slashes):
    url = f"Scheme+driver://{user}{hosts}/sho*p?sslmode=x%20y&b=%41"
    spelled = with_database(url, name, slashes=slashes)
    before, after = parse_url(url), parse_url(spelled)
    assert after.database == name
    for part in ("scheme", "host", "port", "username", "password", "query", "secrets"):
        assert getattr(before, part) == getattr(after, part)
    head, _, tail = url.partition("sho*p")
    assert spelled.startswith(head)
    assert spelled.endswith(tail)


def test_a_name_that_no_url_can_have_is_a_failed_backup_and_stops_no_other(tmp_path):
    manager = BackupManager(tmp_path / "backups", plugins=[server("password=x", "shop")])
    results = [manager.create_backup(database.url) for database in manager.databases("toy://h/*")]
    assert [result.success for result in results] == [False, True]
    assert isinstance(results[0].exception, MalformedURL)


# -- files -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def make(*paths):
        for path in paths:
            os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
            with contextlib.closing(sqlite3.connect(path)) as database:
                database.execute("CREATE TABLE t (x)")
        return BackupManager(tmp_path / "backups")

    return make


def test_a_file_whose_name_is_as_it_stands_in_the_url_is_that_file(files):
    manager = files("a[1].db", "a1.db", "*.db")
    assert [d.url for d in manager.databases("sqlite:///a[1].db")] == ["sqlite:///a[1].db"]
    assert [d.url for d in manager.databases("sqlite:///*.db")] == ["sqlite:///*.db"]
    assert manager.databases("sqlite:///a[1].db")[0].source.database == "a[1].db"


def test_files_are_chosen_by_name_and_by_path_and_keep_the_urls_parameters(files, tmp_path):
    manager = files("apps/one/x.db", "apps/one/y.db", "apps/two/x.db", "apps/a b%.db")
    url = "sqlite:///apps/**/*.db?mode=ro"

    def chosen(**scope):
        return [database.url for database in manager.databases(url, **scope)]

    assert chosen() == [
        "sqlite:///apps/a%20b%25.db?mode=ro",
        "sqlite:///apps/one/x.db?mode=ro",
        "sqlite:///apps/one/y.db?mode=ro",
        "sqlite:///apps/two/x.db?mode=ro",
    ]
    assert chosen(include=["x.db"], exclude=["apps/two/*"]) == ["sqlite:///apps/one/x.db?mode=ro"]
    assert chosen(include=[f"{tmp_path}/apps/two/*"]) == ["sqlite:///apps/two/x.db?mode=ro"]
    results = [manager.create_backup(url) for url in chosen()]
    assert all(result.success for result in results), results


def test_no_file_that_matches_is_an_error(files):
    manager = files("shop.db")
    with pytest.raises(SourceError, match=r"no file matches sqlite:///\*\.sqlite"):
        manager.databases("sqlite:///*.sqlite")
    with pytest.raises(MalformedURL, match="unknown parameter"):
        manager.databases("sqlite:///*.db?nonsense=1")
    with pytest.raises(MalformedURL, match="names a host"):
        manager.databases("sqlite://host/*.db")


def test_what_lies_in_the_repository_is_a_backup_and_never_meant(files, tmp_path):
    files("shop.db", "backups/mine.db")
    manager = BackupManager(tmp_path / "backups", compressor=None)
    for _ in range(2):
        listed = manager.databases("sqlite:///**/*.db", exclude=["mine.db"])
        assert [database.url for database in listed] == ["sqlite:///shop.db"]
        assert manager.create_backup(listed[0].url, format="native").backup.file_path.endswith(".db")
    assert [database.url for database in manager.databases("sqlite:///b*/**/*.db")] == ["sqlite:///backups/mine.db"]
    with pytest.raises(SourceError, match="no file matches"):
        manager.databases("sqlite:///backups/s*/*.db")
