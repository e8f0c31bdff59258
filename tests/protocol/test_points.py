"""Public keys that name nobody are refused wherever a key is read, and nothing is signed under them."""

from __future__ import annotations

import json
from types import ModuleType

import pytest
from pydantic import ValidationError

from cohortmix.client.ledger.policy import Policy
from cohortmix.client.site.config import SiteConfig
from cohortmix.protocol.messages import Description, MessageError, SiteEntry, decode, encode
from cohortmix.protocol.points import SMALL_ORDER, P, is_weak
from cohortmix.protocol.signing import Key, SignatureError, verify

D = -121665 * pow(121666, -1, P) % P
ORDER = 2**252 + 27742317777372353535851937790883648493
Point = tuple[int, int]


def add(one: Point, other: Point) -> Point:
    """The sum of two points of the twisted Edwards curve (RFC 8032, section 5.1.4)."""
    (x1, y1), (x2, y2) = one, other
    product = D * x1 * x2 * y1 * y2 % P
    x = (x1 * y2 + x2 * y1) * pow(1 + product, -1, P) % P
    return x, (y1 * y2 + x1 * x2) * pow(1 - product, -1, P) % P


def times(number: int, point: Point) -> Point:
    total = (0, 1)
    for bit in bin(number)[2:]:
        total = add(total, total)
        total = add(total, point) if bit == "1" else total
    return total


def point_of(y: int) -> Point | None:
    """The point of this y and one of its x (RFC 8032, section 5.1.3)."""
    u, v = (y * y - 1) % P, (D * y * y + 1) % P
    x = u * pow(v, 3, P) * pow(u * pow(v, 7, P), (P - 5) // 8, P) % P
    if v * x * x % P == -u % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    return (x, y) if v * x * x % P == u else None


def encoded(x: int, y: int) -> bytes:
    return (y | (x & 1) << 255).to_bytes(32, "little")


def small_points() -> set[Point]:
    """All multiples of a point of order 8: l times some point of the curve."""
    for y in range(2, 1000):
        point = point_of(y)
        if point and times(4, torsion := times(ORDER, point)) != (0, 1):
            return {times(number, torsion) for number in range(8)}
    raise AssertionError


SMALL = sorted(encoded(*point) for point in small_points())
NOT_CANONICAL = [encoded(sign, y + P) for y in range(19) for sign in (0, 1)]
"""Each y below 19 has a second spelling in 255 bits."""


def test_the_eight_points_of_small_order() -> None:
    assert len(SMALL) == 8
    assert {point[1] for point in small_points()} == SMALL_ORDER
    assert all(is_weak(each) for each in SMALL)
    assert is_weak(encoded(1, 1)), "minus zero: the neutral element's second spelling"
    assert not any(is_weak(bytes.fromhex(Key.generate().public_hex)) for _ in range(20))


@pytest.mark.parametrize("weak", [*SMALL, *NOT_CANONICAL])
def test_weak_keys_are_refused_wherever_keys_are_read(weak: bytes, examples: ModuleType) -> None:
    key = weak.hex()
    assert is_weak(weak)
    with pytest.raises(SignatureError):
        verify(key, b"message", encoded(0, 1).hex() + "0" * 64)
    with pytest.raises(ValidationError, match="small order"):
        SiteEntry(name="UK", key=key, patients=60)
    with pytest.raises(ValidationError, match="small order"):
        examples.study(coordinator_key=key)
    with pytest.raises(ValidationError, match="small order"):
        Policy(coordinators=(key,))
    with pytest.raises(ValidationError, match="small order"):
        SiteConfig.model_validate(
            {"name": "A", "data": {"file": "t.csv"}, "schema": "s", "cap_mu": "1", "coordinators": [key]}
        )
    facts = Description(site="A", key="a" * 64, patients=60, schema_hash="5" * 64, columns=("x",), version="0.1.0")
    with pytest.raises(MessageError):
        decode(json.dumps(facts.plain() | {"key": key}).encode())
    assert decode(encode(facts)) == facts


def test_without_the_check_one_signature_would_hold_for_any_message() -> None:
    """Under the neutral element the equation S B = R + h A has the solution S = 0, R = A for every h."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    neutral = encoded(0, 1)
    for message in (b"one", b"another"):
        Ed25519PublicKey.from_public_bytes(neutral).verify(neutral + bytes(32), message)
        with pytest.raises(SignatureError):
            verify(neutral.hex(), message, (neutral + bytes(32)).hex())
