"""A folder of results: written as a whole or not at all, and never over anything else."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from cohortmix.core.table import InputError


def require_free(out: Path, files: Collection[str]) -> None:
    """Raise InputError unless `out` is new, empty, or holds an earlier result, of these `files` and no others.

    Without `files` nothing is replaced.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{str(out)!r} is a file; give a folder")
    others = sorted({path.name for path in out.iterdir()} - set(files)) if out.exists() else []
    if others and not files:
        raise InputError(
            f"{str(out)!r} holds files, such as {others[0]!r}, which stay as they are; give a new or empty folder"
        )
    if others:
        raise InputError(f"{str(out)!r} holds other files, such as {others[0]!r}; give a new or empty folder")


@contextmanager
def whole_folder(out: Path, files: Collection[str]) -> Iterator[Path]:
    """A scratch folder beside `out`, which takes its place once everything is in it.

    Raises
    ------
    InputError
        As `require_free`, or if the folder cannot be written; nothing is changed then.
    """
    out = out.absolute()
    require_free(out, files)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as scratch:
            folder = Path(scratch) / "new"
            folder.mkdir()
            yield folder
            if out.exists():
                out.rename(Path(scratch) / "old")
            folder.rename(out)
    except OSError as error:
        raise InputError(f"cannot write {str(out)!r}: {error.strerror}") from None
