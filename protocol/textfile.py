"""Text that a person has written: read from a file, and what is wrong with a key of it in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cohortmix.core.table import InputError


def read_text(path: Path, what: str) -> str:
    """The text of a file; InputError, which says `what` it is, if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot read {what} {str(path)!r}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"cannot read {what} {str(path)!r}: it is not UTF-8 text") from None


def fault_sentence(fault: Any) -> str:
    """One entry of pydantic's `errors()`: the key, and what is wrong with it."""
    key, kind = ".".join(str(part) for part in fault["loc"]), fault["type"]
    if kind == "missing":
        return f"{key}: this key is required"
    if kind == "extra_forbidden":
        return f"{key}: unknown key"
    return f"{key}: ".removeprefix(": ") + str(fault["msg"]).removeprefix("Value error, ")
