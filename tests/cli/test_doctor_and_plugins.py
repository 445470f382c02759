"""``dumpty doctor`` and ``dumpty plugins``."""

from __future__ import annotations

import os
import platform
import sys

import pytest

import dumpty as package


def test_plugins_lists_every_plugin_with_what_it_is_for(dumpty):
    lines = {line.split()[1]: line.split() for line in dumpty("plugins").out.splitlines()}
    assert lines["sqlite"] == ["driver", "sqlite", "sqlite://", "dumpty", package.__version__, "ok"]
    assert lines["gzip"] == ["compressor", "gzip", ".gz", "dumpty", package.__version__, "ok"]
    assert lines["sha256"][0] == "verifier"
    assert lines["file"][0] == "store"
    assert lines["webhook"][:4] == ["notifier", "webhook", "http://", "https://"]


def test_a_plugin_that_does_not_load_is_listed_with_the_reason(dumpty, broken):
    result = dumpty("plugins")
    assert result.status == 0
    assert "failed" in result.out
    assert "dumpty_broken_module_that_is_not_there" in result.out
    plugin = next(p for p in dumpty("plugins", "--json").json["plugins"] if p["name"] == "broken")
    assert (plugin["state"], plugin["distribution"], plugin["version"]) == ("failed", "dumpty-broken", "0.1")


@pytest.mark.parametrize(("driver", "library"), [("postgres", "psycopg2-binary"), ("mysql", "pymysql")])
def test_a_driver_whose_library_is_missing_is_not_ok(dumpty, monkeypatch, driver, library):
    import importlib_metadata

    distribution_unpatched = importlib_metadata.distribution
    names = {library, library.removesuffix("-binary")}

    def distribution(name):
        if name.lower() in names:
            raise importlib_metadata.PackageNotFoundError(name)
        return distribution_unpatched(name)

    assert [p["state"] for p in dumpty("plugins", "--json").json["plugins"] if p["name"] == driver] == ["ok"]
    monkeypatch.setattr(importlib_metadata, "distribution", distribution)
    advice = f'lacks {library}: pip install "dumpty[{driver}]"'
    for argv in (("plugins",), ("doctor",), ("plugins", "show", driver)):
        result = dumpty(*argv)
        assert result.status == 0
        assert advice in result.out
        assert "incomplete" in result.out
        assert not [line for line in result.out.splitlines() if {driver, "ok"} <= set(line.split())]
        plugins = dumpty(*argv, "--json").json["plugins"]
        assert [(p["state"], p["error"]) for p in plugins if p["name"] == driver] == [("incomplete", advice)]


@pytest.mark.parametrize(("driver", "module"), [("postgres", "psycopg2"), ("mysql", "pymysql")])
def test_a_library_whose_files_are_gone_is_missing(dumpty, monkeypatch, driver, module):
    state = {p["name"]: p["state"] for p in dumpty("plugins", "--json").json["plugins"]}
    assert state[driver] == "ok"
    monkeypatch.setitem(sys.modules, module, None)
    plugins = {p["name"]: p for p in dumpty("plugins", "--json").json["plugins"]}
    assert plugins[driver]["state"] == "incomplete"


def test_a_blocked_plugin_is_listed_as_such(dumpty, monkeypatch):
    monkeypatch.setenv("DUMPTY_DISABLE_PLUGINS", "zstd")
    assert "blocked" in dumpty("plugins").out
    assert "blocked" in dumpty("plugins", "show", "zstd").out


def test_show_lists_formats_and_options_with_type_default_choices_and_help(dumpty, odd):
    result = dumpty("plugins", "show", "odd")
    lines = [" ".join(line.split()) for line in result.out.splitlines()]
    assert "odd: driver of dumpty-odd 2.0, incomplete" in lines
    assert 'lacks surely-not-installed: pip install "dumpty-odd[odd]"' in lines
    assert "tree .tree a directory of files" in lines
    assert "text (auto) .txt lines" in lines
    assert "color str red backup, inspect of the ink (one of red, blue)" in lines
    assert "bold bool on backup whether it is bold" in lines
    assert 'shelves list "" backup which shelves' in lines
    assert 'its library: pip install "dumpty-odd[odd]"' in lines
    plugin = dumpty("plugins", "show", "odd", "--json").json["plugins"][0]
    assert plugin["options"][0] == {
        "name": "color",
        "type": "str",
        "default": "red",
        "choices": ["red", "blue"],
        "verbs": ["backup", "inspect"],
        "help": "of the ink",
    }


@pytest.mark.parametrize(
    "name",
    [
        *("sqlite", "postgres", "mysql", "gzip", "zstd", "sha256", "file", "sftp", "objectstore", "gcs"),
        *("webhook", "apprise", "command", "ssh", "docker", "kubectl"),
    ],
)
def test_every_built_in_plugin_can_be_shown(dumpty, name):
    result = dumpty("plugins", "show", name)
    assert result.status == 0
    assert result.out.startswith(f"{name}: ")
    assert dumpty("plugins", "show", name, "--json").json["plugins"][0]["name"] == name


def test_a_plugin_that_is_not_installed_cannot_be_shown(dumpty):
    result = dumpty("plugins", "show", "papyrus")
    assert result.status == 2
    assert "sqlite" in result.err
    assert "Did you mean 'postgres'?" in dumpty("plugins", "show", "postgre").err


def test_a_plugin_that_says_little_of_itself_can_be_shown(dumpty, odd):
    assert dumpty("plugins", "show", "oddstore").out.splitlines()[1:] == [
        '  lacks never-heard-of: pip install "never-heard-of[all]"',
        "  for odd://",
        '  its library: pip install "never-heard-of[all]"',
        "  0 options",
    ]


def test_a_broken_plugin_can_be_shown(dumpty, broken):
    plugin = dumpty("plugins", "show", "broken", "--json").json["plugins"][0]
    assert (plugin["state"], plugin["options"]) == ("failed", [])
    assert "cannot be loaded" in dumpty("plugins", "show", "broken").out


def test_doctor_says_what_is_installed(dumpty):
    result = dumpty("doctor")
    assert result.status == 0
    assert result.out.startswith(f"dumpty {package.__version__} on Python {platform.python_version()}")
    reply = dumpty("doctor", "--json").json
    clients = {c["name"]: c for c in reply["clients"]}
    assert clients["sqlite3"]["version"].startswith("3.")
    assert os.path.isfile(clients["pg_dump"]["path"])
    assert "MariaDB" in clients["mariadb-dump"]["version"]
    libraries = {library["name"]: library for library in reply["libraries"]}
    assert libraries["pymysql"]["version"]
    assert libraries["psycopg2-binary"]["needed_by"] == "postgres"
    assert libraries["apprise"]["needed_by"] == "apprise"
    assert reply["database"] is None


def test_doctor_says_how_to_get_what_is_missing(dumpty, odd, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("DUMPTY_PG_BINDIR", raising=False)
    result = dumpty("doctor")
    assert result.status == 0
    lines = [" ".join(line.split()) for line in result.out.splitlines()]
    assert 'surely-not-installed missing odd pip install "dumpty-odd[odd]"' in lines
    assert 'never-heard-of missing oddstore pip install "never-heard-of[all]"' in lines
    assert 'another-one missing oddsum pip install "another-one>=3"' in lines
    assert "sqlite3 missing apt-get install sqlite3" in lines
    assert not any("only-on-old-pythons" in line for line in lines)


@pytest.mark.parametrize(
    ("script", "version"),
    [
        ("echo 'pg_dump (PostgreSQL) 17.2'", "17.2"),
        ("echo 'mysqldump  Ver 10.19 Distrib 10.11.6-MariaDB, for Linux'", "10.11.6-MariaDB"),
        ("echo unversioned", "unversioned"),
        ("true", ""),
        ("exit 3", "does not run: pg_dump exited with status 3, and said nothing"),
    ],
)
def test_doctor_asks_each_program_for_its_version(dumpty, monkeypatch, tmp_path, script, version):
    program = tmp_path / "bin" / "pg_dump"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("DUMPTY_PG_BINDIR", str(program.parent))
    clients = [c for c in dumpty("doctor", "--json").json["clients"] if c["path"] == str(program)]
    assert [c["version"] for c in clients] == [version]


def test_doctor_fails_where_a_plugin_is_broken(dumpty, broken):
    result = dumpty("doctor")
    assert result.status == 2
    assert "dumpty_broken_module_that_is_not_there" in result.err


def test_doctor_looks_at_a_database(dumpty, shop):
    result = dumpty("doctor", shop)
    assert result.status == 0
    assert f"database {shop}" in result.out
    assert "it holds data" in result.out
    database = dumpty("doctor", shop, "--json").json["database"]
    assert (database["reached"], database["exists"], database["empty"]) == (True, True, False)
    assert database["versions"]["sqlite"]


def test_doctor_tells_what_the_driver_notes(dumpty, odd):
    result = dumpty("doctor", "odd://empty/db", "-o", "color=blue")
    assert result.status == 0
    assert "it is empty" in result.out
    assert "about 1.5 MB to dump" in result.out
    assert "note: the right DUMP is missing for you" in result.out


def test_doctor_fails_where_there_is_no_database(dumpty, tmp_path):
    result = dumpty("doctor", f"sqlite:///{tmp_path}/nothing.db")
    assert result.status == 1
    assert "there is no database" in result.err
    assert "it does not exist" in result.out


def test_doctor_fails_where_the_database_cannot_be_reached(dumpty, odd):
    result = dumpty("doctor", "odd://user:secret99@unreachable/db", "--json")
    assert result.status == 1
    database = result.json["database"]
    assert (database["url"], database["reached"]) == ("odd://user:***@unreachable/db", False)
    assert database["exists"] is database["empty"] is database["estimated_bytes"] is None
    assert "ConnectionRefusedError" in result.json["error"]
    assert "secret99" not in result.out


def test_doctor_takes_options_only_with_a_url(dumpty):
    assert dumpty("doctor", "-o", "color=blue").status == 2
