"""What a target holds that stands in the way of tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty import SourceError, TargetNotEmpty
from dumpty_plugins.sqlite.schema.checks import folded

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from dumpty_plugins.sqlite.tables.catalog import Catalog
    from dumpty_plugins.sqlite.tables.selection import Selected

_KINDS = {"view": "a view", "virtual": "a virtual table", "shadow": "a part of a virtual table", "index": "an index"}


def require_free(target: str, catalog: Catalog, names: Mapping[str, str], *, overwrite: bool) -> tuple[str, ...]:
    """Check that tables of some names can be made in a target, and return those that they replace.

    ``names`` has the new name of each, by its path in the backup.

    Raises:
        TargetNotEmpty: something of that name is there; the text says how to insist, where one can.
    """
    wanted = {folded(name) for name in names.values()}
    replaced = []
    for path, name in names.items():
        entry = catalog.named(name)
        if entry is None or (entry.kind == "index" and folded(entry.table) in wanted and overwrite):
            continue
        kind = catalog.kinds.get(folded(name), entry.kind)
        if kind in _KINDS:
            raise TargetNotEmpty(
                f"{target} has {_KINDS[kind]} called {entry.name}, which no table replaces, so nothing was restored;"
                f" restore it under another name: --table {path}={path}_before"
            )
        replaced.append((path, entry.name))
    if replaced and not overwrite:
        path, name = replaced[0]
        several = len(replaced) > 1
        raise TargetNotEmpty(
            f"{target} has {'tables' if several else 'a table'} {', '.join(name for _, name in replaced)} already, so"
            f" nothing was restored; to replace {'them' if several else 'it'}, insist: --overwrite (overwrite=True), or"
            f" restore under another name: --table {path}={path}_before"
        )
    return tuple(name for _, name in replaced)


def require_parents(target: str, catalog: Catalog, source: Catalog, selection: Collection[Selected]) -> None:
    """Check that what the foreign keys of the tables refer to comes with them, or is in the target.

    What was not there when the backup was made (``source`` is what the backup holds) is not asked for.

    Raises:
        SourceError: something is in neither; the text names it.
    """
    selected = {folded(s.old) for s in selection}
    made = {folded(s.new) for s in selection}
    missing, taken = [], []
    for s in selection:
        for parent in s.parents:
            if folded(parent) in selected:
                continue
            if folded(parent) in made:
                taken.append((s.path, parent))
            elif catalog.kinds.get(folded(parent)) != "table" and source.kinds.get(folded(parent)) == "table":
                missing.append((s.path, parent))
    if taken:
        path, parent = taken[0]
        raise SourceError(
            f"{path} refers to {parent}, and another table is to have that name: restore {parent}, too, or give that"
            " table another name"
        )
    if missing:
        parents = list(dict.fromkeys(parent for _, parent in missing))
        raise SourceError(
            f"{_joined(dict.fromkeys(path for path, _ in missing))} refers by foreign keys to {_joined(parents)}, which"
            f" {target} does not have; nothing was restored: restore {'them' if len(parents) > 1 else 'it'}, too"
            f" (--table {','.join(parents)})"
        )


def _joined(names: Iterable[str]) -> str:
    return ", ".join(names)
