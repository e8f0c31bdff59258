"""Masks of a vector of integers mod 2^64, expanded from secrets; they cancel in the sum over all sites.

y_u = x_u + PRG(b_u) + sum over v > u of PRG(s_uv) - sum over v < u of PRG(s_uv), mod 2^64, with sites in the order
of their names (Bonawitz et al. 2017, section 4). s_uv follows from the keys and names of both sites, and from
the list of all sites with their keys: sites that were shown different lists share no mask.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR
from numpy.typing import NDArray

from cohortmix.protocol.canonical import sha256
from cohortmix.protocol.masking.seeds import agreed, derived, private_of

Words = NDArray[np.uint64]
"""A vector of integers mod 2^64."""


def masks_of(site: str, mask: str, keys: Mapping[str, str], roster: str, size: int) -> Words:
    """The sum of the masks that a site shares with all others.

    Parameters
    ----------
    mask : the seed of its mask key.
    keys : by site, the public mask keys of all sites of the sum.
    roster : hash of these sites with their keys.
    size : length of the vector.

    Raises
    ------
    MaskingError
        If a key is not one.
    """
    private, total = private_of(mask, "mask"), np.zeros(size, dtype=np.uint64)
    for other, public in keys.items():
        if other != site:
            # By name as well: a site could give out another one's key as its own, and masks of both would cancel.
            pair = sha256([roster, *sorted((site, other))])
            shared = _expanded(agreed(private, public, f"mask {pair}"), size)
            total = total + shared if site < other else total - shared
    return total


def own_mask(own: str, roster: str, size: int) -> Words:
    """The mask of a site alone, from the seed of it."""
    return _expanded(derived(bytes.fromhex(own), f"own mask {roster}"), size)


def words(values: NDArray[np.int64]) -> Words:
    """Integers as they are added: mod 2^64."""
    return np.ascontiguousarray(values, dtype=np.int64).view(np.uint64)


def total(vectors: Iterable[Words]) -> Words:
    """Their sum, mod 2^64; there is at least one."""
    vectors = iter(vectors)
    out = next(vectors).copy()
    for vector in vectors:  # one at a time: those of a large study do not fit into memory together
        if vector.shape != out.shape:
            raise ValueError(f"expected vectors of {len(out)} numbers, got one of {len(vector)}")
        out += vector
    return out


def integers(vector: Words) -> NDArray[np.int64]:
    """The integers from -2^63 to 2^63 - 1 that a vector mod 2^64 stands for."""
    return vector.view(np.int64)


def _expanded(key: bytes, size: int) -> Words:
    """The key stream of AES-256 in counter mode, from 0; a key expands one mask only."""
    stream = Cipher(AES256(key), CTR(bytes(16))).encryptor()
    return np.frombuffer(stream.update(bytes(8 * size)), dtype="<u8").astype(np.uint64)
