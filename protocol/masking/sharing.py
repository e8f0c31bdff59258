"""Shamir's sharing of a secret of 16 bytes: any `threshold` shares give it back, fewer say nothing of it.

The arithmetic is pycryptodome's. A share's number is the place of its site in the list of all sites of the sum.
"""

from __future__ import annotations

from collections.abc import Mapping

from Crypto.Protocol.SecretSharing import Shamir


def split(secret: str, threshold: int, places: int) -> tuple[str, ...]:
    """A share for each place, 0 to places - 1.

    Parameters
    ----------
    secret : a seed, hexadecimal, as the shares are.
    """
    shares = Shamir.split(threshold, places, bytes.fromhex(secret), False)
    return tuple(share.hex() for _, share in sorted(shares))


def combine(shares: Mapping[int, str], threshold: int) -> str:
    """The secret that follows from the first `threshold` shares, by their places; a false share gives another one.

    >>> combine(dict(enumerate(split("0f" * 16, 3, 5))), 3) == "0f" * 16
    True
    """
    first = sorted(shares.items())[:threshold]
    return Shamir.combine([(place + 1, bytes.fromhex(share)) for place, share in first], False).hex()
