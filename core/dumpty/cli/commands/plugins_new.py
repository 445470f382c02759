"""``dumpty plugins new``: a package for a plugin, complete and working, to begin from."""

from __future__ import annotations

import os
import re
from datetime import UTC
from pathlib import Path
from typing import Annotated

import typer

from dumpty.cli.arguments import Json, Kind, Quiet  # noqa: TC001 - typer reads annotations at run time
from dumpty.cli.output import Line, Report
from dumpty.cli.status import UsageError
from dumpty.errors import DumptyError

EXAMPLES = """
dumpty plugins new newdb --kind driver
dumpty plugins new newdb --kind driver --programs
dumpty plugins new lz4 --kind compressor --dir ~/src
"""

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST = 60
_SUMMARIES: dict[str, str] = {
    "driver": "Backs up files of JSON lines.",
    "programs": "Backs up directories of files with tar.",
    "compressor": "Compresses backups with xz.",
    "cipher": "Encrypts backups as age files.",
    "verifier": "Keeps BLAKE2b digests of backups.",
    "store": "Keeps backups in a local directory.",
    "notifier": "Appends what is told of backups to a file of JSON lines.",
    "transport": "Reaches databases in another root directory.",
}
_DEPENDENCIES: dict[str, str] = {"cipher": '\n  "pyrage>=1.2,<2",  # the age format'}
_PROGRAMS = "programs"
"""The folder of the skeleton for drivers that call external programs."""

# Where each file of the skeleton goes. Their names end in .txt there, so that no tool takes them for its own.
_FILES = {
    "pyproject.toml": "every/pyproject.toml",
    "README.md": "every/README.md",
    "LICENSE": "every/LICENSE",
    ".gitignore": "every/gitignore",
    ".github/workflows/test.yml": "every/test.yml",
    "src/dumpty_{module}/__init__.py": "{folder}/plugin.py",
    "src/dumpty_{module}/py.typed": "every/py.typed",
    "tests/test_{module}.py": "{folder}/test.py",
}
_DRIVERS_FILES = {"tests/databases.py": "{folder}/databases.py"}


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The plugin's name: lower case, as in newdb.")],
    kind: Annotated[Kind, typer.Option("--kind", "-k", help="What the plugin is to be.")],
    directory: Annotated[str, typer.Option("--dir", "-d", metavar="PATH", help="Where to put the package.")] = ".",
    programs: Annotated[
        bool, typer.Option("--programs", help="A driver that calls its database's own programs.", show_default=False)
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> Report:
    """Write a package for a plugin of your own: dumpty-NAME.

    It is complete and works: a module with a small implementation that its docstrings explain, tests on dumpty's
    conformance suite, README, licence and CI. Put your database, codec, digest or service in its place.
    """
    import tempfile

    from dumpty.replies.verbs import NewPluginReply

    _require_name(name)
    if programs and kind != "driver":
        raise UsageError(f"--programs is for drivers: a {kind} works within the process")
    _require_free(name, kind)
    package = Path(os.path.abspath(os.path.expanduser(directory)), f"dumpty-{name}")
    if not package.parent.is_dir():
        raise UsageError(f"there is no directory {package.parent}; make it, or name another one with --dir")
    if os.path.lexists(package):
        raise UsageError(f"{package} exists already; choose another name, or another place with --dir")
    files = _render_files(name, kind, _PROGRAMS if programs else kind)
    try:
        with tempfile.TemporaryDirectory(prefix=".dumpty-", dir=package.parent) as temporary_directory:
            unpacked = Path(temporary_directory, package.name)
            for file, text in files.items():
                (unpacked / file).parent.mkdir(parents=True, exist_ok=True)
                (unpacked / file).write_text(text, encoding="utf-8")
            unpacked.rename(package)
    except OSError as error:
        raise DumptyError(f"cannot write {package}: {error.strerror or error}") from error
    lines: list[Line] = [
        f"wrote the {kind} {name}, which works, into {package}:",
        *(f"  {file}" for file in files),
        *_advice(name, os.path.normpath(os.path.join(directory, package.name))),
    ]
    reply = NewPluginReply(path=str(package), kind=kind, files=list(files))
    return Report(reply=reply, lines=lines, json=json, quiet=quiet)


def _advice(name: str, path: str) -> list[str]:
    import shlex

    return [
        "to try it, in the virtual environment that has dumpty:",
        f"  pip install -e {shlex.quote(path + '[test]')}",
        f"  pytest {shlex.quote(path)}",
        f"  dumpty plugins check {name}",
    ]


def _require_name(name: str) -> None:
    problem = ""
    if name.startswith(("dumpty-", "dumpty_")):
        problem = f"is to be given without its prefix: {name[len('dumpty-') :]}"
    elif not _NAME.fullmatch(name):
        problem = "is not lower-case letters, digits and single hyphens, with a letter first"
    elif len(name) > _LONGEST:
        problem = f"is longer than {_LONGEST} characters"
    elif name == "plugins":
        problem = "would make the module dumpty_plugins, and that is dumpty's own"
    if problem:
        raise UsageError(f"the plugin's name {name[: 2 * _LONGEST]!r} {problem}")


def _require_free(name: str, kind: str) -> None:
    from dumpty.registry.host import default_host

    for plugin in default_host().plugins():
        in_use = plugin.name == name or bool(plugin.info and name in plugin.info.schemes)
        if in_use and plugin.kind == kind and plugin.distribution != f"dumpty-{name}":
            raise UsageError(f"the {kind} {name} is taken, by {plugin}: two would be in conflict; choose another name")


def _render_files(name: str, kind: str, folder: str) -> dict[str, str]:
    from datetime import datetime

    module = name.replace("-", "_")
    values = {
        "name": name,
        "module": module,
        "Name": "".join(word.capitalize() for word in name.split("-")),
        "kind": kind,
        "year": str(datetime.now(UTC).year),
        "summary": _SUMMARIES[folder],
        "dependencies": _DEPENDENCIES.get(kind, ""),
    }
    values["usage"] = _substitute(_template(f"{folder}/usage.md"), values).strip()
    return {
        file.format(module=module): _substitute(_template(template.format(folder=folder)), values)
        for file, template in {**_FILES, **(_DRIVERS_FILES if kind == "driver" else {})}.items()
    }


def _template(name: str) -> str:
    from importlib.resources import files

    return files("dumpty.cli").joinpath("skeleton", *f"{name}.txt".split("/")).read_text(encoding="utf-8")


def _substitute(text: str, values: dict[str, str]) -> str:
    return re.sub(r"(?<!\$)\{\{(\w+)\}\}", lambda match: values[match[1]], text)
