"""A folder of results: written as a whole or not at all, and never over anything else.

Even after a power cut there is a complete folder under its name: the earlier one, or the new one.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import stat
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
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
        is ever replaced. A link is refused: it would be replaced, and not what it leads to.
    """
    try:
        if out.is_symlink():
            raise InputError(f"{in_quotes(out)} is a link; give the folder that it leads to")
        if out.exists() and not out.is_dir():
            raise InputError(f"{in_quotes(out)} is a file; give a folder")
        others = _others(out, files) if out.exists() else []
        _require_room(out.absolute())
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

    An earlier result changes places with it in one step of the file system; its `files` are removed afterwards.
    Hours may pass before that: what `out` holds by then is looked at again, before the exchange and after it, and
    what is not an earlier result stays. The new folder has the mode of the earlier one. A crash can leave a hidden
    folder `.NAME-...` beside `out`, which may be removed.

    Raises
    ------
    InputError
        As `require_free`, at the beginning or at the end; if the folder cannot be written; or if there is an
        earlier result, and the file system cannot exchange two folders in one step. Nothing is changed then.
    """
    require_free(out, files)
    named, out = out, Path(os.path.realpath(out))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent)) / "new"
        new.mkdir()
        ours = _identity(new)
        try:
            yield new
            _take_place(new, out, files)
            sync_folder(out.parent)
        finally:
            if _identity(new) == ours:
                shutil.rmtree(new)
            with suppress(OSError):
                new.parent.rmdir()  # it stays where anything is left in it, which is then not ours
    except OSError as error:
        raise _unwritable(named, error) from None


def _require_room(out: Path) -> None:
    """Raise OSError unless a folder can be made beside `out`, or where the first missing one above it will be."""
    above = next(folder for folder in out.parents if folder.exists())
    os.rmdir(tempfile.mkdtemp(prefix=f".{out.name}-", dir=above))  # to try is surer than to look at permissions


def _unwritable(out: Path, error: OSError) -> InputError:
    return InputError(f"cannot write {in_quotes(out)}: {error.strerror}")


def _take_place(new: Path, out: Path, files: Collection[str]) -> None:
    """Put `new` in the place of nothing, of an empty folder, or of an earlier result; of nothing else."""
    require_free(out, files)
    if out.exists():
        _open_to_the_same(new, out)
    sync_tree(new)
    if files and out.exists() and any(out.iterdir()):
        _replace(new, out, files)
    else:
        new.rename(out)  # fails where somebody has put anything there in between


def _replace(new: Path, out: Path, files: Collection[str]) -> None:
    """Exchange the two, and back where what came out is not an earlier result; remove the earlier one."""
    _exchange(new, out)
    others = _others(new, files)
    if others:
        _exchange(new, out)
        raise InputError(f"{in_quotes(out)} holds other files, such as {others[0]!r}; give a new or empty folder")
    for name in files:
        path = new / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    try:
        new.rmdir()
    except OSError:
        raise InputError(
            f"{in_quotes(out)} is written; what somebody has put into the earlier folder meanwhile stays in "
            f"{in_quotes(new)}"
        ) from None


def _open_to_the_same(new: Path, earlier: Path) -> None:
    """Give `new` the earlier folder's mode and group; where it cannot have that group, no group may enter it."""
    known = earlier.stat()
    mode = stat.S_IMODE(known.st_mode)
    try:
        os.chown(new, -1, known.st_gid)
    except PermissionError:
        mode &= ~stat.S_IRWXG
    new.chmod(mode)


def _others(folder: Path, files: Collection[str]) -> list[str]:
    return sorted({path.name for path in folder.iterdir()} - set(files))


def _identity(folder: Path) -> tuple[int, int] | None:
    """By which a folder is known under whichever name; None if there is none."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


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
