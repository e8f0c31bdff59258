"""Who serves a site: one process at a time, and nobody changes the snapshot meanwhile."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cohortmix.core.table import InputError


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold a folder for as long as this lasts; a process that dies, however it dies, holds nothing.

    Raises
    ------
    InputError
        If another process holds it, or the folder cannot be opened.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise InputError(f"cannot open the folder {str(folder)!r}: {error.strerror}") from None
    try:
        _lock(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(f"another process serves or checks {str(folder)!r}; stop it first") from None
