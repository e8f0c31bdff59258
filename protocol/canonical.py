"""The one byte form of a value that is hashed or signed: canonical JSON (RFC 8785), without floats.

A float's text depends on who prints it; whatever is not a whole number travels as a decimal text, a fraction
"p/q" or the bytes of an array (`fields.py`), so that two implementations always hash the same bytes.
"""

from __future__ import annotations

import hashlib
from typing import Any

import rfc8785


def canonical(value: Any) -> bytes:
    """`value`, made of dicts, lists, texts, whole numbers, booleans and null, as canonical JSON.

    Raises
    ------
    ValueError
        For a float, a whole number beyond 2^53 - 1, a key that is not a text, or any other type.

    Examples
    --------
    >>> canonical({"b": [True, None], "a": 1})
    b'{"a":1,"b":[true,null]}'
    """
    _refuse_floats(value)
    try:
        return rfc8785.dumps(value)
    except rfc8785.IntegerDomainError:
        raise ValueError(
            "expected whole numbers up to 2^53 - 1, got a larger one; write it as a decimal text"
        ) from None


def sha256(value: Any) -> str:
    """Hexadecimal SHA-256 of `canonical(value)`."""
    return hashlib.sha256(canonical(value)).hexdigest()


def _refuse_floats(value: Any) -> None:
    if isinstance(value, float):
        raise ValueError(
            "expected no float in canonical JSON, got one; write it as a decimal text or a fraction 'p/q'"
        )
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list | tuple):
        return
    for part in value:
        _refuse_floats(part)
