"""Database URLs and connection strings: what they mean, and that they give nothing away."""

# ruff: noqa: PT017 - of some texts both outcomes are right

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace
from rich.pretty import pretty_repr

from dumpty import SourceError
from dumpty.url import database_name, identity_of, parse_connection, parse_url

SECRET = "s3cr3t-Marker"

URLS = [
    ("sqlite:///relative.db", "sqlite", None, None, None, None, "relative.db", {}),
    ("sqlite:////abs/my%20shop.db", "sqlite", None, None, None, None, "/abs/my shop.db", {}),
    ("sqlite://", "sqlite", None, None, None, None, None, {}),
    ("SQLite:///a+b.db", "sqlite", None, None, None, None, "a+b.db", {}),
    ("postgresql://", "postgresql", None, None, None, None, None, {}),
    ("postgres://h/db", "postgres", "h", None, None, None, "db", {}),
    ("postgresql+psycopg2://u:p@h:5433/db", "postgresql", "h", 5433, "u", "p", "db", {}),
    ("mysql+pymysql://u@h/db", "mysql", "h", None, "u", None, "db", {}),
    ("mariadb://u:@h/db", "mariadb", "h", None, "u", "", "db", {}),
    ("postgresql://[::1]:5432/db", "postgresql", "::1", 5432, None, None, "db", {}),
    ("postgresql://u@[fe80::1%25eth0]/db", "postgresql", "fe80::1%eth0", None, "u", None, "db", {}),
    ("mysql://a%40b:p%2Fw%3F%23%40%3A%25@h/db", "mysql", "h", None, "a@b", "p/w?#@:%", "db", {}),
    ("mysql://u:a:b#c+d@h/db", "mysql", "h", None, "u", "a:b#c+d", "db", {}),
    ("mysql://u:p@w@h/db", "mysql", "h", None, "u", "p@w", "db", {}),
    ("postgresql://%2Frun%2Fpg/db", "postgresql", "/run/pg", None, None, None, "db", {}),
    ("postgresql:///db?host=/run/pg&port=5433", "postgresql", None, None, None, None, "db", {"host": "/run/pg", "port": "5433"}),
    ("postgresql://a:1,b,[::2]:3/db", "postgresql", None, None, None, None, "db", {"host": "a,b,::2", "port": "1,,3"}),
    ("postgresql://a,b/db", "postgresql", None, None, None, None, "db", {"host": "a,b"}),
    ("postgresql://h/db?sslmode=verify-full&sslrootcert=%2Fca.pem", "postgresql", "h", None, None, None, "db", {"sslmode": "verify-full", "sslrootcert": "/ca.pem"}),
    ("mysql:///db?unix_socket=/run/my.sock", "mysql", None, None, None, None, "db", {"unix_socket": "/run/my.sock"}),
    ("mysql://h/d%C3%A9p%C3%B4t", "mysql", "h", None, None, None, "dépôt", {}),
    ("newdb+any.driver-1://h:65535", "newdb", "h", 65535, None, None, None, {}),
    ("postgresql://h?dbname=x", "postgresql", "h", None, None, None, None, {"dbname": "x"}),
]  # fmt: skip


@pytest.mark.parametrize(("url", "scheme", "host", "port", "username", "password", "database", "query"), URLS)
def test_each_form_of_url_is_taken_apart(url, scheme, host, port, username, password, database, query):
    source = parse_url(url)
    assert (source.scheme, source.host, source.port) == (scheme, host, port)
    assert (source.username, source.password, source.database) == (username, password, database)
    assert dict(source.query) == query


def test_a_url_without_secrets_is_shown_as_it_was_written():
    url = "postgresql+psycopg2://a%20b@[::1]:5432/my%20db?sslmode=require&application_name=x%20y"
    assert parse_url(url).url == url
    assert parse_url(url).secrets == ()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"mysql://u:{SECRET}@h:3306/db", "mysql://u:***@h:3306/db"),
        (f"mysql://:{SECRET}@h/db", "mysql://:***@h/db"),
        ("mysql://u:@h/db", "mysql://u:@h/db"),
        (f"postgresql://h/db?password={SECRET}&sslmode=require", "postgresql://h/db?password=***&sslmode=require"),
        (f"postgresql://h/db?sslpass%77ord={SECRET}", "postgresql://h/db?sslpass%77ord=***"),
        (f"newdb://h/db?auth_token={SECRET}", "newdb://h/db?auth_token=***"),
        (f"newdb://h/db?aws_secret_access_key={SECRET}", "newdb://h/db?aws_secret_access_key=***"),
        ("postgresql://h/db?passfile=/home/u/.pgpass", "postgresql://h/db?passfile=/home/u/.pgpass"),
    ],
)
def test_secrets_are_masked_in_the_url_and_known(url, shown):
    source = parse_url(url)
    assert source.url == shown
    assert (SECRET in source.secrets) == (SECRET in url)
    assert SECRET not in repr(source)
    assert SECRET not in pretty_repr(source)


@pytest.mark.parametrize("parameter", ["sslpassword", "auth_token"])
def test_a_source_with_another_secret_knows_it_and_masks_it(parameter):
    source = replace(parse_url("postgresql://h/db"), query={parameter: SECRET}, url="")
    assert source.secrets == (SECRET,)
    assert source.url == f"postgresql://h/db?{parameter}=***"
    renewed = parse_url("postgresql://u:old@h/db").replace(password=SECRET, username="drill")
    assert (renewed.url, renewed.secrets) == ("postgresql://drill:***@h/db", ("old", SECRET))


def test_an_encoded_password_is_a_secret_in_either_spelling():
    source = parse_url("mysql://u:p%2fw%40rd@h/db")
    assert set(source.secrets) == {"p%2fw%40rd", "p/w@rd"}
    assert "w" not in source.url.partition("@")[0].partition(":")[2]


MALFORMED = [
    f"postgresql://u:{SECRET}/x@h/db",
    f"postgresql://u:{SECRET}?x@h/db",
    f"postgresql://u:{SECRET}/x?y@h/db",
    f"postgresql://u:x/{SECRET}@h/db",
    f"postgresql://u:x?{SECRET}@h/db",
    f"postgresql://u:x@{SECRET}?y@h/db",
    f"postgresql://u:x@{SECRET}/y@h/db",
    f"postgresql://u:x@y?{SECRET}=1@h/db",
    f"postgresql://u:x@y/z?a={SECRET}@h/db",
    f"postgresql://u:{SECRET}",
    f"postgresql://u:{SECRET}/db",
    f"postgresql://u:{SECRET}?a=b",
    f"postgresql://h/db?{SECRET}",
    f"postgresql://h/db?={SECRET}",
    f"postgresql://u:{SECRET}@[::1/db",
    f"postgresql://u:{SECRET}@[::1]x/db",
    f"postgresql://u:{SECRET}@::1/db",
    f"postgresql://u:{SECRET}@h:port/db",
    f"postgresql://u:{SECRET}@h:0/db",
    f"postgresql://u:{SECRET}@h:65536/db",
    f"postgresql://u:{SECRET}@h:000543200/db",
    f"postgresql://u:{SECRET}@h:{'0' * 5000}1/db",
    f"postgresql://u:{SECRET}@h:٣/db",
    f"postgresql://u:{SECRET}@h/db?a=1&a=2",
    f"postgresql://u:{SECRET}%00@h/db",
    f"postgresql://u:{SECRET}\0@h/db",
    f"postgresql://u:{SECRET}%FF@h/db",
    f"postgresql://u:{SECRET}\ud800@h/db",
    f"postgres:/u:{SECRET}@h/db",
    f"postgres//u:{SECRET}/db",
    f"u:{SECRET}@h/db",
    f"://u:{SECRET}@h/db",
    f"1abc://u:{SECRET}@h/db",
    f"host=h password={SECRET}",
    f" mysql://u:{SECRET}@h/db",
]


@pytest.mark.parametrize("url", MALFORMED)
def test_a_malformed_url_is_refused_without_showing_what_may_be_a_password(url):
    with pytest.raises(SourceError) as caught:
        parse_url(url)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert "\n" not in str(caught.value)


def test_a_path_given_as_url_is_shown_with_the_forms_that_work():
    with pytest.raises(SourceError, match=r"'/data/shop.db' has no scheme.*sqlite:////absolute/path.db"):
        parse_url("/data/shop.db")


def test_the_advice_names_the_escapes_to_write():
    with pytest.raises(SourceError, match=r"%2F.*%3F.*%40"):
        parse_url("mysql://u:a/b@h/db")
    with pytest.raises(SourceError, match="%25"):
        parse_url("mysql://u:100%fe@h/db")


@pytest.mark.parametrize("value", [None, 7, b"sqlite:///x"])
def test_what_is_no_text_is_a_type_error(value):
    with pytest.raises(TypeError, match=type(value).__name__):
        parse_url(value)
    with pytest.raises(TypeError, match=type(value).__name__):
        parse_connection(value, scheme="postgresql")


@given(st.one_of(st.text(st.characters()), st.from_regex(r"\w{1,5}(\+\w*)?://[\x00-\x7f]{0,40}", fullmatch=True)))
@example("sqlite:///\udcff.db")
@example("a://h:99999999999999999999999999999")
def test_any_text_is_a_source_or_a_source_error(text):
    for parse in (parse_url, lambda t: parse_connection(t, scheme="postgresql")):
        try:
            source = parse(text)
        except SourceError as error:
            assert "\n" not in str(error)
        else:
            assert source.scheme == source.scheme.lower()
            assert "://" in source.url


CHARACTERS = st.characters(exclude_characters="\0", exclude_categories=["Cs"])


@given(
    user=st.text(CHARACTERS, min_size=1),
    password=st.text(CHARACTERS),
    database=st.text(CHARACTERS, min_size=1),
    value=st.text(CHARACTERS),
)
def test_encoded_components_come_back_as_they_were(user, password, database, value):
    q = quote
    url = f"x://{q(user, safe='')}:{q(password, safe='')}@h/{q(database, safe='')}?k={q(value, safe='')}"
    source = parse_url(url)
    assert (source.username, source.password, source.database) == (user, password, database)
    assert source.query["k"] == value


@given(password=st.text(CHARACTERS, min_size=6))
def test_no_password_is_in_the_url_that_is_shown(password):
    fixed = "x://u:***@h/d"
    for source in (
        parse_url(f"x://u:{quote(password, safe='')}@h/d"),
        parse_connection(f"user=u host=h dbname=d password={_libpq(password)}", scheme="x"),
    ):
        assert source.url == fixed
        assert source.password == password
        assert password in source.secrets
        assert repr(source) == repr(parse_url("x://u:other@h/d"))


@given(st.text(st.characters(), min_size=6, max_size=30).filter(lambda p: p not in "postgresql://u:h/db%20***"))
def test_an_unencoded_password_is_in_no_text_of_the_error_or_of_the_source(password):
    try:
        source = parse_url(f"postgresql://u:{password}@h/db")
    except SourceError as error:
        assert password not in str(error)
    else:
        assert source.url == "postgresql://u:***@h/db"


def _libpq(text):
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


KEYWORDS = [
    ("host=h dbname=db", "h", None, None, None, "db", {}),
    ("host = h  port=5433 user=u password='p w' dbname=db", "h", 5433, "u", "p w", "db", {}),
    (r"password='it\'s \\ here' user=a\ b", None, None, "a b", r"it's \ here", None, {}),
    ("host=a,b port=1,2 dbname=db", None, None, None, None, "db", {"host": "a,b", "port": "1,2"}),
    ("host=a port=1,2", None, None, None, None, None, {"host": "a", "port": "1,2"}),
    ("host=/run/pg sslmode=require options='-c a=b'", "/run/pg", None, None, None, None, {"sslmode": "require", "options": "-c a=b"}),
    ("password='' dbname=x", None, None, None, "", "x", {}),
    ("\n dbname=x \t", None, None, None, None, "x", {}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "host", "port", "username", "password", "database", "query"), KEYWORDS)
def test_keyword_value_pairs_are_read_as_libpq_reads_them(text, host, port, username, password, database, query):
    source = parse_connection(text, scheme="postgresql")
    assert (source.host, source.port, source.username) == (host, port, username)
    assert (source.password, source.database) == (password, database)
    assert dict(source.query) == query


def test_a_connection_string_is_shown_as_a_url():
    text = f"host=::1 port=5 user='a b' password={SECRET} sslpassword={SECRET}2 dbname=d/b sslmode=require"
    source = parse_connection(text, scheme="postgresql")
    assert source.url == "postgresql://a%20b:***@[::1]:5/d%2Fb?sslpassword=***&sslmode=require"
    assert source.secrets == (SECRET, SECRET + "2")
    assert parse_connection("user=u", scheme="postgresql").url == "postgresql://u@/"
    assert parse_connection("dbname=\udcff", scheme="postgresql").url == "postgresql:///%FF"


def test_a_connection_string_may_be_a_uri():
    source = parse_connection("postgres://u:p=w@h/db?a=b", scheme="postgresql")
    assert (source.scheme, source.password, source.database) == ("postgres", "p=w", "db")


@pytest.mark.parametrize(
    "text",
    [
        f"{SECRET}",
        f"password='{SECRET}",
        f"password='{SECRET}'x",
        f"password = {SECRET} stray",
        f"port={SECRET}",
        f"password={SECRET}\0",
        f"password={SECRET}\ud800",
        f"={SECRET}",
        f"password={SECRET}\\",
    ],
)
def test_a_malformed_connection_string_is_refused_without_showing_it(text):
    with pytest.raises(SourceError) as caught:
        parse_connection(text, scheme="postgresql")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_empty_connection_string_says_what_to_write(text):
    with pytest.raises(SourceError, match="empty; write for example postgresql://"):
        parse_connection(text, scheme="postgresql")


def test_a_database_has_one_identity_whatever_its_user_and_parameters():
    first, second = parse_url("mysql://u:p@HOST:3306/db?ssl=1"), parse_url("mysql+pymysql://v@host:3306/db")
    assert identity_of(first) == identity_of(second) == "mysql://host:3306/db"
    assert identity_of(parse_url("postgresql:///db?host=/run/pg")) == "postgresql:///run/pg/db"
    assert identity_of(parse_url("mysql://host/db")) != identity_of(parse_url("mysql://host/db2"))
    first, second = (
        parse_url("postgresql:///db?host=/run/pg&port=5433"),
        parse_url("postgresql:///db?host=/run/pg&port=5434"),
    )
    assert identity_of(first) == "postgresql:///run/pg:5433/db" != identity_of(second)
    assert identity_of(parse_url("postgres://h/db"), "postgresql") == identity_of(parse_url("postgresql://h/db"))


def test_the_short_name_is_the_drivers_or_the_last_of_the_path_or_the_scheme():
    assert database_name(parse_url("sqlite:////a/b/shop.db"), "shop") == "shop"
    assert database_name(parse_url("sqlite:////a/b/shop.db")) == "shop.db"
    assert database_name(parse_url("sqlite:////a/b/")) == "b"
    assert database_name(parse_url("mysql://h")) == "mysql"


@pytest.mark.parametrize(
    "text",
    [
        "postgresql:///?dbname=postgresql://u:marker%40h/db",
        "postgresql:///host%3Dh%20password%3Dmarker%20dbname%3Dx",
        "mysql://h/mysql%3A%2F%2Fu%3Amarker%40h",
    ],
)
def test_a_connection_string_in_the_place_of_a_name_is_refused_and_not_shown(text):
    with pytest.raises(SourceError, match="give that alone") as caught:
        parse_url(text)
    assert "marker" not in str(caught.value)


def test_a_connection_string_as_dbname_is_refused_and_not_shown():
    with pytest.raises(SourceError, match="give that alone") as caught:
        parse_connection("dbname=postgresql://u:marker@127.0.0.1:1/db", scheme="postgresql")
    assert "marker" not in str(caught.value)


def test_parameters_that_are_keys_are_secrets_and_key_files_are_not():
    source = parse_url("newdb://h/x?key=topsecret&auth=other&sig=third&sslkey=/path/to/key")
    assert source.url == "newdb://h/x?key=***&auth=***&sig=***&sslkey=/path/to/key"
