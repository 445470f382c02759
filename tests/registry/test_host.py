"""Routing: one plugin is called, its errors name it, and whatever it returns by mistake is a failure."""

from __future__ import annotations

import pluggy
import pytest
from support.toys import ToyCompressor, ToyDriver, ToyVerifier

from dumpty import (
    CommandError,
    DependencyError,
    Evidence,
    Format,
    Inspection,
    Option,
    OptionError,
    PluginConflict,
    PluginError,
    PluginInfo,
    PluginLoadError,
    PluginNotFound,
    RestoreNotSupported,
    SourceError,
    hookimpl,
)
from dumpty.registry.host import Host
from dumpty.registry.plugin import Plugin
from dumpty.url import parse_url

SOURCE = parse_url("toy://h/x")


def host(*plugins):
    return Host(plugins, discover=False)


def backing_up(effect):
    """Return a host and a driver whose ``backup`` does ``effect``."""

    class Driver(ToyDriver):
        @hookimpl
        def backup(self, source):
            if isinstance(effect, BaseException):
                raise effect
            return effect

    own = host(Driver())
    return own, own.driver("toy")


def back_up(own, driver):
    return own.backup(driver, source=SOURCE, sink=None, format="sql", options={})


def test_what_a_hook_returns_is_passed_on():
    evidence = Evidence(notes=("x",))
    assert back_up(*backing_up(evidence)) == evidence


@pytest.mark.parametrize("value", [None, True, {}, Inspection(exists=True, empty=False), Evidence])
def test_anything_but_evidence_is_taken_as_a_failure(value):
    with pytest.raises(
        PluginError, match=r"plugin 'toy' of this program returned \w+ from backup, not Evidence: taken as a failure"
    ) as caught:
        back_up(*backing_up(value))
    assert (caught.value.plugin, caught.value.hook) == ("plugin 'toy' of this program", "backup")


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (
            ValueError("odd\nvalue"),
            PluginError,
            "^plugin 'toy' of this program failed in backup: ValueError: odd value$",
        ),
        (ZeroDivisionError(), PluginError, "failed in backup: ZeroDivisionError$"),
        (NotImplementedError("later"), PluginError, "does not support backup: NotImplementedError: later"),
        (
            ModuleNotFoundError("No module named 'x'"),
            DependencyError,
            "lacks a library .*No module named 'x'.*install what it names",
        ),
    ],
)
def test_an_error_of_a_plugin_names_plugin_and_hook_and_keeps_its_cause(error, kind, text):
    with pytest.raises(kind, match=text) as caught:
        back_up(*backing_up(error))
    assert caught.value.__cause__ is error


def test_the_missing_library_of_a_plugin_comes_with_the_command_that_installs_it():
    class Driver(ToyDriver):
        @hookimpl
        def describe(self):
            return PluginInfo(
                kind="driver", schemes=("toy",), formats=(Format(name="a", suffix=".a"),), requires="dumpty[toy]"
            )

        @hookimpl
        def inspect(self):
            import no_such_library  # noqa: F401

    own = host(Driver())
    with pytest.raises(DependencyError, match=r'pip install "dumpty\[toy\]"'):
        own.inspect(own.driver("toy"), source=SOURCE, options={})


@pytest.mark.parametrize("error", [SourceError("no such database"), OptionError("bad")])
def test_an_error_of_ours_goes_through_as_it_is(error):
    with pytest.raises(type(error)) as caught:
        back_up(*backing_up(error))
    assert caught.value is error


def test_an_error_that_names_no_plugin_is_given_the_name():
    with pytest.raises(CommandError) as caught:
        back_up(*backing_up(CommandError("pg_dump failed")))
    assert (caught.value.plugin, caught.value.hook) == ("plugin 'toy' of this program", "backup")
    with pytest.raises(CommandError) as caught:
        back_up(*backing_up(CommandError("pg_dump failed", plugin="p", hook="h")))
    assert (caught.value.plugin, caught.value.hook) == ("p", "h")


def test_an_interrupt_goes_through():
    with pytest.raises(KeyboardInterrupt):
        back_up(*backing_up(KeyboardInterrupt()))


def test_one_driver_alone_is_called():
    class Other(ToyDriver):
        name = "other"

        @hookimpl(tryfirst=True)
        def describe(self):
            return PluginInfo(kind="driver", schemes=("other",), formats=(Format(name="a", suffix=".a"),))

        @hookimpl(tryfirst=True)
        def backup(self):
            return Evidence(notes=("other",))

    class First(ToyDriver):
        @hookimpl
        def backup(self):
            return Evidence(notes=("toy",))

    own = host(First(), Other())
    assert back_up(own, own.driver("toy")).notes == ("toy",)
    assert back_up(own, own.driver("other")).notes == ("other",)


def test_wrappers_of_any_kind_see_the_call_and_alone_they_answer_nothing():
    seen = []

    class Wrapper:
        name = "w"

        @pluggy.HookimplMarker("dumpty")(wrapper=True)
        def backup(self, source):
            seen.append(source.url)
            return (yield)

    own, driver = backing_up(Evidence())
    wrapper = own.register(Wrapper())
    assert (wrapper.state, wrapper.kind) == ("wrapper", "")
    back_up(own, driver)
    assert seen == [SOURCE.url]
    assert not own.can(wrapper, "backup")
    with pytest.raises(PluginLoadError, match="is not loaded"):
        _ = wrapper.described


def test_a_hook_that_a_plugin_lacks_is_an_error_and_never_a_success():
    class Bare:
        name = "bare"

        @hookimpl
        def describe(self):
            return PluginInfo(kind="driver", schemes=("bare",), formats=(Format(name="a", suffix=".a"),))

        def backup(self):
            return Evidence()  # not marked

    own = host(Bare())
    driver = own.driver("bare")
    assert not own.can(driver, "backup")
    with pytest.raises(PluginError, match=r"implements no backup; is its function marked with @dumpty\.hookimpl"):
        back_up(own, driver)
    with pytest.raises(RestoreNotSupported, match="implements no restore") as caught:
        own.restore(driver, target=SOURCE, dump=None, overwrite=False, options={})
    assert isinstance(caught.value, NotImplementedError)


def test_a_restore_that_raises_not_implemented_is_no_restore():
    class Driver(ToyDriver):
        @hookimpl
        def restore(self):
            raise NotImplementedError

    own = host(Driver())
    with pytest.raises(RestoreNotSupported, match="does not support restore"):
        own.restore(own.driver("toy"), target=SOURCE, dump=None, overwrite=False, options={})


@pytest.mark.parametrize(
    ("hook", "call", "lacks"),
    [
        ("compress", lambda h, p: h.compress(p, sink=None, options={}), "write, close"),
        ("decompress", lambda h, p: h.decompress(p, stream=None, params={}), "read, close"),
    ],
)
def test_a_stage_without_the_methods_of_a_stage_is_a_failure(hook, call, lacks):
    class Odd:
        name = "odd"

        @hookimpl
        def describe(self):
            return PluginInfo(kind="compressor", suffix=".odd")

    setattr(Odd, hook, hookimpl(lambda self: object()))
    own = host(Odd())
    with pytest.raises(PluginError, match=f"returned object from {hook}, not an object with {lacks}"):
        call(own, own.named("compressor", "odd"))


def test_a_verifier_and_a_store_without_their_methods_are_failures():
    class OddVerifier(ToyVerifier):
        @hookimpl
        def verify(self):
            return "digest"

    class OddStore:
        name = "odd"

        @hookimpl
        def describe(self):
            return PluginInfo(kind="store", schemes=("odd",))

        @hookimpl
        def open_store(self):
            return object()

    own = host(OddVerifier(), OddStore())
    with pytest.raises(PluginError, match="returned str from verify"):
        own.verify(own.named("verifier", "counter"))
    with pytest.raises(PluginError, match="returned object from open_store"):
        own.open_store(own.store("odd://x"), url="odd://x", options={})


def described(**changes):
    class Described:
        name = "described"

        @hookimpl
        def describe(self):
            return PluginInfo(**{"kind": "verifier", **changes})

    return Described()


FORMAT = Format(name="a", suffix=".a")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"kind": "magic"}, "kind 'magic' is none of driver, compressor, verifier, store"),
        ({"kind": "driver", "schemes": ("x",)}, "at least one scheme and one format"),
        ({"kind": "driver", "formats": (FORMAT,)}, "at least one scheme and one format"),
        ({"kind": "driver", "formats": (FORMAT,), "schemes": "newdb"}, "schemes is a tuple of str"),
        ({"kind": "driver", "formats": (FORMAT,), "schemes": (7,)}, "schemes is a tuple of str"),
        ({"kind": "driver", "formats": ("sql",), "schemes": ("x",)}, "formats is a tuple of Format"),
        ({"kind": "driver", "formats": (FORMAT,), "schemes": ("NewDB",)}, "schemes are lower case"),
        ({"kind": "driver", "formats": (Format(name="a", suffix="sql"),), "schemes": ("x",)}, "a suffix is a dot"),
        ({"kind": "driver", "formats": (Format(name="a", suffix="./a"),), "schemes": ("x",)}, "a suffix is a dot"),
        ({"kind": "driver", "formats": (Format(name="a", suffix=".manifest.json"),), "schemes": ("x",)}, "none of"),
        ({"kind": "store"}, "a store declares at least one scheme"),
        ({"kind": "compressor"}, "a compressor declares a suffix"),
        ({"kind": "compressor", "suffix": "gz"}, "a suffix is a dot"),
        ({"kind": "compressor", "suffix": ".x.part"}, "none of"),
        ({"kind": "compressor", "suffix": ".removed"}, "none of"),
        ({"kind": "compressor", "suffix": ".pending"}, "none of"),
        ({"options": ("level",)}, "options is a tuple of Option"),
        ({"options": [Option(name="a", default=1, help="")]}, "options is a tuple of Option"),
        ({"options": (Option(name="overwrite", default=1, help=""),)}, "the option name 'overwrite' is reserved"),
        ({"options": (Option(name="a", default=1, help=""),) * 2}, "an option is declared twice"),
    ],
)
def test_a_description_that_breaks_the_contract_is_refused_with_the_rule(changes, text):
    with pytest.raises(PluginLoadError, match=f"plugin 'described' of this program cannot be loaded: describe.*{text}"):
        host(described(**changes))


def test_a_sound_description_is_admitted():
    assert host(described()).named("verifier", "described").info == PluginInfo(kind="verifier")


def test_a_plugin_of_this_program_is_named_after_itself_or_as_told():
    class Anonymous:
        @hookimpl
        def describe(self):
            return PluginInfo(kind="verifier")

    own = Host(discover=False)
    assert own.register(Anonymous()).name == "Anonymous"
    assert own.register(Anonymous(), "mine").name == "mine"
    assert [str(p) for p in own.plugins()] == ["plugin 'Anonymous' of this program", "plugin 'mine' of this program"]


def test_a_plugin_that_is_refused_leaves_no_trace():
    own = host(ToyVerifier())
    for bad in (described(kind="magic"), ToyVerifier(), object()):
        with pytest.raises((PluginLoadError, PluginConflict)):
            own.register(bad)
    assert [p.name for p in own.plugins()] == ["counter"]
    assert own.named("verifier", "counter").state == "ok"
    assert len(own._manager.get_plugins()) == 1


def test_the_very_same_object_is_registered_once():
    one = ToyVerifier()
    own = host(one, one)
    assert [p.name for p in own.plugins()] == ["counter"]
    with pytest.raises(PluginLoadError, match="already registered"):
        own.register(one, "another name")


def test_another_object_of_a_name_that_is_taken_is_a_conflict():
    own = host(ToyVerifier())
    with pytest.raises(PluginConflict, match="both claim the name 'counter'"):
        own.register(ToyVerifier())


def test_one_name_may_serve_two_kinds():
    class Compressor(ToyCompressor):
        name = "counter"

    own = host(ToyVerifier(), Compressor())
    assert own.named("verifier", "counter").kind == "verifier"
    assert own.named("compressor", "counter").kind == "compressor"


def test_a_driver_knows_its_formats():
    driver = host(ToyDriver()).driver("toy")
    assert driver.format(None).name == "sql"
    assert driver.format("native").suffix == ".bin"
    with pytest.raises(OptionError, match="has no format 'csv'; its formats: sql, native"):
        driver.format("csv")


def test_without_any_plugin_the_texts_still_say_what_to_do():
    own = Host(discover=False)
    with pytest.raises(PluginNotFound, match="installed: none"):
        own.driver("x")
    with pytest.raises(PluginNotFound, match="installed: none"):
        own.named("verifier", "x")
    unloaded = Plugin(name="x", distribution="d", version="")
    with pytest.raises(PluginLoadError):
        unloaded.format(None)


def test_options_go_to_the_plugins_of_a_run():
    own = host(ToyDriver())
    driver = own.driver("toy")
    assert dict(own.options({"backup": driver}, {"chunk": "3"})["backup"]) == {"chunk": 3}
    with pytest.raises(OptionError, match=r"valid here: chunk \(toy\)"):
        own.options({"backup": driver}, {"chunks": 3})
