"""Options: shared out among the plugins of one run, completed with defaults, coerced to their declared types."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from dumpty.errors import OptionError
from dumpty.registry.suggestions import did_you_mean

if TYPE_CHECKING:
    from dumpty.types import Option, Options, OptionValue, PluginInfo, Verb

RESERVED = frozenset(
    {
        *("format", "overwrite", "create", "other", "progress", "cancel", "rate_limit", "encrypt_to", "identities"),
        *("sign_with", "require_signature", "tags", "shrink_guard", "recipients", "name", "database_url", "backup_dir"),
        *("via", "once", "tables"),
    }
)
"""Option names that would shadow the facades' own keywords."""


def share(plugins: Mapping[Verb, tuple[str, PluginInfo]], overrides: Mapping[str, object]) -> dict[Verb, Options]:
    """Return for each verb the options of the plugin that serves it.

    In ``overrides``, ``name`` goes to the one plugin that declares it, ``plugin.name`` to that plugin.

    Raises:
        OptionError: unknown, ambiguous, or not of the declared type; the text lists the valid ones.
    """
    declared = {
        (verb, option.name): option
        for verb, (_, info) in plugins.items()
        for option in info.options
        if verb in option.verbs
    }
    values: dict[Verb, dict[str, OptionValue]] = {verb: {} for verb in plugins}
    for (verb, name), option in declared.items():
        values[verb][name] = option.default
    for key, value in overrides.items():
        prefix, dot, name = key.rpartition(".")
        receivers = [
            (verb, option)
            for (verb, option_name), option in declared.items()
            if option_name == name and (not dot or plugins[verb][0] == prefix)
        ]
        if not receivers:
            valid = ", ".join(sorted({f"{o.name} ({plugins[v][0]})" for (v, _), o in declared.items()}))
            close = did_you_mean(name, {o.name for o in declared.values()})
            raise OptionError(f"unknown option {key!r}; valid here: {valid or 'none'}.{close}")
        if len({plugins[verb][0] for verb, _ in receivers}) > 1:
            ways = ", ".join(sorted(f"{plugins[verb][0]}.{name}" for verb, _ in receivers))
            raise OptionError(f"the option {key!r} is ambiguous; write one of: {ways}")
        for verb, option in receivers:
            values[verb][name] = coerce(option, value)
    return {verb: MappingProxyType(verb_options) for verb, verb_options in values.items()}


_TRUE, _FALSE = frozenset({"1", "true", "yes", "on"}), frozenset({"0", "false", "no", "off"})


def coerce(option: Option, value: object) -> OptionValue:
    """Return ``value`` as the type of the option's default.

    Raises:
        OptionError: it is not of that type, or none of the choices.
    """
    kind = type(option.default)
    result: object = value
    try:
        if kind is bool and isinstance(value, str):
            result = {**dict.fromkeys(_TRUE, True), **dict.fromkeys(_FALSE, False)}[value.strip().lower()]
        elif kind is list and isinstance(value, str):
            result = [part.strip() for part in value.split(",") if part.strip()]
        elif kind is list and isinstance(value, Iterable):
            result = [str(v) for v in value]
        elif kind in (int, float) and isinstance(value, (str, int, float)) and not isinstance(value, bool):
            result = kind(value)
            # A value that is no number, or endless, has no place in a manifest.
            if (isinstance(value, float) and result != value) or (kind is float and not math.isfinite(result)):
                raise ValueError(value)
    except (KeyError, ValueError, OverflowError):
        result = None
    if type(result) is not kind:
        raise OptionError(f"the option {option.name} takes a value of type {kind.__name__}, not {value!r}")
    if option.choices and result not in option.choices:
        raise OptionError(f"the option {option.name} takes one of {', '.join(map(str, option.choices))}, not {value!r}")
    return result
