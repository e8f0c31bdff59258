"""Text that a person has written: read from a file, and what is wrong with its keys, in plain words."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import IO, Any

from pydantic import BaseModel, ValidationError

from cohortmix.core.table import InputError
from cohortmix.protocol.fields import HEX_64
from cohortmix.protocol.names import NAME

MOST_BYTES = 8 * 2**20
"""Of a file that a person has written or was sent: a study of 1000 sites has a fiftieth of it."""

MOST_FAULTS = 5  # of a file that are named at once

_EXPECTED = {
    "bool_parsing": "true or false",
    "date_from_datetime_inexact": "a day such as 2027-01-31",
    "date_from_datetime_parsing": "a day such as 2027-01-31",
    "date_type": "a day such as 2027-01-31",
    "finite_number": "a finite number",
    "float_parsing": "a number",
    "float_type": "a number",
    "greater_than_equal": "{ge} or more",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "less_than_equal": "{le} or less",
    "model_type": "keys and values",
    "path_type": "a path",
    "string_type": "a text",
    "too_short": "one at least",
    "tuple_type": "a list such as [a, b]",
}
_SHAPES = {
    NAME: "1 to 64 letters and digits, with spaces, '.', '-' and '_' only between them",
    HEX_64: "64 hexadecimal digits in lower case",
}


def read_text(path: Path, what: str, absent: str = "") -> str:
    """The text of a file; InputError, which says `what` it is, if it cannot be read.

    Parameters
    ----------
    absent : what to do where there is no such file.
    """
    try:
        return read_bytes(path, what, absent).decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"cannot read {what} {str(path)!r}: it is not UTF-8 text") from None


def read_bytes(path: Path, what: str, absent: str = "", most: int = MOST_BYTES) -> bytes:
    """The content of a file of at most `most` bytes; errors as `read_text`."""
    with plain_file(path, what, absent) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise InputError(f"cannot read {what} {str(path)!r}: it is longer than {most} bytes")
    return content


@contextmanager
def plain_file(path: Path, what: str, absent: str = "") -> Iterator[IO[bytes]]:
    """A file, open; errors as `read_text`, also for a device or a pipe, which might never end."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe's writer is not waited for
    except OSError as error:
        cure = f"; {absent}" if absent and isinstance(error, FileNotFoundError) else ""
        raise InputError(f"cannot read {what} {str(path)!r}: {error.strerror}{cure}") from None
    except ValueError:
        raise InputError(f"cannot read {what} {str(path)!r}: no file can have this name") from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise InputError(f"cannot read {what} {str(path)!r}: it is no plain file")
        with open(descriptor, "rb", closefd=False) as file:
            yield file
    except OSError as error:
        raise InputError(f"cannot read {what} {str(path)!r}: {error.strerror}") from None
    finally:
        os.close(descriptor)


def fault_sentences(error: ValidationError, model: type[BaseModel]) -> str:
    """The first faults of a file that shall be a `model`, in one line, each with its key and without its value."""
    by_kind = sorted(error.errors(include_url=False), key=lambda fault: fault["type"] != "extra_forbidden")
    faults = [_sentence(fault, model) for fault in by_kind]  # a misspelt key is why another one is missing
    more = f"; and {len(faults) - MOST_FAULTS} more" if len(faults) > MOST_FAULTS else ""
    return "; ".join(faults[:MOST_FAULTS]) + more


def _sentence(fault: Any, model: type[BaseModel]) -> str:
    loc, kind = fault["loc"], fault["type"]
    if kind == "model_type" and not loc:
        needed = [name for name, field in _keys(model, ()).items() if field.is_required()]
        return f"expected the keys {', '.join(needed)}"
    where = ".".join(shown(str(part)) for part in loc)
    return f"{where}: ".removeprefix(": ") + _complaint(fault, kind, model)


def shown(text: str) -> str:
    """A key of somebody's file, as it may stand in a sentence: short, and on one line."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:60])


def _complaint(fault: Any, kind: str, model: type[BaseModel]) -> str:
    if kind == "extra_forbidden":
        return _unknown(str(fault["loc"][-1]), list(_keys(model, fault["loc"][:-1])))
    if kind == "missing" or fault["input"] is None:
        return "this key is required"
    if kind == "string_pattern_mismatch" and fault["ctx"]["pattern"] in _SHAPES:
        return f"expected {_SHAPES[fault['ctx']['pattern']]}"
    if kind in _EXPECTED:
        return f"expected {_EXPECTED[kind].format(**fault.get('ctx', {}))}"
    return str(fault["msg"]).removeprefix("Value error, ")


def _unknown(key: str, known: Sequence[str]) -> str:
    close = get_close_matches(key, known, n=1)
    return f"unknown key; did you mean {close[0]}?" if close else f"unknown key; there are {', '.join(known)}"


def _keys(model: type[BaseModel], path: Sequence[int | str]) -> dict[str, Any]:
    """The fields of a model, or of the model in it at `path`, under the names that a file has for them."""
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    if not path:
        return fields
    inner = fields[str(path[0])].annotation
    return _keys(inner, path[1:]) if isinstance(inner, type) and issubclass(inner, BaseModel) else {}
