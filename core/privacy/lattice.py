"""Lattice: arithmetic on rows of integers that never enlarges them."""

from __future__ import annotations

from math import isqrt

import numpy as np
from numpy.typing import NDArray

EXACT = 1 << 53  # float64 holds every integer up to here


def clip_rows(z: NDArray[np.int64], bound2: int) -> NDArray[np.int64]:
    """Scale rows with sum z^2 > bound2 down to it, in integers, truncating towards zero; shape kept.

    The factor is isqrt(bound2) / ceil(sqrt(sum z^2)), rounded down twice, so the bound holds exactly. A row's
    sum z^2 must be below 2^63, which the vault's own rows are: `noisy_sum` and its like refuse larger weights.
    An entry is at most the row's length, and the bound is shorter: their product stays below 2^63, too.
    """
    norm2 = (z * z).sum(axis=1)
    over = np.flatnonzero(norm2 > bound2)
    if len(over) == 0:
        return z
    z = z.copy()
    length = floor_sqrt(norm2[over] - 1)[:, None] + 1
    z[over] = np.sign(z[over]) * (np.abs(z[over]) * isqrt(bound2) // length)
    return z


def floor_sqrt(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Whole part of the square root of integers of 0 or more.

    The root in floating point is off by one at most; it is corrected by divisions, as squares of it could leave
    63 bits: r > v // r says r^2 > v.
    """
    root = np.maximum(np.sqrt(values.astype(np.float64)).astype(np.int64), 1)
    root -= root > values // root
    root += root + 1 <= values // (root + 1)
    return root


def divide(z: NDArray[np.int64], parts: NDArray[np.int64]) -> NDArray[np.int64]:
    """z_r / m_r, truncated towards zero: rounding down would enlarge a negative entry, (-1) // 2 = -1."""
    return np.sign(z) * (np.abs(z) // parts[:, None])


def divide_by_root(z: NDArray[np.int64], parts: NDArray[np.int64], unit: int) -> NDArray[np.int64]:
    """z_r / sqrt(m_r), truncated towards zero; the factor is a multiple of 1 / unit, rounded down."""
    root = np.array([isqrt(unit**2 // int(m)) for m in parts], dtype=np.int64)
    return np.sign(z) * (np.abs(z) * root[:, None] // unit)


def project(z: NDArray[np.int64], directions: NDArray[np.int64], divisor: int) -> NDArray[np.int64]:
    """Each row's products with the directions (D, K), divided by `divisor` and truncated towards zero; (n, D).

    Products go through floating point, exactly: sum_k |direction_k| max |z_k| must be at most 2^53, so that every
    partial sum is an integer that float64 holds, in whatever order. A row's result depends on that row alone.
    """
    products = (z.astype(np.float64) @ directions.T.astype(np.float64)).astype(np.int64)
    return np.asarray(np.sign(products) * (np.abs(products) // divisor), dtype=np.int64)
