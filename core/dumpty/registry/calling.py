"""One call of a hook: the routed plugin, and around it every hook wrapper, each seen by itself.

Each wrapper is called around what stands in for all that is inside of it, so that what comes out of each, result or
error, is known: it is named where it raises, and where it alters what it was given. A failure stays a failure: a
wrapper may raise another error, but turns none into a result.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from dumpty import hookspecs
from dumpty.errors import DumptyError
from dumpty.process.state import ProcessState
from dumpty.redaction import one_line, redact_exception
from dumpty.registry.plugin import describe_error, plugin_failure
from dumpty.registry.returned import Boundary, Expected, collected
from dumpty.types import Evidence, Inspection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dumpty.registry.masking import Mask
    from dumpty.registry.plugin import Plugin

__all__ = ["Relay", "RoutedCall", "alterations"]

_ALTERED = "altered by the "

_log = logging.getLogger("dumpty")
_inside: contextvars.ContextVar[Callable[[], object]] = contextvars.ContextVar("what a wrapper is called around")


class Relay:
    """A plugin that implements every routed hook by calling what is inside of the wrapper that is called around it."""


@hookspecs.hookimpl
def _relay(self: Relay) -> object:  # noqa: ARG001 - a method
    return _inside.get()()


for _name, _specification in vars(hookspecs).items():
    if hasattr(_specification, "dumpty_spec") and _name != "describe":
        setattr(Relay, _name, _relay)


class RoutedCall(Struct, kw_only=True):
    """One call of ``hook``.

    ``plugin`` is the one that it is routed to, ``wrappers`` are those around it, the innermost first. ``invoke`` calls
    the hook on one of them alone, a wrapper around the relay. ``expected`` is what it is to return
    (``Boundary.check_result``), ``mask`` has the secrets of its arguments.
    """

    plugin: Plugin
    wrappers: Sequence[Plugin]
    hook: str
    expected: Expected
    mask: Mask
    invoke: Callable[[Plugin], object]
    _layers: list[_Layer] = field(default_factory=list)

    def run(self) -> object:
        """Make the call, and return its result, checked and without secrets, altered by whom in its notes.

        Raises:
            PluginError: it failed, or returned what it should not; so do the other errors that a plugin may raise.
        """
        self._layers = [_Layer(routed=self, plugin=plugin) for plugin in (self.plugin, *self.wrappers)]
        call = self._layers[0].call_plugin
        for layer in self._layers[1:]:
            call = layer.around(call)
        try:
            call()
        except BaseException as error:
            failure = self._failure(error)
            if failure is error:
                raise
            raise failure from error
        self._require_nothing_swallowed()
        return self._result()

    def _failure(self, error: BaseException) -> BaseException:
        """Return what to raise for ``error``: named after the innermost layer that it came out of."""
        position = next((n for n, layer in enumerate(self._layers) if layer.error is error), 0)
        failure = plugin_failure(error, self._layers[position].plugin, self.hook)
        if position and isinstance(failure, (DumptyError, SystemExit)):
            name = str(self._layers[position].plugin)
            if isinstance(failure, DumptyError) and name not in one_line(failure):
                _set_text(failure, f"{name} failed in {self.hook}: {one_line(failure)}")
            earlier = next((layer.error for layer in self._layers[:position] if layer.error is not None), None)
            if earlier is not None and isinstance(failure, DumptyError):
                _set_text(failure, f"{one_line(failure)}; before that, {describe_error(earlier)}")
        return failure

    def _require_nothing_swallowed(self) -> None:
        for layer, outer in zip(self._layers, self._layers[1:], strict=False):
            if layer.error is None or outer.error is not None:
                continue
            failure = self._failure(layer.error)
            if isinstance(failure, DumptyError):
                _set_text(failure, f"{one_line(failure)} ({outer.plugin} swallowed this error, which stays one)")
            raise failure from (None if failure is layer.error else layer.error)

    def _result(self) -> object:
        result = self._layers[-1].checked
        altered_by = [
            str(outer.plugin)
            for inner, outer in zip(self._layers, self._layers[1:], strict=False)
            if not _same(inner.checked, outer.checked)
        ]
        if altered_by and isinstance(result, tuple):  # which has no notes, and goes into no manifest
            names = ", ".join(altered_by)
            fields = {"event": "databases-altered", "plugin": names, "hook": self.hook}
            _log.warning("what %s returned was %s%s", self.hook, _ALTERED, names, extra=fields)
        return _with_notes(result, tuple(_ALTERED + name for name in altered_by))


class _Layer(Struct, kw_only=True):
    """The routed plugin or one wrapper, and what came out of it: ``checked``, a copy without secrets, or ``error``."""

    routed: RoutedCall
    plugin: Plugin
    checked: object = None
    error: BaseException | None = None

    def around(self, inside: Callable[[], object]) -> Callable[[], object]:
        """Return the call of this wrapper around ``inside``."""

        def call() -> object:
            token = _inside.set(inside)
            try:
                return self.call_plugin()
            finally:
                _inside.reset(token)

        return call

    def call_plugin(self) -> object:
        """Call this plugin's hook, and keep what comes out."""
        routed = self.routed
        try:
            with self._leaving_the_process_as_it_was():
                result = collected(routed.invoke(self.plugin), routed.expected)
            # Checked where it comes out, so that wrappers farther out see a failure as one; and copied, so that what a
            # wrapper does to a mapping in it is seen.
            Boundary(plugin=self.plugin, hook=routed.hook, mask=routed.mask).check_result(result, routed.expected)
            self.checked = routed.mask.masked(result)
        except BaseException as error:
            redact_exception(error, routed.mask.secrets)
            self.error = error
            raise
        return result

    @contextlib.contextmanager
    def _leaving_the_process_as_it_was(self) -> Iterator[None]:
        """See that the block leaves working directory, umask, environment and signal handlers, or put them back.

        Who left them altered is named in a warning.

        A relative path would lead elsewhere afterwards, a file be anybody's to read, a password be every child's. Once
        they are back nothing is lost, and what the hook did is done: a target may have been replaced. So it is no
        failure. It may not be the plugin's doing either: libraries set variables when they are first imported, and a
        caller's progress callback, or the handler of a signal, may have come up within the block.

        Nobody is accused of what another thread may have done: only signal handlers are this thread's alone to set,
        and the rest is looked at only where, when the block begins, the program has no other thread. Threads and child
        processes that are left are not looked for, since those of concurrent calls look the same; the conformance suite
        finds them.
        """
        shared = not ProcessState.has_one_user()
        before = ProcessState.observe()
        try:
            yield
        except BaseException:
            # Where it was interrupted, the program may have set handlers for what comes next; they are left alone.
            self._put_back(replace(before, handlers={}), shared=shared)
            raise
        self._put_back(before, shared=shared)

    def _put_back(self, before: ProcessState, *, shared: bool) -> None:
        changed = ProcessState.observe().changes(before, shared=shared)
        if not changed:
            return
        problems = before.put_back(shared=shared)
        outcome = f"could not be put back ({'; '.join(problems)})" if problems else "was put back"
        name, hook = str(self.plugin), self.routed.hook
        fields = {"event": "process-altered", "plugin": name, "hook": hook}
        level = logging.ERROR if problems else logging.WARNING
        _log.log(level, "%s left altered after %s: %s; it %s", name, hook, ", ".join(changed), outcome, extra=fields)


def alterations(inspection: Inspection) -> tuple[str, ...]:
    """Return of an inspection's notes those that name the wrappers that altered it."""
    return tuple(note for note in inspection.notes if note.startswith(_ALTERED))


def _same(before: object, after: object) -> bool:
    # Of what is no record, a wrapper may well hand out another that watches it.
    return not isinstance(after, (Evidence, Inspection, tuple)) or before == after


def _with_notes(result: object, notes: tuple[str, ...]) -> object:
    if not notes:
        return result
    if isinstance(result, Evidence):
        return replace(result, notes=(*result.notes, *notes))
    if isinstance(result, Inspection):
        evidence = result.evidence and replace(result.evidence, notes=(*result.evidence.notes, *notes))
        return replace(result, notes=(*result.notes, *notes), evidence=evidence)
    return result


def _set_text(error: DumptyError, text: str) -> None:
    error.args = (text,)
    if isinstance(error, OSError):  # whose text is made of these where they are set
        for name in ("errno", "strerror", "filename"):
            with contextlib.suppress(AttributeError):
                delattr(error, name)
