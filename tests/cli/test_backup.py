"""``dumpty backup``."""

from __future__ import annotations

import gzip
import hashlib
import os
from pathlib import Path

import pytest
from support.places import stored_files


def test_a_backup_is_stored_natively_and_compressed_unless_told_otherwise(make, shop):
    backup = make(shop)
    assert backup["format"] == "native"
    assert backup["files"][0].endswith(".db.gz")
    with gzip.open(backup["files"][0]) as stream:
        assert stream.read(15) == b"SQLite format 3"


def test_the_first_stream_format_is_the_default_where_a_driver_has_no_native_one(make, odd):
    assert make("odd://fine/db")["format"] == "text"


def test_format_compressor_and_options_are_the_users(make, shop):
    backup = make(shop, "--format", "sql", "--compressor", "zstd", "-o", "zstd.level=3", "-o", "check=no")
    assert backup["format"] == "sql"
    assert backup["files"][0].endswith(".sql.zst")


def test_without_compressor_the_stored_file_is_the_dump(dumpty, make, shop):
    backup = make(shop, "--compressor", "none")
    with open(backup["files"][0], "rb") as stream:
        assert hashlib.sha256(stream.read()).hexdigest() == backup["checksum"]
    assert dumpty("show", "latest", "--json").json["backups"][0]["details"]["stages"] == []


def test_what_was_done_is_said_in_a_few_lines(dumpty, shop):
    result = dumpty("backup", shop)
    assert result.status == 0
    assert "of shop is done" in result.out
    assert "1 object, 2 rows" in result.out
    assert os.path.abspath("backups") in result.out
    assert result.err == ""


def test_quiet_says_nothing_of_a_success(dumpty, shop):
    result = dumpty("backup", shop, "--quiet")
    assert (result.status, result.out, result.err) == (0, "", "")
    assert dumpty("list", "--json").json["backups"]


def test_the_directory_comes_from_the_option_then_from_the_environment(dumpty, shop, monkeypatch, tmp_path):
    monkeypatch.setenv("DUMPTY_DIR", str(tmp_path / "environment"))
    dumpty("backup", shop)
    dumpty("backup", shop, "-d", tmp_path / "option")
    assert len(stored_files(tmp_path / "environment")) == 2
    assert len(stored_files(tmp_path / "option")) == 2
    assert not (tmp_path / "backups").exists()


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("-o", "level"), "KEY=VALUE"),
        (("-o", "=1"), "KEY=VALUE"),
        (("-o", "level=1", "-o", "level=2"), "given twice"),
        (("-o", "level=high"), "takes a value of type int"),
        (("-o", "nonsense=1"), "valid here: "),
        (("-o", "format=sql"), "own options"),
        (("-o", "self=1"), "own options"),
        (("--format", "papyrus"), "its formats: sql, native"),
        (("--compressor", "steamroller"), "no compressor is called 'steamroller'"),
        (("--verifier", "horoscope"), "no verifier is called 'horoscope'"),
        (("--no-such-option",), "--no-such-option"),
        (("one", "too", "many"), "extra argument"),
    ],
)
def test_what_does_not_exist_is_a_usage_error_that_says_what_does(dumpty, shop, argv, says):
    result = dumpty("backup", shop, *argv)
    assert result.status == 2
    assert says in result.err
    assert result.err.count("\n") == 1
    assert result.out == ""


def test_a_directory_format_is_refused_with_those_that_are_possible(dumpty, odd):
    result = dumpty("backup", "odd://fine/db", "--format", "tree")
    assert result.status == 2
    assert "use text" in result.err


def test_a_scheme_nobody_answers_lists_the_installed_ones(dumpty):
    result = dumpty("backup", "papyrus://host/db")
    assert result.status == 2
    assert "sqlite" in result.err
    assert "pip install" not in result.err
    assert not os.path.exists("backups")


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("backup", "sqllite:///shop.db"), "Did you mean 'sqlite'?"),
        (("backup", "postgress://host/shop"), "Did you mean 'postgres'?"),
        (("backup", "SHOP", "--compressor", "gzp"), "Did you mean 'gzip'?"),
        (("backup", "SHOP", "--verifier", "sha-256"), "Did you mean 'sha256'?"),
        (("backup", "SHOP", "--format", "nativ"), "Did you mean 'native'?"),
        (("backup", "SHOP", "-o", "fingerprnt=on"), "Did you mean 'fingerprint'?"),
        (("verify", "latest", "--level", "structur"), "Did you mean 'structure'?"),
        (("backup", "SHOP", "--dir", "flie:///backups"), "Did you mean 'file'?"),
        (("bakcup", "SHOP"), "Did you mean 'backup'?"),
        (("plugins", "shwo", "gzip"), "Did you mean 'show'?"),
        (("plugins", "check", "gzpi"), "Did you mean 'gzip'?"),
    ],
)
def test_what_is_mistyped_is_suggested_and_never_a_package_of_that_name(dumpty, shop, argv, says):
    result = dumpty(*(shop if argument == "SHOP" else argument for argument in argv))
    assert result.status == 2
    assert says in result.err
    assert "pip install" not in result.err
    assert result.err.count("\n") == 1


@pytest.mark.parametrize(
    ("argv", "package"),
    [
        (("backup", "redis://host/0"), "dumpty-redis"),
        (("backup", "duckdb:///shop.duckdb"), "dumpty-duckdb"),
        (("backup", "SHOP", "--compressor", "brotli"), "dumpty-brotli"),
        (("backup", "SHOP", "--verifier", "blake3"), "dumpty-blake3"),
    ],
)
def test_a_known_plugin_that_is_not_installed_is_named(dumpty, shop, argv, package):
    result = dumpty(*(shop if argument == "SHOP" else argument for argument in argv))
    assert result.status == 2
    assert f"pip install ./examples/{package}" in result.err
    assert (Path(__file__).parents[2] / "examples" / package / "pyproject.toml").is_file()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sqlite://shop.db", "sqlite:///shop.db, or, where it begins at the root, behind four, sqlite:////shop.db"),
        ("sqlite://srv/shop.db", "sqlite:///srv/shop.db, or"),
        ("sqlite://", "names no file"),
        ("sqlite:///shop.db?nonsense=1", "unknown parameter nonsense"),
        ("mysql://host", "names no database"),
        ("mysql://host/shop?nonsense=1", "unknown parameter nonsense"),
    ],
)
@pytest.mark.parametrize("verb", ["backup", "restore", "doctor"])
def test_a_url_that_means_nothing_is_a_usage_error(dumpty, make, shop, url, says, verb):
    make(shop)
    result = dumpty(
        *{"backup": ("backup", url), "restore": ("restore", "latest", "--to", url), "doctor": ("doctor", url)}[verb]
    )
    if verb == "restore" and url.startswith("mysql"):
        assert result.status == 1  # another kind of database than the backup's
    else:
        assert result.status == 2
        assert says in result.err
        assert result.err.count("\n") == 1


def test_a_missing_library_is_a_usage_error_with_the_pip_command(dumpty, odd):
    result = dumpty("backup", "odd://library/db")
    assert result.status == 2
    assert 'pip install "dumpty-odd[odd]"' in result.err


def test_a_missing_database_fails_and_leaves_nothing(dumpty, tmp_path):
    result = dumpty("backup", f"sqlite:///{tmp_path}/nothing.db")
    assert result.status == 1
    assert "nothing.db" in result.err
    assert dumpty("list", "--json").json["backups"] == []
    assert not (tmp_path / "nothing.db").exists()


def test_what_is_no_database_fails(dumpty, tmp_path):
    (tmp_path / "letter.db").write_text("Dear Sir or Madam, this is not a database.\n" * 100)
    result = dumpty("backup", f"sqlite:///{tmp_path}/letter.db")
    assert result.status == 1
    assert "letter.db" in result.err
    assert result.err.count("\n") == 1


def test_a_locked_database_has_a_status_of_its_own(dumpty, odd):
    result = dumpty("backup", "odd://locked/db")
    assert result.status == 11
    assert "locked by somebody else" in result.err


def test_notes_and_inconsistency_are_warnings_on_standard_error(dumpty, odd):
    result = dumpty("backup", "odd://torn/db")
    assert result.status == 0
    assert "warning: the backup of db is not of one moment" in result.err
    assert "warning: a note" in result.err


def test_standard_output_is_the_results_whatever_a_plugin_prints(dumpty, odd):
    result = dumpty("backup", "odd://fine/db", "--json")
    assert result.json["success"] is True
    assert "this plugin prints" in result.err


def test_a_directory_that_cannot_be_made_fails(dumpty, shop, tmp_path):
    (tmp_path / "file").write_text("")
    result = dumpty("backup", shop, "--dir", tmp_path / "file" / "below")
    assert result.status == 1
    assert "cannot create the backup directory" in result.err


def test_jobs_are_the_drivers_option_and_refused_where_it_has_none(dumpty, shop):
    result = dumpty("backup", shop, "--jobs", "2")
    assert result.status == 2
    assert "unknown option 'jobs'; valid here: " in result.err
    assert dumpty("backup", shop, "--jobs", "0").status == 2
    result = dumpty("backup", shop, "--jobs", "2", "-o", "jobs=3")
    assert result.status == 2
    assert "--jobs and -o jobs are the same" in result.err


def test_a_rate_limit_is_a_size_a_second(dumpty, make, shop):
    assert make(shop, "--rate-limit", "10MB")["format"] == "native"
    for rate in ("fast", "0", "0.1", "-1MB", ""):
        result = dumpty("backup", shop, f"--rate-limit={rate}")
        assert result.status == 2, rate
        assert "--rate-limit" in result.err
