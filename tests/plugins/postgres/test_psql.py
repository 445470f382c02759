"""Rows that come out of a psql, whatever they look like and however its output is cut into blocks."""

from __future__ import annotations

import contextlib
import secrets

import pytest

from dumpty_plugins.postgres.server.connection import Address
from dumpty_plugins.postgres.server.psql import open_psql

MARK = "a" * 16


@pytest.mark.parametrize("width", [1, 15, 17, 1000])
def test_rows_that_look_like_the_beginning_of_what_ends_them_come_whole(dbs, monkeypatch, width):
    monkeypatch.setattr(secrets, "token_hex", lambda _: MARK)
    name = dbs.new(f"CREATE TABLE t AS SELECT repeat('a', {width}) AS x FROM generate_series(1, {3_000_000 // width})")
    expected = (b"a" * width + b"\n") * (3_000_000 // width)
    with contextlib.closing(open_psql(Address(dbs.source(name)), "")) as session:
        assert b"".join(session.copy_out("COPY t TO STDOUT")) == expected
        assert session.rows_copied == 3_000_000 // width
        assert b"".join(session.copy_out("COPY (SELECT 'a' WHERE false) TO STDOUT")) == b""
        assert session.rows_copied == 0
