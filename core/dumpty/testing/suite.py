"""What every plugin owes, whatever its kind: a truthful ``describe`` that costs nothing, and sane options."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, get_args

import pytest

from dumpty.errors import OptionError, PluginError
from dumpty.registry.host import Host, default_host
from dumpty.registry.options import coerce
from dumpty.testing.children import describe_in_child
from dumpty.testing.rules import require, shown
from dumpty.types import Kind, OptionValue, PluginInfo, Verb

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dumpty.registry.plugin import Plugin

__all__ = ["RecordingOptions", "Suite"]

_VERBS: dict[str, tuple[Verb, ...]] = {
    "driver": ("backup", "restore", "restore_tables", "inspect", "databases", "examine", "scratch"),
    "compressor": ("compress",),
    "cipher": ("encrypt",),
    "verifier": (),
    "store": ("open_store",),
    "notifier": (),
    "transport": (),
}
_HOOKS: dict[str, tuple[str, ...]] = {
    "driver": ("describe", "backup"),
    "compressor": ("describe", "compress", "decompress"),
    "cipher": ("describe", "encrypt", "decrypt"),
    "verifier": ("describe", "verify"),
    "store": ("describe", "open_store"),
    "notifier": ("describe", "open_notifier"),
    "transport": ("describe", "open_transport"),
}
_FLAG_HOOKS = (
    ("restores", "restore"),
    ("restores", "inspect"),
    ("inspects", "inspect"),
    ("makes_identities", "new_identity"),
)


class Suite:
    """The base of the suites.

    A subclass names its ``plugin``. A flag that is False removes the tests of what the plugin does not claim.
    """

    plugin: ClassVar[object]
    """The plugin: its module, or an object with hooks."""

    kind: ClassVar[Kind]

    needed_hooks: ClassVar[tuple[str, ...]] = ()
    """The hooks that a plugin needs, where they are not those of its kind."""

    libraries: ClassVar[tuple[str, ...]] = ()
    """Modules that importing the plugin and calling ``describe`` must not bring in: its database's or codec's."""

    memory: ClassVar[int] = 24 << 20
    """How many bytes of Python's memory one run may take, however much data goes through."""

    claims: ClassVar[dict[str, tuple[str, ...]]] = {}
    """The tests that a flag of this class decides about; those of ``not flag`` are for a flag that is False."""

    def __init_subclass__(cls, **keywords: object) -> None:
        """Take away the tests of what this plugin does not claim."""
        super().__init_subclass__(**keywords)
        if cls.__module__.startswith("dumpty.testing."):
            return  # a suite of the kit: its subclasses decide
        # Taken away, and given back where the class above claimed less.
        unclaimed = {
            test
            for flag, tests in cls.claims.items()
            for test in tests
            if bool(getattr(cls, flag.removeprefix("not "))) == flag.startswith("not ")
        }
        for test in (test for tests in cls.claims.values() for test in tests):
            implementation = next(filter(None, (vars(base).get(test) for base in cls.__mro__)))
            claimed = None if test in unclaimed else implementation
            if getattr(cls, test) is not claimed:
                setattr(cls, test, claimed)

    # -- what the tests stand on ---------------------------------------------------------------------------------

    @pytest.fixture
    def host(self) -> Host:
        """A host of this plugin alone."""
        return Host([self.plugin], discover=False)

    def plugin_under_test(self, host: Host) -> Plugin:
        """Return the plugin as its host knows it."""
        return host.plugins()[0]

    def installed_name(self, host: Host) -> str:
        """Return the name by which the facades know the plugin: that of its entry point, where it has one."""
        names = [p.name for p in default_host().plugins() if p.module is self.plugin]
        return names[0] if names else self.plugin_under_test(host).name

    def options(self, host: Host, verb: Verb, **overrides: object) -> RecordingOptions:
        """Return the plugin's options for ``verb``, complete with defaults."""
        return RecordingOptions(host.options({verb: self.plugin_under_test(host)}, overrides)[verb])

    def call_bare(self, hook: str, **arguments: object) -> Any:
        """Call a hook with those arguments that it takes, and nothing in between that masks what comes back."""
        function = getattr(self.plugin, hook)
        known = inspect.signature(function).parameters
        return function(**{name: value for name, value in arguments.items() if name in known})

    def unproved(self, reason: str) -> NoReturn:
        """End a test whose rule cannot be proved here."""
        pytest.skip(f"not proved here: {reason}")

    # -- rules ---------------------------------------------------------------------------------------------------

    def test_describe_says_what_the_plugin_is(self) -> None:
        """describe() returns a PluginInfo of the right kind, equal at every call, and dumpty accepts it."""
        try:
            plugin = Host([self.plugin], discover=False).plugins()[0]
        except PluginError as error:
            require(False, "dumpty refuses the plugin.", "Mend what it says.", str(error))
        rule = "describe() returns a PluginInfo of the plugin's kind."
        require(
            plugin.kind == self.kind,
            rule,
            f"Return PluginInfo(kind={self.kind!r}, …).",
            f"its kind is {plugin.kind or 'none: it only watches'!r}",
        )
        second_description = self.plugin.describe()  # type: ignore[attr-defined]
        remedy = "Compute it from constants; what depends on the machine belongs into the hook that needs it."
        require(second_description == plugin.info, "describe() says the same at every call.", remedy)

    def test_the_hooks_of_its_kind_are_implemented(self, host: Host) -> None:
        """A plugin implements the hooks that its kind needs."""
        for hook in (
            *(self.needed_hooks or _HOOKS[self.kind]),
            *(hook for flag, hook in _FLAG_HOOKS if getattr(self, flag, False)),
        ):
            require(
                host.can(self.plugin_under_test(host), hook),
                f"A {self.kind} implements {hook}().",
                f"Write a function {hook} and mark it with @dumpty.hookimpl.",
            )

    def test_describe_brings_in_no_library(self) -> None:
        """Importing the plugin and calling describe() imports none of the libraries that do its work."""
        describe_run = describe_in_child(self.plugin)
        if describe_run is None:
            self.unproved("a fresh process finds only a module, or a class that is made without arguments")
        require(
            describe_run.status == 0,
            "The plugin is imported and described in a process that has nothing else.",
            "Import what it names, or make the plugin's class callable without arguments.",
            f"that process ended with {describe_run.error!r}",
        )
        imported = sorted(
            m for m in describe_run.modules if any(m == b or m.startswith(b + ".") for b in self.libraries)
        )
        require(
            not imported,
            "Importing a plugin and describing it is cheap: `dumpty plugins` does it for all that are installed.",
            "Import the library inside the hook that uses it.",
            f"it brought in {', '.join(imported)}",
        )

    def test_describe_prints_nothing(self) -> None:
        """Importing the plugin and calling describe() writes nothing to standard output."""
        describe_run = describe_in_child(self.plugin)
        if describe_run is None:
            self.unproved("a fresh process finds only a module, or a class that is made without arguments")
        require(
            not describe_run.output,
            "A plugin writes nothing to standard output: results are printed there, as JSON where asked.",
            "Use the logging module, or Evidence.notes.",
            f"it printed {shown(describe_run.output)}",
        )

    def test_options_are_declared_with_sane_defaults(self, host: Host) -> None:
        """Every option has a name, a help text, verbs of its kind, and a default of a type that a manifest keeps."""
        info = self._plugin_info(host)
        for option in info.options:
            subject = f"the option {option.name!r}"
            require(
                option.name.isidentifier() and option.name == option.name.lower(),
                "An option's name is a lower-case identifier, for it is a keyword of the facade.",
                "Rename it.",
                f"it is {option.name!r}",
            )
            require(option.help.strip(), "An option says what it does.", "Give it a help text.", f"{subject} has none")
            unknown_verbs = [v for v in option.verbs if v not in _VERBS[self.kind]]
            require(
                option.verbs and not unknown_verbs,
                f"An option of a {self.kind} is for {', '.join(_VERBS[self.kind]) or 'no verb: it takes none'}.",
                "Name those of its verbs that read it.",
                f"{subject} is for {unknown_verbs or 'none'}",
            )
            self._require_default(subject, option.default)
            for value in (option.default, *option.choices):
                try:
                    consistent = coerce(option, value) == value == json.loads(json.dumps(value))
                except (OptionError, TypeError):
                    consistent = False
                rule = "The default and every choice are of one type, and the default is one of the choices."
                require(consistent, rule, "Let them agree.", f"{subject} does not accept {value!r}")

    def _plugin_info(self, host: Host) -> PluginInfo:
        info = self.plugin_under_test(host).info
        require(info is not None, "A plugin describes itself.", "Implement describe().")
        return info or PluginInfo(kind=get_args(Kind)[0])

    def _require_default(self, subject: str, default: object) -> None:
        fits = type(default) in {str, int, float, bool} or (
            type(default) is list and all(type(item) is str for item in default)
        )
        require(
            fits and not (isinstance(default, float) and not math.isfinite(default)),
            "An option's default is a str, int, float, bool or list of str: it decides the type, and the manifest "
            "keeps it as JSON.",
            "Give a value of that type; for 'not set' use '', 0 or an empty list.",
            f"{subject} has {default!r}",
        )


class RecordingOptions(Mapping[str, OptionValue]):
    """Options as hooks get them, after a journey through JSON as in a manifest; notes what was asked for in vain."""

    def __init__(self, values: Mapping[str, OptionValue]) -> None:
        self._values: dict[str, OptionValue] = json.loads(json.dumps(dict(values)))
        self.undeclared: set[str] = set()

    def __getitem__(self, name: str) -> OptionValue:
        if name not in self._values:
            self.undeclared.add(name)
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def require_declared(self) -> None:
        """Require that nothing was asked for that is not there."""
        require(
            not self.undeclared,
            "A hook reads only the options that describe() declares for it: no other can ever be given.",
            "Declare it, with its default and the verb.",
            f"it asked for {', '.join(sorted(self.undeclared))}",
        )
