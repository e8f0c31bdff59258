"""Which bytes are accepted as an Ed25519 public key: one spelling of each point, and no point of small order.

A point has small order if 8 times the point is the neutral element; there are eight of them. Under such a "key"
one signature holds for many messages, so it identifies nobody. An encoding with y >= p spells a point that has
another encoding already (RFC 8032, section 5.1.3).
"""

from __future__ import annotations

P = 2**255 - 19
"""The order of the field of Ed25519 (RFC 8032, section 5.1)."""

_Y8 = int("7a03ac9277fdc74ec6cc392cfa53202a0f67100d760b3cba4fd84d3d706a17c7", 16)
SMALL_ORDER = frozenset({1, P - 1, 0, _Y8, P - _Y8})
"""The y of the points of order 1, 2, 4 and 8; each of the last three belongs to two points, with x and -x."""


def is_weak(encoded: bytes) -> bool:
    """Whether these 32 bytes are a point of small order, or the second spelling of a point.

    >>> is_weak(bytes([1] + [0] * 31)), is_weak(bytes([9] + [0] * 31))
    (True, False)
    """
    y = int.from_bytes(encoded, "little") & (2**255 - 1)  # the highest bit is the sign of x
    return y >= P or y in SMALL_ORDER
