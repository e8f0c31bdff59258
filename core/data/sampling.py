"""Sampling: indices drawn by weight, so evenly that what is drawn has hardly more noise than the weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def systematic(weights: NDArray[np.float64], n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Ascending indices (n,), each as often as its weight says, to within one (Madow, Madow 1944)."""
    ends = np.cumsum(weights)
    points = (np.arange(n) + rng.random()) / n * ends[-1] if n else np.empty(0)
    return np.minimum(np.searchsorted(ends, points, side="right"), len(weights) - 1)


def pick(
    weights: NDArray[np.float64], rows: NDArray[np.integer[Any]], rng: np.random.Generator
) -> NDArray[np.int64]:
    """One index per entry of `rows`, by the weights (R, m) of that row.

    Entries of the same row share out the uniform numbers, one in each of equal parts: each is distributed as if
    drawn by itself, and together they follow the weights as nearly as they can.
    """
    order = np.lexsort((rng.random(len(rows)), rows))
    count = np.bincount(rows, minlength=len(weights))
    place = np.empty(len(rows))
    place[order] = np.arange(len(rows)) - (np.cumsum(count) - count)[rows[order]]
    ends = np.cumsum(weights, axis=1)
    u = (place + rng.random(len(rows))) / count[rows] * ends[rows, -1]
    return np.asarray(np.minimum((ends[rows] <= u[:, None]).sum(axis=1), weights.shape[1] - 1))


def draw_groups(
    k: NDArray[np.int64], means: NDArray[np.float64], blocks: Sequence[slice], rng: np.random.Generator
) -> NDArray[np.int32]:
    """Group of each feature (n, D) of records of the centroids k (n,), whose means (K, G) are histograms.

    Parameters
    ----------
    blocks : where each feature's groups stand in the means.
    """
    return np.stack([pick(means[:, block], k, rng) for block in blocks], axis=1).astype(np.int32)
