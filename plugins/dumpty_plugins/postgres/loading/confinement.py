"""What a drill lets a dump do: it is code of whoever owned the database, and a drill loads it without privileges.

It is loaded by a role that is no superuser, and that may act as every role that the dump speaks of. What that role may
not do is left out and listed where no data depend on it (owners, privileges, comments, event triggers, ...); where
they may, the backup is not provable here. Extensions alone are made by a superuser: allowed ones, by dumpty's own
statements, and before anything of the dump's could stand in for what their scripts call.
"""

from __future__ import annotations

import re
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING

from dumpty import CommandError, NotProvable, Source
from dumpty_plugins.postgres.loading.needs import NAME, plain_name
from dumpty_plugins.postgres.schema.tables import identifier
from dumpty_plugins.postgres.server.connection import Address, psycopg2, rows
from dumpty_plugins.postgres.server.errors import translate_errors

if TYPE_CHECKING:
    from collections.abc import Iterable

    from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case

    from dumpty_plugins.postgres.dumping.script_reader import Statement

SUPERUSER_HINT = "-o superuser=on loads it as a superuser, and whoever wrote it then does what a superuser can"

ALLOWED_EXTENSIONS = frozenset(
    re.findall(
        r"\S+",
        """
        address_standardizer address_standardizer_data_us adminpack amcheck autoinc bloom bool_plperl btree_gin
        btree_gist citext cube dict_int dict_xsyn earthdistance fuzzystrmatch hll hstore hstore_plperl insert_username
        intagg intarray ip4r isn jsonb_plperl lo ltree moddatetime pageinspect pg_buffercache pg_freespacemap pg_prewarm
        pg_stat_statements pg_trgm pg_visibility pg_walinspect pgcrypto pgrouting pgrowlocks pgstattuple plperl plpgsql
        pltcl plv8 postgis postgis_topology refint rum seg semver sslinfo tablefunc tcn tsm_system_rows tsm_system_time
        unaccent uuid-ossp vector xml2
        """,
    )
)
"""Extensions that give a database's owner nothing beyond it: no file, no network, no program, no untrusted code."""

_EXTENSION = re.compile(rb"CREATE EXTENSION (?:IF NOT EXISTS )?" + NAME + rb"(?: WITH SCHEMA " + NAME + rb")?;")
_OF_EXTENSION = re.compile(rb"COMMENT ON EXTENSION ")
_FORCE_ROW_SECURITY = re.compile(rb"ALTER TABLE .*\sFORCE ROW LEVEL SECURITY;$", re.DOTALL)
_OWNER = re.compile(rb"\sOWNER TO " + NAME + rb"\s*;\s*$")
_PERMISSION = re.compile(
    r"permission denied|must be (owner|superuser|member|able to)|must have|only (a )?superuser",
    re.IGNORECASE,
)

_WARNING = re.compile(r"^(?:\S+: )?warning: +(.+)", re.IGNORECASE)
_MOST_WARNINGS, _WARNING_LENGTH = 20, 200

_OPTIONAL: tuple[tuple[tuple[bytes, ...], str], ...] = (
    ((b"comment", b"on"), "comments"),
    ((b"grant",), "rights"),
    ((b"revoke",), "rights"),
    ((b"alter", b"default", b"privileges"), "rights"),
    ((b"security", b"label"), "security labels"),
    ((b"create", b"publication"), "publications"),
    ((b"alter", b"publication"), "publications"),
    ((b"create", b"event", b"trigger"), "event triggers"),
    ((b"alter", b"event", b"trigger"), "event triggers"),
    ((b"refresh", b"materialized", b"view"), "materialized views"),
)
"""What a dump says that changes no row and no other statement's success, and what to call it where it is left out."""

_FOREIGN_OBJECTS = """
    SELECT o.name FROM (
        SELECT 'pg_proc'::regclass, oid, proname FROM pg_proc
        UNION ALL SELECT 'pg_operator'::regclass, oid, oprname FROM pg_operator
        UNION ALL SELECT 'pg_cast'::regclass, oid, 'cast' FROM pg_cast
        UNION ALL SELECT 'pg_class'::regclass, oid, relname FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'm', 'f')
        UNION ALL SELECT 'pg_event_trigger'::regclass, oid, evtname FROM pg_event_trigger
    ) AS o(class, oid, name)
    WHERE o.oid >= 16384 AND NOT EXISTS (
        SELECT FROM pg_depend d WHERE d.classid = o.class AND d.objid = o.oid AND d.deptype = 'e') LIMIT 1"""


class DrillTarget(Source, frozen=True, kw_only=True):
    """The target of a drill, which a restore fills with fewer privileges than another."""

    confinement: Confinement


class Confinement:
    """The bounds of one drill's load, and what was left out to stay inside them.

    Args:
        role: the role that loads.
        roles: those that the dump speaks of; ``role`` may act as each of them.
        extensions: those that the dump makes.
        admin: the superuser of a server that the drill has for itself; None on a server of somebody's.
        listens: whether the warnings of the load are wanted.
    """

    def __init__(
        self,
        role: str,
        *,
        roles: Iterable[str] = (),
        extensions: Iterable[str] = (),
        admin: Source | None = None,
        listens: bool = False,
    ) -> None:
        self._role = role
        self.listens = listens
        self._extensions = frozenset(extensions)
        self._roles = tuple(roles)
        self._admin = admin
        self._database = ""
        self._omissions: Counter[str] = Counter()
        self._warnings: Counter[str] = Counter()
        self._granted: set[str] = set()

    @property
    def admin(self) -> Source | None:
        """The superuser of a server that the drill has for itself; None on a server of somebody's."""
        return self._admin

    @property
    def on_private_server(self) -> bool:
        """Whether the server is the drill's own."""
        return self._admin is not None

    @property
    def left_out(self) -> tuple[str, ...]:
        """What was not loaded, for people."""
        return tuple(
            f"{kind} ({number} left out: they need more rights than a drill has)"
            for kind, number in self._omissions.items()
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the server and pg_restore warned of while they loaded, for people: each once, and not too many."""
        texts = [text if number == 1 else f"{text} ({number} times)" for text, number in self._warnings.items()]
        more = [f"a warning: and {len(texts) - _MOST_WARNINGS} other ones"] * (len(texts) > _MOST_WARNINGS)
        return (*texts[:_MOST_WARNINGS], *more)

    def hear(self, line: str) -> None:
        """Take note of a line that the server or pg_restore wrote, if it is a warning."""
        match = _WARNING.search(line)
        if match is not None:
            self._warnings[f"a warning: {match[1].strip()[:_WARNING_LENGTH]}"] += 1

    def prepare(self, database: str) -> None:
        """Make a new database ready: every role may make things in it, and amcheck is there unless the dump has it."""
        self._database = database
        if self._admin is None:
            return
        with closing(self._connect()) as admin, translate_errors(Address(self._admin), "preparing"):
            self._grant(admin, f"ALL ON DATABASE {identifier(database)}", "ALL ON SCHEMA public")
            if "amcheck" not in self._extensions:
                self._create_amcheck(admin, "pg_catalog")

    def grant_access(self, database: str) -> None:
        """Let the drill into the database, whatever limits and privileges it has from the dump's evidence."""
        if self._admin is None:
            return
        with closing(Address(self._admin).connect()) as admin, translate_errors(Address(self._admin), "preparing"):
            rows(admin, f"ALTER DATABASE {identifier(database)} CONNECTION LIMIT -1")
            rows(admin, f"GRANT CONNECT, TEMPORARY ON DATABASE {identifier(database)} TO {identifier(self._role)}")
            # ALTER DATABASE ... SET role would make of each session one that may not read what others own.
            rows(admin, f"ALTER ROLE {identifier(self._role)} IN DATABASE {identifier(database)} SET role = 'none'")

    def handle(self, statement: Statement, encoding: str) -> bool:
        """Do in its own way what the statement asks for, or leave it out; False where the role is to execute it."""
        if _OF_EXTENSION.match(statement.text):
            return True  # it comes with the extension
        if self._admin is None and _FORCE_ROW_SECURITY.match(statement.text):
            # A role that obeys it sees a part of the rows, and would find the others missing.
            self._omissions["forced row security"] += 1
            return True
        if self._admin is None or statement.keywords[:2] != (b"create", b"extension"):
            return False
        match = _EXTENSION.fullmatch(statement.text)
        if match is None:
            return False
        self._create_extension(plain_name(match[1], encoding), plain_name(match[2], encoding) if match[2] else None)
        return True

    def after_statement(self, statement: Statement) -> None:
        """Let every role make things in a schema that the statement has just made: its grants come last in a dump."""
        if self._admin is None or statement.keywords[:2] != (b"create", b"schema"):
            return
        # Not over the session that loads: it speaks the dump's encoding.
        with closing(self._connect()) as admin, translate_errors(self._address(), "preparing"):
            schemas = {n for (n,) in rows(admin, "SELECT nspname FROM pg_catalog.pg_namespace WHERE oid >= 16384")}
            for name in sorted(schemas - self._granted):
                self._granted.add(name)
                self._grant(admin, f"ALL ON SCHEMA {identifier(name)}")

    def may_omit(self, statement: Statement, error: Exception) -> bool:
        """Return whether what the server refused may be left out.

        Raises:
            NotProvable: it may not, and this role lacks the right to it.
        """
        code = getattr(error, "pgcode", None)
        kind = next((kind for keywords, kind in _OPTIONAL if statement.keywords[: len(keywords)] == keywords), "")
        if code in ("42704", "55000") and kind and self._omissions:
            return True  # it speaks of what was left out
        if code != "42501":
            return False
        if not kind and statement.keywords[:1] == (b"alter",) and _OWNER.search(statement.text):
            kind = "owners"
        if not kind:
            diagnosis = getattr(error, "diag", None)
            raise self.refusal((diagnosis and diagnosis.message_primary) or str(error)) from error
        self._omissions[kind] += 1
        return True

    def explain_failure(self, error: CommandError) -> Exception:
        """Return what a failure of pg_restore means: where it lacked a right, that nothing is proven."""
        match = _PERMISSION.search(error.stderr_tail)
        if match is None:
            return error
        line = next(line for line in error.stderr_tail.splitlines() if match[0] in line)
        return self.refusal(line.partition("ERROR:")[2].strip() or line.strip())

    def refusal(self, reason: str) -> NotProvable:
        """Return the error that says what the role may not do, and how to insist."""
        alternative = "" if self.on_private_server else ", or drill without --on"
        return NotProvable(f"the dump needs more rights than a drill has ({reason}); {SUPERUSER_HINT}{alternative}")

    def _address(self) -> Address:
        if self._admin is None:
            raise RuntimeError("the server is not the drill's own")
        return Address(self._admin).for_database(self._database)

    def _connect(self) -> Connection:
        return self._address().connect()

    def _grant(self, connection: Connection, *privileges: str) -> None:
        grantees = ", ".join(identifier(role) for role in {self._role: None, **dict.fromkeys(self._roles)})
        for privilege in privileges:
            rows(connection, f"GRANT {privilege} TO {grantees}")

    def _create_extension(self, name: str, schema: str | None) -> None:
        with closing(self._connect()) as admin, translate_errors(self._address(), "extending"):
            if rows(admin, "SELECT 1 FROM pg_extension WHERE extname = %s", name):
                return
            if name not in ALLOWED_EXTENSIONS:
                raise self.refusal(f"the extension {name}")
            foreign = rows(admin, _FOREIGN_OBJECTS)
            if foreign:
                raise self.refusal(f"the extension {name}, which comes behind {foreign[0][0]} in the dump")
            schema_clause = f" SCHEMA {identifier(schema)}" if schema is not None else ""
            rows(admin, f"CREATE EXTENSION {identifier(name)}{schema_clause}")
            if name == "amcheck":
                self._grant_amcheck(admin)

    def _create_amcheck(self, admin: Connection, schema: str) -> None:
        try:
            rows(admin, f"CREATE EXTENSION amcheck SCHEMA {schema}")
        except psycopg2().Error:
            if admin.closed:
                raise
            return  # this build of PostgreSQL comes without it
        self._grant_amcheck(admin)

    def _grant_amcheck(self, admin: Connection) -> None:
        sql = """SELECT p.oid::regprocedure::text FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid
                 JOIN pg_extension e ON e.oid = d.refobjid
                 WHERE d.classid = 'pg_proc'::regclass AND d.refclassid = 'pg_extension'::regclass
                   AND d.deptype = 'e' AND e.extname = 'amcheck'"""
        for (function,) in rows(admin, sql):
            rows(admin, f"GRANT EXECUTE ON FUNCTION {function} TO {identifier(self._role)}")


def confinement_of(address: Address) -> Confinement | None:
    """Return the bounds of the drill that ``address`` is the target of; None for every other restore."""
    return address.source.confinement if isinstance(address.source, DrillTarget) else None
