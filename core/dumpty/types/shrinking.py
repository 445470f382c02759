"""When a backup that holds less than the ones before it is suspicious."""

from __future__ import annotations

from msgspec import Struct


class ShrinkRules(Struct, frozen=True, kw_only=True):
    """How much less than the last good backups of its database a new one may hold; what holds even less is suspicious.

    It is compared with the *smallest* of the last good ones, of which ``backups`` are looked at, so that what comes and
    goes is not told anew each time. ``table_rows`` is of the rows of one table, ``rows`` of all together, ``size`` of
    the bytes of the dump (of those stored, where the dump's are not known): the share that may not be lost, from above
    0 to 1, which is everything; None compares nothing. ``gone``: nor may a table that held anything be gone.

    Where there were fewer than ``least_rows``, or ``least_bytes``, no share says anything, and only the loss of all of
    them does; of so small a table not even that, where its rows varied by that share before. ``ignore`` are the paths
    of tables that are not looked at (``public.sessions``, ``*.queue_*``); in the size they are contained.

    Raises:
        TypeError: ``ignore`` is one str.
        ValueError: a share is not above 0 and at most 1, or a number is too small.
    """

    table_rows: float | None = 0.5
    rows: float | None = 0.5
    size: float | None = 0.5
    gone: bool = True
    backups: int = 3
    least_rows: int = 100
    least_bytes: int = 65_536
    ignore: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        ignore: object = self.ignore
        if isinstance(ignore, str):
            raise TypeError("what to ignore are several patterns, in a tuple, not one str")
        for name in ("table_rows", "rows", "size"):
            share = getattr(self, name)
            if share is not None and not 0 < share <= 1:
                raise ValueError(f"{name} is a share above 0 and at most 1, not {share}")
        for name, least in (("backups", 1), ("least_rows", 0), ("least_bytes", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is at least {least}, not {getattr(self, name)}")
