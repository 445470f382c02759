"""``dumpty doctor``."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Annotated

import typer

from dumpty.cli.arguments import URL_HELP, Json, PluginOptions, Quiet, Via, parse_options
from dumpty.cli.output import Line, Report, Table, size
from dumpty.cli.status import UsageError
from dumpty.cli.urls import read_url
from dumpty.errors import DumptyError, PluginLoadError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dumpty.cli.environment import Client, Library
    from dumpty.registry.host import Host
    from dumpty.registry.plugin import Plugin
    from dumpty.replies import values
    from dumpty.types import Inspection, Source

EXAMPLES = """
dumpty doctor
dumpty doctor postgresql://backup@db.example.org/shop
dumpty doctor postgresql://backup@localhost/shop --via docker://shop-db
"""


def doctor(
    url: Annotated[str | None, typer.Argument(metavar="[URL]", help=f"Look at this database, too. {URL_HELP}")] = None,
    via: Via = None,
    option: PluginOptions = None,
    json: Json = False,
    quiet: Quiet = False,
) -> Report:
    """Say what is installed, and how to get what is not.

    With a URL, also look whether its database can be reached, and which privileges a backup would miss.

    Fails where a plugin is broken, or the database is not there to be backed up, or a privilege to read it is missing.
    A library or a program that is not installed is said, and is no failure: only its own database needs it.
    """
    import dumpty
    from dumpty.cli.environment import clients, libraries
    from dumpty.cli.plugin_description import as_json
    from dumpty.registry.host import default_host
    from dumpty.replies import values
    from dumpty.replies.verbs import DoctorReply

    if (option or via) and url is None:
        raise UsageError("--via and options belong to a database: name its URL, too")
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
    database, error = (None, None) if source is None else _look(host, source, via, options, lines)
    if error is None and unusable:
        error = PluginLoadError(f"{len(unusable)} of {len(plugins)} plugins cannot be used: {unusable[0].error}")
    reply = DoctorReply(
        dumpty=dumpty.__version__,
        python=platform.python_version(),
        platform=platform.platform(),
        plugins=[as_json(p) for p in plugins],
        libraries=[values.Library(**library._asdict()) for library in needed],
        clients=[values.Client(**program._asdict()) for program in programs],
        database=database,
    )
    return Report(reply=reply, lines=lines, error=error, json=json, quiet=quiet, only_prints=True)


def _look(
    host: Host, source: Source, via: Sequence[str] | None, options: dict[str, object], lines: list[Line]
) -> tuple[values.Database, DumptyError | None]:
    """Look at a database, add to ``lines`` what is seen, and return its JSON value and what would fail a backup."""
    try:
        inspection = _inspect(host, source, via, options)
    except DumptyError as failure:
        return _as_json(source, None), failure
    lines += _inspection_lines(inspection, source)
    database = _as_json(source, inspection)
    if not inspection.exists:
        text = f"there is no database at {source.url}: a restore would create it, a backup needs it"
        return database, DumptyError(text)
    if inspection.lacks:
        text = f"a backup of {source.url} would fail, for this user lacks {'; and '.join(inspection.lacks)}"
        return database, DumptyError(text)
    return database, None


def _inspect(host: Host, source: Source, via: Sequence[str] | None, overrides: dict[str, object]) -> Inspection:
    from msgspec import structs

    from dumpty.operations.reach import reached, reached_identity, read_way

    driver = host.driver(source.scheme)
    if any(o.name == "rights" and "inspect" in o.verbs for o in driver.described.options):
        overrides = {"rights": True, **overrides}
    options = host.options({"inspect": driver}, overrides)["inspect"]
    way = read_way(host, via)
    with reached(driver, source, way) as near:
        inspection = host.inspect(driver, source=near, options=options)
    if way is None:
        return inspection
    identity = reached_identity(driver, source, way, inspection.name, of_server=bool(options.get("server")))
    return structs.replace(inspection, identity=identity)


def _as_json(source: Source, inspection: Inspection | None) -> values.Database:
    """Return what is known of a database, as a JSON value; of one that was not reached, that it was not."""
    from dumpty.replies import values

    return values.Database(
        url=source.url,
        reached=inspection is not None,
        exists=inspection.exists if inspection else None,
        empty=inspection.empty if inspection else None,
        name=inspection.name if inspection else None,
        identity=inspection.identity if inspection else None,
        estimated_bytes=inspection.estimated_bytes if inspection else None,
        versions=dict(inspection.versions) if inspection else {},
        notes=list(inspection.notes) if inspection else [],
        lacks=list(inspection.lacks) if inspection else [],
    )


def _inspection_lines(inspection: Inspection, source: Source) -> list[Line]:
    state = "does not exist" if not inspection.exists else "is empty" if inspection.empty else "holds data"
    estimate = inspection.estimated_bytes
    about = f", about {size(estimate)} to dump" if estimate and inspection.exists else ""
    return [
        "",
        f"database {source.url}",
        f"  reached; it {state}{about}",
        *(f"  {name} {version}" for name, version in inspection.versions.items()),
        *(f"  note: {note}" for note in inspection.notes),
        *(f"  lacks {privilege}" for privilege in inspection.lacks),
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
