"""Who serves a site: one process at a time. And nobody replaces the snapshot while anyone has it open.

These are two locks: a preview may run beside the daemon, `site check` beside neither.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cohortmix.core.data.table import InputError
from cohortmix.core.data.words import in_quotes

FILE = "lock"  # of the snapshot; the folder itself is the lock of who serves


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold a folder for as long as this lasts; a process that dies, however it dies, holds nothing.

    Raises
    ------
    InputError
        If another process holds it, or the folder cannot be opened.
    """
    refusal = f"another process serves or checks {in_quotes(folder)}; stop it first"
    with _held(folder, os.O_RDONLY | os.O_DIRECTORY, fcntl.LOCK_EX, refusal):
        yield


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Keep the snapshot in `folder` as it is; many can at once. InputError while it is being replaced."""
    refusal = f"the table in {in_quotes(folder)} is being checked and replaced; try again when that is done"
    with _held(folder / FILE, os.O_RDWR | os.O_CREAT, fcntl.LOCK_SH, refusal):
        yield


@contextmanager
def replacing(folder: Path) -> Iterator[None]:
    """Have the snapshot in `folder` to oneself. InputError while anyone reads it."""
    refusal = f"another process reads the table in {in_quotes(folder)}; try again when it is done"
    with _held(folder / FILE, os.O_RDWR | os.O_CREAT, fcntl.LOCK_EX, refusal):
        yield


@contextmanager
def _held(path: Path, flags: int, kind: int, refusal: str) -> Iterator[None]:
    try:
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        what = "folder" if flags & os.O_DIRECTORY else "lock"
        raise InputError(f"cannot open the {what} {in_quotes(path)}: {error.strerror}") from None
    try:
        _lock(descriptor, kind, refusal)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, kind: int, refusal: str) -> None:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(refusal) from None
