"""Objects of a directory, removed for good."""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from typing import TYPE_CHECKING

from dumpty import NotPermitted, StoreError, check_object_name
from dumpty_plugins.file.files import failure, flush_directory, remove
from dumpty_plugins.file.folders import Folder, again_if_stale, is_object
from dumpty_plugins.file.parts import Part

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def delete(top: str, names: Iterable[str]) -> None:
    """Remove objects, and the folders that are empty then; what is gone already is no error.

    Raises:
        NotPermitted: the rights do not suffice for at least one.
        StoreError: another could not be removed. In either case all the others are.
    """
    failures: list[StoreError] = []
    names_by_folder: dict[str, list[str]] = defaultdict(list)
    for name in names:
        try:
            folder, _, last = check_object_name(name).rpartition("/")
        except StoreError as error:
            failures.append(error)
        else:
            names_by_folder[folder].append(last)
    for folder, lasts in names_by_folder.items():
        failures += _delete_in(top, folder, lasts)
    if failures:
        first = next((f for f in failures if isinstance(f, NotPermitted)), failures[0])
        more = f" (and {len(failures) - 1} more could not be removed)" if len(failures) > 1 else ""
        raise type(first)(f"{first}{more}") from first.__cause__ or first


def _delete_in(top: str, folder_name: str, names: Sequence[str]) -> list[StoreError]:
    failures: list[StoreError] = []
    path = os.path.join(top, folder_name)
    try:
        segments = folder_name.split("/") if folder_name else ()
        with again_if_stale(lambda: Folder(top, segments)) as folder:
            try:
                for name in names:
                    failures += _delete_one(folder, name, os.path.join(path, name))
            finally:
                flush_directory(folder.descriptor)
            folder.remove_if_empty()
    except (FileNotFoundError, NotADirectoryError):
        return failures  # no folder: so they are gone
    except OSError as error:
        failures.append(failure(f"cannot remove anything from {path}", error))
    return failures


def _delete_one(folder: Folder, name: str, path: str) -> list[StoreError]:
    try:
        status = os.stat(name, dir_fd=folder.descriptor, follow_symlinks=False)
        if stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode):
            os.unlink(name, dir_fd=folder.descriptor)
        elif stat.S_ISDIR(status.st_mode) and is_object(folder.descriptor, name):
            # It goes all at once, too: what an end in the midst of it leaves is a part that nobody holds.
            part = Part(folder, name)
            os.rename(name, part.name, src_dir_fd=folder.descriptor, dst_dir_fd=folder.descriptor)
            remove(part.name, folder.descriptor)
    except FileNotFoundError:
        return []
    except OSError as error:
        return [failure(f"cannot remove {path}", error)]
    return []
