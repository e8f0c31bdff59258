"""Text files that people write: read, and parsed as the keys that they should have."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from cohortmix.core.data.schema import Schema
from cohortmix.core.data.sentences import fault_sentences, yaml_sentence
from cohortmix.core.data.table import InputError
from cohortmix.core.data.typed_yaml import load_yaml
from cohortmix.core.data.words import in_quotes
from cohortmix.protocol.fields import HEX_64
from cohortmix.protocol.names import NAME

MOST_BYTES = 8 * 2**20
"""Of a file that a person has written or was sent; a study of 1000 sites is a fiftieth of it."""

T = TypeVar("T", bound=BaseModel)

_SHAPES = {
    NAME: "1 to 64 letters and digits, with spaces, '.', '-' and '_' only between them",
    HEX_64: "64 hexadecimal digits in lower case",
}


def read_text(path: Path, what: str, absent: str = "") -> str:
    """The text of a file.

    Parameters
    ----------
    what : what errors call the file.
    absent : what a person should do where there is no such file.

    Raises
    ------
    InputError
        If the file cannot be read, is longer than `MOST_BYTES`, or is not UTF-8.
    """
    try:
        return read_bytes(path, what, absent).decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"cannot read {what} {in_quotes(path)}: it is not UTF-8 text") from None


def read_bytes(path: Path, what: str, absent: str = "", most: int = MOST_BYTES) -> bytes:
    """The content of a file of at most `most` bytes; errors as `read_text`."""
    with plain_file(path, what, absent) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise InputError(f"cannot read {what} {in_quotes(path)}: it is longer than {most} bytes")
    return content


def read_schema(path: Path) -> Schema:
    """The schema in a file.

    Raises
    ------
    InputError
        If the file cannot be read.
    SchemaError
        If it is no schema.
    """
    return Schema.from_yaml(read_text(path, "the schema"))


@contextmanager
def plain_file(path: Path, what: str, absent: str = "") -> Iterator[IO[bytes]]:
    """An open file; errors as `read_text`, also for a device or a pipe, which might never end."""
    try:
        # Not blocking: opening a pipe would wait for somebody who writes to it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        cure = f"; {absent}" if absent and isinstance(error, FileNotFoundError) else ""
        raise InputError(f"cannot read {what} {in_quotes(path)}: {error.strerror}{cure}") from None
    except ValueError:
        raise InputError(f"cannot read {what} {in_quotes(path)}: no file can have this name") from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise InputError(f"cannot read {what} {in_quotes(path)}: it is no plain file")
        with open(descriptor, "rb", closefd=False) as file:
            yield file
    except OSError as error:
        raise InputError(f"cannot read {what} {in_quotes(path)}: {error.strerror}") from None
    finally:
        os.close(descriptor)


def parse_file(text: str, model: type[T], what: str, context: Any = None) -> T:
    """A file that a person has written, in YAML, as a `model`.

    Everything is text until its key gives it a type: a key of digits is no number, 0.5 is exactly 0.5.

    Parameters
    ----------
    what : what errors call the file.
    context : passed to the model's validators.

    Raises
    ------
    InputError
        With the first faults in one line, each naming its key.
    """
    try:
        return model.model_validate(load_yaml(text), context=context)
    except yaml.YAMLError as error:
        raise InputError(f"{what} is not valid YAML{yaml_sentence(error)}") from None
    except ValidationError as error:
        raise InputError(f"{what}: {faults_of(error, model)}") from None


def faults_of(error: ValidationError, model: type[BaseModel]) -> str:
    """What is wrong with a file, as `sentences.fault_sentences`; names and keys of this protocol are described."""
    return fault_sentences(error, model, _SHAPES)


def shown(text: str) -> str:
    """A key from somebody's file as a sentence may show it: short, and on one line."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:60])
