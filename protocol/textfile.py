"""Text that a person has written: read from a file, and what it says as the keys that it shall have."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from cohortmix.core.schema import load_yaml
from cohortmix.core.sentences import fault_sentences, yaml_sentence
from cohortmix.core.table import InputError
from cohortmix.protocol.fields import HEX_64, NAME

T = TypeVar("T", bound=BaseModel)

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
        return path.read_text(encoding="utf-8")
    except OSError as error:
        cure = f"; {absent}" if absent and isinstance(error, FileNotFoundError) else ""
        raise InputError(f"cannot read {what} {str(path)!r}: {error.strerror}{cure}") from None
    except UnicodeDecodeError:
        raise InputError(f"cannot read {what} {str(path)!r}: it is not UTF-8 text") from None


def parse_file(text: str, model: type[T], what: str, context: Any = None) -> T:
    """A file that a person has written, in YAML, as a `model`.

    Everything is text until its key gives it a type: a key of digits is no number, 0.5 is exactly 0.5.

    Parameters
    ----------
    what : how errors call the file.
    context : for the model's validators.

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
    """As `sentences.fault_sentences`, with the names and keys of this protocol in words."""
    return fault_sentences(error, model, _SHAPES)
