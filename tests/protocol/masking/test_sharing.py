"""Shamir's sharing as pycryptodome has it, share by share; its laws are in test_below_threshold.py."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from hashlib import shake_256

import pytest
from Crypto.Protocol import SecretSharing

from cohortmix.protocol.masking.sharing import combine, split
from cohortmix.protocol.study import MOST_SITES

SIZES = [(1, 1), (1, 4), (2, 2), (3, 5), (9, 9), (33, 40)]
SECRETS = ["00" * 16, "ff" * 16, "0123456789abcdef" * 2, "80" + "00" * 15, "00" * 15 + "01"]


def stream(seed: bytes) -> Callable[[int], bytes]:
    """Random bytes, as many as are asked for each time; the same ones for a seed."""
    given = 0

    def more(count: int) -> bytes:
        nonlocal given
        given += count
        return shake_256(seed).digest(given)[given - count :]

    return more


def theirs(secret: str, threshold: int, places: int, monkeypatch: pytest.MonkeyPatch, seed: bytes) -> list[str]:
    """The shares of pycryptodome, from random bytes of ours."""
    monkeypatch.setattr(SecretSharing, "rng", stream(seed))
    shares = SecretSharing.Shamir.split(threshold, places, bytes.fromhex(secret), False)
    return [share.hex() for _, share in sorted(shares)]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize(("threshold", "places"), SIZES)
def test_every_share_is_pycryptodomes(
    secret: str, threshold: int, places: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secrets, "token_bytes", stream(b"one"))
    shares = split(secret, threshold, places)
    assert list(shares) == theirs(secret, threshold, places, monkeypatch, b"one")
    if threshold > 1:  # with other random bytes there are other shares
        assert list(shares) != theirs(secret, threshold, places, monkeypatch, b"another")


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize(("threshold", "places"), SIZES)
def test_both_read_the_same_secret_from_any_points(secret: str, threshold: int, places: int) -> None:
    """From the last T places: also where a false share leads to another secret, it is the same one."""
    shares = dict(list(enumerate(split(secret, threshold, places)))[-threshold:])
    for false in (False, True):
        if false:
            shares[places - 1] = f"{int(shares[places - 1], 16) ^ 5:032x}"
        points = [(place + 1, bytes.fromhex(share)) for place, share in shares.items()]
        read = combine(shares, threshold)
        assert read == SecretSharing.Shamir.combine(points, False).hex()
        assert (read == secret) is not false


def test_as_many_sites_as_a_study_has() -> None:
    """The largest point has as many bits as a factor may have."""
    shares = dict(enumerate(split(SECRETS[2], 3, MOST_SITES)))
    last = {place: shares[place] for place in (0, MOST_SITES - 2, MOST_SITES - 1)}
    points = [(place + 1, bytes.fromhex(share)) for place, share in last.items()]
    assert len(set(shares.values())) == MOST_SITES
    assert combine(last, 3) == SecretSharing.Shamir.combine(points, False).hex() == SECRETS[2]
