"""A folder of results: written as a whole or not at all, and never over anything else.

At every moment, a power cut included, what stands under its name is whole: the earlier folder, or the new one.
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

from cohortmix.core.table import InputError
from cohortmix.protocol.durable import sync_folder, sync_tree

_HERE = -100  # AT_FDCWD: paths as they are given
_EXCHANGE = 2  # RENAME_EXCHANGE of renameat2(2)


def require_free(out: Path, files: Collection[str]) -> None:
    """Raise InputError unless `out` is new, empty, or holds an earlier result, of these `files` and no others.

    Without `files` nothing is replaced. A link is refused: it would be replaced, and not what it leads to.
    """
    if out.is_symlink():
        raise InputError(f"{str(out)!r} is a link; give the folder that it leads to")
    if out.exists() and not out.is_dir():
        raise InputError(f"{str(out)!r} is a file; give a folder")
    others = _others(out, files) if out.exists() else []
    if others and not files:
        raise InputError(
            f"{str(out)!r} holds files, such as {others[0]!r}, which stay as they are; give a new or empty folder"
        )
    if others:
        raise InputError(f"{str(out)!r} holds other files, such as {others[0]!r}; give a new or empty folder")


@contextmanager
def whole_folder(out: Path, files: Collection[str]) -> Iterator[Path]:
    """A scratch folder beside `out`, which takes its place once everything is in it, durably.

    An earlier result is exchanged for it in one step of the file system, and its `files` are removed afterwards.
    Hours may pass before that: what `out` holds by then is looked at again, before the exchange and after it, and
    what is not an earlier result stays. The new folder has the mode of the earlier one. A crash can leave a hidden
    folder `.NAME-...` beside it, which may be removed.

    Raises
    ------
    InputError
        As `require_free`, at the beginning or at the end; if the folder cannot be written; or if the file system
        cannot exchange two folders in one step, and there is an earlier result. Nothing is changed then.
    """
    out = out.absolute()
    require_free(out, files)
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
        raise InputError(f"cannot write {str(out)!r}: {error.strerror}") from None


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
        raise InputError(f"{str(out)!r} holds other files, such as {others[0]!r}; give a new or empty folder")
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
            f"{str(out)!r} is written; what somebody has put into the earlier folder meanwhile stays in "
            f"{str(new)!r}"
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
    """Let two folders change names, so that neither name is free in between; InputError where that cannot be."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)  # of Linux, with glibc 2.28 or musl 1.2.5
    if call is not None and call(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0:
        return
    reason = os.strerror(ctypes.get_errno()) if call is not None else "the system has no call for it"
    raise InputError(
        f"{str(other)!r} holds an earlier result, and cannot be replaced in one step here ({reason}); give a new "
        "folder"
    )
