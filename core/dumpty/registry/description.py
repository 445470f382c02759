"""What a plugin may say of itself."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, get_args

from dumpty.errors import PluginLoadError
from dumpty.registry.options import RESERVED
from dumpty.registry.picking import ANY
from dumpty.registry.plugin import AUTO
from dumpty.types import SUFFIX, Addressing, Format, Kind, Option, PluginInfo, Verb

if TYPE_CHECKING:
    from collections.abc import Collection

    from dumpty.registry.plugin import State

_MAX_PORT = 65535
_RESERVED_SUFFIXES = (".part", ".pending", ".removed", ".manifest.json")


def is_suffix(text: str) -> bool:
    """Return whether a stored name may end so."""
    return SUFFIX.fullmatch(text) is not None and not text.lower().endswith(_RESERVED_SUFFIXES)


def state_by_hooks(hooks: Collection[tuple[str, bool]]) -> State:
    """Return what a plugin is by the hooks that it implements, each with whether it only wraps them.

    Raises:
        PluginLoadError: it is nothing.
    """
    if not hooks:
        raise PluginLoadError("it implements no hook; mark its functions with @dumpty.hookimpl")
    if ("finished", True) in hooks:
        raise PluginLoadError("finished() is an event, which nobody wraps: implement it without wrapper=True")
    if ("describe", False) in hooks:
        return "ok"
    if not all(wraps or name == "finished" for name, wraps in hooks):
        raise PluginLoadError("it implements hooks but not describe(), so nothing says what it is")
    return "wrapper" if any(wraps for _, wraps in hooks) else "observer"


def check_description(info: object) -> PluginInfo:
    """Return what ``describe`` returned, if it keeps the contract.

    Raises:
        PluginLoadError: it does not; the text says where.
    """
    if not isinstance(info, PluginInfo):
        raise PluginLoadError(f"describe() returned {type(info).__name__}, not dumpty.PluginInfo")
    _check_texts("", info, ("summary", "suffix", "requires"))
    for attribute, kind in (("schemes", str), ("formats", Format), ("options", Option)):
        value = getattr(info, attribute)
        if not isinstance(value, tuple) or not all(isinstance(v, kind) for v in value):
            raise PluginLoadError(f"describe() breaks the contract: {attribute} is a tuple of {kind.__name__}")
    for dump_format in info.formats:
        _check_format(dump_format)
    for option in info.options:
        _check_option(option)
    for dump_format in info.formats:
        _check_options_of(dump_format, info.options)
    names = [o.name for o in info.options]
    reserved = sorted(set(names) & RESERVED)
    suffixes = [f.suffix for f in info.formats] + [info.suffix] * bool(info.suffix)
    problems = {
        f"kind {info.kind!r} is none of {', '.join(get_args(Kind))}": info.kind not in get_args(Kind),
        "a driver declares at least one scheme and one format": (
            info.kind == "driver" and not (info.schemes and info.formats)
        ),
        f"a {info.kind} declares at least one scheme": info.kind in {"store", "notifier", "transport"}
        and not info.schemes,
        "a compressor declares a suffix": info.kind == "compressor" and not info.suffix,
        "a cipher writes age files, whose suffix is .age": info.kind == "cipher" and info.suffix != ".age",
        "files is True or False": not isinstance(info.files, bool),
        "addressing is a dumpty.Addressing, its port a number from 1 to 65535": not _is_addressing(info.addressing),
        "a scheme is not empty": not all(info.schemes),
        "a format is declared twice": len({f.name for f in info.formats}) != len(info.formats),
        "the scheme * is for notifiers": info.kind != "notifier" and ANY in info.schemes,
        "schemes are lower case": any(s != s.lower() for s in info.schemes),
        f"a suffix is a dot and letters or digits, and none of {', '.join(_RESERVED_SUFFIXES)}": any(
            not is_suffix(s) for s in suffixes
        ),
        f"the option name {''.join(reserved[:1])!r} is reserved for the facades": bool(reserved),
        "an option is declared twice": len(set(names)) != len(names),
    }
    for problem, violated in problems.items():
        if violated:
            raise PluginLoadError(f"describe() breaks the contract: {problem}")
    return info


def _is_addressing(value: object) -> bool:
    if value is None:
        return True
    return isinstance(value, Addressing) and type(value.port) is int and 0 < value.port <= _MAX_PORT


def _check_format(dump_format: Format) -> None:
    label = f"format {dump_format.name!r}"
    _check_texts(label, dump_format, ("name", "suffix", "help", "sensitive"))
    if not dump_format.name:
        raise PluginLoadError("describe() breaks the contract: a format has a name")
    if dump_format.name == AUTO:
        raise PluginLoadError(f"describe() breaks the contract: {AUTO} is no format, but stands for the one that suits")
    for attribute in ("directory", "parts", "server"):
        if not isinstance(getattr(dump_format, attribute), bool):
            raise PluginLoadError(f"describe() breaks the contract: {attribute} of {label} is True or False")
    if dump_format.directory and dump_format.parts:
        raise PluginLoadError(f"describe() breaks the contract: {label} is a directory, or written in parts, not both")


def _check_options_of(dump_format: Format, options: tuple[Option, ...]) -> None:
    """Check that the options are declared by which core deals with a format of a server, or with secrets in it."""
    label, name = f"format {dump_format.name!r}", dump_format.sensitive
    subject = any(o.name == "server" and "inspect" in o.verbs and o.default is False for o in options)
    choices = {c for o in options if o.name == name and "backup" in o.verbs and o.default == "on" for c in o.choices}
    problems = {
        f"{label} is of a whole server: declare the option server for inspect, whose default is False": (
            dump_format.server and not subject
        ),
        f"{label} names {name!r} for what is sensitive: declare that option for backup, one of on (its default), off "
        "and plain": bool(name) and choices != {"on", "off", "plain"},
    }
    for problem, violated in problems.items():
        if violated:
            raise PluginLoadError(f"describe() breaks the contract: {problem}")


def _check_option(option: Option) -> None:
    label = f"option {option.name!r}"
    _check_texts(label, option, ("name", "help"))
    kind = type(option.default)
    finite = kind is not float or math.isfinite(option.default)  # type: ignore[arg-type]
    listed = kind is not list or all(isinstance(item, str) for item in option.default)  # type: ignore[union-attr]
    problems = {
        "an option has a name": not option.name,
        f"default of {label} is a str, int, float, bool or list of str": (
            kind not in {str, int, float, bool, list} or not finite or not listed
        ),
        f"verbs of {label} is a tuple of {', '.join(get_args(Verb))}": (
            not isinstance(option.verbs, tuple) or not all(verb in get_args(Verb) for verb in option.verbs)
        ),
        f"choices of {label} is a tuple of values of the type of its default": (
            not isinstance(option.choices, tuple) or not all(type(choice) is kind for choice in option.choices)
        ),
    }
    for problem, violated in problems.items():
        if violated:
            raise PluginLoadError(f"describe() breaks the contract: {problem}")


def _check_texts(label: str, holder: object, attributes: tuple[str, ...]) -> None:
    for attribute in attributes:
        value = getattr(holder, attribute)
        if not isinstance(value, str):
            whose = f" of {label}" if label else ""
            raise PluginLoadError(
                f"describe() breaks the contract: {attribute}{whose} is a str, not {type(value).__name__}"
            )
