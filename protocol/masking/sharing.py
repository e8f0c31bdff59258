"""Shamir's sharing of a secret of 16 bytes: any `threshold` shares give it back, fewer say nothing of it.

A secret is the value at 0 of a polynomial of degree threshold - 1 whose other coefficients are random, and the
share of place p its value at p + 1 (Shamir 1979). Arithmetic is in the field of 2^128 elements, with the
polynomial of AES-GCM. Sharing among S sites takes S T products, and all sites share: computed one by one, as by
`Shamir` of pycryptodome, they are most of what a study of 200 sites takes. Here all places are computed at once,
and the same is done whatever the bits of a secret are. A test compares both.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from cohortmix.protocol.masking.seeds import new_seed
from cohortmix.protocol.steps import SEED_BYTES

Elements = NDArray[np.uint64]
"""Elements of the field, (2, n): the high and the low 64 bits of each; the lowest bit is the coefficient of 1."""

_ONE, _HALF = np.uint64(1), np.uint64(63)
_SMALL = 10
"""Bits of a factor: a study has at most 1000 sites."""
_BITS = np.arange(_SMALL, dtype=np.uint64)[:, None]


def split(secret: str, threshold: int, places: int) -> tuple[str, ...]:
    """A share for each place, 0 to places - 1.

    Parameters
    ----------
    secret : a seed, hexadecimal, as the shares are.
    """
    drawn = b"".join(new_seed("coefficient") for _ in range(threshold - 1))
    at = np.arange(1, places + 1, dtype=np.uint64)
    values = np.zeros((2, places), dtype=np.uint64)
    for coefficient in _elements(drawn + bytes.fromhex(secret)).T:  # Horner's rule, from the highest power on
        values = _times(values, at) ^ coefficient[:, None]
    return tuple(share.hex() for share in _bytes(values))


def combine(shares: Mapping[int, str], threshold: int) -> str:
    """The secret that follows from the first `threshold` shares, by their places; a false share gives another one.

    >>> combine(dict(enumerate(split("0f" * 16, 3, 5))), 3) == "0f" * 16
    True
    """
    first = sorted(shares.items())[:threshold]
    values = _elements(bytes.fromhex("".join(share for _, share in first)))
    products = _product(values, _weights(tuple(place for place, _ in first)))
    return _bytes(np.bitwise_xor.reduce(products, axis=1)[:, None])[0].hex()


@lru_cache(maxsize=4)  # the secrets of all sites that dropped out are read from the shares of the same others
def _weights(places: tuple[int, ...]) -> Elements:
    """What the shares of these places count with in the value at 0 (Lagrange's interpolation).

    That of the point x is the product of y / (y - x) over all other points y; a difference is taken bit by bit.
    """
    points = np.array(places, dtype=np.uint64) + _ONE
    above = below = np.array([[0], [1]], dtype=np.uint64) + np.zeros_like(points)
    for point in points:
        above = _times(above, np.full_like(points, point))
        below = _times(below, np.where(points == point, point, points ^ point))
    return _product(_inverse(below), above)


def _times(elements: Elements, factors: Elements) -> Elements:
    """Products of elements (2, n) and factors (n,) below 2^10."""
    chosen = -(factors >> _BITS & _ONE)  # all bits where the factor has this one, none elsewhere
    over, carried = (_sum(half >> _ONE >> (_HALF - _BITS) & chosen) for half in elements)
    high, low = (_sum(half << _BITS & chosen) for half in elements)
    # What is above x^127 comes back below: x^128 = x^7 + x^2 + x + 1.
    return np.stack([high ^ carried, low ^ over ^ over << _ONE ^ over << np.uint64(2) ^ over << np.uint64(7)])


def _product(left: Elements, right: Elements) -> Elements:
    """Products of elements, from those with the bytes of the right ones."""
    out, eight = np.zeros_like(left), np.full(left.shape[1], 256, dtype=np.uint64)
    for half in right:
        for shift in range(56, -1, -8):
            out = _times(out, eight) ^ _times(left, half >> np.uint64(shift) & np.uint64(255))
    return out


def _inverse(elements: Elements) -> Elements:
    """Their inverses, by Fermat: the power of 2^128 - 2, which is the product of those of 2, 4, ..., 2^127."""
    power = out = _product(elements, elements)
    for _ in range(8 * SEED_BYTES - 2):
        power = _product(power, power)
        out = _product(out, power)
    return out


def _sum(parts: Elements) -> Elements:
    total: Elements = np.bitwise_xor.reduce(parts, axis=0)
    return total


def _elements(content: bytes) -> Elements:
    return np.frombuffer(content, dtype=">u8").astype(np.uint64).reshape(-1, 2).T


def _bytes(elements: Elements) -> list[bytes]:
    return [element.tobytes() for element in np.ascontiguousarray(elements.T).astype(">u8")]
