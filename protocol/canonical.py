"""The one byte form of everything that crosses the wire or is kept: canonical JSON (RFC 8785), without floats.

A float's text depends on who prints it. So whatever is not a whole number travels as a decimal text, a fraction
"p/q" or the bytes of an array (`fields.py`), and two implementations always hash and sign the same bytes.

Without floats, RFC 8785 is Python's own JSON without spaces and with sorted keys. A test compares it with the
package `rfc8785`, which takes many times as long for a study of many sites. Schemas and questions are hashed in a
form of their own; `core/data/digest.py` says why.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

LARGEST = 2**53 - 1
"""The largest whole number: readers of JSON that keep numbers as floats lose digits of larger ones."""

_FORM: dict[str, Any] = {"ensure_ascii": False, "separators": (",", ":")}
_sorted_by_character = json.JSONEncoder(sort_keys=True, **_FORM).encode
_in_given_order = json.JSONEncoder(**_FORM).encode


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
    _require_canonical(value)
    text = _sorted_by_character(value)
    if text.isascii() or max(text) < "\U00010000":  # up to here, characters sort as their UTF-16 units do
        return text.encode()
    return _in_given_order(_sorted_by_unit(value)).encode()


def sha256(value: Any) -> str:
    """Hexadecimal SHA-256 of `canonical(value)`."""
    return hashlib.sha256(canonical(value)).hexdigest()


def _require_canonical(value: Any) -> None:
    """Raise ValueError for what has no canonical form, and would get one from Python's own JSON."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else (value,)
    if isinstance(value, dict) and not all(isinstance(key, str) for key in value):
        raise ValueError("object keys must be strings, got another type")
    for part in parts:
        if part is None or isinstance(part, str | bool):
            continue
        if isinstance(part, int):
            _require_small(part)
        elif isinstance(part, dict | list | tuple):
            _require_canonical(part)
        elif isinstance(part, float):
            raise ValueError(
                "expected no float in canonical JSON, got one; write it as a decimal text or a fraction 'p/q'"
            )
        else:
            raise ValueError(f"unsupported type in canonical JSON: {type(part).__name__}")


def _require_small(number: int) -> None:
    if abs(number) > LARGEST:
        raise ValueError("expected whole numbers up to 2^53 - 1, got a larger one; write it as a decimal text")


def _sorted_by_unit(value: Any) -> Any:
    """The value with the keys of every dict in the order of their UTF-16 units, as RFC 8785 wants it."""
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: str(key).encode("utf-16-be"))
        return {key: _sorted_by_unit(value[key]) for key in keys}
    return [_sorted_by_unit(part) for part in value] if isinstance(value, list | tuple) else value
