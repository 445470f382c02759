"""``dumpty.toml``: where it is found, and read strictly, each mistake with its line."""

from __future__ import annotations

import functools
import os
import re
import stat
import tomllib
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct

from dumpty.errors import ConfigurationError
from dumpty.jobs.document import Defaults, Document, Job, Limits
from dumpty.registry.suggestions import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["FILE_NAME", "ConfigFile", "find", "places", "read"]

FILE_NAME = "dumpty.toml"
_LIMIT = 1024 * 1024
_ONLY_OTHERS_WRITE = stat.S_IWOTH
T = TypeVar("T")


class ConfigFile(NamedTuple):
    """A configuration file that was read: ``path`` as it was found, its content, and since when it is so (aware)."""

    path: str
    text: str
    modified: datetime
    readable_by_others: bool = False

    def problem(self, keys: Sequence[str], text: str) -> str:
        """Return the sentence that says what is wrong with the value of ``keys``, and in which line it is."""
        line = _line_of(self.text, keys)
        where = f"{self.path}:{line}" if line else self.path
        return f"{where}: {'.'.join(keys)}: {text}" if keys else f"{where}: {text}"


def places() -> list[str]:
    """Return where a configuration file is looked for, where none is named; the first that is there counts."""
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    return [FILE_NAME, os.path.join(home, "dumpty", FILE_NAME), os.path.join("/etc/dumpty", FILE_NAME)]


def find(path: str | None) -> str:
    """Return the configuration file to use: the one named, else ``$DUMPTY_CONFIG``, else the first that is there.

    Raises:
        ConfigurationError: there is none.
    """
    named = path or os.environ.get("DUMPTY_CONFIG")
    if named:
        return named
    for candidate in places():
        if os.path.lexists(candidate):
            return candidate
    raise ConfigurationError(
        f"there is no configuration file: none is named by --config or DUMPTY_CONFIG, and there is none at "
        f"{', '.join(places())}; dumpty config init writes one"
    )


def read(path: str) -> tuple[ConfigFile, Document]:
    """Read a configuration file.

    Raises:
        ConfigurationError: it cannot be read, or is not what it should be; ``problems`` has every mistake.
    """
    file = _read_file(path)
    try:
        content = tomllib.loads(file.text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path} is no TOML: {error}") from None
    problems = [*_unknown_keys(file, content, Document, ()), *_values_of_no_type(file, content)]
    if problems:
        raise ConfigurationError(problems)
    defaults = _convert(file, content.get("defaults", {}), Defaults, ("defaults",), problems)
    limits = _convert(file, content.get("run", {}), Limits, ("run",), problems)
    jobs: dict[str, Job] = {}
    for name, table in content.get("jobs", {}).items():
        job = _convert(file, table, Job, ("jobs", name), problems)
        if job is not None:
            jobs[name] = job
    if problems or defaults is None or limits is None:
        raise ConfigurationError(problems)
    return file, Document(defaults=defaults, run=limits, jobs=jobs)


def _read_file(path: str) -> ConfigFile:
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ConfigurationError(f"the configuration {path} is no regular file")
            data = stream.read(_LIMIT + 1)
    except OSError as error:
        raise ConfigurationError(f"cannot read the configuration {path}: {error.strerror or error}") from None
    # It says what to run (cmd:), and where backups go: whoever can write it can do both as whoever runs dumpty.
    if status.st_uid not in {0, os.geteuid()}:
        raise ConfigurationError(f"the configuration {path} belongs to another user: it is not used; chown it")
    if status.st_mode & _ONLY_OTHERS_WRITE:
        raise ConfigurationError(f"the configuration {path} can be written by everybody: it is not used; chmod o-w it")
    if len(data) > _LIMIT:
        raise ConfigurationError(f"the configuration {path} is longer than {_LIMIT // 1024} KiB")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise ConfigurationError(f"the configuration {path} is not UTF-8 text") from None
    modified = datetime.fromtimestamp(status.st_mtime, UTC)
    return ConfigFile(path, text.removeprefix("\ufeff"), modified, bool(status.st_mode & stat.S_IROTH))


def _values_of_no_type(file: ConfigFile, content: Mapping[str, Any]) -> Iterator[str]:
    """Yield a problem for each table that is no table: what holds it cannot be looked into."""
    for key in ("defaults", "run", "jobs"):
        if not isinstance(content.get(key, {}), dict):
            yield file.problem((key,), f"is a table: write [{key}]")
    jobs = content.get("jobs", {})
    for name, table in jobs.items() if isinstance(jobs, dict) else ():
        if not isinstance(table, dict):
            yield file.problem(("jobs", name), f"is a table: write [jobs.{name}]")


def _unknown_keys(file: ConfigFile, value: Any, kind: Any, keys: tuple[str, ...]) -> Iterator[str]:
    """Yield a problem for each key that the tables in ``value``, which is to be of ``kind``, do not have."""
    if isinstance(value, dict):
        tables = [option for option in _options(kind) if isinstance(option, type) and issubclass(option, Struct)]
        for table in tables[:1]:
            hints = get_type_hints(table)
            for key, entry in value.items():
                if key not in hints:
                    known = did_you_mean(key, hints) or f" It has {', '.join(sorted(hints))}."
                    yield file.problem((*keys, key), f"there is no such key.{known}")
                else:
                    yield from _unknown_keys(file, entry, hints[key], (*keys, key))
        for mapping in (option for option in _options(kind) if get_origin(option) is dict):
            for key, entry in value.items():
                yield from _unknown_keys(file, entry, get_args(mapping)[1], (*keys, key))
    elif isinstance(value, list):
        for sequence in (option for option in _options(kind) if get_origin(option) is list):
            for entry in value:
                yield from _unknown_keys(file, entry, get_args(sequence)[0], keys)


def _options(kind: Any) -> list[Any]:
    """Return the types that a union is made of."""
    import types

    if get_origin(kind) in {Union, types.UnionType}:
        return [option for member in get_args(kind) for option in _options(member)]
    return [kind]


_AT = re.compile(r"(?s)(?P<what>.*?)(?: - at `\$(?P<path>[^`]*)`)?")
_NAMES = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
}


# Made with the module, by one thread: several that met a type for the first time at once would crash msgspec 0.22.
_DECODERS = tuple(msgspec.json.Decoder(kind) for kind in (Defaults, Limits, Job))


def _convert(file: ConfigFile, value: Any, kind: type[T], keys: tuple[str, ...], problems: list[str]) -> T | None:
    try:
        return msgspec.convert(_without_dates(value), kind)
    except msgspec.ValidationError as error:
        match = _AT.fullmatch(str(error))
        path = re.findall(r"[A-Za-z_]\w*", (match["path"] or "") if match else "")
        problems.append(file.problem((*keys, *path), _explained(match["what"] if match else str(error))))
    return None


def _without_dates(value: Any) -> Any:
    """Return a value in which TOML's dates and times, of which nothing is one here, are shown as what they are."""
    if isinstance(value, dict):
        return {key: _without_dates(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_without_dates(entry) for entry in value]
    if isinstance(value, (date, time)):
        return [f"the date {value}"]  # a list in a list is of no type here, and no text
    return value


def _explained(text: str) -> str:
    """Return what msgspec says of a value, in the words of whoever wrote the file."""
    match = re.fullmatch(r"Expected `(?P<wanted>[^`]*)`(?:, got `(?P<found>[^`]*)`)?(?P<rest>.*)", text)
    if match is None:
        if text.startswith("Invalid enum value"):
            return "is none of the values that it can have; see dumpty help configuration"
        missing = re.fullmatch(r"Object missing required field `(?P<name>\w+)`", text)
        return f"the key {missing['name']} is missing" if missing else text[:1].lower() + text[1:]
    wanted = " or ".join(_NAMES.get(name, name) for name in match["wanted"].split(" | ") if name != "null")
    found = f", and is {_NAMES.get(match['found'], match['found'])}" if match["found"] else ""
    return f"must be {wanted}{match['rest']}{found}"


@functools.lru_cache(maxsize=4)
def _lines_of(text: str) -> dict[tuple[str, ...], int]:
    """Return the line in which the statement begins that gives a key its value, by the key with its tables.

    ``tomllib`` tells no lines, so it reads statement by statement: one ends where its lines are TOML by themselves.
    """
    lines: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    statement, start = "", 1
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        statement, start = (statement, start) if statement else ("", number)
        statement += line
        try:
            content = tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            continue
        if statement.lstrip().startswith("["):
            table = _only_path(content)
            lines.setdefault(table, start)
        else:
            for keys in _paths(content):
                lines.setdefault((*table, *keys), start)
        statement = ""
    return lines


def _only_path(content: Any) -> tuple[str, ...]:
    """Return the keys of a table's header, which has nothing else in it."""
    keys: list[str] = []
    while content:
        content = content[0] if isinstance(content, list) else content
        [(key, content)] = content.items() if content else [("", None)]
        keys.append(key)
    return tuple(keys)


def _paths(content: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for key, value in content.items():
        yield (key,)
        if isinstance(value, dict):
            yield from ((key, *rest) for rest in _paths(value))


def _line_of(text: str, keys: Sequence[str]) -> int | None:
    """Return the line of a key, or else of the table that it would be in; None where there is neither."""
    lines = _lines_of(text)
    return next((lines[tuple(keys[:end])] for end in range(len(keys), 0, -1) if tuple(keys[:end]) in lines), None)
