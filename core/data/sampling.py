"""Sampling: indices drawn by weight, so evenly that the draws add hardly any noise to that of the weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class PointMass(NamedTuple):
    """A value that many of those have whose number lies in a fine cell: a share of them.

    Of a date, the value is its ordinal.
    """

    feature: str
    cell: int
    value: float
    share: float


def systematic(weights: NDArray[np.float64], n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Ascending indices (n,), each drawn as often as its weight says, to within one (Madow, Madow 1944)."""
    ends = np.cumsum(weights)
    points = (np.arange(n) + rng.random()) / n * ends[-1] if n else np.empty(0)
    return np.minimum(np.searchsorted(ends, points, side="right"), len(weights) - 1)


def pick(
    weights: NDArray[np.float64], rows: NDArray[np.integer[Any]], rng: np.random.Generator
) -> NDArray[np.int64]:
    """One index for each entry of `rows`, by the weights (R, m) of the row that it names.

    Entries that name the same row get uniform numbers from equal parts of [0, 1], one entry in each part: every
    entry is distributed as if drawn by itself, and together they follow the weights as nearly as they can.
    """
    u = _even_parts(rows, len(weights), rng)
    ends, size = np.cumsum(weights, axis=1), weights.shape[1]
    ends = ends / np.maximum(ends[:, -1:], np.finfo(np.float64).tiny) + np.arange(len(weights))[:, None]
    return np.asarray(np.minimum(np.searchsorted(ends.ravel(), rows + u, side="right") - rows * size, size - 1))


def pick_within(
    weights: NDArray[np.float64],
    bins: NDArray[np.integer[Any]],
    row: NDArray[np.integer[Any]],
    bin: NDArray[np.integer[Any]],
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """One index for each entry, among those in its bin, by the weights (R, m) of its row; as evenly as `pick`.

    Parameters
    ----------
    bins : (m,) of each index, counted from 0 without gaps.
    row, bin : (n,) of each entry.
    """
    order, count = np.argsort(bins, kind="stable"), np.bincount(bins)
    last = np.cumsum(count)
    parts = [np.cumsum(weights[:, order[end - size : end]], axis=1) for end, size in zip(last, count, strict=True)]
    which = len(count) * np.arange(len(weights))[:, None]
    ends = [part / np.maximum(part[:, -1:], np.finfo(np.float64).tiny) + which + b for b, part in enumerate(parts)]
    rows = row * len(count) + bin
    found = np.searchsorted(
        np.concatenate(ends, axis=1).ravel(), rows + _even_parts(rows, len(weights) * len(count), rng), "right"
    )
    return np.asarray(order[np.minimum(found - row * weights.shape[1], last[bin] - 1)])


def _even_parts(rows: NDArray[np.integer[Any]], most: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Uniform numbers (n,), those of one of `most` rows in equal parts of [0, 1], one in each."""
    order = np.lexsort((rng.random(len(rows)), rows))
    count = np.bincount(rows, minlength=most)
    place = np.empty(len(rows))
    place[order] = np.arange(len(rows)) - (np.cumsum(count) - count)[rows[order]]
    return np.asarray((place + rng.random(len(rows))) / count[rows])


def draw_groups(
    k: NDArray[np.int64], means: NDArray[np.float64], blocks: Sequence[slice], rng: np.random.Generator
) -> NDArray[np.int32]:
    """Merged bin of each feature (n, D) of records of the centroids k (n,), whose means (K, G) are histograms.

    Parameters
    ----------
    blocks : where each feature's bins stand in the means.
    """
    return np.stack([pick(means[:, block], k, rng) for block in blocks], axis=1).astype(np.int32)


def with_points(
    values: NDArray[np.float64],
    codes: NDArray[np.int32],
    points: Sequence[PointMass],
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Values (n,) of one feature in their cells (n,), with its point masses in place of their shares of a cell."""
    out = values.copy()
    for cell in sorted({point.cell for point in points}):
        inside, rows = [point for point in points if point.cell == cell], np.flatnonzero(codes == cell)
        u = (rng.permutation(len(rows)) + rng.random(len(rows))) / max(1, len(rows))
        which = np.searchsorted(np.cumsum([point.share for point in inside]), u, side="right")
        hit = which < len(inside)
        out[rows[hit]] = np.array([point.value for point in inside])[which[hit]]
    return out
