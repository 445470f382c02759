"""Finds, loads, blocks and routes plugins. All use of pluggy is here and in ``hookspecs``.

Discovery reads the entry-point group ``dumpty`` of every installed distribution. A plugin that cannot be loaded
breaks only itself: the failure is kept, shown by ``plugins()``, and raised when that plugin is asked for. A verb is
never broadcast (the event ``finished`` is): one plugin is picked, by scheme or by name, and called alone (hook wrappers
see the call), so that an error always names its plugin and load order decides nothing.
"""

from __future__ import annotations

import functools
import os
import time
from dataclasses import replace
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar, cast

import pluggy

from dumpty import hookspecs
from dumpty.errors import PluginConflict, PluginError, PluginLoadError, RestoreNotSupported
from dumpty.registry.calling import Relay, RoutedCall
from dumpty.registry.description import check_description, state_by_hooks
from dumpty.registry.discovery import entry_points, path_state
from dumpty.registry.masking import Mask
from dumpty.registry.observers import tell
from dumpty.registry.opening import Opener
from dumpty.registry.options import share
from dumpty.registry.picking import DISABLE, by_name, by_scheme, require_ok, with_conflicts
from dumpty.registry.plugin import Plugin, State, describe_error
from dumpty.registry.proxies import CheckedReader, CheckedVerifier, CheckedWriter, checked_rows, checked_scratch
from dumpty.registry.returned import Boundary, DatabasesOf, Expected
from dumpty.types import Evidence, Inspection, KeyPair, Kind, Options, PluginInfo, Verb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from dumpty.registry.proxies import CheckedRows, CheckedScratch
    from dumpty.types import (
        ByteSink,
        Dump,
        Event,
        Identity,
        Reader,
        Recipient,
        Sink,
        Source,
        Verifier,
        Writer,
    )

__all__ = ["Host", "default_host"]

GROUP = "dumpty"

T = TypeVar("T")


class _Manager(pluggy.PluginManager):
    """Looks at what may be a hook alone: a host makes a manager for each plugin, and looking takes most of its time."""

    def __init__(self) -> None:
        super().__init__(GROUP)
        self.add_hookspecs(hookspecs)

    def parse_hookspec_opts(self, module_or_class: object, name: str) -> pluggy.HookspecOpts | None:  # noqa: ARG002
        return _HOOKSPECS.get(name)  # there is one module of them, and it never changes

    def parse_hookimpl_opts(self, plugin: object, name: str) -> pluggy.HookimplOpts | None:
        of_module = vars(plugin).get(name) if isinstance(plugin, ModuleType) else None
        no_hook = name.startswith("__") or isinstance(of_module, (type, ModuleType, str, int))
        return None if no_hook else super().parse_hookimpl_opts(plugin, name)


_HOOKSPECS = {name: pluggy.PluginManager(GROUP).parse_hookspec_opts(hookspecs, name) for name in dir(hookspecs)}


class Host(Opener):
    """A set of plugins, and one typed method for each hook.

    Args:
        plugins: modules or objects to register beside the installed ones.
        discover: False leaves the installed ones out.
    """

    def __init__(self, plugins: Iterable[object] = (), *, discover: bool = True) -> None:
        self._manager = _Manager()
        self._plugins = []
        self._relay = Relay()
        if discover:
            self._discover()
        for plugin in plugins:
            self.register(plugin)

    def plugins(self) -> list[Plugin]:
        """Return every plugin, the failed and blocked ones too, in order of kind and name."""
        checked = (with_conflicts(self._plugins, plugin) for plugin in self._plugins)
        return sorted(checked, key=lambda p: (p.kind or "~", p.name, p.distribution))

    def register(self, module: object, name: str | None = None) -> Plugin:
        """Add a module or object of this program as a plugin, named ``name`` or after itself.

        The very module or object that is there already, say as an installed plugin, is returned as it is.

        Raises:
            PluginLoadError: it breaks the contract of the hooks.
            PluginConflict: its name or scheme is taken.
        """
        for registered in self._plugins:
            if registered.module is module and name in {None, registered.name}:
                return require_ok(self._plugins, [registered]) if registered.info else registered
        plugin_name = name or getattr(module, "name", None) or getattr(module, "__name__", type(module).__name__)
        plugin = Plugin(name=str(plugin_name).rpartition(".")[2], distribution="this program", version="")
        plugin = self._load(plugin, load=lambda: module)
        if plugin.state == "failed":
            self._plugins.remove(plugin)
            raise PluginLoadError(plugin.error, plugin=str(plugin), hook="describe")
        checked = with_conflicts(self._plugins, plugin)
        if checked.state == "conflict":
            self._plugins.remove(plugin)
            self._manager.unregister(module)
            raise PluginConflict(checked.error, plugin=str(plugin), hook="describe")
        return checked

    # -- picking one ---------------------------------------------------------------------------------------------

    def driver(self, scheme: str) -> Plugin:
        """Return the driver that answers a URL scheme.

        Raises:
            PluginNotFound: nobody does; the text lists the schemes that are installed.
            PluginConflict, PluginLoadError: as they say.
        """
        return by_scheme(self._plugins, "driver", scheme)

    def named(self, kind: Kind, name: str) -> Plugin:
        """Return the plugin of a kind by its name.

        Raises:
            PluginNotFound, PluginConflict, PluginLoadError: as they say.
        """
        return by_name(self._plugins, kind, name)

    # -- loading -------------------------------------------------------------------------------------------------

    def _discover(self) -> None:
        blocked = {b.strip() for b in os.environ.get(DISABLE, "").split(",") if b.strip()}
        for point in entry_points(GROUP):
            if point.load is None:
                self._plugins.append(point.plugin(state="failed", error=point.error))
            elif {point.name, f"{point.distribution}:{point.name}"} & blocked:
                text = f"plugin '{point.name}' of {point.distribution} is blocked by {DISABLE} in the environment"
                self._plugins.append(point.plugin(state="blocked", error=text))
            else:
                self._load(point.plugin(), load=point.load)

    def _load(self, plugin: Plugin, *, load: Callable[[], object]) -> Plugin:
        start = time.monotonic()
        try:
            module = load()
            state, info = self._validate(plugin, module)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - SystemExit and worse: a broken plugin breaks only itself
            text = f"{plugin} cannot be loaded: {error if isinstance(error, PluginError) else describe_error(error)}"
            plugin = replace(plugin, state="failed", error=text)
        else:
            plugin = replace(plugin, state=state, info=info, module=module)
        self._plugins.append(plugin := replace(plugin, seconds=time.monotonic() - start))
        return plugin

    def _validate(self, plugin: Plugin, module: object) -> tuple[State, PluginInfo | None]:
        # A manager of its own: check_pending speaks of every plugin in a manager, and this one is on trial alone.
        trial = _Manager()
        try:
            trial.register(module, plugin.name)
            trial.check_pending()
        except pluggy.PluginValidationError as error:
            raise PluginLoadError(" ".join(str(error).split())) from error
        if getattr(module, "__hash__", None) is None:
            raise PluginLoadError("it cannot be hashed, as plugins must be; a dataclass needs eq=False for that")
        hooks = [(c.name, _is_wrapper(i)) for c in trial.get_hookcallers(module) or [] for i in c.get_hookimpls()]
        info = check_description(trial.hook.describe()) if (state := state_by_hooks(hooks)) == "ok" else None
        if any(wraps for _, wraps in hooks) and not self._manager.is_registered(self._relay):
            self._manager.register(self._relay, "the relay")
        # Of one name may be plugins of several kinds; of one kind, `_with_conflicts` says who else claims it.
        self._manager.register(module, f"{plugin.distribution}:{plugin.name}:{id(module):x}")
        return state, info

    def options(self, verbs: Mapping[Verb, Plugin], overrides: Mapping[str, object]) -> dict[Verb, Options]:
        """Share out the caller's options among the plugins that serve a run (``dumpty.registry.options.share``).

        Raises:
            OptionError: unknown, ambiguous, or not of the declared type; the text lists the valid ones.
        """
        return share({verb: (plugin.name, plugin.described) for verb, plugin in verbs.items()}, overrides)

    # -- one typed method per hook -------------------------------------------------------------------------------

    def can(self, plugin: Plugin, hook: str) -> bool:
        """Return whether ``plugin`` implements ``hook``."""
        caller: pluggy.HookCaller = getattr(self._manager.hook, hook)
        return any(i.plugin is plugin.module and not _is_wrapper(i) for i in caller.get_hookimpls())

    def inspect(self, plugin: Plugin, *, source: Source, options: Options) -> Inspection:
        """Call ``inspect``."""
        return self._call(plugin, "inspect", Inspection, source=source, options=options)

    def databases(self, plugin: Plugin, *, source: Source, options: Options) -> tuple[Source, ...]:
        """Call ``databases``."""
        found: object = self._call(plugin, "databases", DatabasesOf(source), source=source, options=options)
        return cast("tuple[Source, ...]", found)

    def backup(self, plugin: Plugin, *, source: Source, sink: Sink, format: str, options: Options) -> Evidence:
        """Call ``backup``."""
        return self._call(plugin, "backup", Evidence, source=source, sink=sink, format=format, options=options)

    def restore(self, plugin: Plugin, *, target: Source, dump: Dump, overwrite: bool, options: Options) -> Evidence:
        """Call ``restore``.

        Raises:
            RestoreNotSupported: the driver implements none.
        """
        if not self.can(plugin, "restore"):
            raise RestoreNotSupported(
                f"{plugin} implements no restore; restore what is stored with the database's own tools",
                plugin=str(plugin),
                hook="restore",
            )
        return self._call(plugin, "restore", Evidence, target=target, dump=dump, overwrite=overwrite, options=options)

    def restore_tables(
        self,
        plugin: Plugin,
        *,
        target: Source,
        dump: Dump,
        tables: Mapping[str, str],
        overwrite: bool,
        options: Options,
    ) -> Evidence:
        """Call ``restore_tables``."""
        arguments = {"target": target, "dump": dump, "tables": tables, "overwrite": overwrite, "options": options}
        return self._call(plugin, "restore_tables", Evidence, **arguments)

    def read_rows(
        self, plugin: Plugin, *, source: Source, table: str, options: Options
    ) -> AbstractContextManager[CheckedRows]:
        """Call ``read_rows``."""
        arguments = {"source": source, "table": table, "options": options}
        return checked_rows(*self._lent(plugin, "read_rows", ("__enter__", "__exit__"), arguments))

    def examine(self, plugin: Plugin, *, dump: Dump, options: Options) -> Evidence:
        """Call ``examine``."""
        return self._call(plugin, "examine", Evidence, dump=dump, options=options)

    def scratch(
        self, plugin: Plugin, *, dump: Dump, on: Source | None, options: Options
    ) -> AbstractContextManager[CheckedScratch]:
        """Call ``scratch``."""
        arguments = {"dump": dump, "on": on, "options": options}
        return checked_scratch(*self._lent(plugin, "scratch", ("__enter__", "__exit__"), arguments))

    def compress(self, plugin: Plugin, *, sink: ByteSink, options: Options, at_once: int = 1) -> Writer:
        """Call ``compress``."""
        arguments = {"sink": sink, "options": options, "at_once": at_once}
        return cast("Writer", self._call(plugin, "compress", ("write", "close"), **arguments))

    def decompress(self, plugin: Plugin, *, stream: Reader, params: Options) -> Reader:
        """Call ``decompress``."""
        return cast("Reader", self._call(plugin, "decompress", ("read", "close"), stream=stream, params=params))

    def encrypt(
        self, plugin: Plugin, *, sink: ByteSink, recipients: Sequence[Recipient], options: Options
    ) -> CheckedWriter:
        """Call ``encrypt``."""
        arguments = {"sink": sink, "recipients": tuple(recipients), "options": options}
        return CheckedWriter(*self._lent(plugin, "encrypt", ("write", "close"), arguments))

    def decrypt(
        self, plugin: Plugin, *, stream: Reader, identities: Sequence[Identity], params: Options
    ) -> CheckedReader:
        """Call ``decrypt``."""
        arguments = {"stream": stream, "identities": tuple(identities), "params": params}
        return CheckedReader(*self._lent(plugin, "decrypt", ("read", "close"), arguments))

    def new_identity(self, plugin: Plugin) -> KeyPair:
        """Call ``new_identity``."""
        return self._call(plugin, "new_identity", KeyPair)

    def verify(self, plugin: Plugin) -> Verifier:
        """Call ``verify``."""
        return CheckedVerifier(*self._lent(plugin, "verify", ("update", "hexdigest"), {}))

    def finished(self, event: Event, secrets: Iterable[str] = ()) -> None:
        """Call ``finished`` of every plugin that implements it, each alone (``dumpty.registry.observers.tell``)."""
        observers = [p for p in self._plugins if p.module is not None and self.can(p, "finished")]
        for plugin in observers:
            others = [p.module for p in observers if p is not plugin]
            caller = self._manager.subset_hook_caller("finished", remove_plugins=others)
            tell(plugin, functools.partial(caller, event=event), secrets)

    def _lent(
        self, plugin: Plugin, hook: str, expected: tuple[str, ...], arguments: Mapping[str, object]
    ) -> tuple[Boundary, Any]:
        """Return an object that a hook lends, and the boundary over which its answers come."""
        lent: object = self._call(plugin, hook, expected, **arguments)
        return Boundary(plugin=plugin, hook=hook, mask=Mask.from_arguments(arguments.values())), lent

    def _call(self, plugin: Plugin, hook: str, expected: type[T] | Expected, **arguments: object) -> T:
        if not self.can(plugin, hook):
            name = str(plugin)
            raise PluginError(
                f"{name} implements no {hook}; is its function marked with @dumpty.hookimpl?", plugin=name, hook=hook
            )
        caller: pluggy.HookCaller = getattr(self._manager.hook, hook)
        implementations = caller.get_hookimpls()  # wrappers behind the others, the outermost last
        serving = {id(i.plugin) for i in implementations if not _is_wrapper(i)}
        modules = list({id(i.plugin): i.plugin for i in implementations}.values())

        def invoke(called: Plugin) -> object:
            kept = (called.module,) if called is plugin else (called.module, self._relay)
            removed = [module for module in modules if not any(module is k for k in kept)]
            return self._manager.subset_hook_caller(hook, remove_plugins=removed)(**arguments)

        wrappers = [self._wrapper(module) for module in modules if id(module) not in serving]
        mask = Mask.from_arguments(arguments.values())
        call = RoutedCall(plugin=plugin, wrappers=wrappers, hook=hook, expected=expected, mask=mask, invoke=invoke)
        return cast("T", call.run())

    def _wrapper(self, module: object) -> Plugin:
        return next(replace(p, state="wrapper") for p in self._plugins if p.module is module)


def default_host() -> Host:
    """Return a host of the installed plugins, shared within the process until the installation changes."""
    global _default  # noqa: PLW0603 - one cache for the process, replaced as a whole
    key = (os.environ.get(DISABLE, ""), path_state())
    if _default is None or _default[0] != key:
        _default = (key, Host())
    return _default[1]


_default: tuple[object, Host] | None = None


def _is_wrapper(impl: pluggy.HookImpl) -> bool:
    return bool(impl.wrapper or impl.hookwrapper)
