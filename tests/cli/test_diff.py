"""``dumpty diff``."""

from __future__ import annotations

import contextlib
import sqlite3

import pytest
from support.keys import key_file


def change(path, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as database:
        for statement in statements:
            database.execute(statement)
        database.commit()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "small.db"
    change(
        path,
        "CREATE TABLE kept (a)",
        "INSERT INTO kept VALUES (1), (2)",
        "CREATE TABLE altered (a)",
        "INSERT INTO altered VALUES ('x')",
        "CREATE TABLE grown (a)",
        "CREATE TABLE gone (a)",
        "INSERT INTO gone VALUES (1)",
    )
    return path


@pytest.fixture
def url(file):
    return f"sqlite:///{file}"


LATER = (
    "UPDATE altered SET a = 'y'",
    "INSERT INTO grown VALUES (1), (2), (3)",
    "DROP TABLE gone",
    "CREATE TABLE fresh (a)",
)
FOUND = [
    {"path": "gone", "kind": "removed", "rows_before": 1, "rows_after": None},
    {"path": "grown", "kind": "rows", "rows_before": 0, "rows_after": 3},
    {"path": "fresh", "kind": "added", "rows_before": None, "rows_after": 0},
    {"path": "altered", "kind": "content", "rows_before": 1, "rows_after": 1},
]


@pytest.mark.parametrize("fingerprints", [(True, True), (True, False), (False, False)])
def test_two_backups_are_told_apart_and_restored_only_where_fingerprints_are_missing(
    dumpty, make, url, file, fingerprints
):
    ids = []
    for number, taken in enumerate(fingerprints):
        change(file, *(LATER if number else ()))
        ids.append(make(url, "-o", f"fingerprint={taken}")["id"])
    result = dumpty("diff", *ids, "--json")
    assert result.status == 12
    assert result.json["differences"] == FOUND
    assert result.json["restored"] == [i for i, taken in zip(ids, fingerprints, strict=True) if not taken]
    assert result.json["not_compared"] == []
    assert [b["id"] for b in result.json["backups"]] == ids
    # by hand, for people
    lines = dumpty("diff", *ids).out.splitlines()
    assert "differ in 4 tables:" in lines[0]
    assert [line.split() for line in lines[1:]] == [
        ["TABLE", "FIRST", "SECOND", "DIFFERENCE"],
        ["gone", "1", "only", "in", "the", "first"],
        ["grown", "0", "3", "3", "more"],
        ["fresh", "0", "only", "in", "the", "second"],
        ["altered", "1", "1", "other", "content"],
    ]


def test_a_live_database_is_compared(dumpty, make, url, file):
    made = make(url)
    result = dumpty("diff", "latest", url)
    assert result.status == 0, result
    assert "do not differ in any of 4 tables" in result.out
    change(file, *LATER)
    result = dumpty("diff", made["id"], url, "--json")
    assert result.status == 12
    assert result.json["differences"] == FOUND
    assert result.json["restored"] == [made["id"]]
    assert result.json["other_url"] == url


def test_by_counts_alone_nothing_is_restored_and_what_is_not_known_is_said(dumpty, make, url, file):
    made = make(url)
    change(file, "UPDATE altered SET a = 'y'")
    result = dumpty("diff", made["id"], url, "--counts")
    assert result.status == 0
    assert "do not differ in any of 4 tables as far as they were compared" in result.out
    assert "not compared: the content of altered, gone, kept: only numbers of rows were asked for" in result.out
    reply = dumpty("diff", made["id"], url, "--counts", "--json").json
    assert (reply["restored"], reply["not_compared"]) == ([], ["altered", "gone", "kept"])


def test_the_url_of_the_live_database_may_come_from_elsewhere(dumpty, make, url, monkeypatch):
    make(url)
    monkeypatch.setenv("SHOP", url)
    assert dumpty("diff", "latest", "env:SHOP").status == 0


@pytest.mark.parametrize(
    ("second", "status", "text"),
    [
        ("sqlite:///nothing.db", 1, "does not exist: there is nothing to compare with"),
        ("nothing", 1, "nothing"),
        ("postgresql://h/d", 1, "a dump goes back only into a database of its own kind"),
    ],
)
def test_what_cannot_be_compared_is_an_error(dumpty, make, url, second, status, text):
    make(url)
    result = dumpty("diff", "latest", second)
    assert result.status == status
    assert text in result.err
    assert result.out == ""


def test_an_encrypted_backup_is_compared_by_those_who_can_open_it(dumpty, make, url, tmp_path):
    key = tmp_path / "key.txt"
    recipient = key_file(key)
    ids = [make(url, "--encrypt-to", recipient)["id"] for _ in range(2)]
    assert dumpty("diff", *ids, "--identity", key, "--json").json["restored"] == ids
    by_this_machine = dumpty("diff", *ids, "--json").json  # which can read what was counted, and no more
    assert by_this_machine["not_compared"] == ["altered", "gone", "kept"]
    assert "--identity FILE" in dumpty("diff", *ids).out
