"""Lattice: the rows that count, a few at a time, and arithmetic on rows of integers that never enlarges them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import isqrt
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cohortmix.core.data.reading import UNKNOWN

EXACT = 1 << 53  # float64 holds every integer up to here
LIMIT = 1 << 62  # above every integer that is summed; noise is added to no larger ones
MOMENT_UNIT = 1 << 14  # steps of 1 in the psi of pair tables, and in the factor 1 / sqrt(m) of every moment
BATCH_NUMBERS = 1 << 21  # entries of a batch's lattice matrix: 16 MiB of integers, near the processor

Rows: TypeAlias = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]
"""Cells (n, D), labels (n,) and parts m (n,) of n rows that count: each of them weighs 1/m."""


def chunks(rows: Iterable[Rows], width: int, bound2: int = 1) -> Iterator[Rows]:
    """The same rows in their order, so few at once that memory suffices and rows x bound2 is at most 2^53."""
    most = max(1, min(BATCH_NUMBERS // max(width, 1), EXACT // bound2))
    for codes, label, parts in rows:
        for first in range(0, len(label), most):
            chunk = slice(first, first + most)
            yield codes[chunk], label[chunk], parts[chunk]


def slots_of(cells: NDArray[np.int32], slots: Sequence[int]) -> NDArray[np.int64]:
    """The slot of each cell; one beyond them all, max(slots) + 1, for an UNKNOWN cell or one without a slot."""
    table = np.array((*slots, UNKNOWN), dtype=np.int64)  # UNKNOWN is -1, the last
    return np.where(table < 0, max(slots) + 1, table)[cells]


def counted(places: NDArray[Any], shares: NDArray[np.float64], size: int) -> NDArray[np.int64]:
    """The sum of the shares of the rows in each of `size` places, (size,); shares are whole numbers.

    Exact where rows x the largest share is at most 2^53: every partial sum is then an integer that float64 holds.
    """
    return np.bincount(places, shares, size).astype(np.int64)


def clip_rows(z: NDArray[np.int64], bound2: int) -> NDArray[np.int64]:
    """Scale rows with sum z^2 > bound2 down to it, in integers, truncating towards zero; shape kept.

    The factor is isqrt(bound2) / ceil(sqrt(sum z^2)), rounded down twice, so the bound holds exactly. A row's
    sum z^2 must be below 2^63, which a question's rows are: its `check` refuses larger weights and levels.
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


def divide_by_root(z: NDArray[np.int64], parts: NDArray[np.int64]) -> NDArray[np.int64]:
    """z_r / sqrt(m_r), truncated towards zero; the factor is a multiple of 1 / MOMENT_UNIT, rounded down."""
    m, at = np.unique(parts, return_inverse=True)
    root = np.array([isqrt(MOMENT_UNIT**2 // int(each)) for each in m], dtype=np.int64)[at]
    return np.sign(z) * (np.abs(z) * root[:, None] // MOMENT_UNIT)


def products(psi: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sum of psi_r psi_r^T over rows, (K, K): exact where rows x the largest |psi_r|^2 is at most 2^53."""
    reals = psi.astype(np.float64)  # since a product of integer matrices is slow
    return np.asarray((reals.T @ reals).astype(np.int64))
