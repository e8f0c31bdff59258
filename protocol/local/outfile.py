"""A single file that a command writes beside its work, such as `--json FILE`: never over what is still needed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from cohortmix.core.data.table import InputError
from cohortmix.core.data.words import in_quotes

Replace = Annotated[
    bool, typer.Option("--replace", help="Let this file take the place of one that is there already.")
]


def require_free_file(path: Path | None, replace: bool, needed: Iterable[Path]) -> None:
    """Refuse a file that must not or cannot be written; a command asks this before it computes or spends anything.

    Parameters
    ----------
    path : of the file; None if none was asked for.
    replace : permits a file to be there already.
    needed : files, and folders with everything in them, that the command reads or its site lives on. They are
        never written, whatever `replace` says.

    Raises
    ------
    InputError
        In one sentence.
    """
    if path is None:
        return
    for other in needed:
        if any(at == there or there in at.parents for at in _names(path) for there in _names(other)):
            raise InputError(
                f"{in_quotes(path)} is, or lies in, {in_quotes(other)}, which is needed as it is; give "
                "another file"
            )
    if not replace and os.path.lexists(path):
        raise InputError(
            f"{in_quotes(path)} exists; give a new file, or allow with --replace that its content is lost"
        )
    try:
        os.lstat(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise InputError(f"cannot write {in_quotes(path)}: {error.strerror}") from None
    if os.path.lexists(path) and not path.is_file():
        raise InputError(f"cannot write {in_quotes(path)}: it is no plain file")
    if not path.absolute().parent.is_dir():
        raise InputError(f"cannot write {in_quotes(path)}: there is no folder {in_quotes(path.parent)}")
    if not os.access(path.absolute().parent, os.W_OK | os.X_OK):
        raise InputError(f"cannot write {in_quotes(path)}: no permission for the folder {in_quotes(path.parent)}")


def write_file(path: Path, text: str, replace: bool) -> None:
    """Write a file as a whole or not at all.

    Raises
    ------
    InputError
        If it cannot be written; or, unless `replace` is set, if it is there: it may have come since
        `require_free_file` looked.
    """
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        try:
            with scratch.open("x", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            require_free_file(path, replace, ())
            scratch.replace(path)
        finally:
            scratch.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {in_quotes(path)}: {error.strerror}") from None


def _names(path: Path) -> set[Path]:
    """A path as it is written, and where its links lead."""
    return {Path(os.path.abspath(path)), Path(os.path.realpath(path))}
