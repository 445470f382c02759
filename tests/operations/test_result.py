"""How failures become results: one line, logged with fields, without secrets; nothing but wrong calls is raised."""

from __future__ import annotations

import contextlib
import logging
from types import MappingProxyType

import pytest
from support.toys import StoreWrapper, ToyDriver

import dumpty
from dumpty import (
    BackupManager,
    BackupResult,
    Evidence,
    Format,
    Inspection,
    ObjectEvidence,
    Option,
    PluginInfo,
    Source,
    StoreError,
    backup_database,
    hookimpl,
)
from dumpty.redaction import one_line

SECRET = "s3cr3t-Marker"


def failing(error):
    class Driver(ToyDriver):
        @hookimpl
        def backup(self, source):
            try:
                raise KeyError(f"inner {SECRET}")
            except KeyError as inner:
                raise error from inner

    return Driver()


def test_a_failure_is_a_result_and_a_log_record_with_fields(tmp_path, caplog):
    result = BackupManager(str(tmp_path), plugins=[failing(RuntimeError("a\nb"))]).create_backup(
        f"toy://u:{SECRET}@h/db"
    )
    assert (result.success, result.backup) == (False, None)
    assert result.error.endswith("RuntimeError: a b")
    assert 0 <= result.duration_seconds < 30
    (record,) = caplog.records
    assert (record.levelname, record.event, record.url, record.error_type) == (
        "ERROR",
        "backup",
        "toy://u:***@h/db",
        "PluginError",
    )
    assert record.seconds == result.duration_seconds
    assert record.exc_info is None


def test_a_success_is_logged_with_fields(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    manager = BackupManager(str(tmp_path), plugins=[ToyDriver(db=b"x")])
    result = manager.create_backup("toy://h/db")
    assert (result.success, result.error, result.exception) == (True, None, None)
    (record,) = caplog.records
    assert (record.event, record.backup, record.bytes) == ("backup", result.backup.id, result.backup.size_bytes)
    manager.restore(result.backup.id, "toy://h/new")
    assert caplog.records[-1].event == "restore"


def test_raise_for_error_returns_the_backup(tmp_path):
    result = BackupManager(str(tmp_path), plugins=[ToyDriver(db=b"x")]).create_backup("toy://h/db")
    assert result.raise_for_error() is result.backup


def test_raise_for_error_raises_the_error_itself_without_secrets(tmp_path):
    manager = BackupManager(str(tmp_path), plugins=[failing(RuntimeError(f"{SECRET} is wrong"))])
    result = manager.create_backup(f"toy://u:{SECRET}@h/db")
    with pytest.raises(dumpty.PluginError) as caught:
        result.raise_for_error()
    assert caught.value is result.exception
    assert SECRET not in str([str(e) for e in chain(caught.value)])
    with pytest.raises(LookupError, match="no backup"):
        manager.restore("00000000-0000-4000-8000-000000000000", "toy://h/db").raise_for_error()


@pytest.mark.parametrize("text", ["the disk is full", None])
def test_raise_for_error_of_a_result_that_has_only_a_text_is_a_dumpty_error(text):
    with pytest.raises(dumpty.DumptyError, match=text or "nothing says why"):
        BackupResult(False, None, 0.0, text).raise_for_error()


class AnsweringAnything(Exception):
    def __getattr__(self, name):
        return AnsweringAnything(name)


class WithoutText(Exception):
    def __str__(self):
        raise ValueError


class Unbound:
    @property
    def __class__(self):
        raise RuntimeError


class Proxied(Exception):
    def __init__(self):
        super().__init__("x")
        self.request = Unbound()


@pytest.mark.parametrize("error", [AnsweringAnything("x"), WithoutText("x"), Proxied()], ids=lambda e: type(e).__name__)
def test_an_exception_of_any_make_is_a_result(tmp_path, error):
    result = BackupManager(str(tmp_path), plugins=[failing(error)]).create_backup(f"toy://u:{SECRET}@h/db")
    assert not result.success
    assert type(error).__name__ in result.error
    assert SECRET not in str([vars(e) for e in chain(result.exception)])


def test_the_password_of_a_stores_url_is_in_no_error(tmp_path):
    def refused(_real, name, *_, **__):
        raise StoreError(f"cannot create {name} as u with {SECRET}")

    url = f"wrapped://u:{SECRET}@h/backups"

    class Store(StoreWrapper):
        @hookimpl
        def open_store(self, url):
            if url.endswith("closed"):
                raise RuntimeError(f"{url} does not open")
            return super().open_store(str(tmp_path))

    plugins = [ToyDriver(db=b"x"), Store(put=refused)]
    with pytest.raises(dumpty.PluginError, match=r"\*\*\*") as failure:
        BackupManager(f"{url}/closed", plugins=plugins)
    assert SECRET not in str([vars(e) | {"args": e.args} for e in chain(failure.value)])
    result = BackupManager(url, plugins=plugins).create_backup("toy://h/db")
    assert not result.success
    assert SECRET not in result.error + repr(result.exception)
    failed = backup_database("toy://h/db", f"{url}/closed", plugins=plugins)
    assert SECRET not in failed.error + repr(failed.exception)


class LeakingDriver(ToyDriver):
    """Quotes the password in whatever it returns; ``table`` is where its tables have it."""

    table = f"orders_{SECRET}_2"

    def evidence_of(self, source):
        return Evidence(
            objects=(
                ObjectEvidence(path=self.table, rows=7, fingerprint=f"md5:{source.password}"),
                ObjectEvidence(path="partition", part_of=self.table),
            ),
            snapshot=f"of {source.password}",
            versions={f"client {source.password}": source.password},
            notes=(f"logged in with {source.password}",),
            properties={
                "dsn": [f"toy://u:{source.password}@h", [source.password]],
                source.password: {"deep": {"deeper": source.password}},
                "password": "of somebody else",
                "roles": ["owner", source.password],
                "count": 3,
            },
        )

    @hookimpl
    def inspect(self, source):
        held = self.databases.get(source.database)
        password = f"{source.password}"
        return Inspection(
            exists=held is not None,
            empty=not held,
            identity=f"toy:{password}",
            name=f"db-{password}",
            versions={password: password},
        )

    @hookimpl
    def backup(self, source, sink):
        sink.write(self.databases[source.database])
        return self.evidence_of(source)

    @hookimpl
    def restore(self, target, dump):
        self.restored_evidence = dump.evidence
        self.databases[target.database] = dump.open().read()
        return Evidence(objects=(ObjectEvidence(path=self.table, rows=7), ObjectEvidence(path="partition")))

    @hookimpl
    @contextlib.contextmanager
    def scratch(self, dump):
        yield ScratchDatabase(Source(scheme="toy", url="toy://h/scratch", database="scratch", secrets=("scr4tch-pw",)))


class ScratchDatabase:
    versions = MappingProxyType({"toy": "with scr4tch-pw"})

    def __init__(self, target):
        self.target = target

    def check(self):
        return ("scr4tch-pw is right",)

    def ask(self, statement):
        return [(1,)]


def test_no_field_that_a_driver_returns_keeps_a_secret(tmp_path):
    driver = LeakingDriver(db=b"x")
    manager = BackupManager(str(tmp_path), plugins=[driver])
    made = manager.create_backup(f"toy://u:{SECRET}@h/db")
    assert made.success, made.error
    proof = manager.prove(made.backup.id)
    assert proof.ok, proof.error
    stored = "".join(path.name + path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file())
    assert ".proof-" in stored
    for text in (stored, repr(manager.list_backups()), repr(proof)):
        assert SECRET not in text
        assert "somebody" not in text
        assert "scr4tch" not in text
    (backup,) = manager.list_backups()
    assert backup.evidence.objects[0].path == "orders_***_2"
    assert backup.evidence.objects[1].part_of == "orders_***_2"
    assert backup.evidence.properties["count"] == 3
    assert dict(driver.restored_evidence.properties) == {"count": 3}


def test_a_password_that_is_a_name_too_leaves_the_names(tmp_path):
    class Namesake(LeakingDriver):
        table = "shop.orders"

    driver = Namesake(shop=b"x")
    manager = BackupManager(str(tmp_path), plugins=[driver])
    made = manager.create_backup("toy://shop:shop@h/shop")
    assert made.success, made.error
    assert made.backup.evidence.objects[0].path == "shop.orders"
    assert made.backup.source == "toy:shop"
    assert made.backup.evidence.properties["dsn"][0] == "toy://u:shop@h".replace(":shop@", ":***@")
    assert manager.prove(made.backup.id).ok


def test_the_value_of_an_option_that_is_a_secret_is_nowhere(tmp_path):
    class Keyed(ToyDriver):
        @hookimpl
        def describe(self):
            option = Option(name="api_key", default="", help="opens it")
            return PluginInfo(
                kind="driver", schemes=("toy",), formats=(Format(name="sql", suffix=".sql"),), options=(option,)
            )

        @hookimpl
        def inspect(self):
            return Inspection(exists=True, empty=False)

        @hookimpl
        def backup(self, sink, options):
            if options["api_key"] == "wrong-key":
                raise RuntimeError("the key wrong-key opens nothing")
            sink.write(b"x")
            return Evidence(properties={"opened": [f"with {options['api_key']}"]})

    manager = BackupManager(str(tmp_path), plugins=[Keyed()])
    failed = manager.create_backup("toy://h/db", api_key="wrong-key")
    assert "wrong-key" not in failed.error + repr(failed.exception)
    made = manager.create_backup("toy://h/db", api_key="right-key")
    assert made.backup.evidence.properties == {"opened": ["with ***"]}


def chain(error):
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(SECRET),
        OSError(5, SECRET, SECRET),
        ImportError(SECRET),
        ImportError(SECRET, name=SECRET),
        UnicodeError(SECRET),
    ],
)
def test_no_text_of_a_failure_holds_the_password(tmp_path, caplog, error):
    result = BackupManager(str(tmp_path), plugins=[failing(error)]).create_backup(f"toy://u:{SECRET}@h/db")
    assert not result.success
    texts = [result.error, repr(result), caplog.text, str([vars(r) for r in caplog.records])]
    for cause in chain(result.exception):
        texts += [str(cause), repr(cause), repr(vars(cause)), repr(cause.args)]
    assert not [t for t in texts if SECRET in t]
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


@pytest.mark.parametrize("url", [f"toy://u:{SECRET}/x@h/db", f"u:{SECRET}@h", f"toy://u:{SECRET}\udcff\ud800@h"])
def test_a_malformed_url_is_a_result_and_is_shown_nowhere(tmp_path, caplog, url):
    for result in (BackupManager(str(tmp_path)).create_backup(url), BackupManager(str(tmp_path)).restore("x", url)):
        assert not result.success
        assert SECRET not in result.error + caplog.text
    assert caplog.records[0].url == "(malformed URL)"


def test_a_password_that_is_no_utf8_is_redacted_too(tmp_path):
    result = BackupManager(str(tmp_path), plugins=[failing(RuntimeError("with p\udcffss-word"))]).create_backup(
        "toy://u:p\udcffss-word@h/db"
    )
    assert "with ***" in result.error


@pytest.mark.parametrize("value", [None, 7, b"sqlite:///x"])
def test_a_wrong_call_is_raised(tmp_path, value):
    manager = BackupManager(str(tmp_path))
    for call in (
        lambda: manager.create_backup(value),
        lambda: manager.restore(value, "toy://h/x"),
        lambda: manager.restore("x", value),
        lambda: backup_database(value, str(tmp_path)),
    ):
        with pytest.raises(TypeError, match=type(value).__name__):
            call()
    with pytest.raises(TypeError):
        backup_database("toy://h/x", None)


def test_a_directory_that_cannot_be_made_is_a_result_of_the_one_call(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    result = backup_database("toy://h/x", str(tmp_path / "file"))
    assert isinstance(result, BackupResult)
    assert "is a file, not a backup directory" in result.error
    assert isinstance(result.exception, dumpty.StoreError)
    assert caplog.records[0].event == "backup"


@pytest.mark.parametrize("secret", [SECRET, f"{SECRET}/half"])
def test_the_password_of_a_stores_url_is_in_no_log_of_the_one_call(tmp_path, caplog, secret):
    url = f"nowhere://u:{secret}@h/backups"
    assert not backup_database("toy://h/x", url).success

    class Store(StoreWrapper):
        name = "closed"

        @hookimpl
        def open_store(self, url):
            raise StoreError(f"cannot reach {url}")

    closed = backup_database("toy://h/x", url.replace("nowhere", "wrapped"), plugins=[Store()])
    assert "cannot reach" in closed.error
    assert len(caplog.records) == 2
    assert SECRET not in closed.error + caplog.text


def test_the_one_call_passes_its_options_on(tmp_path):
    driver = ToyDriver(db=b"x")
    result = backup_database("toy://h/db", str(tmp_path), compressor=None, plugins=[driver], format="native", chunk=1)
    assert result.success, result.error
    assert result.backup.file_path.endswith(".bin")
    result = backup_database("toy://h/db", str(tmp_path), compressor="lz4")
    assert "no compressor is called 'lz4'" in result.error


def test_an_error_without_a_text_is_called_by_its_type():
    assert one_line(ZeroDivisionError()) == "ZeroDivisionError"
    assert one_line(ValueError(" a \n\n b ")) == "a b"


def test_a_database_whose_name_is_no_utf8_is_backed_up_and_listed(tmp_path):
    driver = ToyDriver(**{"b\udcff": b"x"})
    manager = BackupManager(str(tmp_path), plugins=[driver])
    result = manager.create_backup("toy://h/b\udcff")
    assert result.success, result.error
    assert manager.list_backups() == [result.backup]
