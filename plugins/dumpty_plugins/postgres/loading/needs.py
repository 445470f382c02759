"""What a dump needs around it to be restored: a server's version, roles, extensions; and whether it reaches out."""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dumpty import NotProvable
from dumpty.process import BLOCK
from dumpty_plugins.postgres.dumping.script_reader import Script
from dumpty_plugins.postgres.dumping.stored import read_archive
from dumpty_plugins.postgres.server.encodings import decode_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from dumpty import Dump
    from dumpty_plugins.postgres.dumping.archive import Contents, Entry
    from dumpty_plugins.postgres.dumping.script_reader import Statement

NAME = rb'("(?:[^"]|"")+"|[A-Za-z_\x80-\xff][\w$\x80-\xff]*)'
_NAMES = re.compile(NAME)
_LIST = rb"([^;]+?)(?: WITH GRANT OPTION)?(?: GRANTED BY [^;]+)?\s*;?\s*$"
_ROLES = (
    re.compile(rb"\sOWNER TO " + NAME + rb"\s*;?\s*$"),
    re.compile(rb"^(?:GRANT|REVOKE)\s.*\s(?:TO|FROM) " + _LIST, re.DOTALL),
    re.compile(rb"^ALTER DEFAULT PRIVILEGES FOR ROLE " + NAME),
    re.compile(rb"^ALTER DEFAULT PRIVILEGES .*\s(?:TO|FROM) " + _LIST, re.DOTALL),
    re.compile(rb"^CREATE POLICY .*? TO ((?:" + NAME + rb"(?:, )?)+)", re.DOTALL),
    re.compile(rb"^CREATE USER MAPPING FOR " + NAME),
    re.compile(rb"^SET SESSION AUTHORIZATION " + NAME),
)
_PSEUDO_ROLES = {"public", "current_user", "session_user", "user", "current_role", "default"}
_EXTENSION = re.compile(rb"^CREATE EXTENSION (?:IF NOT EXISTS )?" + NAME)
_TABLESPACE = re.compile(rb"^SET default_tablespace = " + NAME)
_DATABASE_KINDS = {"DATABASE", "DATABASE PROPERTIES"}
_CODE_AS_DATA = (b"data",)
_DEFINING_KEYWORDS = {b"create", b"alter", b"drop"}
_CLUSTER_OBJECTS = {b"server", b"subscription", b"role", b"user", b"group", b"database", b"tablespace", b"system"}
_COPY_OUTSIDE = re.compile(rb"^COPY .*(?:\bPROGRAM\b|\b(?:FROM|TO) ')", re.IGNORECASE)
_REACHING_EXTENSIONS = {
    "dblink",
    "postgres_fdw",
    "file_fdw",
    "pg_cron",
    "pg_background",
    "pgagent",
    "pglogical",
    "timescaledb",
}
_MAJOR = re.compile(r"(\d+)")


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a dump needs. ``superuser``: the name of the original server's first one; ``outside``: what reaches out.

    ``grantees``: who has privileges on the database itself, which a restore goes without where they are missing.
    """

    major: int
    roles: tuple[str, ...]
    grantees: tuple[str, ...]
    superuser: str
    extensions: tuple[str, ...]
    tablespaces: tuple[str, ...]
    outside: tuple[str, ...]


def needs_of(dump: Dump, *, read_dump: bool = False) -> Needs:
    """Return what ``dump`` needs: from its evidence, or where that is silent (or ``read_dump``) from the dump itself.

    Raises:
        NotProvable: nothing says of which version of PostgreSQL it is.
    """
    properties = dump.evidence.properties
    server_version = dump.versions.get("server", "")
    roles, extensions = set(properties.get("roles", ())), set(properties.get("extensions", ()))
    tablespaces = set(properties.get("tablespaces", ()))
    outside: list[str] = []
    if read_dump or "roles" not in properties or "tablespaces" not in properties or not _MAJOR.match(server_version):
        versions: dict[str, str] = {}
        for keywords, statement, encoding in _statements(dump, versions):
            roles.update(_roles(statement, encoding))
            if match := _EXTENSION.match(statement):
                extensions.add(plain_name(match[1], encoding))
            if match := _TABLESPACE.match(statement):
                tablespaces.add(plain_name(match[1], encoding))
            if kind := _outside(keywords, statement):
                outside.append(kind)
        server_version = server_version or versions.get("server", "")
    outside += sorted(extensions & _REACHING_EXTENSIONS)
    superuser = str(properties.get("superuser", "postgres"))
    surroundings = properties.get("surroundings", {})
    roles |= {superuser, *([surroundings["owner"]] if surroundings else [])}
    major = _MAJOR.match(server_version)
    if major is None:
        raise NotProvable("nothing tells of which version of PostgreSQL the dump is")
    return Needs(
        major=int(major[1]),
        roles=tuple(sorted(r for r in roles if not r.startswith("pg_"))),
        grantees=tuple(sorted(_grantees(surroundings) - roles)),
        superuser=superuser,
        extensions=tuple(sorted(extensions)),
        tablespaces=tuple(sorted(tablespaces - {"pg_default", "pg_global"})),
        outside=tuple(dict.fromkeys(outside)),
    )


def _grantees(surroundings: Mapping[str, Any]) -> set[str]:
    """Return who has privileges on the database, by what its backup recorded; what is no name of a role is left out."""
    names = (grant[1].encode() for grant in surroundings.get("grants") or ())
    roles = {plain_name(name, "utf-8") for name in names if _NAMES.fullmatch(name)}
    return {r for r in roles if r.lower() not in _PSEUDO_ROLES and not r.startswith("pg_")}


def _outside(keywords: tuple[bytes, ...], statement: bytes) -> str:
    """Return what outside of its database a statement speaks of, whatever stands between its words; "" for nothing."""
    if keywords == _CODE_AS_DATA:
        return "data that are statements"
    if keywords[:1] and keywords[0] in _DEFINING_KEYWORDS and keywords[1:2] and keywords[1] in _CLUSTER_OBJECTS:
        return "user mapping" if keywords[1:3] == (b"user", b"mapping") else keywords[1].decode()
    return "copy" if _COPY_OUTSIDE.match(statement) else ""


def _statements(dump: Dump, versions: dict[str, str]) -> Iterator[tuple[tuple[bytes, ...], bytes, str]]:
    """Yield the keywords of every statement, its text, and the encoding that it is in."""
    if dump.format != "sql":
        contents = read_archive(dump)  # of a dump in parts, the others hold rows, or are refused
        versions.update(contents.versions)
        yield from _archived(contents)
        return
    with closing(dump.open()) as reader:
        script = Script(lambda: reader.read(BLOCK))
        for statement in script:
            yield statement.keywords, statement.text, script.encoding
            if statement.copy:
                for _piece in script.data():
                    pass
        versions.update(script.versions)


def _archived(contents: Contents) -> Iterator[tuple[tuple[bytes, ...], bytes, str]]:
    """Yield what pg_restore runs of an archive, as ``_statements`` does."""
    for entry in contents.entries:
        if entry.kind in _DATABASE_KINDS:
            continue  # only pg_restore --create would make the database itself
        if entry.tablespace:
            yield (), b'SET default_tablespace = "' + _bytes(entry.tablespace) + b'"', contents.encoding
        if entry.owner:
            yield (), b' OWNER TO "' + _bytes(entry.owner) + b'"', contents.encoding
        for statement in _split(entry.definition.encode("utf-8", "surrogateescape")):
            yield statement.keywords, statement.text, contents.encoding
        if entry.data and not _copied(entry):
            yield _CODE_AS_DATA, b"", contents.encoding


def _copied(entry: Entry) -> bool:
    """Return whether the data of an entry can be nothing but data: rows, or the bytes of large objects."""
    statements = [s for s in _split(entry.copy.encode("utf-8", "surrogateescape")) if s.text != b";"]
    return entry.kind == "BLOBS" or [s.copy for s in statements] == [True]


def _bytes(name: str) -> bytes:
    return name.replace('"', '""').encode("utf-8", "surrogateescape")


def _split(definition: bytes) -> Iterator[Statement]:
    pieces = iter([definition + b";\n" if definition.strip() else b""])
    yield from Script(lambda: next(pieces, b""))


def _roles(statement: bytes, encoding: str) -> set[str]:
    names = set()
    for pattern in _ROLES:
        if match := pattern.search(statement):
            names |= {plain_name(m[0], encoding) for m in _NAMES.finditer(match[1])}
    return {name for name in names if name.lower() not in _PSEUDO_ROLES}


def plain_name(text: bytes, encoding: str = "UTF8") -> str:
    """Return what an SQL identifier in ``encoding`` names."""
    name = decode_text(text, encoding)
    return name[1:-1].replace('""', '"') if name.startswith('"') else name.lower()
