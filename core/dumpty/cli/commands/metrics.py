"""``dumpty metrics``."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from dumpty.cli.arguments import Config, JobNames, Json, Quiet  # noqa: TC001 - typer reads annotations at run time
from dumpty.cli.output import Report, count
from dumpty.cli.urls import remember
from dumpty.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prometheus_client import Metric

    from dumpty.replies import runs

EXAMPLES = """
dumpty metrics
dumpty metrics --output /var/lib/prometheus/node-exporter/dumpty.prom
"""


_Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        metavar="FILE",
        help="Write them into this file, which is replaced at once: node_exporter reads *.prom in its directory.",
    ),
]


def metrics(
    jobs: JobNames = None,
    config: Config = None,
    output: _Output = None,
    json: Json = False,
    quiet: Quiet = False,
) -> Report:
    """Print how the jobs are as metrics, in Prometheus's text format; nothing is run or changed.

    Of each database: when its last good backup was made, how large it is, how long it took, whether it is overdue, when
    one was last proved and how long restoring it took. Of each job: how its last run went, and what is wrong.

    Ends with 1 where a repository is not there, or cannot be looked at; that, too, is a metric, beside all others.
    """
    from dumpty.jobs.installing import replace_file
    from dumpty.jobs.metrics import measure, written
    from dumpty.jobs.overview import Looks
    from dumpty.jobs.settings import load
    from dumpty.replies.verbs import MetricsReply

    configuration = load(config)
    chosen = configuration.chosen(jobs or ())
    now = datetime.now(UTC)
    overview = Looks(remember).overview(chosen, now)
    found = measure(overview, chosen, now)
    text = written(found).decode()
    warnings = list(overview.unreadable)
    if output is not None:
        replace_file(output, text, beginning="# HELP dumpty_")
        if not output.endswith(".prom"):
            warnings.append(f"{output} does not end in .prom: node_exporter reads no other file")
    errors = [f"{job}: it cannot be said how it is: {error}" for job, error in overview.errors.items()]
    warnings += errors[1:]
    samples = count(sum(len(family.samples) for family in found), "value")
    path = None if output is None else os.path.abspath(output)
    return Report(
        reply=MetricsReply(path=path, metrics=[_as_json(family) for family in found]),
        lines=text.split("\n")[:-1] if output is None else [f"{output}: {samples} of {count(len(chosen), 'job')}"],
        warnings=warnings,
        error=StoreError(errors[0]) if errors else None,
        json=json,
        quiet=quiet,
        only_prints=output is None,
    )


def _as_json(family: Metric) -> runs.Metric:
    from dumpty.replies import runs

    samples: Sequence[runs.Sample] = [
        runs.Sample(labels=dict(sample.labels), value=float(sample.value)) for sample in family.samples
    ]
    return runs.Metric(name=family.name, help=family.documentation, samples=list(samples))
