"""Database files looked at without opening them, and copied to and from dumps."""

from __future__ import annotations

import builtins
import os
import resource

import pytest
from support.drive import FileDump, FileSink

from dumpty import IntegrityError, MissingFile, SourceError, require_file, save_dump, send_file


@pytest.mark.parametrize(
    ("kind", "error", "text"),
    [
        ("nothing", MissingFile, "there is no database file"),
        ("below a file", MissingFile, "there is no database file"),
        ("directory", SourceError, "is a directory, not a database file"),
        ("pipe", SourceError, "is not a regular file"),
        ("empty", SourceError, r"is an empty file \(0 bytes\)"),
        ("unreadable", SourceError, "no permission to read"),
    ],
)
def test_what_is_no_database_is_refused_by_name_and_never_opened(tmp_path, monkeypatch, kind, error, text):
    path = tmp_path / "db"
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind != "nothing":
        path.write_bytes(b"" if kind == "empty" else b"x")
    if kind == "below a file":
        path /= "below"
    if kind == "unreadable":
        monkeypatch.setattr(os, "access", lambda *_, **__: False)
    for module in (os, builtins):
        monkeypatch.setattr(module, "open", lambda *_: pytest.fail("it was opened"))
    with pytest.raises(error, match=text):
        require_file(path=str(path))


def test_a_file_goes_into_a_sink_and_a_dump_into_a_file(tmp_path):
    content = os.urandom((1 << 20) + 7)
    (tmp_path / "copy").write_bytes(content)
    sink = FileSink(tmp_path / "dump")
    assert send_file(path=str(tmp_path / "copy"), sink=sink) == len(content)
    sink.close()
    assert sink.expected == len(content)
    (tmp_path / "db").write_bytes(b"longer than what comes" * 100_000)
    dump = FileDump(tmp_path / "dump", "native")
    for name in ("db", "new"):
        assert save_dump(dump=dump, path=str(tmp_path / name)) == len(content)
        assert (tmp_path / name).read_bytes() == content
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600


def test_an_empty_file_is_not_cut_which_makes_a_file_system_flush_it_when_it_is_closed(tmp_path, monkeypatch):
    (tmp_path / "dump").write_bytes(b"dumped")
    (tmp_path / "part").write_bytes(b"")
    flags = []
    real = os.open
    monkeypatch.setattr(os, "open", lambda path, how, *a, **k: (flags.append(how), real(path, how, *a, **k))[1])
    monkeypatch.setattr(os, "ftruncate", pytest.fail)
    assert save_dump(dump=FileDump(tmp_path / "dump", "native"), path=str(tmp_path / "part")) == 6
    assert flags
    assert not any(how & os.O_TRUNC for how in flags)


def test_no_planted_link_is_read_or_written(tmp_path):
    (tmp_path / "dump").write_bytes(b"dumped")
    (tmp_path / "precious").write_bytes(b"another's")
    (tmp_path / "link").symlink_to("precious")
    with pytest.raises(SourceError, match="cannot be written: it is a symbolic link, not a file"):
        save_dump(dump=FileDump(tmp_path / "dump", "native"), path=str(tmp_path / "link"))
    with pytest.raises(OSError, match="it is a symbolic link, not a file"):
        send_file(path=str(tmp_path / "link"), sink=None)
    assert (tmp_path / "precious").read_bytes() == b"another's"


def test_damage_comes_out_and_a_full_disk_is_named(tmp_path):
    class Damaged(FileDump):
        def open(self):
            class Reader:
                def __init__(self):
                    self.blocks = [b"x" * 1000]

                def read(self, size):
                    if not self.blocks:
                        raise IntegrityError("its digest is another")
                    return self.blocks.pop()

                def close(self):
                    pass

            return Reader()

    (tmp_path / "dump").write_bytes(b"x" * 200_000)
    with pytest.raises(IntegrityError, match="another"):
        save_dump(dump=Damaged(tmp_path / "dump", "native"), path=str(tmp_path / "db"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(
            SourceError, match=r"cannot be written: File too large; .*free some space on its file system"
        ):
            save_dump(dump=FileDump(tmp_path / "dump", "native"), path=str(tmp_path / "db"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
