"""A private key in a file: 32 bytes that only their owner can read."""

from __future__ import annotations

import os
from pathlib import Path

from cohortmix.core.data.table import InputError
from cohortmix.core.data.words import in_quotes
from cohortmix.protocol.local.textfile import plain_file
from cohortmix.protocol.signing import Key

_BYTES = 32
_OTHERS = 0o077  # permissions of the group and of others


def read_key(path: Path) -> Key:
    """The key in a file.

    Raises
    ------
    InputError
        If the file cannot be read, is open to others than its owner, or holds no key.
    """
    with plain_file(path, "the key") as file:
        mode, content = os.fstat(file.fileno()).st_mode, file.read(_BYTES + 1)
    if mode & _OTHERS:
        raise InputError(f"the key {in_quotes(path)} is open to others; chmod 600 it")
    if len(content) != _BYTES:
        length = f"{len(content)}" if len(content) < _BYTES else "more"
        raise InputError(f"{in_quotes(path)} is no key: expected {_BYTES} bytes, got {length}")
    return Key.from_bytes(content)


def write_key(path: Path, key: Key) -> None:
    """Write a key, durably, into a new file of mode 0600.

    Raises
    ------
    InputError
        If the file cannot be written, or exists: a key that is overwritten is lost.
    """
    try:
        with open(path, "xb", opener=_private) as file:
            file.write(key.to_bytes())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise InputError(f"cannot write the key {in_quotes(path)}: {error.strerror}") from None


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
