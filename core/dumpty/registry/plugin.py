"""One plugin: where it comes from, the state it is in, and what its failures are called."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from dumpty.errors import (
    DependencyError,
    DumptyError,
    OptionError,
    PluginError,
    PluginLoadError,
    RestoreNotSupported,
)
from dumpty.redaction import one_line
from dumpty.registry.suggestions import did_you_mean

if TYPE_CHECKING:
    from dumpty.types import Format, PluginInfo

State = Literal["ok", "failed", "blocked", "conflict", "wrapper", "observer"]

_RESTORES = frozenset({"restore", "restore_tables"})

AUTO = "auto"
"""Asked for as a format, which no driver may declare: the one that suits."""

WATCHING: tuple[State, ...] = ("wrapper", "observer")
"""States of plugins that serve nothing."""


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """One plugin, loaded or not.

    ``state``: ok; failed (``error`` says why); blocked by the environment; in conflict with another claimant of its
    name or scheme; or wrapper or observer, which have no kind of their own: one sees calls and may alter them, the
    other is told of events alone. ``seconds`` is how long it took to load.
    """

    name: str
    distribution: str
    version: str
    state: State = "ok"
    info: PluginInfo | None = None
    error: str = ""
    module: object = None
    seconds: float = field(default=0.0, compare=False)

    def __str__(self) -> str:
        role = "wrapper" if self.state == "wrapper" else "plugin"
        return f"{role} '{self.name}' of {self.distribution} {self.version}".rstrip()

    @property
    def kind(self) -> str:
        """Its kind, or "" where it was not loaded."""
        return self.info.kind if self.info else ""

    @property
    def described(self) -> PluginInfo:
        """What it says of itself; only for plugins in state ok."""
        if self.info is None:
            raise PluginLoadError(f"{self} is not loaded", plugin=str(self), hook="describe")
        return self.info

    def format(self, name: str | None) -> Format:
        """Return the format called ``name``; None is the first one.

        Raises:
            OptionError: this driver has no such format.
        """
        formats = self.described.formats
        for candidate in formats:
            if name is None or candidate.name == name:
                return candidate
        names = [f.name for f in formats]
        raise OptionError(
            f"{self} has no format {name!r}; its formats: {', '.join(names) or 'none declared'}."
            + did_you_mean(str(name), names)
        )

    def formats(self, name: str | None) -> tuple[Format, ...]:
        """Return what to write a backup in, where ``name`` was asked for: the first that it can be written in.

        ``AUTO`` leaves it to the driver: one of several parts, where it has any, and the one that is called ``native``,
        or else its first. All but directories, of which no backup is made, and those that are not automatic.

        Raises:
            OptionError: this driver has no such format.
        """
        if name != AUTO:
            return (self.format(name),)
        possible = [f for f in self.described.formats if not f.directory]
        of_databases = [f for f in possible if not f.server and f.automatic]
        in_parts = [f for f in of_databases if f.parts]
        streams = [f for f in of_databases if not f.parts]
        native = [f for f in streams if f.name == "native"] or streams
        return (*in_parts[:1], *native[:1]) or tuple(possible[:1]) or (self.format(None),)


def plugin_failure(error: BaseException, plugin: Plugin, hook: str) -> BaseException:
    """Return what to raise for ``error`` out of a plugin's hook: itself, where it says enough."""
    name = str(plugin)
    if isinstance(error, PluginError):
        error.plugin, error.hook = error.plugin or name, error.hook or hook
    if isinstance(error, (DumptyError, KeyboardInterrupt)) or (
        isinstance(error, SystemExit) and _raised_by_signal_handler(error)
    ):
        return error
    if isinstance(error, SystemExit):
        # Still a SystemExit, which callers are promised; but one that names its plugin, and never status 0.
        return SystemExit(f"{name} called sys.exit({error.code!r}) in {hook}: taken as a failure")
    if isinstance(error, ImportError):
        requires = plugin.info.requires if plugin.info else ""
        advice = f'pip install "{requires}"' if requires else "install what it names"
        return DependencyError(f"{name} lacks a library ({describe_error(error)}): {advice}")
    if isinstance(error, NotImplementedError):
        refusal = RestoreNotSupported if hook in _RESTORES and plugin.state != "wrapper" else PluginError
        return refusal(f"{name} does not support {hook}: {describe_error(error)}", plugin=name, hook=hook)
    # BaseException, too: asyncio's CancelledError and its like are no Exception, and no success either.
    return PluginError(f"{name} failed in {hook}: {describe_error(error)}", plugin=name, hook=hook)


def _raised_by_signal_handler(error: SystemExit) -> bool:
    """Return whether a signal handler of the program, and no plugin, asks it to end."""
    installed = (signal.getsignal(number) for number in signal.valid_signals())
    codes = {getattr(handler, "__code__", None) for handler in installed} - {None}
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code in codes:
            return True
        trace = trace.tb_next
    return False


def describe_error(error: BaseException) -> str:
    """Return an error as one line: its class and what it says."""
    kind, text = type(error).__name__, one_line(error)
    return kind if text == kind else f"{kind}: {text}"
