"""Repositories with a past: copies of a backup that was really made, as they would lie there had they been made before."""

from __future__ import annotations

import os
import uuid
from datetime import timedelta
from pathlib import Path

from msgspec.structs import replace

from dumpty.repository import manifest
from dumpty.repository.protocol.layout import new_stem
from dumpty.repository.verification import encode_proof
from dumpty.types import Proof


def age(repository, backup, started, *, grown=1.0, proof=None, lost=False):
    """Put a copy of a backup into a directory that is a repository, made at another time, and return its id.

    ``grown`` is how many rows it says that it has, beside those of the original. ``proof`` is the level of a proof an hour later.
    """
    data = Path(backup.file_path)
    stem, folder = data.name.partition(".")[0], data.parent
    [path] = [p for p in folder.glob("*.manifest.json") if p.name.startswith(stem)]
    record = manifest.decode(path.read_bytes(), path)
    new_id = str(uuid.uuid4())
    name = new_stem(folder.name, started, new_id)
    suffix = data.name[len(stem) :]
    [stored] = record.objects
    evidence = replace(
        record.evidence,
        objects=tuple(
            replace(o, rows=None if o.rows is None else round(o.rows * grown)) for o in record.evidence.objects
        ),
    )
    made = replace(
        record,
        id=new_id,
        started=started,
        ended=started + (record.ended - record.started) * grown,
        objects=(replace(stored, name=f"{name}{suffix}"),),
        evidence=evidence,
    )
    if not lost:
        os.link(data, Path(repository, f"{name}{suffix}"))
    Path(repository, f"{name}.manifest.json").write_bytes(manifest.encode(made))
    if proof:
        at = started + timedelta(hours=1)
        said = Proof(level=proof, ok=True, at=at, by="test@test", seconds=2.5 * grown)
        mark = f"{name}.proof-{at:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}"
        Path(repository, mark).write_bytes(encode_proof(new_id, said))
    return new_id
