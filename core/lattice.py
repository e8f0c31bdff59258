"""Lattice: arithmetic on rows of integers that never enlarges them."""

from __future__ import annotations

from math import isqrt

import numpy as np
from numpy.typing import NDArray


def clip_rows(z: NDArray[np.int64], bound2: int) -> NDArray[np.int64]:
    """Scale rows with sum z^2 > bound2 down to it, in integers, truncating towards zero; shape kept.

    The factor is isqrt(bound2) / ceil(sqrt(sum z^2)), rounded down twice, so the bound holds exactly. A row's
    sum z^2 must be below 2^63, which the vault's own rows are: `noisy_sum` and its like refuse larger weights.
    """
    norm2 = (z * z).sum(axis=1)
    over = np.flatnonzero(norm2 > bound2)
    if len(over) == 0:
        return z
    z = z.copy()
    bound = isqrt(bound2)
    for row in over:
        length = isqrt(int(norm2[row]) - 1) + 1
        z[row] = np.sign(z[row]) * (np.abs(z[row]) * bound // length)
    return z


def divide(z: NDArray[np.int64], parts: NDArray[np.int64]) -> NDArray[np.int64]:
    """z_r / m_r, truncated towards zero: rounding down would enlarge a negative entry, (-1) // 2 = -1."""
    return np.sign(z) * (np.abs(z) // parts[:, None])


def divide_by_root(z: NDArray[np.int64], parts: NDArray[np.int64], unit: int) -> NDArray[np.int64]:
    """z_r / sqrt(m_r), truncated towards zero; the factor is a multiple of 1 / unit, rounded down."""
    root = np.array([isqrt(unit**2 // int(m)) for m in parts], dtype=np.int64)
    return np.sign(z) * (np.abs(z) * root[:, None] // unit)
