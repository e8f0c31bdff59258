"""Small files that survive a power cut: afterwards there is the old content or the new one, each as a whole."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PRIVATE, SHOWN = 0o600, 0o644
"""Modes of a file: for its owner alone, or readable by others (less the umask)."""


def replace_file(path: Path, data: bytes, mode: int = PRIVATE) -> None:
    """Make `data` the content of a file; durable, with its name, when this returns.

    The caller lets one writer in at a time, by `locked` or a database's write lock: two would share the scratch
    file.
    """
    scratch = path.with_name(f".{path.name}.new")
    scratch.unlink(missing_ok=True)
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    _sync(folder, os.O_RDONLY | os.O_DIRECTORY)


def sync_tree(folder: Path) -> None:
    """Make a folder durable with everything in it: in each folder its files first, and then their names."""
    for path, _, files in os.walk(folder, topdown=False):
        for name in files:
            _sync(Path(path, name), os.O_RDONLY)
        sync_folder(Path(path))


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, and wait for whoever holds it; a process that dies releases it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
