"""What comes back from plugins is checked where it comes back: named by plugin, hook and field, and it fails the verb."""

from __future__ import annotations

import contextlib
import math
import sqlite3
from collections import UserDict
from pathlib import Path
from types import MappingProxyType

import pytest
from msgspec.structs import replace
from support.places import stored_files
from support.toys import ToyDriver

from dumpty import (
    BackupManager,
    Evidence,
    Format,
    Inspection,
    ObjectEvidence,
    Option,
    PluginError,
    PluginInfo,
    PluginLoadError,
    hookimpl,
)
from dumpty.registry.host import Host
from dumpty.url import parse_url

SECRET = "hunter2-and-more"
NAME = "plugin 'toy' of this program"


def nested(levels):
    value = {}
    for _ in range(levels):
        value = {"a": value}
    return value


def itself():
    value = {}
    value["a"] = value
    return value


def objects(*entries, **fields):
    return {"objects": tuple(ObjectEvidence(**{"path": "t", **entry}) for entry in entries), **fields}


class Closed(UserDict):
    def __iter__(self):
        raise ValueError(f"closed with {SECRET}")


WRONG_EVIDENCE = [
    ({"objects": [ObjectEvidence(path="t")]}, "objects is of the type list, not a tuple of dumpty.ObjectEvidence"),
    ({"objects": ("t",)}, r"objects\[0\] is 't', not a dumpty.ObjectEvidence"),
    (objects({"rows": -1}), r"objects\[0\].rows is -1, not None or a whole number from 0"),
    (objects({"rows": True}), r"objects\[0\].rows is True, not"),
    (objects({"rows": 1.0}), r"objects\[0\].rows is 1.0, not"),
    (objects({"rows": "1"}), r"objects\[0\].rows is '1', not"),
    (objects({"rows": 2**63}), r"objects\[0\].rows is 9223372036854775808, not"),
    (objects({"rows": 10**5000}), r"objects\[0\].rows is an int of very many digits, not"),
    (objects({"path": ""}), r"objects\[0\].path is '', not a str that names something"),
    (objects({"path": b"t"}), r"objects\[0\].path is b't', not"),
    (objects({}, {"path": "u"}, {}), r"objects\[2\].path is 't', not a name of its own: objects\[0\] has it, too"),
    (objects({"fingerprint": 7}), r"objects\[0\].fingerprint is 7, not"),
    (objects({"fingerprint": ""}), r"objects\[0\].fingerprint is '', not"),
    (objects({"part_of": ""}), r"objects\[0\].part_of is '', not None or a str that names a table"),
    (objects({"part_of": 7}), r"objects\[0\].part_of is 7, not"),
    ({"snapshot": 3}, "snapshot is 3, not None or a str"),
    ({"consistent": 1}, "consistent is 1, not True or False"),
    ({"versions": ("1",)}, "versions is of the type tuple, not a mapping of str to str"),
    ({"versions": {"a": 1}}, r"versions\['a'\] is 1, not a str"),
    ({"versions": {1: "a"}}, "key in versions is 1, not a str"),
    ({"notes": "text"}, "notes is 'text', not a tuple of str"),
    ({"notes": ("a", None)}, r"notes\[1\] is None, not a str"),
    ({"properties": None}, "properties is None, not a mapping"),
    ({"properties": {"a": [1, math.nan]}}, r"properties\['a'\]\[1\] is nan, not a number that JSON has"),
    ({"properties": {"a": -math.inf}}, r"properties\['a'\] is -inf, not a number that JSON has"),
    ({"properties": {"a": b"x"}}, r"properties\['a'\] is b'x', not a value that JSON has"),
    ({"properties": {"a": (1,)}}, r"properties\['a'\] is of the type tuple, not a value that JSON has"),
    ({"properties": {"a": {1}}}, r"properties\['a'\] is of the type set, not a value that JSON has"),
    ({"properties": {"a": {1: 2}}}, r"key in properties\['a'\] is 1, not a str"),
    ({"properties": {"a": 2**64}}, r"properties\['a'\] is 18446744073709551616, not of 64 bits at most"),
    ({"properties": nested(40)}, "is of the type dict, not within 32 levels"),
    ({"properties": itself()}, "is of the type dict, not within 32 levels"),
    ({"properties": Closed(a=1)}, r"that cannot be looked at \(ValueError: closed with \*\*\*\)"),
]


class Driver(ToyDriver):
    """Returns what a test gives it."""

    evidence = restored = Evidence()
    inspection = Inspection(exists=True, empty=True)

    @hookimpl
    def inspect(self):
        return self.inspection

    @hookimpl
    def backup(self, sink):
        sink.write(b"dump")
        return self.evidence

    @hookimpl
    def restore(self, dump):
        dump.open().read()
        return self.restored

    @hookimpl
    def examine(self, dump):
        dump.open().read()
        return self.restored


def made(tmp_path, driver, url=f"toy://u:{SECRET}@h/db"):
    manager = BackupManager(str(tmp_path / "backups"), plugins=[driver])
    return manager, manager.create_backup(url)


@pytest.mark.parametrize(("fields", "text"), WRONG_EVIDENCE)
def test_a_backup_with_wrong_evidence_is_none_and_leaves_nothing(tmp_path, fields, text):
    driver = Driver()
    driver.evidence = Evidence(**fields)
    manager, result = made(tmp_path, driver)
    assert not result.success
    with pytest.raises(PluginError, match=f"^{NAME} returned an Evidence from backup .*{text}") as caught:
        raise result.exception
    assert (caught.value.plugin, caught.value.hook) == (NAME, "backup")
    assert SECRET not in result.error
    assert manager.list_backups() == []
    assert stored_files(tmp_path / "backups") == []


def test_what_was_found_is_shortened_and_without_secrets_even_cut_ones(tmp_path):
    driver = Driver()
    driver.evidence = Evidence(notes="x" * 50 + SECRET + "y" * 500)
    _, result = made(tmp_path, driver)
    assert SECRET[:6] not in result.error
    assert len(result.error) < 250


@pytest.mark.parametrize(
    "evidence",
    [
        Evidence(properties=MappingProxyType({"a": [1, 2.5, None, True, "é"], "b": nested(30)})),
        Evidence(objects=(ObjectEvidence(path="t", rows=0), ObjectEvidence(path="T", rows=2**63 - 1))),
        Evidence(objects=(ObjectEvidence(path="t_2026", rows=1, part_of="t"),)),
        Evidence(snapshot="s", consistent=False, notes=("why",), versions=MappingProxyType({"a": "1"})),
    ],
)
def test_right_evidence_of_any_kind_is_kept(tmp_path, evidence):
    driver = Driver()
    driver.evidence = evidence
    manager, result = made(tmp_path, driver)
    assert result.success, result.error
    (backup,) = manager.list_backups()
    assert backup.evidence.objects == evidence.objects
    assert len(backup.evidence.properties) == len(evidence.properties)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"exists": 1}, "exists is 1, not True or False"),
        ({"empty": "no"}, "empty is 'no', not True or False"),
        ({"exists": False, "empty": False}, "empty is False, not True, as it is of what does not exist"),
        ({"estimated_bytes": -1}, "estimated_bytes is -1"),
        ({"estimated_bytes": True}, "estimated_bytes is True"),
        ({"identity": None}, "identity is None, not a str"),
        ({"name": Path("x")}, "name is of the type PosixPath, not a str"),
        ({"versions": {"a": None}}, r"versions\['a'\] is None"),
        ({"notes": ["a"]}, "notes is of the type list, not a tuple of str"),
        ({"lacks": (1,)}, r"lacks\[0\] is 1, not a str"),
        ({"evidence": ()}, "evidence is of the type tuple, not None or a dumpty.Evidence"),
        ({"evidence": Evidence(**objects({"rows": -2}))}, r"evidence.objects\[0\].rows is -2"),
    ],
)
def test_a_wrong_inspection_fails_what_asked_for_it(tmp_path, fields, text):
    driver = Driver()
    driver.inspection = replace(driver.inspection, **fields)
    _, result = made(tmp_path, driver)
    with pytest.raises(PluginError, match=f"^{NAME} returned an Inspection from inspect whose {text}"):
        raise result.exception


def test_wrong_evidence_of_a_restore_and_of_an_examination_fails_them(tmp_path):
    driver = Driver()
    driver.restored = Evidence(versions={"a": 1})
    manager, result = made(tmp_path, driver)
    restored = manager.restore(result.backup.id, "toy://h/other")
    assert not restored.success
    assert f"{NAME} returned an Evidence from restore whose versions['a'] is 1" in restored.error
    with pytest.raises(PluginError, match="returned an Evidence from examine whose versions"):
        manager.verify(result.backup.id, level="structure")


# -- scratch and verifier ------------------------------------------------------------------------------------------


class Scratch:
    target = parse_url("toy://h/scratch")
    versions = MappingProxyType({"toy": "1"})
    notes = not_proved = ()

    def __init__(self, **attributes):
        self.left = False
        vars(self).update(attributes)

    def check(self):
        return ("all",)

    def ask(self, statement):
        return [(1,)]


@pytest.mark.parametrize(
    ("attributes", "text"),
    [
        ({"target": "toy://h/scratch"}, "target is 'toy://h/scratch', not a dumpty.Source"),
        ({"rehearsal": 18}, "rehearsal is 18, not a str"),
        ({"differs": "nothing"}, "differs is 'nothing', not a tuple of str"),
        ({"versions": {"toy": 1}}, r"versions\['toy'\] is 1, not a str"),
        ({"notes": "text"}, "notes is 'text', not a tuple of str"),
        ({"not_proved": ["text"]}, "not_proved is of the type list, not a tuple of str"),
        ({"check": None}, "check is None, not a method"),
        ({"ask": 1}, "ask is 1, not a method"),
        ({"check": lambda: None}, r"check\(\) is None, not a tuple of str"),
        ({"check": lambda: "all"}, r"check\(\) is 'all', not a tuple of str"),
        ({"ask": lambda _: None}, r"ask\(\) is None, not a list of rows"),
        ({"ask": lambda _: ["1"]}, r"ask\(\)\[0\] is '1', not a row"),
    ],
)
def test_a_scratch_of_wrong_kinds_fails_the_drill_and_is_left(tmp_path, attributes, text):
    lent = Scratch(**attributes)

    class Lender(Driver):
        @hookimpl
        @contextlib.contextmanager
        def scratch(self):
            try:
                yield lent
            finally:
                lent.left = True

    manager, result = made(tmp_path, Lender())
    with pytest.raises(Exception, match=f"{NAME} returned a Scratch from scratch whose {text}"):
        manager.drill(result.backup.id, assertions=["one"])
    assert lent.left
    assert manager.get_backup(result.backup.id).proofs == ()  # it says nothing of the backup


@pytest.mark.parametrize("digest", [b"ab", None, "", "not hex"])
def test_a_digest_that_is_none_fails_the_backup_and_no_good_one(tmp_path, digest):
    class Verifier:
        name = "odd"

        @hookimpl
        def describe(self):
            return PluginInfo(kind="verifier")

        @hookimpl
        def verify(self):
            return self

        def update(self, data):
            pass

        def hexdigest(self):
            return digest

    manager = BackupManager(str(tmp_path), verifier="odd", plugins=[Driver(), Verifier()])
    result = manager.create_backup("toy://h/db")
    assert "plugin 'odd' of this program returned a Verifier from verify whose hexdigest() is" in (result.error or "")
    assert manager.list_backups() == []


# -- describe ------------------------------------------------------------------------------------------------------

SQL = Format(name="sql", suffix=".sql")


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"summary": None}, "summary is a str, not NoneType"),
        ({"requires": 1}, "requires is a str, not int"),
        ({"schemes": ("",)}, "a scheme is not empty"),
        ({"formats": (SQL, SQL)}, "a format is declared twice"),
        ({"formats": (Format(name="", suffix=".a"),)}, "a format has a name"),
        ({"formats": (Format(name="a", suffix=None),)}, "suffix of format 'a' is a str, not NoneType"),
        ({"formats": (Format(name="a", suffix=".a", directory=1),)}, "directory of format 'a' is True or False"),
        ({"options": (Option(name="", default=1, help=""),)}, "an option has a name"),
        ({"options": (Option(name="a", default=None, help=""),)}, "default of option 'a' is a str, int"),
        ({"options": (Option(name="a", default=math.nan, help=""),)}, "default of option 'a' is a str, int"),
        ({"options": (Option(name="a", default=[1], help=""),)}, "default of option 'a' is a str, int"),
        ({"options": (Option(name="a", default=1, help=None),)}, "help of option 'a' is a str"),
        ({"options": (Option(name="a", default=1, help="", verbs=("back",)),)}, "verbs of option 'a' is a tuple of"),
        ({"options": (Option(name="a", default=1, help="", choices=("1",)),)}, "choices of option 'a' is a tuple of"),
    ],
)
def test_a_plugin_that_says_of_itself_what_cannot_be_is_not_loaded(fields, text):
    class Described(ToyDriver):
        @hookimpl
        def describe(self):
            return PluginInfo(**{"kind": "driver", "schemes": ("toy",), "formats": (SQL,), **fields})

    with pytest.raises(PluginLoadError, match=text):
        Host([Described()], discover=False)


def test_a_table_without_a_name_has_one_in_the_evidence_and_comes_back(tmp_path):
    with contextlib.closing(sqlite3.connect(tmp_path / "a.db")) as database:
        database.executescript('CREATE TABLE "" (i); INSERT INTO "" VALUES (1); CREATE TABLE t (i);')
    manager = BackupManager(str(tmp_path / "backups"))
    for form in ("sql", "native"):
        result = manager.create_backup(f"sqlite:///{tmp_path}/a.db", format=form)
        assert result.success, result.error
        assert [(o.path, o.rows) for o in result.backup.evidence.objects] == [('""', 1), ("t", 0)]
        restored = manager.restore(result.backup.id, f"sqlite:///{tmp_path}/{form}.db")
        assert restored.success, restored.error


# -- databases -------------------------------------------------------------------------------------------------------

SERVER = parse_url(f"toy://u:{SECRET}@h:1/?a=b").replace(database=None)


def listing(found):
    class Lister:
        name = "toy"
        describe = hookimpl(lambda self: Driver().describe())
        databases = hookimpl(lambda self, source: found(source))

    host = Host([Lister()], discover=False)
    return host.databases(host.driver("toy"), source=SERVER, options={})


@pytest.mark.parametrize(
    "found",
    [
        lambda source: [source.replace(database="a"), source.replace(database="b")],
        lambda source: (source.replace(database=name) for name in "ab"),
        lambda source: tuple(source.replace(database=name) for name in "ab"),
    ],
)
def test_databases_come_back_from_any_iterable(found):
    databases = listing(found)
    assert [database.database for database in databases] == ["a", "b"]
    assert {database.password for database in databases} == {SECRET}


def broken_generator(source):
    yield source.replace(database="a")
    raise OSError(f"no more for {SECRET}")


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (lambda _: None, "returned NoneType from databases, not an iterable of dumpty.Source"),
        (lambda _: "ab", "returned str from databases, not an iterable of dumpty.Source"),
        (lambda _: 3, "returned int from databases, not an iterable of dumpty.Source"),
        (lambda _: ["a"], r"a list of databases from databases whose \[0\] is 'a', not a dumpty.Source"),
        (lambda s: [s], r"\[0\].database is None, not a str that names a database"),
        (lambda s: [s.replace(database="")], r"\[0\].database is '', not a str that names a database"),
        (
            lambda s: [s.replace(database="a"), s.replace(database="b"), s.replace(database="a")],
            r"\[2\].database is 'a', not a name of its own: \[0\] has it, too",
        ),
        (lambda s: [s.replace(database="a", scheme="other")], r"\[0\].scheme is 'other', not what source.replace"),
        (lambda s: [s.replace(database="a", host="i")], r"\[0\].host is 'i', not what source.replace"),
        (lambda s: [s.replace(database="a", port=2)], r"\[0\].port is 2, not"),
        (lambda s: [s.replace(database="a", username="v")], r"\[0\].username is 'v', not"),
        (lambda s: [s.replace(database="a", password="other-secret")], r"\[0\].password is '\*\*\*', not"),
        (lambda s: [s.replace(database="a", query={})], r"\[0\].query is of the type dict, not"),
        (lambda s: [replace(s.replace(database="a"), url=f"toy://u:{SECRET}@h:1/a")], r"url is 'toy://u:\*\*\*@h:1/a'"),
        (broken_generator, r"failed in databases: OSError: no more for \*\*\*"),
    ],
)
def test_a_wrong_list_of_databases_is_a_failure_that_shows_no_password(found, text):
    with pytest.raises(PluginError, match=f"^{NAME} .*{text}") as caught:
        listing(found)
    assert (caught.value.plugin, caught.value.hook) == (NAME, "databases")
    assert SECRET not in str(caught.value)
    assert "other-secret" not in str(caught.value)
