"""SHA-256 of a public description: of a schema, and of a question to a vault.

The form that is hashed is JSON without spaces, with sorted keys, and with `\\uXXXX` for every character that is
not printable ASCII. Messages are hashed in another form, RFC 8785 (`protocol/canonical.py`), and the two cannot be
one: RFC 8785 writes such characters as UTF-8, which would change the hash of every schema with an umlaut in it,
and it has no whole numbers beyond 2^53, while a question has weights and radii up to 2^62. For printable ASCII and
smaller numbers the two forms are the same, byte for byte; a test holds them together.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any


def digest(plain: Any, default: Callable[[Any], Any] | None = None) -> str:
    """Hexadecimal SHA-256 of a value made of dicts, lists, texts, whole numbers, booleans and null.

    A float must be turned into a text first: how JSON prints one is not the same everywhere.

    Parameters
    ----------
    default : gives such a value for any other object.
    """
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), default=default)
    return hashlib.sha256(text.encode("ascii")).hexdigest()
