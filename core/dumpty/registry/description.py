"""What a plugin may say of itself."""

from __future__ import annotations

from typing import get_args

from dumpty.errors import PluginLoadError
from dumpty.registry.options import RESERVED
from dumpty.types import SUFFIX, Format, Kind, Option, PluginInfo

_RESERVED_SUFFIXES = (".part", ".pending", ".removed", ".manifest.json")


def check_description(info: object) -> None:
    """Check that what ``describe`` returned keeps the contract.

    Raises:
        PluginLoadError: it does not; the text says where.
    """
    if not isinstance(info, PluginInfo):
        raise PluginLoadError(f"describe() returned {type(info).__name__}, not dumpty.PluginInfo")
    for attribute, kind in (("schemes", str), ("formats", Format), ("options", Option)):
        value = getattr(info, attribute)
        if not isinstance(value, tuple) or not all(isinstance(v, kind) for v in value):
            raise PluginLoadError(f"describe() breaks the contract: {attribute} is a tuple of {kind.__name__}")
    names = [o.name for o in info.options]
    reserved = sorted(set(names) & RESERVED)
    suffixes = [f.suffix for f in info.formats] + [info.suffix] * bool(info.suffix)
    problems = {
        f"kind {info.kind!r} is none of {', '.join(get_args(Kind))}": info.kind not in get_args(Kind),
        "a driver declares at least one scheme and one format": (
            info.kind == "driver" and not (info.schemes and info.formats)
        ),
        "a store declares at least one scheme": info.kind == "store" and not info.schemes,
        "a compressor declares a suffix": info.kind == "compressor" and not info.suffix,
        "schemes are lower case": any(s != s.lower() for s in info.schemes),
        f"a suffix is a dot and letters or digits, and none of {', '.join(_RESERVED_SUFFIXES)}": any(
            not SUFFIX.fullmatch(s) or s.lower().endswith(_RESERVED_SUFFIXES) for s in suffixes
        ),
        f"the option name {''.join(reserved[:1])!r} is reserved for the facades": bool(reserved),
        "an option is declared twice": len(set(names)) != len(names),
    }
    for problem, violated in problems.items():
        if violated:
            raise PluginLoadError(f"describe() breaks the contract: {problem}")
