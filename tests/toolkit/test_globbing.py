"""The files and directories that a glob means; what ``database_files`` owes besides is proved with SQLite's files."""

from __future__ import annotations

import os

import pytest

from dumpty import Source, database_files


@pytest.fixture
def found(tmp_path):
    def find(pattern, **how):
        listed = database_files(source=Source(scheme="newdb", database=f"{tmp_path}/{pattern}"), **how)
        return [os.path.relpath(entry.database, tmp_path) for entry in listed]

    return find


def test_directories_or_files_are_meant_never_both(tmp_path, found):
    for name in ("a", "b/c", ".hidden"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").touch()
    (tmp_path / "link").symlink_to("a")
    assert found("*", directories=True) == ["a", "b"]
    assert found("**", directories=True) == ["a", "b", "b/c"]
    assert found("*") == []
    assert found("**") == ["a/file", "b/c/file"]


def test_what_lies_beside_a_database_is_none_while_the_database_is_there(tmp_path, found):
    for name in ("a.db", "a.db.wal", "b.db.wal"):
        (tmp_path / name).touch()
    assert found("*", siblings=(".wal",)) == ["a.db", "b.db.wal"]
    assert found("*") == ["a.db", "a.db.wal", "b.db.wal"]


@pytest.mark.parametrize("pattern", ["", "/", "//"])
def test_no_path_is_no_database(pattern):
    assert database_files(source=Source(scheme="newdb", database=pattern)) == []


def test_the_sources_are_else_as_they_were(tmp_path):
    (tmp_path / "a").touch()
    source = Source(scheme="newdb", password="secret", database=f"{tmp_path}/*", query={"timeout": "3"})
    assert database_files(source=source) == [source.replace(database=f"{tmp_path}/a")]
