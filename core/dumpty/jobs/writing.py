"""``dumpty.toml``, written: to begin with, and as it is shown."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from dumpty.errors import ConfigurationError, DumptyError
from dumpty.indirection import is_indirect
from dumpty.jobs.notifying import shown_channel
from dumpty.redaction import MASK
from dumpty.repository.names import slug
from dumpty.url import database_name, parse_url, shown_address

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dumpty.jobs.document import Job

__all__ = ["first_configuration", "shown_settings", "write_new"]

_BEGINNING = """\
# What dumpty backs up, where to, and what it keeps: dumpty help configuration
# Try it: dumpty config check, dumpty run --dry-run, dumpty run
# A secret is better read than written here: "env:NAME", "file:/PATH", "cmd:pass show shop-url".

[defaults]
repository = {repository}
# copies = ["sftp://vault@nas/backups"]
keep = {{ daily = 7, weekly = 4, monthly = 12 }}
drill = "weekly"
# encrypt_to = ["age1..."]                # and then: drill = {{ every = "weekly", identities = ["file:/PATH"] }}
# max_age = "26h"                          # what is older is overdue: dumpty check
# notify = ["env:NOTIFY_URL"]              # who is told what is wrong: dumpty help alarms
schedule = "30 2 * * *"                   # then: dumpty schedule systemd --install, or dumpty serve
timezone = "UTC"

"""
_EXAMPLE = """\
# [jobs.shop]
# source = "postgresql://backup@db.example.org/shop"
# tags = ["prod"]
"""


def first_configuration(repository: str, sources: Sequence[str]) -> str:
    """Return a configuration to begin with, one job for each source.

    Raises:
        MalformedURL: a source is no URL.
    """
    text = _BEGINNING.format(repository=_quoted(repository))
    names: set[str] = set()
    for source in sources:
        name = _job_name(source, names)
        names.add(name)
        text += f"[jobs.{name}]\nsource = {_quoted(_whole(source))}\n\n"
    return text + ("" if sources else _EXAMPLE)


def _whole(written: str) -> str:
    """Return a source that means the same file wherever dumpty is called from."""
    from dumpty.registry.host import default_host

    if is_indirect(written):
        return written
    source = parse_url(written)
    if not default_host().driver(source.scheme).described.files or os.path.isabs(source.database or ""):
        return written
    path, mark, query = written.partition("?")
    scheme, _, relative = path.partition(":///")
    here = quote(os.getcwd())
    return f"{scheme}:///{here}/{relative}{mark}{query}"


def _job_name(source: str, taken: set[str]) -> str:
    if is_indirect(source):
        name = source.partition(":")[2]
    else:
        name = os.path.basename(database_name(parse_url(source))).partition(".")[0]
    base = re.sub(r"[^A-Za-z0-9_-]+", "-", slug(name)).strip("-") or "database"
    number, unique = 1, base
    while unique in taken:
        number += 1
        unique = f"{base}-{number}"
    return unique


def _quoted(text: str) -> str:
    """Return a TOML basic string (https://toml.io/en/v1.0.0#string), of which JSON's strings are a kind."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def write_new(path: str, text: str) -> None:
    """Write a configuration that only its owner can read, where there is no file yet.

    Raises:
        ConfigurationError: there is one, or it cannot be written; nothing is left then.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        raise ConfigurationError(f"{path} is there already, and is not replaced; name another one: --config") from None
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror or error}") from None
    try:
        with open(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
    except (OSError, UnicodeError) as error:
        os.unlink(path)
        reason = error.strerror if isinstance(error, OSError) else "a source holds bytes that are no text"
        raise ConfigurationError(f"cannot write {path}: {reason}; nothing of it is left") from None


def shown_settings(job: Job) -> dict[str, Any]:
    """Return what is written for a job, over the defaults, without what is not set, and without secrets."""
    import msgspec

    settings = {key: value for key, value in msgspec.to_builtins(job).items() if value is not None}
    return {key: _shown(key, value) for key, value in settings.items()}


def _shown(key: str, value: Any) -> Any:
    from dumpty.redaction import names_secret

    if key in {"notify", "heartbeat"}:
        return _shown_recipients(value)
    if isinstance(value, dict):
        return {name: _shown(name, entry) for name, entry in value.items() if entry is not None}
    if isinstance(value, list):
        return [_shown(key, entry) for entry in value]
    if not isinstance(value, str) or is_indirect(value):
        return value
    if names_secret(key) or _is_private_key(value):
        return MASK
    return _shown_url(value) if "://" in value else value


def _shown_recipients(value: Any) -> Any:
    """Return whom somebody is told by without tokens, which stand in the path of many an address, or as its host."""
    if isinstance(value, list):
        return [_shown_recipients(entry) for entry in value]
    if isinstance(value, dict):
        shown = {name: entry for name, entry in value.items() if entry is not None}
        return {n: MASK if n == "secret" and not is_indirect(e) else _shown_recipients(e) for n, e in shown.items()}
    return value if is_indirect(value) else shown_channel(value)


def _is_private_key(text: str) -> bool:
    return "AGE-SECRET-KEY" in text.upper() or "PRIVATE KEY" in text


def _shown_url(text: str) -> str:
    try:
        return parse_url(text).url
    except DumptyError:
        return shown_address(text)
