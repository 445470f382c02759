"""Reads the table of contents of pg_dump's archives, and checks that everything it announces has arrived.

The format is that of ``src/bin/pg_dump/pg_backup_archiver.c`` (``ReadHead``, ``ReadToc``), ``pg_backup_custom.c``
and ``pg_backup_tar.c``, archive versions 1.12 to 1.16 (pg_dump 9.0 to 18): integers are a sign byte and ``intSize``
bytes, least significant first; strings an integer length (negative: NULL) and the bytes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dumpty import IntegrityError
from dumpty_plugins.postgres.server.encodings import decode_text

if TYPE_CHECKING:
    from dumpty import Buffer

_FORMATS = {1: "custom", 3: "tar", 5: "directory"}
_BLOCK_DATA, _BLOCK_BLOBS = b"\x01", b"\x03"
_TAR_BLOCK = 512
_TAR_END = (bytes(_TAR_BLOCK), bytes(_TAR_BLOCK))
_KNOWN_MINOR_VERSIONS = range(12, 17)  # minor versions of the format
_TABLE_AM, _SHORT_COMPRESSION, _RELKIND = 14, 15, 16  # the ones that brought a field, or changed one
_OVERLAP_BYTES = 32  # bytes, more than any head or end that CustomCheck looks for


class _TooShort(Exception):
    """The bytes end before the table of contents does."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One entry of the table of contents.

    ``data``: it has data, which ``copy`` takes, or which are statements; ``file``: where, in tar and directory formats.
    ``section``: 1 none, 2 before the data, 3 the data, 4 behind them. ``dependencies``: the ids of those that have to
    come before it.
    """

    dump_id: int
    section: int
    dependencies: tuple[int, ...]
    data: bool
    tag: str
    kind: str
    definition: str
    copy: str
    namespace: str
    tablespace: str
    owner: str
    file: str


@dataclass(frozen=True, kw_only=True)
class Contents:
    """An archive's table of contents. ``versions``: of server and pg_dump; ``size``: bytes up to its end."""

    format: str
    int_size: int
    versions: dict[str, str]
    entries: tuple[Entry, ...]
    size: int

    @property
    def roles(self) -> list[str]:
        """Every role that owns something in the archive, sorted."""
        owners = {e.owner for e in self.entries if e.owner and e.kind not in ("DATABASE", "DATABASE PROPERTIES")}
        return sorted(decode_text(owner.encode("utf-8", "surrogateescape"), self.encoding) for owner in owners)

    @property
    def extensions(self) -> list[str]:
        """Every extension that the archive creates, sorted."""
        return sorted({e.tag for e in self.entries if e.kind == "EXTENSION"})

    @property
    def encoding(self) -> str:
        """The database's encoding, "" where unknown."""
        settings = [e.definition for e in self.entries if e.kind == "ENCODING"]
        return settings[0].split("'")[1] if settings and "'" in settings[0] else ""


class _Cursor:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0
        self.int_size = 4

    def take(self, count: int) -> bytes:
        end = self.position + count
        if end > len(self.data):
            raise _TooShort
        piece = self.data[self.position : end]
        self.position = end
        return piece

    def integer(self) -> int:
        piece = self.take(self.int_size + 1)
        value = int.from_bytes(piece[1:], "little")
        return -value if piece[0] else value

    def text(self) -> str:
        length = self.integer()
        return "" if length < 0 else self.take(length).decode("utf-8", "surrogateescape")

    def optional(self) -> str | None:
        length = self.integer()
        return None if length < 0 else self.take(length).decode("utf-8", "surrogateescape")


def read_contents(data: bytes) -> Contents | None:
    """Return the table of contents that ``data`` begins with, or None where ``data`` ends inside it.

    Raises:
        IntegrityError: it is none, or of a version this code does not know.
    """
    try:
        return _contents(_Cursor(data))
    except _TooShort:
        return None


def _contents(cursor: _Cursor) -> Contents:
    if cursor.take(5) != b"PGDMP":
        raise IntegrityError("this is no archive of pg_dump: it does not begin with PGDMP")
    major, minor, _revision, cursor.int_size, offset_size, format_code = cursor.take(6)
    if major != 1 or minor not in _KNOWN_MINOR_VERSIONS or format_code not in _FORMATS:
        raise IntegrityError(
            f"the archive is of version {major}.{minor}, which this dumpty does not know; upgrade dumpty"
        )
    cursor.take(1) if minor >= _SHORT_COMPRESSION else cursor.integer()  # compression
    for _field in range(7):  # the time of the dump
        cursor.integer()
    cursor.text()  # the database's name
    versions = {"server": cursor.text(), "pg_dump": cursor.text()}
    entries = tuple(_entry(cursor, minor, format_code, offset_size) for _number in range(cursor.integer()))
    return Contents(
        format=_FORMATS[format_code], int_size=cursor.int_size, versions=versions, entries=entries, size=cursor.position
    )


def _entry(cursor: _Cursor, minor: int, format_code: int, offset_size: int) -> Entry:
    dump_id, data = cursor.integer(), cursor.integer()
    cursor.text(), cursor.text()  # oids of catalog and object
    tag, kind = cursor.text(), cursor.text()
    section = cursor.integer()
    definition = cursor.text()
    cursor.text()  # DROP statement
    copy = cursor.text()
    namespace = cursor.text()
    tablespace = cursor.text()
    if minor >= _TABLE_AM:
        cursor.text()  # table access method
    if minor >= _RELKIND:
        cursor.integer()  # relkind
    owner = cursor.text()
    cursor.text()  # with oids
    dependencies = []
    while (dependency := cursor.optional()) is not None:
        dependencies.append(int(dependency) if dependency.isdigit() else 0)
    file = ""
    if format_code == 1:
        cursor.take(1 + offset_size)
    else:
        file = cursor.text()
    return Entry(
        dump_id=dump_id,
        section=section,
        dependencies=tuple(dependencies),
        data=bool(data),
        tag=tag,
        kind=kind,
        definition=definition,
        copy=copy,
        namespace=namespace,
        tablespace=tablespace,
        owner=owner,
        file=file,
    )


def _has_data_file(entry: Entry, names: set[str]) -> bool:
    if not entry.data or not entry.file:
        return True
    if entry.kind == "BLOBS":  # one list, or one per group of large objects, depending on the version
        return any(name.startswith("blobs") for name in names)
    return any(entry.file + suffix in names for suffix in ("", ".gz", ".lz4", ".zst"))


class CustomCheck:
    """Looks at a custom archive passing by: every announced block of data must begin, in order, and the last end.

    Blocks are found by the eleven bytes that end one and begin the next, at the speed of ``bytes.find``: pg_dump
    writes uncompressed data in a piece per row, which Python cannot walk at the speed of a disk.
    """

    def __init__(self) -> None:
        self.contents: Contents | None = None
        self._buffer = b""
        self._retry_at = 0
        self._block_heads: list[bytes] = []
        self._blocks_begun = 0
        self._block_end = b""

    def feed(self, block: Buffer) -> None:
        """Look at the next block of the archive (b"" after the last one)."""
        self._buffer += bytes(block)
        if self.contents is None:
            if len(block) and len(self._buffer) < self._retry_at:
                return
            self.contents = read_contents(self._buffer)
            if self.contents is None:
                self._retry_at = 2 * len(self._buffer)
                return
            size = self.contents.int_size
            self._block_end = bytes(size + 1)
            for entry in self.contents.entries:
                if entry.data:
                    kind = _BLOCK_BLOBS if entry.kind == "BLOBS" else _BLOCK_DATA
                    self._block_heads.append(self._block_end + kind + b"\0" + entry.dump_id.to_bytes(size, "little"))
            # As if another block had ended where the first one begins.
            self._buffer = self._block_end + self._buffer[self.contents.size :]
        position = 0
        while self._blocks_begun < len(self._block_heads):
            block_head = self._block_heads[self._blocks_begun]
            begin = self._buffer.find(block_head, position)
            if begin < 0:
                break
            self._blocks_begun += 1
            position = begin + len(block_head)
        # A head may go on in the next block, and the end must be seen.
        self._buffer = self._buffer[max(position, len(self._buffer) - _OVERLAP_BYTES) :]

    def finish(self) -> Contents:
        """Check that the archive is whole, and return its table of contents.

        Raises:
            IntegrityError: it is cut off.
        """
        self.feed(b"")
        if self.contents is None:
            raise IntegrityError("the archive ends inside its table of contents: it is cut off")
        if self._blocks_begun < len(self._block_heads):
            missing = [e for e in self.contents.entries if e.data][self._blocks_begun]
            raise IntegrityError(f"the archive holds no data of {missing.namespace}.{missing.tag}: it is cut off")
        blobs = self._block_heads and self._block_heads[-1][len(self._block_end) :].startswith(_BLOCK_BLOBS)
        # A list of large objects has an end of its own.
        if not self._buffer.endswith(self._block_end * (2 if blobs else 1)):
            raise IntegrityError("the archive ends in the middle of its data: it is cut off")
        return self.contents


class TarCheck:
    """Looks at a tar archive passing by: every announced member must come, and the two zero blocks at its end."""

    def __init__(self) -> None:
        self.contents: Contents | None = None
        self._buffer = bytearray()
        self._bytes_to_skip = 0
        self._toc: bytearray | None = None
        self._members: set[str] = set()
        self._zero_blocks = 0

    def feed(self, block: Buffer) -> None:
        """Look at the next block of the archive."""
        view = memoryview(block)
        while view:
            if self._bytes_to_skip:
                step = min(self._bytes_to_skip, len(view))
                if self._toc is not None:
                    self._toc += view[:step]
                self._bytes_to_skip -= step
                view = view[step:]
                continue
            if self._toc:
                self.contents = self.contents or read_contents(bytes(self._toc))
            self._toc = None
            step = min(_TAR_BLOCK - len(self._buffer), len(view))
            self._buffer += view[:step]
            view = view[step:]
            if len(self._buffer) == _TAR_BLOCK:
                self._header(bytes(self._buffer))
                self._buffer.clear()

    def _header(self, header: bytes) -> None:
        if not any(header):
            self._zero_blocks += 1
            return
        if self._zero_blocks:
            raise IntegrityError("the tar archive goes on behind its end")
        name = header[:100].rstrip(b"\0").decode("utf-8", "replace")
        number = header[124:136]
        # pg_dump writes sizes beyond 8 GiB in base 256, as GNU tar does.
        size = int.from_bytes(number[1:], "big") if number[0] & 0x80 else int(number.strip(b" \0") or b"0", 8)
        self._members.add(name)
        self._bytes_to_skip = -(-size // _TAR_BLOCK) * _TAR_BLOCK
        if name == "toc.dat":
            self._toc = bytearray()

    def finish(self) -> Contents:
        """Check that the archive is whole, and return its table of contents.

        Raises:
            IntegrityError: it is cut off.
        """
        if self._bytes_to_skip or self._buffer or self._zero_blocks < len(_TAR_END):
            raise IntegrityError("the tar archive ends without its two empty blocks: it is cut off")
        if self.contents is None:
            raise IntegrityError("the tar archive holds no table of contents")
        for entry in self.contents.entries:
            if not _has_data_file(entry, self._members):
                raise IntegrityError(f"the tar archive holds no data of {entry.namespace}.{entry.tag}: it is cut off")
        return self.contents


def check_directory(path: str) -> Contents:
    """Return the contents of a directory archive, in which every announced file was found.

    Raises:
        IntegrityError: a file is missing, or the table of contents is damaged.
    """
    try:
        with open(os.path.join(path, "toc.dat"), "rb") as stream:
            contents = read_contents(stream.read())
    except FileNotFoundError as error:
        raise IntegrityError(f"{path} holds no toc.dat: it is no directory archive, or incomplete") from error
    if contents is None:
        raise IntegrityError(f"the table of contents of {path} is cut off")
    names = set(os.listdir(path))
    for entry in contents.entries:
        if not _has_data_file(entry, names):
            raise IntegrityError(f"{path} holds no data of {entry.namespace}.{entry.tag} ({entry.file})")
    return contents
