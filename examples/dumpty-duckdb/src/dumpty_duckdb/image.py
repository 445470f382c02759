"""The native format: the database file itself, copied while DuckDB's own lock keeps every writer out."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import duckdb

from dumpty import require_same_evidence, save_dump, send_file
from dumpty.process import run
from dumpty_duckdb import content
from dumpty_duckdb.connection import building, load_errors, reading

if TYPE_CHECKING:
    from dumpty import Dump, Evidence, Sink


def write_image(path: str, sink: Sink) -> Evidence:
    """Copy the file, merge its write-ahead log into the copy, prove the copy, and send it.

    Raises:
        Locked: somebody has it open for writing.
        IntegrityError: the copy cannot be read.
    """
    workspace = sink.workspace()
    copy = str(workspace / "image.duckdb")
    with reading(path, shared=False):
        for end in ("", ".wal"):
            if os.path.exists(path + end):
                # A child, for its closing of the file drops no lock of ours.
                run(["cp", "--", path + end, copy + end], timeout=None)
    try:
        with building(copy) as database:
            evidence = content.evidence(database)
    except duckdb.Error as error:
        raise content.damaged(error, path) from error
    send_file(path=copy, sink=sink)
    return evidence


def load_image(dump: Dump, path: str) -> Evidence:
    """Write the image into the new file ``path`` and prove it.

    Raises:
        IntegrityError: it is not a sound database, or not the one that was dumped.
    """
    save_dump(dump=dump, path=path)
    with load_errors(), building(path) as database:
        evidence = content.evidence(database)
    require_same_evidence(expected=dump.evidence, found=evidence, subject="the restored database")
    return evidence
