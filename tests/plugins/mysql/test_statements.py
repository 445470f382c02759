"""Values, statements and names: what is written is read back, however odd and however it is cut."""

from __future__ import annotations

import contextlib
import io

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.mariadb_server import MariaDBServer

from dumpty import IntegrityError
from dumpty_plugins.mysql.dumping.script_writer import MARK, totals
from dumpty_plugins.mysql.loading.allowlist import Statement, validate_statement
from dumpty_plugins.mysql.loading.statements import StatementReader
from dumpty_plugins.mysql.schema.columns import END, column, escape_breaks, quote, row_in_client, row_on_server
from dumpty_plugins.mysql.server.sql import identifier, literal, tokens, unqualify

SOME = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
AWKWARD = st.text(st.sampled_from("ab'\"\\`;-#/*\n\r\0\x1a é😀,()X_"), max_size=30) | st.text(max_size=30)
NAMES = st.text(st.sampled_from("ab`'\"; \\.\n-é"), min_size=1, max_size=8)


class Dribbling:
    """A stream that gives as little at a time as it is told."""

    def __init__(self, data: bytes, step: int) -> None:
        self._stream = io.BytesIO(data)
        self._step = step

    def read(self, size: int = -1) -> bytes:
        return self._stream.read(self._step)

    def close(self) -> None: ...


def read(data: bytes, step: int = 1 << 20) -> list[Statement]:
    return list(StatementReader(Dribbling(data, step)))


def whole(statements: list[bytes], tables: int = 0, rows: int = 0) -> bytes:
    body = b"".join(s + b";\n" for s in statements)
    return body + b"%b %d tables, %d rows, %d statements\n" % (MARK, tables, rows, len(statements))


@pytest.fixture(scope="module")
def session(server: MariaDBServer):
    connection = server.connect()
    yield connection
    connection.close()


@SOME
@given(text=AWKWARD, no_escapes=st.booleans())
def test_a_quoted_text_is_the_same_text_to_the_server(session, text: str, no_escapes: bool) -> None:
    data = text.encode("utf-8", "ignore")
    with session.cursor() as cursor:
        cursor.execute("SET sql_mode=''")
        cursor.execute(b"SELECT HEX(" + quote(data) + b")")
        assert cursor.fetchone()[0] == data.hex().upper()
        # A literal in a statement of ours is right in any session.
        cursor.execute("SET sql_mode=%s", ("NO_BACKSLASH_ESCAPES,ANSI_QUOTES" if no_escapes else "",))
        cursor.execute(f"SELECT HEX({literal(data.decode())})")
        assert cursor.fetchone()[0] == data.hex().upper()


@SOME
@given(text=AWKWARD)
def test_server_and_client_write_a_text_alike(session, text: str) -> None:
    data = text.encode("utf-8", "ignore")
    with session.cursor() as cursor:
        cursor.execute("SET sql_mode=''")
        cursor.execute(f"SELECT CAST(QUOTE(CONVERT(X'{data.hex()}' USING utf8mb4)) AS BINARY)")
        assert escape_breaks(cursor.fetchone()[0]) == quote(data)


@SOME
@given(value=st.floats(allow_nan=False, allow_infinity=False), kind=st.sampled_from(["float", "double"]))
def test_a_float_comes_back_to_the_bit(session, value: float, kind: str) -> None:
    if kind == "float" and abs(value) > 3.4e38:
        value = 1 / value
    float_column = column("t", "x", kind, "")
    with session.cursor() as cursor:
        cursor.execute("SET sql_mode=''")
        cursor.execute("DROP TEMPORARY TABLE IF EXISTS mysql.f")
        cursor.execute(f"CREATE TEMPORARY TABLE mysql.f (x {kind})")
        cursor.execute(f"INSERT INTO mysql.f VALUES ({value!r})")
        cursor.execute(f"SELECT {row_on_server([float_column])}, CONCAT({float_column.value}) FROM mysql.f")
        server, value_text = cursor.fetchone()
        assert row_in_client([float_column])((value_text.encode(),)) + END == server
        cursor.execute(b"INSERT INTO mysql.f VALUES " + server[:-1])
        cursor.execute("SELECT COUNT(DISTINCT x*1e0), COUNT(DISTINCT ATAN2(x,-1)), COUNT(*) FROM mysql.f")
        assert cursor.fetchone() == (1, 1, 2)


@SOME
@given(
    values=st.lists(
        st.lists(AWKWARD | st.binary(max_size=20) | st.none() | st.integers(), min_size=1, max_size=3), max_size=8
    ),
    name=NAMES,
    step=st.integers(1, 50),
)
def test_any_row_is_admitted_and_split_off_however_it_is_cut(values, name: str, step: int) -> None:
    def written(value) -> bytes:
        if value is None:
            return b"NULL"
        if isinstance(value, int):
            return str(value).encode()
        if isinstance(value, bytes):
            return b"_sjis X'" + value.hex().upper().encode() + b"'"
        return quote(value.encode("utf-8", "ignore"))

    statements = [
        f"INSERT INTO {identifier(name)} ({identifier(name)}) VALUES\n".encode()
        + b",\n".join(b"(" + written(v) + b")" for v in row)
        for row in values
    ]
    statements_read = read(whole(statements), step)
    assert [s.text for s in statements_read] == statements
    assert all(s.name == name and s.kind == "INSERT" for s in statements_read)


@SOME
@given(
    pieces=st.lists(
        st.sampled_from(
            [
                b"'a;\\'b;\n'",
                b"`x;``y`",
                b'"q;\\";\n"',
                b"/* ; ' */",
                b"-- ; '\n",
                b"# ; `\n",
                b" a ",
                b"-",
                b"/",
                b"--x ",
            ]
        ),
        max_size=12,
    ),
    step=st.integers(1, 30),
)
def test_quotes_and_comments_hide_semicolons(pieces: list[bytes], step: int) -> None:
    statement = b"CREATE TABLE `t` (" + b" ".join(pieces) + b"\n)"
    first, second = read(whole([statement, b"SET NAMES utf8mb4"]), step)
    assert first.text == statement
    assert second.kind == "SET"


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_a_delimiter_of_its_own_lets_a_body_say_anything(step: int) -> None:
    body = b"CREATE PROCEDURE `p`() BEGIN SELECT 'it\\'; DELIMITER x\n;;\" -- '; END"
    data = (
        b"DELIMITER ;;;\n"
        + body
        + b"\n;;;\nDELIMITER ;\nSET NAMES utf8mb4;\n%b 0 tables, 0 rows, 2 statements\n" % MARK
    )
    procedure, setting = read(data, step)
    assert (procedure.text, procedure.kind, procedure.name) == (body, "PROCEDURE", "p")
    assert setting.kind == "SET"


@SOME
@given(cut=st.integers(0, 400), step=st.sampled_from([3, 1 << 20]))
def test_a_dump_cut_anywhere_is_an_error(cut: int, step: int) -> None:
    data = whole(
        [
            b"CREATE TABLE `t` (a TEXT)",
            b"INSERT INTO `t` (`a`) VALUES\n('-- dumpty: complete, 1 tables'),\n('b;\\n')",
            b"SET NAMES utf8mb4",
        ]
    )
    assert len(read(data, step)) == 3
    with pytest.raises(IntegrityError):
        read(data[: min(cut, len(data) - 1)], step)


def test_a_line_that_only_resembles_the_last_one_is_not_it() -> None:
    assert totals(MARK + b" 1 tables, 2 rows, 3 statements\n") is not None
    for line in (b"", b" 1 tables, 2 rows, 3 statements", b" 1 tables, 2 rows, 3 statements \n", b" tables\n"):
        assert totals(MARK + line) is None
    with pytest.raises(IntegrityError, match="no last line"):
        read(b"SET NAMES utf8mb4;\n" + MARK + b" 0 tables, 0 rows, 1 state\n")


@SOME
@given(data=st.binary(max_size=200) | st.text(max_size=100).map(lambda t: t.encode("utf-8", "ignore")))
def test_anything_else_is_an_error_of_our_own(data: bytes) -> None:
    with pytest.raises(IntegrityError):
        read(data, 5)
    with contextlib.suppress(IntegrityError):  # a statement of our own, drawn by chance, is admitted
        validate_statement(data)


@SOME
@given(
    data=st.lists(
        st.sampled_from(
            [
                "CREATE",
                "TABLE",
                "DEFINER",
                "=",
                "@",
                "`a`",
                ".",
                "(",
                ")",
                "VIEW",
                "TRIGGER",
                "ON",
                "IF",
                "NOT",
                "EXISTS",
                "PACKAGE",
                "BODY",
                "/*!",
                "*/",
            ]
        ),
        max_size=12,
    )
)
def test_no_order_of_words_breaks_the_admission(data: list[str]) -> None:
    try:
        statement = validate_statement(("CREATE " + " ".join(data)).encode())
    except IntegrityError:
        return
    assert statement.kind


@SOME
@given(parts=st.lists(AWKWARD.map(str.encode), max_size=5))
def test_the_lexer_loses_nothing(parts: list[bytes]) -> None:
    text = b"".join(parts)
    assert b"".join(t for _, t in tokens(text)) == text


@pytest.mark.parametrize(
    ("sql", "expected", "still_named"),
    [
        ("select `shop`.`t`.`id` from `shop`.`t`", "select `t`.`id` from `t`", False),
        ("SELECT shop . t . id FROM shop/* x */.t", "SELECT   t . id FROM /* x */t", False),
        ("select 'shop.t', \"shop.t\" -- shop.t\n", "select 'shop.t', \"shop.t\" -- shop.t\n", False),
        ("select `o`.`t`.`shop` from `o`.`t`", "select `o`.`t`.`shop` from `o`.`t`", False),
        ("select x.shop.t from t", "select x.shop.t from t", False),
        ("select shop.unknown from t", "select shop.unknown from t", True),
        ("select shop.t from (select 1 t) as shop", "select shop.t from (select 1 t) as shop", True),
        ("select shop.t.id from shop.t join x as shop", "select t.id from t join x as shop", False),
        (
            "CREATE TRIGGER shop.tr BEFORE INSERT ON shop.t FOR EACH ROW SET @shop=1",
            "CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW SET @shop=1",
            False,
        ),
        ("call shop.t()", "call t()", False),
        ("SELECT `sh``op`.t", "SELECT `sh``op`.t", False),
    ],
)
def test_a_name_is_made_relative_where_that_is_certain(sql: str, expected: str, still_named: bool) -> None:
    assert unqualify(sql.encode(), b"shop", [b"t", b"tr"]) == (expected.encode(), still_named)


def test_names_are_compared_as_the_server_does() -> None:
    assert unqualify(b"select * from SHOP.T", b"shop", [b"t"]) == (b"select * from SHOP.T", False)
    assert unqualify(b"select * from SHOP.T", b"shop", [b"t"], fold=True) == (b"select * from T", False)


def test_a_table_named_like_its_database_is_not_taken_for_it() -> None:
    sql = b"select shop.t, x from shop.shop where shop.t = 1"
    assert unqualify(sql, b"shop", [b"shop", b"t"]) == (b"select shop.t, x from shop where shop.t = 1", True)
    assert unqualify(
        b"CREATE TABLE `shop` (`id` int DEFAULT nextval(`shop`.`s`))", b"shop", [b"shop", b"s"], aliases=False
    ) == (
        b"CREATE TABLE `shop` (`id` int DEFAULT nextval(`s`))",
        False,
    )


def test_a_backslash_means_what_the_mode_says() -> None:
    sql = rb"SELECT '\', shop.t.id, 'shop.t' FROM shop.t"
    mode = "ANSI_QUOTES,NO_BACKSLASH_ESCAPES"
    assert unqualify(sql, b"shop", [b"t"], sql_mode=mode) == (rb"SELECT '\', t.id, 'shop.t' FROM t", False)
