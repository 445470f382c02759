"""``dumpty store check``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dumpty.cli.arguments import Json, Quiet  # noqa: TC001 - typer reads annotations at run time
from dumpty.cli.output import Line, Report, Table
from dumpty.cli.status import NotGuaranteed
from dumpty.errors import IntegrityError

if TYPE_CHECKING:
    from dumpty.operations.store_check import StoreFinding

EXAMPLES = """
dumpty store check /mnt/vault
dumpty store check "s3://backups/shop?endpoint=https://s3.example.org"
"""


def store() -> None:
    """Look at the places that repositories lie in."""


def check(
    url: Annotated[str, typer.Argument(metavar="REPO", help="A directory, or the URL of a place.")],
    json: Json = False,
    quiet: Quiet = False,
) -> Report:
    """Find out by trying what a place guarantees, and what follows where it does not.

    Writes, races, lists, reads and deletes in a folder of its own; the backups there are not touched. Ends with 12
    where something is not guaranteed that makes a difference, and with 4 where backups would not be safe.
    """
    from dumpty.operations.store_check import check_store
    from dumpty.registry.host import default_host
    from dumpty.replies.values import StoreCheck
    from dumpty.replies.verbs import StoreCheckReply
    from dumpty.url import shown_address

    findings = list(check_store(default_host(), url))
    reply = StoreCheckReply(
        store=shown_address(url),
        checks=[
            StoreCheck(name=f.name, holds=f.holds, seen=f.seen, follows=f.follows, fault=f.fault) for f in findings
        ],
    )
    return Report(
        reply=reply, lines=_lines(findings), error=_error(findings, url), json=json, quiet=quiet, only_prints=True
    )


def _lines(findings: list[StoreFinding]) -> list[Line]:
    rows = [(f.name, "holds" if f.holds else "FAULT" if f.fault else "does not hold", f.seen) for f in findings]
    follows = [f"where it is not so that {f.name}: {f.follows}" for f in findings if f.follows]
    return [Table(("GUARANTEE", "HERE", "SEEN"), rows), *(["", *follows] if follows else [])]


def _error(findings: list[StoreFinding], url: str) -> Exception | None:
    from dumpty.url import shown_address

    faults = [f for f in findings if f.fault]
    missing = [f for f in findings if not f.holds and f.follows]
    if faults:
        return IntegrityError(f"{shown_address(url)} is no place for backups: {faults[0].name}: {faults[0].seen}")
    if missing:
        return NotGuaranteed(f"{shown_address(url)} does not guarantee that {missing[0].name}: {missing[0].follows}")
    return None
