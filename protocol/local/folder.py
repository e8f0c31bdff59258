"""A folder of results: written as a whole or not at all, and never over anything else.

Even after a power cut there is a complete folder under its name: the earlier one, or the new one.
"""

from __future__ import annotations

import ctypes
import os
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from cohortmix.core.data.table import InputError
from cohortmix.core.data.words import in_quotes
from cohortmix.protocol.storage.durable import sync_folder, sync_tree

_HERE = -100  # AT_FDCWD: a relative path starts in the working directory
_EXCHANGE = 2  # RENAME_EXCHANGE of renameat2(2)


def require_free(out: Path, files: Collection[str]) -> None:
    """Raise InputError unless `out` is new, empty, or holds an earlier result, and can be written.

    Whoever computes or spends something for it asks this before.

    Parameters
    ----------
    files : the names that a result has; a folder with any other file in it is no result. Without names, no result
        is ever replaced.
    """
    try:
        place = Path(os.path.realpath(out))
        if place.exists() and not place.is_dir():
            raise InputError(f"{in_quotes(out)} is a file; give a folder")
        others = sorted({path.name for path in place.iterdir()} - set(files)) if place.exists() else []
        _require_room(place)
    except OSError as error:
        raise _unwritable(out, error) from None
    if others and not files:
        raise InputError(
            f"{in_quotes(out)} holds files, such as {others[0]!r}, which stay as they are; give a new or empty "
            "folder"
        )
    if others:
        raise InputError(f"{in_quotes(out)} holds other files, such as {others[0]!r}; give a new or empty folder")


@contextmanager
def whole_folder(out: Path, files: Collection[str]) -> Iterator[Path]:
    """A scratch folder beside `out`, which takes its place, durably, when the context ends without an error.

    An earlier result changes places with it in one step of the file system, and is removed afterwards. A crash can
    leave a hidden folder `.NAME-...` beside `out`, which may be removed.

    Raises
    ------
    InputError
        As `require_free`; if the folder cannot be written; or if there is an earlier result, and the file system
        cannot exchange two folders in one step. Nothing is changed then.
    """
    require_free(out, files)
    named, out = out, Path(os.path.realpath(out))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as scratch:
            folder = Path(scratch) / "new"
            folder.mkdir()
            yield folder
            sync_tree(folder)
            if out.exists() and any(out.iterdir()):
                _exchange(folder, out)
            else:
                folder.rename(out)  # over nothing, or over an empty folder
            sync_folder(out.parent)
    except OSError as error:
        raise _unwritable(named, error) from None


def _require_room(out: Path) -> None:
    """Raise OSError unless a folder can be made beside `out`, or where the first missing one above it will be."""
    above = next(folder for folder in out.parents if folder.exists())
    os.rmdir(tempfile.mkdtemp(prefix=f".{out.name}-", dir=above))  # to try is surer than to look at permissions


def _unwritable(out: Path, error: OSError) -> InputError:
    return InputError(f"cannot write {in_quotes(out)}: {error.strerror}")


def _exchange(one: Path, other: Path) -> None:
    """Let two folders change names, so that neither name is free in between; InputError if that is impossible."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)  # Linux with glibc 2.28 or musl 1.2.5
    if call is not None and call(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0:
        return
    reason = os.strerror(ctypes.get_errno()) if call is not None else "the system has no call for it"
    raise InputError(
        f"{in_quotes(other)} holds an earlier result, and cannot be replaced in one step here ({reason}); give a "
        "new folder"
    )
