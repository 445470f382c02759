"""Drills, with drivers that lend a place and drivers that fail in every way."""

from __future__ import annotations

import contextlib
import os

import pytest
from support.toys import ToyDriver

from dumpty import (
    BackupManager,
    CommandError,
    Evidence,
    Format,
    IntegrityError,
    NotProvable,
    ObjectEvidence,
    Option,
    OptionError,
    PluginError,
    PluginInfo,
    Source,
    SourceError,
    StoreError,
    hookimpl,
)

COUNTED = (ObjectEvidence(path="a", rows=2), ObjectEvidence(path="b", rows=3))


class ScratchDatabase:
    """A place in the toy's own dictionary."""

    target = Source(scheme="toy", url="toy://h/scratch", database="scratch")

    def __init__(self, driver) -> None:
        self._driver = driver
        self.versions = {"toyd": "7"}

    def check(self):
        self._driver.fail("check")
        return self._driver.checks

    def ask(self, statement):
        self._driver.fail("ask")
        return self._driver.answers[statement]


class Prover(ToyDriver):
    """A toy that can be proved; ``broken`` are the errors that its parts raise."""

    name = "prover"

    def __init__(self, recorded=COUNTED, found=COUNTED, **broken) -> None:
        super().__init__(db=b"content")
        self.recorded = Evidence(objects=recorded)
        self.found = Evidence(objects=found)
        self.broken = broken
        self.checks = ("toycheck",)
        self.answers = {}
        self.entered = self.exited = 0
        self.evidence_options = []
        self.swallow = False

    def fail(self, part) -> None:
        if part in self.broken:
            raise self.broken[part]

    @hookimpl
    def describe(self):
        choices = ("off", "counts", "fingerprint")
        return PluginInfo(
            kind="driver",
            schemes=("toy",),
            formats=(Format(name="sql", suffix=".sql"),),
            options=(
                Option(name="chunk", default=1 << 16, help="bytes"),
                Option(name="evidence", default="off", help="what to tell", verbs=("inspect",), choices=choices),
            ),
        )

    @hookimpl
    def inspect(self, source, options):
        from msgspec.structs import replace

        self.evidence_options.append(options["evidence"])
        inspection = super().inspect(source)
        return inspection if options["evidence"] == "off" else replace(inspection, evidence=self.found)

    @hookimpl
    def backup(self, source, sink, options):
        super().backup(source, sink, options)
        return self.recorded

    @hookimpl
    def restore(self, target, dump):
        self.fail("restore")
        return super().restore(target, dump)

    @hookimpl
    def examine(self, dump):
        self.fail("examine")
        stream = dump.open()
        while stream.read(1 << 16):
            pass
        return Evidence(objects=self.found.objects)

    @hookimpl
    def scratch(self, dump, on):
        self.fail("scratch")
        return self._scratch_database()

    @contextlib.contextmanager
    def _scratch_database(self):
        self.entered += 1
        self.fail("enter")
        try:
            yield ScratchDatabase(self)
        except Exception:
            if not self.swallow:
                raise
        finally:
            self.exited += 1
            self.databases.pop("scratch", None)
            self.fail("leave")


@pytest.fixture
def manager(tmp_path):
    def make(driver):
        facade = BackupManager(str(tmp_path / "dir"), plugins=[driver])
        result = facade.create_backup("toy://h/db")
        assert result.success, result.error
        return facade, result.backup.id

    return make


def prints(*values):
    return tuple(ObjectEvidence(path=p, rows=1, fingerprint=v) for p, v in zip("abc", values, strict=False))


def test_a_drill_restores_compares_checks_and_says_what_it_did_not_prove(manager):
    driver = Prover()
    facade, backup_id = manager(driver)
    proof = facade.drill(backup_id)
    steps = " | ".join(p.what for p in proof.proved)
    assert proof.ok
    assert "toyd 7" in steps
    assert "counts only: 2 objects and 5 rows" in steps
    assert "toycheck" in steps
    assert any("no fingerprints" in text for text in proof.not_proved)
    assert driver.evidence_options[-1] == "counts"
    assert (driver.entered, driver.exited, driver.databases) == (1, 1, {"db": b"content"})
    assert facade.get_backup(backup_id).verification_status.proven == proof


def test_fingerprints_are_compared_where_the_backup_has_them(manager):
    driver = Prover(prints("x:1", "x:2"), prints("x:1", "x:2"))
    facade, backup_id = manager(driver)
    proof = facade.drill(backup_id)
    assert "every value: 2 objects and 2 rows" in " ".join(p.what for p in proof.proved)
    assert proof.not_proved == ()
    assert driver.evidence_options[-1] == "fingerprint"


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (COUNTED[:1], "b is missing"),
        ((*COUNTED, ObjectEvidence(path="c", rows=0)), "c is there"),
        ((COUNTED[0], ObjectEvidence(path="b", rows=4)), "b has 4 rows, and had 3 rows"),
        ((), "a is missing"),
    ],
)
def test_other_tables_or_rows_fail_and_are_named(manager, found, message):
    driver = Prover(found=found)
    facade, backup_id = manager(driver)
    with pytest.raises(IntegrityError, match=message):
        facade.drill(backup_id)
    assert driver.exited == 1
    assert facade.get_backup(backup_id).verification_status.failed.level == "restore"


def test_another_fingerprint_fails_and_one_of_another_algorithm_says_nothing(manager):
    facade, backup_id = manager(Prover(prints("x:1", "x:2"), prints("x:1", "x:3")))
    with pytest.raises(IntegrityError, match="b has as many rows, but another content"):
        facade.drill(backup_id)
    facade, backup_id = manager(Prover(prints("x:1", "x:2"), prints("x:1", "y:3")))
    proof = facade.drill(backup_id)
    assert any("every value of b" in text for text in proof.not_proved)


def test_a_backup_without_evidence_is_not_said_to_be_compared(manager):
    facade, backup_id = manager(Prover(recorded=()))
    proof = facade.drill(backup_id)
    assert not any("counts" in p.what for p in proof.proved)
    assert any("recorded nothing" in text for text in proof.not_proved)


@pytest.mark.parametrize("level", ["structure", "restore"])
def test_a_driver_that_can_prove_nothing_is_not_provable_never_ok(tmp_path, level):
    facade = BackupManager(str(tmp_path / "dir"), plugins=[ToyDriver(db=b"x")])
    backup = facade.create_backup("toy://h/db").backup
    hook = "examine" if level == "structure" else "scratch"
    with pytest.raises(NotProvable, match=f"not provable here, because plugin 'toy' .* implements no {hook}"):
        facade.verify(backup.id, level=level)
    assert facade.get_backup(backup.id).proofs == ()


@pytest.mark.parametrize(
    ("part", "error"),
    [
        ("scratch", NotProvable("there is no server 17 here")),
        ("enter", NotProvable("there is no server 17 here")),
        ("enter", SourceError("no room")),
        ("enter", RuntimeError("oops")),
        ("restore", SourceError("no room")),
        ("restore", CommandError("killed", returncode=-9)),
        ("restore", CommandError("no such program")),
        ("restore", StoreError("no room")),
        ("restore", RuntimeError("oops")),
        ("check", RuntimeError("oops")),
        ("leave", RuntimeError("oops")),
    ],
)
def test_what_says_nothing_of_the_backup_is_an_error_and_no_verdict(manager, part, error):
    driver = Prover(**{part: error})
    facade, backup_id = manager(driver)
    expected = PluginError if type(error) is RuntimeError else type(error)  # SourceError is a RuntimeError, too
    with pytest.raises(expected, match=str(error).split()[-1]) as caught:
        facade.drill(backup_id)
    if isinstance(error, NotProvable):
        assert "not provable here" in str(caught.value)
    assert facade.get_backup(backup_id).proofs == ()
    assert part in {"scratch", "enter"} or driver.exited == 1


@pytest.mark.parametrize(
    ("part", "error"),
    [
        ("restore", IntegrityError("cut short")),
        ("restore", CommandError("psql said no", returncode=3)),
        ("check", IntegrityError("bad page")),
    ],
)
def test_what_says_that_the_backup_is_bad_is_written_down(manager, part, error):
    facade, backup_id = manager(Prover(**{part: error}))
    with pytest.raises(type(error)):
        facade.drill(backup_id)
    assert facade.get_backup(backup_id).verification_status.failed.error == str(error)


def test_a_place_that_swallows_errors_makes_nothing_good(manager):
    driver = Prover(check=IntegrityError("bad page"))
    driver.swallow = True
    facade, backup_id = manager(driver)
    with pytest.raises(IntegrityError, match="bad page"):
        facade.drill(backup_id)


@pytest.mark.parametrize("part", ["restore", "check", "ask"])
def test_an_interrupt_cleans_up_and_leaves_no_verdict(manager, part, tmp_path):
    driver = Prover(**{part: KeyboardInterrupt()})
    facade, backup_id = manager(driver)
    with pytest.raises(KeyboardInterrupt):
        facade.drill(backup_id, assertions=["x"])
    assert driver.exited == 1
    assert facade.get_backup(backup_id).proofs == ()
    assert not [n for n in os.listdir(tmp_path / "dir") if "workspace" in n]


@pytest.mark.parametrize(
    ("rows", "holds"),
    [
        ([(True,)], True),
        ([(1,)], True),
        ([(2.5, "x")], True),
        ([(0,)], False),
        ([(None,)], False),
        ([("yes",)], False),
        ([], False),
        ([(1,), (1,)], False),
        ([()], False),
    ],
)
def test_an_assertion_is_one_row_whose_first_value_is_true(manager, rows, holds):
    driver = Prover()
    driver.answers = {"q": rows}
    facade, backup_id = manager(driver)
    if holds:
        assert "true of what was restored: q" in [p.what for p in facade.drill(backup_id, assertions=["q"]).proved]
    else:
        with pytest.raises(IntegrityError, match="assertion 'q'"):
            facade.drill(backup_id, assertions=["q"])


def test_an_assertion_that_cannot_be_asked_is_no_verdict(manager):
    facade, backup_id = manager(Prover(ask=SourceError("no such table: orders")))
    with pytest.raises(OptionError, match="cannot be asked"):
        facade.drill(backup_id, assertions=["SELECT 1 FROM orders"])
    assert facade.get_backup(backup_id).proofs == ()


def test_examining_compares_the_counts_that_a_reader_can_know(manager):
    facade, backup_id = manager(Prover(found=(ObjectEvidence(path="a", rows=2), ObjectEvidence(path="b"))))
    assert facade.verify(backup_id, level="structure").verification_status.proven.level == "structure"
    facade, backup_id = manager(Prover(found=(ObjectEvidence(path="a", rows=1),)))
    with pytest.raises(IntegrityError, match="1 rows of a"):
        facade.verify(backup_id, level="structure")


@pytest.mark.parametrize(
    "wrong", [{"level": "magic"}, {"level": "digest", "on": "toy://h/x"}, {"level": "structure", "assertions": ["x"]}]
)
def test_wrong_questions_are_refused(manager, wrong):
    facade, backup_id = manager(Prover())
    with pytest.raises(OptionError):
        facade.prove(backup_id, **wrong)


def test_a_password_of_the_server_shows_nowhere(manager):
    facade, backup_id = manager(Prover(restore=CommandError("no entry for s3cret", returncode=1)))
    with pytest.raises(CommandError) as caught:
        facade.drill(backup_id, on="toy://me:s3cret@h/x")
    assert "s3cret" not in str(caught.value)
    assert "s3cret" not in repr(facade.get_backup(backup_id).proofs)


@pytest.mark.parametrize("verb", ["restore", "drill"])
def test_what_is_being_restored_is_not_removed_until_that_has_ended(manager, tmp_path, verb):
    class Meanwhile(Prover):
        @hookimpl
        def restore(self, target, dump):
            removed.append(others.remove(backup_id))
            return super().restore(target, dump)

    facade, backup_id = manager(Meanwhile())
    others = BackupManager(str(tmp_path / "dir"), plugins=[Prover()])
    removed = []
    if verb == "restore":
        result = facade.restore(backup_id, "toy://h/new")
        assert result.success, result.error
    else:
        facade.drill(backup_id)
    assert removed == [False]
    assert others.remove(backup_id)


# -- many ----------------------------------------------------------------------------------------------------------------


def damage(path):
    with open(path, "r+b") as file:
        file.seek(20)
        file.write(b"\0\0\0\0")


def test_verify_many_stops_at_no_bad_one_and_says_of_each_what_came_of_it(tmp_path):
    manager = BackupManager(str(tmp_path), plugins=[Prover()])
    good, damaged, lost, unreadable, last = (manager.create_backup("toy://h/db").backup for _ in range(5))
    damage(damaged.file_path)
    os.unlink(lost.file_path)
    [manifest] = [p for p in tmp_path.rglob("*.manifest.json") if unreadable.id[:8] in p.name]
    manifest.write_bytes(b"{ damaged")
    verified = manager.verify_many()
    assert [(v.backup_id, v.ok) for v in verified] == [
        (good.id, True),
        (damaged.id, False),
        (lost.id, False),
        (last.id, True),
        ("", False),
    ]
    assert isinstance(verified[1].exception, IntegrityError)
    assert verified[1].exception is verified[1].proof.exception
    assert isinstance(verified[2].exception, FileNotFoundError)
    assert verified[4].proof is None
    assert "damaged" in str(verified[4].exception)


def test_verify_many_keeps_the_order_of_its_ids_and_leaves_none_out(tmp_path):
    manager = BackupManager(str(tmp_path), plugins=[Prover()])
    first, second, third = (manager.create_backup("toy://h/db").backup.id for _ in range(3))
    manager.remove(second)
    verified = manager.verify_many(iter([third, second, first]), level="restore")
    assert [(v.backup_id, v.ok) for v in verified] == [(third, True), (second, False), (first, True)]
    assert isinstance(verified[1].exception, LookupError)
    assert [b.verification_status.proven.level for b in manager.list_backups()] == ["restore", "restore"]


def test_verify_many_of_what_this_machine_cannot_prove_has_no_proof_and_goes_on(tmp_path):
    manager = BackupManager(str(tmp_path), plugins=[ToyDriver(db=b"x")])
    ids = [manager.create_backup("toy://h/db").backup.id for _ in range(2)]
    verified = manager.verify_many(ids, level="structure")
    assert [v.proof for v in verified] == [None, None]
    assert {type(v.exception) for v in verified} == {NotProvable}


def test_a_wrong_call_of_verify_many_is_raised(tmp_path):
    manager = BackupManager(str(tmp_path), plugins=[ToyDriver(db=b"x")])
    with pytest.raises(TypeError, match="not one str"):
        manager.verify_many("an-id")
    with pytest.raises(OptionError, match="no level"):
        manager.verify_many(level="nonsense")
