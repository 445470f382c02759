"""``dumpty doctor``."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dumpty.cli.arguments import URL_HELP, Json, PluginOptions, parse_options
from dumpty.cli.output import Line, Report, Table, size
from dumpty.cli.status import UsageError
from dumpty.cli.urls import read_url
from dumpty.errors import DumptyError, PluginLoadError

if TYPE_CHECKING:
    from dumpty.cli.environment import Client, Library
    from dumpty.registry.host import Host
    from dumpty.registry.plugin import Plugin
    from dumpty.types import Inspection, Source

EXAMPLES = """
dumpty doctor
dumpty doctor postgresql://backup@db.example.org/shop
"""


def doctor(
    url: Annotated[str | None, typer.Argument(metavar="[URL]", help=f"Look at this database, too. {URL_HELP}")] = None,
    option: PluginOptions = None,
    json: Json = False,
) -> Report:
    """Say what is installed, and how to get what is not.

    With a URL, also look whether its database can be reached, and which rights a backup would miss.

    Fails where a plugin is broken, or the database is not there to be backed up, or a right to read it is missing. A
    library or a program that is not installed is said, and is no failure: only its own database needs it.
    """
    import dumpty
    from dumpty.cli.environment import clients, libraries
    from dumpty.cli.plugin_description import fields
    from dumpty.registry.host import default_host

    if option and url is None:
        raise UsageError("options belong to the driver of a database: name its URL, too")
    options = parse_options(option)
    source = None if url is None else read_url(url)[1]
    host = default_host()
    plugins = host.plugins()
    needed, programs = libraries(plugins), clients()
    unusable = [p for p in plugins if p.state in {"failed", "conflict"}]
    lines = [
        f"dumpty {dumpty.__version__} on Python {platform.python_version()}, {platform.platform()}",
        *_plugin_lines(plugins),
        *_library_lines(needed),
        *_client_lines(programs),
    ]
    database_fields, error = (None, None) if source is None else _look(host, source, options, lines)
    if error is None and unusable:
        error = PluginLoadError(f"{len(unusable)} of {len(plugins)} plugins cannot be used: {unusable[0].error}")
    return Report(
        fields={
            "dumpty": dumpty.__version__,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "plugins": [fields(p) for p in plugins],
            "libraries": [vars(library) for library in needed],
            "clients": [vars(program) for program in programs],
            "database": database_fields,
        },
        lines=lines,
        error=error,
        json=json,
        only_prints=True,
    )


def _look(
    host: Host, source: Source, options: dict[str, object], lines: list[Line]
) -> tuple[dict[str, Any], DumptyError | None]:
    """Look at a database, add to ``lines`` what is seen, and return its fields and what would fail a backup."""
    try:
        inspection = _inspect(host, source, options)
    except DumptyError as failure:
        return {"url": source.url, "reached": False}, failure
    fields = _inspection_fields(inspection, source)
    lines += _inspection_lines(fields)
    if not inspection.exists:
        text = f"there is no database at {source.url}: a restore would create it, a backup needs it"
        return fields, DumptyError(text)
    if inspection.lacks:
        text = f"a backup of {source.url} would fail, for this user lacks {'; and '.join(inspection.lacks)}"
        return fields, DumptyError(text)
    return fields, None


def _inspect(host: Host, source: Source, overrides: dict[str, object]) -> Inspection:
    driver = host.driver(source.scheme)
    if any(o.name == "rights" and "inspect" in o.verbs for o in driver.described.options):
        overrides = {"rights": True, **overrides}
    options = host.options({"inspect": driver}, overrides)["inspect"]
    return host.inspect(driver, source=source, options=options)


def _inspection_fields(inspection: Inspection, source: Source) -> dict[str, Any]:
    return {
        "url": source.url,
        "reached": True,
        "exists": inspection.exists,
        "empty": inspection.empty,
        "name": inspection.name,
        "identity": inspection.identity,
        "estimated_bytes": inspection.estimated_bytes,
        "versions": dict(inspection.versions),
        "notes": list(inspection.notes),
        "lacks": list(inspection.lacks),
    }


def _inspection_lines(fields: dict[str, Any]) -> list[Line]:
    state = "does not exist" if not fields["exists"] else "is empty" if fields["empty"] else "holds data"
    estimate = fields["estimated_bytes"]
    about = f", about {size(estimate)} to dump" if estimate and fields["exists"] else ""
    return [
        "",
        f"database {fields['url']}",
        f"  reached; it {state}{about}",
        *(f"  {name} {version}" for name, version in fields["versions"].items()),
        *(f"  note: {note}" for note in fields["notes"]),
        *(f"  lacks {privilege}" for privilege in fields["lacks"]),
    ]


def _plugin_lines(plugins: list[Plugin]) -> list[Line]:
    from dumpty.cli.plugin_description import condition, kind_text

    rows = [
        (p.name, kind_text(p), state, reason or f"{p.distribution} {p.version}".rstrip())
        for p, (state, reason) in ((p, condition(p)) for p in plugins)
    ]
    return ["", Table(("PLUGIN", "KIND", "STATE", "FROM"), rows)]


def _library_lines(libraries: list[Library]) -> list[Line]:
    rows = [
        (library.name, library.version or "missing", library.needed_by, "" if library.version else library.install)
        for library in libraries
    ]
    return ["", Table(("LIBRARY", "VERSION", "FOR", "HOW TO INSTALL IT"), rows)]


def _client_lines(clients: list[Client]) -> list[Line]:
    rows = [(c.name, c.version or "missing", c.path or c.install) for c in clients]
    return ["", Table(("PROGRAM", "VERSION", "WHERE, OR HOW TO INSTALL IT"), rows)]
