"""The one byte form of a value that is hashed or signed: canonical JSON (RFC 8785), without floats.

A float's text depends on who prints it; whatever is not a whole number travels as a decimal text, a fraction
"p/q" or the bytes of an array (`fields.py`), so that two implementations always hash the same bytes.

Without floats, RFC 8785 is Python's own JSON without spaces, whose keys are sorted by their UTF-16 units; a test
holds it against the package `rfc8785`, which takes ten times as long over a study of many sites.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

LARGEST = 2**53 - 1
"""The largest whole number: readers of JSON that keep numbers as floats lose larger ones."""

_encode = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode


def canonical(value: Any) -> bytes:
    """`value`, made of dicts, lists, texts, whole numbers, booleans and null, as canonical JSON.

    Raises
    ------
    ValueError
        For a float, a whole number beyond 2^53 - 1, a key that is not a text, a text with half a surrogate pair,
        or any other type.

    Examples
    --------
    >>> canonical({"b": [True, None], "a": 1})
    b'{"a":1,"b":[true,null]}'
    """
    return _encode(_ordered(value)).encode()


def sha256(value: Any) -> str:
    """Hexadecimal SHA-256 of `canonical(value)`."""
    return hashlib.sha256(canonical(value)).hexdigest()


def _ordered(value: Any) -> Any:
    """The value with the keys of each dict in their order; ValueError for what has no canonical form."""
    if isinstance(value, str) or value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if abs(value) > LARGEST:
            raise ValueError("expected whole numbers up to 2^53 - 1, got a larger one; write it as a decimal text")
        return value
    if isinstance(value, dict):
        return {key: _ordered(value[key]) for key in sorted(value, key=_utf16)}
    if isinstance(value, list | tuple):
        return [_ordered(part) for part in value]
    if isinstance(value, float):
        raise ValueError(
            "expected no float in canonical JSON, got one; write it as a decimal text or a fraction 'p/q'"
        )
    raise ValueError(f"unsupported type in canonical JSON: {type(value).__name__}")


def _utf16(key: object) -> bytes:
    if not isinstance(key, str):
        raise ValueError(f"object keys must be strings, got a {type(key).__name__}")
    return key.encode("utf-16-be")
