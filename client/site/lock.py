"""Locks: one process at a time serves a site, and nobody replaces the snapshot while anyone has it open.

There are two of them, since a preview may run beside the daemon, but `site check` beside neither.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cohortmix.core.data.table import InputError
from cohortmix.core.data.words import in_quotes

SNAPSHOT_LOCK = "lock"  # a file in the snapshot's folder; the folder itself is the lock of who serves


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold a folder while the context is open; a process that dies, however it dies, releases it.

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
    """Keep the snapshot in `folder` as it is; many readers may at once. InputError while it is being replaced."""
    refusal = f"the table in {in_quotes(folder)} is being checked and replaced; try again when that is done"
    with _held(folder / SNAPSHOT_LOCK, os.O_RDWR | os.O_CREAT, fcntl.LOCK_SH, refusal):
        yield


@contextmanager
def replacing(folder: Path) -> Iterator[None]:
    """Keep all readers of the snapshot in `folder` out. InputError while there is one."""
    refusal = f"another process reads the table in {in_quotes(folder)}; try again when it is done"
    with _held(folder / SNAPSHOT_LOCK, os.O_RDWR | os.O_CREAT, fcntl.LOCK_EX, refusal):
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
