"""Hook wrappers: named where they raise, named in the manifest where they alter, and never able to undo a failure."""

from __future__ import annotations

import json

import pluggy
import pytest
from msgspec.structs import replace
from support.toys import ToyDriver

from dumpty import BackupManager, DatabaseBackup, Evidence, IntegrityError, PluginError, SourceError, hookimpl
from dumpty.registry.host import Host

NAME = "wrapper 'w' of this program"
TOY = "plugin 'toy' of this program"


def wrapper(before=None, after=lambda evidence: evidence, caught=None, name="w"):
    """Return a wrapper of ``backup``."""

    class Wrapper:
        @hookimpl(wrapper=True)
        def backup(self):
            if before is not None:
                raise before
            try:
                evidence = yield
            except Exception as error:
                if caught is None:
                    raise
                return caught(error)
            return after(evidence)

    made = Wrapper()
    made.name = name
    return made


class Failing(ToyDriver):
    @hookimpl
    def backup(self):
        raise SourceError("the disk is gone")


def back_up(tmp_path, *plugins):
    manager = BackupManager(str(tmp_path), plugins=plugins)
    return manager, manager.create_backup("toy://h/db")


def raiser(error):
    def raise_it(_):
        raise error

    return raise_it


@pytest.mark.parametrize("way", ["before", "after"])
def test_a_wrapper_that_raises_is_named_and_not_the_plugin(tmp_path, way):
    error = ValueError("odd")
    odd = wrapper(before=error) if way == "before" else wrapper(after=raiser(error))
    _, result = back_up(tmp_path, ToyDriver(db=b"x"), wrapper(name="inner"), odd, wrapper(name="outer"))
    assert result.error == f"{NAME} failed in backup: ValueError: odd"
    assert isinstance(result.exception, PluginError)
    assert (result.exception.plugin, result.exception.hook) == (NAME, "backup")


def test_an_error_of_ours_that_a_wrapper_raises_keeps_its_kind_and_names_it(tmp_path):
    _, result = back_up(tmp_path, ToyDriver(db=b"x"), wrapper(before=IntegrityError("not at noon")))
    assert isinstance(result.exception, IntegrityError)
    assert result.error == f"{NAME} failed in backup: not at noon"


def test_a_wrapper_of_the_old_kind_is_named_too(tmp_path):
    class Old:
        name = "w"

        @pluggy.HookimplMarker("dumpty")(hookwrapper=True)
        def backup(self):
            outcome = yield
            outcome.force_exception(ValueError("odd"))

    _, result = back_up(tmp_path, ToyDriver(db=b"x"), Old())
    assert result.error == f"{NAME} failed in backup: ValueError: odd"


def test_the_error_of_a_plugin_goes_through_wrappers_as_its_own(tmp_path):
    _, result = back_up(tmp_path, Failing(), wrapper(), wrapper(name="outer"))
    assert result.error == "the disk is gone"


def test_what_failed_before_a_wrapper_raised_is_said(tmp_path):
    _, result = back_up(tmp_path, Failing(), wrapper(caught=raiser(KeyError("k"))))
    assert result.error == f"{NAME} failed in backup: KeyError: 'k'; before that, SourceError: the disk is gone"


@pytest.mark.parametrize("answer", [None, Evidence()])
def test_a_failure_that_a_wrapper_swallows_stays_one(tmp_path, answer):
    manager, result = back_up(tmp_path, Failing(), wrapper(caught=lambda _: answer))
    assert not result.success
    assert "the disk is gone" in result.error
    assert NAME in result.error
    assert manager.list_backups() == []


def test_a_wrapper_that_forgets_to_return_is_named(tmp_path):
    _, result = back_up(tmp_path, ToyDriver(db=b"x"), wrapper(after=lambda _: None))
    assert result.error == f"{NAME} returned NoneType from backup, not Evidence: taken as a failure"


def test_a_wrapper_that_returns_wrong_evidence_is_named(tmp_path):
    _, result = back_up(tmp_path, ToyDriver(db=b"x"), wrapper(after=lambda e: replace(e, versions={"a": 1})))
    assert result.error.startswith(f"{NAME} returned an Evidence from backup whose versions['a'] is 1")


def test_what_a_plugin_returns_wrong_is_not_mended_by_a_wrapper(tmp_path):
    class Nothing(ToyDriver):
        @hookimpl
        def backup(self, sink):
            sink.write(b"x")

    _, result = back_up(tmp_path, Nothing(), wrapper(after=lambda _: Evidence()))
    assert f"{TOY} returned NoneType from backup" in result.error


def in_place(evidence):
    evidence.versions["toy"] = "2"
    return evidence


@pytest.mark.parametrize("alter", [lambda e: replace(e, consistent=False), in_place, lambda e: Evidence(notes=("x",))])
def test_a_wrapper_that_alters_evidence_is_named_in_the_manifest(tmp_path, alter):
    plugins = (ToyDriver(db=b"x"), wrapper(name="inner"), wrapper(after=alter), wrapper(name="outer"))
    manager, result = back_up(tmp_path, *plugins)
    assert result.success, result.error
    (backup,) = manager.list_backups()
    assert [note for note in backup.evidence.notes if "altered" in note] == [f"altered by the {NAME}"]


def inspecting(name, after):
    """Return a wrapper of ``inspect``."""

    class Wrapper:
        @hookimpl(wrapper=True)
        def inspect(self, source):
            return after((yield))

    made = Wrapper()
    made.name = name
    return made


ALTERED_INSPECTION = (
    ToyDriver(db=b"x"),
    inspecting("inner", lambda i: replace(i)),
    inspecting("w", lambda i: replace(i, identity="toy:another")),
    inspecting("outer", lambda i: i),
)


def test_a_wrapper_that_alters_an_inspection_is_named_in_the_manifest(tmp_path):
    manager, result = back_up(tmp_path, *ALTERED_INSPECTION)
    assert result.success, result.error
    (backup,) = manager.list_backups()
    assert backup.evidence.notes == (f"altered by the {NAME}",)


def test_a_wrapper_that_alters_an_inspection_is_named_in_the_manifest_of_named_backups_too(tmp_path, monkeypatch):
    monkeypatch.setattr("dumpty.backup.default_host", lambda: Host(ALTERED_INSPECTION))
    DatabaseBackup(tmp_path).backup("toy://h/db", "noon")
    (entry,) = json.loads((tmp_path / "backup_manifest.json").read_bytes())["backups"]
    assert entry["evidence"]["notes"] == [f"altered by the {NAME}"]


def test_a_wrapper_that_alters_inspection_and_evidence_is_named_once(tmp_path):
    class Both:
        name = "w"

        @hookimpl(wrapper=True)
        def inspect(self, source):
            return replace((yield), identity="toy:another")

        @hookimpl(wrapper=True)
        def backup(self):
            return replace((yield), consistent=False)

    manager, _ = back_up(tmp_path, ToyDriver(db=b"x"), Both())
    assert manager.list_backups()[0].evidence.notes == (f"altered by the {NAME}",)


def test_wrappers_that_only_watch_leave_no_note(tmp_path):
    manager, result = back_up(tmp_path, ToyDriver(db=b"x"), wrapper(), wrapper(after=lambda e: replace(e)))
    assert result.success, result.error
    assert manager.list_backups()[0].evidence.notes == ()


def test_a_wrapper_that_alters_a_list_of_databases_is_named_in_a_warning(tmp_path, caplog):
    class Server:
        name = "toy"
        describe = hookimpl(lambda self: ToyDriver().describe())
        databases = hookimpl(lambda self, source: [source.replace(database=name) for name in "ab"])

    class Hiding:
        name = "w"

        def __init__(self, last):
            self.last = last

        @hookimpl(wrapper=True)
        def databases(self):
            return (yield)[: self.last]

    for last, said in ((1, 1), (2, 0)):
        caplog.clear()
        manager = BackupManager(tmp_path / "backups", plugins=[Server(), Hiding(last)])
        assert len(manager.databases("toy://h/*")) == last
        assert [r.getMessage() for r in caplog.records] == [f"what databases returned was altered by the {NAME}"] * said


def test_a_wrapper_is_called_around_every_routed_hook_once(tmp_path):
    calls = []

    class Watch:
        name = "w"

        @hookimpl(wrapper=True)
        def inspect(self, source):
            calls.append("inspect")
            return (yield)

        @hookimpl(wrapper=True)
        def restore(self, target, overwrite):
            calls.append(("restore", overwrite))
            return (yield)

        @hookimpl(wrapper=True)
        def compress(self, sink):
            calls.append("compress")
            return (yield)

    manager, result = back_up(tmp_path, ToyDriver(db=b"x"), Watch())
    assert manager.restore(result.backup.id, "toy://h/other").success
    assert calls == ["inspect", "compress", "inspect", ("restore", False)]
