"""Redis driver for dumpty: one numbered database, as the commands that make it again.

The dump is a stream of ``RESTORE`` commands in Redis's own protocol, so ``redis-cli --pipe`` loads it without dumpty.
Each value is what ``DUMP`` says, checksum included; an expiry is the moment itself, not the time that is left. A
``PING`` that names the number of keys ends it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty import Evidence, Format, Inspection, Option, PluginInfo, hookimpl

if TYPE_CHECKING:
    from dumpty import Dump, Options, Sink, Source


@hookimpl
def describe() -> PluginInfo:
    """Declare scheme, format and options."""
    return PluginInfo(
        kind="driver",
        summary="Redis databases by number",
        schemes=("redis", "rediss"),
        formats=(Format(name="resp", suffix=".resp", help="RESTORE commands that redis-cli --pipe loads"),),
        options=(
            Option(
                name="consistency",
                default="pause",
                choices=("pause", "none"),
                help="pause: writers wait while the keys are read; none: nobody waits, and the dump is of many moments",
            ),
            Option(
                name="pause",
                default=10.0,
                help="seconds that writers may be made to wait before the backup gives up",
            ),
        ),
        requires="dumpty-redis",
    )


@hookimpl
def inspect(source: Source) -> Inspection:
    """Look at the numbered database without changing anything."""
    from dumpty_redis import connection

    return connection.inspect(source)


@hookimpl
def backup(source: Source, sink: Sink, options: Options) -> Evidence:
    """Read every key, writers held back meanwhile, then send what was read."""
    from dumpty_redis import dump

    paused = float(options["pause"]) if options["consistency"] == "pause" else None  # type: ignore[arg-type]
    return dump.write_dump(source, sink, paused=paused)


@hookimpl
def restore(target: Source, dump: Dump, overwrite: bool) -> Evidence:
    """Load into an unused number, count, and exchange the two numbers in one step."""
    from dumpty_redis import load

    return load.load_dump(target, dump, overwrite=overwrite)
