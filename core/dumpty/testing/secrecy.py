"""What a driver owes to passwords: whoever can read manifests, logs or a list of processes learns none."""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING

import msgspec
from msgspec import structs

from dumpty.errors import DumptyError
from dumpty.redaction import encodings
from dumpty.testing.databases import SECRET, missing, with_secret
from dumpty.testing.footprint import ProgramWatch
from dumpty.testing.rules import require
from dumpty.testing.sources import DriverRules
from dumpty.url import parse_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import pytest

    from dumpty.registry.host import Host
    from dumpty.testing.dumps import RecordedDump
    from dumpty.types import Source

__all__ = ["SecrecyRules", "require_no_secret"]

_SHORTEST = 4
_RULE = "A password never leaves the driver: not in an error, a log line, an output, a name, or another's command line."
_REMEDY = (
    "Show source.url, which holds *** instead, and dumpty.process.redact(text, source.secrets); give it to a program "
    "by its environment."
)


class SecrecyRules(DriverRules):
    """The part of ``DriverSuite`` about passwords."""

    def test_no_error_shows_a_secret(
        self,
        host: Host,
        source: str,
        tmp_path: Path,
        capfd: pytest.CaptureFixture[str],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """A password in the URL is in no error, no log line, no output, and in nothing that inspect() returns."""
        url = with_secret(missing(source))
        texts = {}
        raised = self._backup_error(host, url, tmp_path, None, None)
        texts["the error of backup()"] = str(raised)
        if self.inspects:
            try:
                texts["what inspect() returned"] = repr(self.inspected(host, url))
            except DumptyError as error:
                texts["the error of inspect()"] = str(error)
        texts["the log"] = caplog.text
        texts["the output"] = "".join(capfd.readouterr())
        require_no_secret([SECRET], texts.items())

    def test_no_secret_is_returned_or_shown(
        self,
        host: Host,
        source: str,
        target: str,
        tmp_path: Path,
        capfd: pytest.CaptureFixture[str],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """A password is in no field of what hooks return, no log line, no output and no program's command line."""
        caplog.set_level(logging.DEBUG)
        database = parse_url(self.with_password(source))
        # What the URL shows in the clear, as a name, may be shown anywhere.
        secrets = [s for s in database.secrets if len(s) >= _SHORTEST and s not in database.url]
        if not secrets:
            self.unproved(
                "override with_password(url): it gave no URL with a password that is not its user's name, too"
            )
        texts: list[tuple[str, str]] = []
        with ProgramWatch() as watch:
            try:
                if self.inspects:
                    found = self.call_bare("inspect", source=database, options=self.options(host, "inspect"))
                    texts += _fields("Inspection", found)
                dump = self._dumped_bare(host, database, tmp_path, watch)
            except (DumptyError, ImportError) as error:
                self.unproved(f"with a password, the database could not be backed up (see with_password): {error}")
            texts += _fields("Evidence", dump.evidence)
            if self.restores:
                evidence = self.call_bare(
                    "restore",
                    target=parse_url(self.with_password(target)),
                    dump=dataclasses.replace(dump, before_end=watch.look),
                    overwrite=False,
                    options=self.options(host, "restore"),
                )
                texts += _fields("the restore's Evidence", evidence)
        texts += [("a program's command line", line) for line in watch.command_lines]
        texts += [("the log", caplog.text), ("the output", "".join(capfd.readouterr()))]
        require_no_secret(secrets, texts)

    def _dumped_bare(self, host: Host, database: Source, tmp_path: Path, watch: ProgramWatch) -> RecordedDump:
        from dumpty.testing.dumps import FileSink, RecordedDump

        name = self.stream_formats()[0]
        parts = self.plugin_under_test(host).format(name).parts
        sink = FileSink(tmp_path / "bare-dump", lambda _begin, _end: watch.look(), parts=parts)
        options = self.options(host, "backup")
        try:
            evidence = self.call_bare("backup", source=database, sink=sink, format=name, options=options)
        finally:
            sink.close()
        return RecordedDump(recorded=sink.recorded, format=name, evidence=evidence)


def require_no_secret(secrets: Iterable[str], texts: Iterable[tuple[str, str]]) -> None:
    """Require that none of ``texts``, each with the name of where it is from, has one of ``secrets`` in it."""
    spellings = [spelling for secret in secrets for spelling in encodings(secret)]
    for channel, text in texts:
        require(not any(spelling in text for spelling in spellings), _RULE, _REMEDY, f"{channel} shows it")


def _fields(name: str, record: object) -> Iterator[tuple[str, str]]:
    if isinstance(record, msgspec.Struct):
        for field, value in structs.asdict(record).items():
            yield f"{name}.{field}", repr(value)
