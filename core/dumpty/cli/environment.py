"""What is installed on this machine: libraries that plugins need, and the databases' own programs."""

from __future__ import annotations

import glob
import importlib.util
import os
import re
import shutil
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from dumpty.distribution_metadata import metadata_field, metadata_fields
from dumpty.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dumpty.registry.plugin import Plugin

__all__ = ["Client", "Library", "clients", "libraries", "missing"]

PROGRAMS = {
    "sqlite3": "apt-get install sqlite3",
    "pg_dump": "apt-get install postgresql-client",
    "pg_restore": "apt-get install postgresql-client",
    "psql": "apt-get install postgresql-client",
    "mariadb-dump": "apt-get install mariadb-client",
    "mariadb": "apt-get install mariadb-client",
}
"""Clients by name, and how Debian installs them."""

_OTHER_DIRECTORIES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin")
_SECONDS = 10.0


class Library(NamedTuple):
    """A distribution that plugins need; ``version`` is None where it is not installed, ``install`` brings it."""

    name: str
    version: str | None
    needed_by: str
    install: str


class Client(NamedTuple):
    """A program of a database; ``path`` is "" where there is none, ``version`` what it says of itself."""

    name: str
    path: str
    version: str
    install: str


def libraries(plugins: Iterable[Plugin]) -> list[Library]:
    """Return the libraries that the loaded plugins say they need."""
    by_name: dict[str, Library] = {}
    for plugin in plugins:
        requirement = plugin.info.requires if plugin.info else ""
        for name in _distributions(requirement):
            needed_by = f"{by_name[name].needed_by}, {plugin.name}" if name in by_name else plugin.name
            install = f'pip install "{requirement}"'
            by_name[name] = Library(name=name, version=_version(name), needed_by=needed_by, install=install)
    return sorted(by_name.values(), key=lambda library: library.name)


def missing(plugin: Plugin) -> str:
    """Return what a loaded plugin lacks to work, and what brings it: "" where it lacks nothing."""
    requirement = plugin.info.requires if plugin.info and plugin.state == "ok" else ""
    names = [name for name in _distributions(requirement) if _version(name) is None]
    return f'lacks {", ".join(names)}: pip install "{requirement}"' if names else ""


_REQUIREMENT = re.compile(r"\s*(?P<name>[A-Za-z0-9][\w.-]*)\s*(?:\[(?P<extras>[^]]*)\])?")
_EXTRA = re.compile(r"extra\s*==\s*['\"](?P<extra>[^'\"]+)['\"]")
_PYTHON_BELOW = re.compile(r"python_version\s*<\s*['\"](?P<major>\d+)\.(?P<minor>\d+)['\"]")


def _distributions(requirement: str) -> Iterator[str]:
    """Yield the distributions behind a requirement: behind ``dumpty[postgres]`` those of that extra."""
    match = _REQUIREMENT.match(requirement)
    if match is None:
        return
    if not match["extras"]:
        yield match["name"]
        return
    extras = {e.strip() for e in match["extras"].split(",")}
    distribution = _distribution(match["name"])
    if distribution is None:
        yield match["name"]
        return
    for line in metadata_fields(distribution.read_text, "Requires-Dist") or distribution.requires or ():
        extra, marker, name = _EXTRA.search(line), _PYTHON_BELOW.search(line), _REQUIREMENT.match(line)
        if extra is None or name is None or extra["extra"] not in extras:
            continue
        if marker is None or sys.version_info[:2] < (int(marker["major"]), int(marker["minor"])):
            yield name["name"]


def _version(name: str) -> str | None:
    for candidate in (name, name.removesuffix("-binary")):  # psycopg2 built from source serves as well
        distribution = _distribution(candidate)
        if distribution is not None and _is_whole(distribution):
            return metadata_field(distribution.read_text, "Version") or None
    return None


def _distribution(name: str) -> Any:
    """Return what is known of an installed distribution; None where it is not there."""
    import importlib_metadata

    try:
        return importlib_metadata.distribution(name)
    except importlib_metadata.PackageNotFoundError:
        return None


def _is_whole(distribution: Any) -> bool:
    """Return whether something of a distribution is there: some, as azure-identity, name more than they bring."""
    modules = _modules(distribution)
    return not modules or any(map(_is_importable, modules))


def _modules(distribution: Any) -> set[str]:
    """Return the modules that a distribution brings, as far as it says."""
    top_level = distribution.read_text("top_level.txt")
    if top_level:
        return set(top_level.split())
    return {f.parts[0] for f in distribution.files or () if len(f.parts) == 2 and f.name == "__init__.py"}  # noqa: PLR2004


def _is_importable(module: str) -> bool:
    """Return whether Python finds a module, which it does not where its files are gone and only its record is left."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


_VERSION = re.compile(r"(?s)(?:.*\bDistrib (?P<distrib>[^\s,]+))|(?:.*?\b(?P<first>\d+\.\d[\w.+~-]*))")


def clients() -> list[Client]:
    """Return the databases' programs, each where it was found, or once where it was not."""
    programs = []
    for name, install in PROGRAMS.items():
        paths = list(_paths(name))
        programs += [Client(name=name, path=p, version=_version_line(p), install=install) for p in paths]
        if not paths:
            programs.append(Client(name=name, path="", version="", install=install))
    return programs


def _paths(name: str) -> Iterator[str]:
    configured = os.environ.get("DUMPTY_PG_BINDIR", "").split(os.pathsep)
    elsewhere = [folder for pattern in _OTHER_DIRECTORIES for folder in sorted(glob.glob(pattern))]
    resolved = set()
    for folder in (None, *filter(None, configured), *elsewhere):
        path = shutil.which(name, path=folder)
        if path is not None and os.path.realpath(path) not in resolved:
            resolved.add(os.path.realpath(path))
            yield path


def _version_line(path: str) -> str:
    from dumpty.process import run

    try:
        output = run([path, "--version"], timeout=_SECONDS).strip()
    except CommandError as error:
        return f"does not run: {error}"
    match = _VERSION.search(output)
    return (match["distrib"] or match["first"]) if match else output.partition("\n")[0]
