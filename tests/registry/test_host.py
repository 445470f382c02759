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

    plugin_host = host(Driver())
    return plugin_host, plugin_host.driver("toy")


def back_up(plugin_host, driver):
    return plugin_host.backup(driver, source=SOURCE, sink=None, format="sql", options={})


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

    plugin_host = host(Driver())
    with pytest.raises(DependencyError, match=r'pip install "dumpty\[toy\]"'):
        plugin_host.inspect(plugin_host.driver("toy"), source=SOURCE, options={})


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

    plugin_host = host(First(), Other())
    assert back_up(plugin_host, plugin_host.driver("toy")).notes == ("toy",)
    assert back_up(plugin_host, plugin_host.driver("other")).notes == ("other",)


def test_wrappers_of_any_kind_see_the_call_and_alone_they_answer_nothing():
    urls = []

    class Wrapper:
        name = "w"

        @pluggy.HookimplMarker("dumpty")(wrapper=True)
        def backup(self, source):
            urls.append(source.url)
            return (yield)

    plugin_host, driver = backing_up(Evidence())
    wrapper = plugin_host.register(Wrapper())
    assert (wrapper.state, wrapper.kind) == ("wrapper", "")
    back_up(plugin_host, driver)
    assert urls == [SOURCE.url]
    assert not plugin_host.can(wrapper, "backup")
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

    plugin_host = host(Bare())
    driver = plugin_host.driver("bare")
    assert not plugin_host.can(driver, "backup")
    with pytest.raises(PluginError, match=r"implements no backup; is its function marked with @dumpty\.hookimpl"):
        back_up(plugin_host, driver)
    with pytest.raises(RestoreNotSupported, match="implements no restore") as caught:
        plugin_host.restore(driver, target=SOURCE, dump=None, overwrite=False, options={})
    assert isinstance(caught.value, NotImplementedError)


def test_a_restore_that_raises_not_implemented_is_no_restore():
    class Driver(ToyDriver):
        @hookimpl
        def restore(self):
            raise NotImplementedError

    plugin_host = host(Driver())
    with pytest.raises(RestoreNotSupported, match="does not support restore"):
        plugin_host.restore(plugin_host.driver("toy"), target=SOURCE, dump=None, overwrite=False, options={})


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
    plugin_host = host(Odd())
    with pytest.raises(PluginError, match=f"returned object from {hook}, not an object with {lacks}"):
        call(plugin_host, plugin_host.named("compressor", "odd"))


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

    plugin_host = host(OddVerifier(), OddStore())
    with pytest.raises(PluginError, match="returned str from verify"):
        plugin_host.verify(plugin_host.named("verifier", "counter"))
    with pytest.raises(PluginError, match="returned object from open_store"):
        plugin_host.open_store(plugin_host.store("odd://x"), url="odd://x", options={})


def described(**changes):
    class Described:
        name = "described"

        @hookimpl
        def describe(self):
            return PluginInfo(**{"kind": "verifier", **changes})

    return Described()


FORMAT = Format(name="a", suffix=".a")
SERVER = Format(name="a", suffix=".a", server=True)
SENSITIVE = Format(name="a", suffix=".a", sensitive="hashes")
HALF = Option(name="hashes", default="on", help="", choices=("on", "off"))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"kind": "magic"}, "kind 'magic' is none of driver, compressor, cipher, verifier, store, notifier"),
        ({"kind": "driver", "schemes": ("x",)}, "at least one scheme and one format"),
        ({"kind": "driver", "formats": (FORMAT,)}, "at least one scheme and one format"),
        ({"kind": "driver", "formats": (FORMAT,), "schemes": "newdb"}, "schemes is a tuple of str"),
        ({"kind": "driver", "formats": (FORMAT,), "schemes": (7,)}, "schemes is a tuple of str"),
        ({"kind": "driver", "formats": ("sql",), "schemes": ("x",)}, "formats is a tuple of Format"),
        ({"kind": "driver", "formats": (FORMAT,), "schemes": ("NewDB",)}, "schemes are lower case"),
        ({"kind": "driver", "formats": (Format(name="a", suffix="sql"),), "schemes": ("x",)}, "a suffix is a dot"),
        ({"kind": "driver", "formats": (Format(name="a", suffix="./a"),), "schemes": ("x",)}, "a suffix is a dot"),
        ({"kind": "driver", "formats": (Format(name="a", suffix=".manifest.json"),), "schemes": ("x",)}, "none of"),
        ({"kind": "driver", "formats": (SERVER,), "schemes": ("x",)}, "declare the option server for inspect"),
        ({"kind": "driver", "formats": (SENSITIVE,), "schemes": ("x",)}, "one of on .its default., off and plain"),
        ({"kind": "driver", "formats": (SENSITIVE,), "schemes": ("x",), "options": (HALF,)}, "declare that option"),
        ({"kind": "store"}, "a store declares at least one scheme"),
        ({"kind": "notifier"}, "a notifier declares at least one scheme"),
        ({"kind": "store", "schemes": ("*",)}, r"the scheme \* is for notifiers"),
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


class ToyNotifier:
    """A notifier of some schemes, which refuses whatever it is opened with."""

    def __init__(self, name, *schemes):
        self.name, self.schemes = name, schemes

    @hookimpl
    def describe(self):
        return PluginInfo(kind="notifier", schemes=self.schemes)

    @hookimpl
    def open_notifier(self, url, secret):
        if secret == "none":
            return object()
        raise OptionError(f"{url} and {secret} are no good")


def test_a_notifier_for_all_schemes_gets_those_that_no_other_answers():
    plugin_host = host(ToyNotifier("rest", "*"), ToyNotifier("own", "newpage", "newpages"))
    assert plugin_host.notifier("NewPage://host/x").name == "own"
    assert plugin_host.notifier("newpager://host/x").name == "rest"
    for url in ("", "newpage", "://x", "newpage:host"):
        with pytest.raises(PluginNotFound, match="no notifier answers the scheme ''"):
            plugin_host.notifier(url)
    with pytest.raises(
        PluginNotFound, match=r"no notifier answers the scheme 'pag'; installed: page\. Did you mean 'page'"
    ):
        host(ToyNotifier("own", "page")).notifier("pag://x")
    with pytest.raises(PluginConflict, match=r"both claim the scheme '\*'"):
        host(ToyNotifier("rest", "*"), ToyNotifier("other", "*"))


def test_what_opening_a_notifier_raises_or_returns_wrongly_is_told_without_its_secrets():
    plugin_host = host(ToyNotifier("own", "newpage"))
    plugin, url = plugin_host.notifier("newpage://h"), "newpage://user:pa55word@h/x"
    with pytest.raises(OptionError) as caught:
        plugin_host.open_notifier(plugin, url=url, secret="s3cret-word")
    assert str(caught.value) == "newpage://user:***@h/x and *** are no good"
    with pytest.raises(PluginError, match="plugin 'own' of this program returned object from open_notifier"):
        plugin_host.open_notifier(plugin, url=url, secret="none")


def test_a_sound_description_is_admitted():
    assert host(described()).named("verifier", "described").info == PluginInfo(kind="verifier")


def test_a_plugin_of_this_program_is_named_after_itself_or_as_told():
    class Anonymous:
        @hookimpl
        def describe(self):
            return PluginInfo(kind="verifier")

    plugin_host = Host(discover=False)
    assert plugin_host.register(Anonymous()).name == "Anonymous"
    assert plugin_host.register(Anonymous(), "mine").name == "mine"
    assert [str(p) for p in plugin_host.plugins()] == [
        "plugin 'Anonymous' of this program",
        "plugin 'mine' of this program",
    ]


def test_a_plugin_that_is_refused_leaves_no_trace():
    plugin_host = host(ToyVerifier())
    for bad in (described(kind="magic"), ToyVerifier(), object()):
        with pytest.raises((PluginLoadError, PluginConflict)):
            plugin_host.register(bad)
    assert [p.name for p in plugin_host.plugins()] == ["counter"]
    assert plugin_host.named("verifier", "counter").state == "ok"
    assert len(plugin_host._manager.get_plugins()) == 1


def test_the_very_same_object_is_registered_once():
    verifier = ToyVerifier()
    plugin_host = host(verifier, verifier)
    assert [p.name for p in plugin_host.plugins()] == ["counter"]
    with pytest.raises(PluginLoadError, match="already registered"):
        plugin_host.register(verifier, "another name")


def test_another_object_of_a_name_that_is_taken_is_a_conflict():
    plugin_host = host(ToyVerifier())
    with pytest.raises(PluginConflict, match="both claim the name 'counter'"):
        plugin_host.register(ToyVerifier())


def test_one_name_may_serve_two_kinds():
    class Compressor(ToyCompressor):
        name = "counter"

    plugin_host = host(ToyVerifier(), Compressor())
    assert plugin_host.named("verifier", "counter").kind == "verifier"
    assert plugin_host.named("compressor", "counter").kind == "compressor"


def test_a_driver_knows_its_formats():
    driver = host(ToyDriver()).driver("toy")
    assert driver.format(None).name == "sql"
    assert driver.format("native").suffix == ".bin"
    with pytest.raises(OptionError, match="has no format 'csv'; its formats: sql, native"):
        driver.format("csv")


def test_without_any_plugin_the_texts_still_say_what_to_do():
    plugin_host = Host(discover=False)
    with pytest.raises(PluginNotFound, match="installed: none"):
        plugin_host.driver("x")
    with pytest.raises(PluginNotFound, match="installed: none"):
        plugin_host.named("verifier", "x")
    unloaded = Plugin(name="x", distribution="d", version="")
    with pytest.raises(PluginLoadError):
        unloaded.format(None)


def test_options_go_to_the_plugins_of_a_run():
    plugin_host = host(ToyDriver())
    driver = plugin_host.driver("toy")
    assert dict(plugin_host.options({"backup": driver}, {"chunk": "3"})["backup"]) == {"chunk": 3}
    with pytest.raises(OptionError, match=r"valid here: chunk \(toy\)"):
        plugin_host.options({"backup": driver}, {"chunks": 3})
