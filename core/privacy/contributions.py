"""Contributions: what records add to an answer, before its noise.

Pure functions of a public query and of rows that the vault has read: nothing here opens a table, pays or draws.
They are as trusted as the vault, and it alone calls them. A row's vector of integers depends on that row alone; it
is clipped, divided among its patient's m rows, and then summed, exactly and thus in any order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from cohortmix.core.data.encoding import UNKNOWN
from cohortmix.core.privacy.lattice import EXACT, clip_rows, divide, divide_by_root, project
from cohortmix.core.privacy.query import (
    ClassMoment,
    Coordinate,
    LevelMoment,
    LevelSum,
    MomentQuery,
    Query,
    SumQuery,
    upper,
    weights,
)

MOMENT_UNIT = 1 << 14  # lattice steps of a cell of psi; a pair of cells counts MOMENT_UNIT^2
BATCH_NUMBERS = 1 << 24  # entries of a batch's lattice matrix

Rows: TypeAlias = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]
"""Cells (n, Q), labels (n,) and parts m (n,) of n rows that count: each of them weighs 1/m."""


def exact(query: Query, rows: Iterable[Rows], classes: int) -> NDArray[np.int64]:
    """What the noise is added to: the sum of all contributions, in lattice steps.

    Parameters
    ----------
    query : a checked query, whose entries stay within the bounds that the vault has tested.
    rows : every row that counts, in parts of any size, which do not change the sum.
    classes : number of labels.
    """
    if isinstance(query, LevelSum):
        return _level_sums(query, rows, classes)
    if isinstance(query, LevelMoment):
        return _level_moments(query, rows)
    if isinstance(query, ClassMoment):
        return _class_moments(query, rows, classes)
    return _sums(query, rows, classes) if isinstance(query, SumQuery) else _moments(query, rows, classes)


def _sums(query: SumQuery, rows: Iterable[Rows], classes: int) -> NDArray[np.int64]:
    total = np.zeros((classes, query.width), dtype=np.int64)
    for codes, label, parts in _chunks(rows, BATCH_NUMBERS // query.width):
        z = np.zeros((len(codes), query.width), dtype=np.int64)
        start = 0
        for block in query.blocks:
            _put(z[:, start : start + block.size], codes[:, block.column], block.slots, block.weight)
            start += block.size
        z[:, -1] = query.label_weight
        z = divide(clip_rows(z, query.bound2), parts)
        for c in range(len(total)):
            total[c] += z[label == c].sum(axis=0)
    return total.ravel()


def _moments(query: MomentQuery, rows: Iterable[Rows], classes: int) -> NDArray[np.int64]:
    width, bound2 = sum(query.sizes), len(query.groups) * MOMENT_UNIT**2
    total = np.zeros((classes, width, width), dtype=np.int64)
    for codes, label, parts in _chunks(rows, min(BATCH_NUMBERS // width, EXACT // bound2)):
        psi = np.zeros((len(codes), width), dtype=np.int64)
        start = 0
        for column, (slots, size) in enumerate(zip(query.groups, query.sizes, strict=True)):
            _put(psi[:, start : start + size], codes[:, column], slots, MOMENT_UNIT)
            start += size
        psi = divide_by_root(clip_rows(psi, bound2), parts, MOMENT_UNIT)
        for c in range(len(total)):
            reals = psi[label == c].astype(np.float64)
            total[c] += (reals.T @ reals).astype(np.int64)  # exact: rows x B^2 <= 2^53
    return total[:, query.pairs].ravel()


def _level_sums(query: LevelSum, rows: Iterable[Rows], classes: int) -> NDArray[np.int64]:
    by_class = query.label_weight > 0
    width = len(query.coordinates) + by_class
    total = np.zeros((classes if by_class else 1, width), dtype=np.int64)
    for codes, label, parts in _chunks(rows, BATCH_NUMBERS // max(width, 1)):
        z = np.full((len(codes), width), query.label_weight, dtype=np.int64)
        z[:, : len(query.coordinates)] = clip_rows(_levels(codes, query.coordinates), query.radius**2)
        z = divide(z, parts)
        for c in range(len(total)):
            total[c] += z[label == c].sum(axis=0) if by_class else z.sum(axis=0)
    return total.ravel()


def _level_moments(query: LevelMoment, rows: Iterable[Rows]) -> NDArray[np.int64]:
    width, bound2 = len(query.coordinates), query.radius**2
    total = np.zeros((width, width), dtype=np.int64)
    for codes, _, parts in _chunks(rows, min(BATCH_NUMBERS // width, EXACT // bound2)):
        psi = clip_rows(_levels(codes, query.coordinates), bound2)
        reals = divide_by_root(psi, parts, MOMENT_UNIT).astype(np.float64)
        total += (reals.T @ reals).astype(np.int64)  # exact: rows x R^2 <= 2^53
    return total[query.upper] * query.weights


def _class_moments(query: ClassMoment, rows: Iterable[Rows], classes: int) -> NDArray[np.int64]:
    directions = np.array(query.directions, dtype=np.int64)
    total = np.zeros((classes, query.width, query.width), dtype=np.int64)
    most = min(BATCH_NUMBERS // max(query.width, len(query.coordinates)), EXACT // query.bound2)
    for codes, label, parts in _chunks(rows, most):
        psi = np.full((len(codes), query.width), query.label_weight, dtype=np.int64)
        z = project(_levels(codes, query.coordinates), directions, query.divisor)
        psi[:, :-1] = clip_rows(z, query.radius**2)
        psi = divide_by_root(psi, parts, MOMENT_UNIT)
        for c in range(len(total)):
            reals = psi[label == c].astype(np.float64)
            total[c] += (reals.T @ reals).astype(np.int64)  # exact: rows x B^2 <= 2^53
    return (total[:, upper(query.width)] * weights(query.width)).ravel()


def _chunks(rows: Iterable[Rows], most: int) -> Iterator[Rows]:
    """The same rows, at most `most` of them at once."""
    for codes, label, parts in rows:
        for first in range(0, len(label), max(1, most)):
            chunk = slice(first, first + max(1, most))
            yield codes[chunk], label[chunk], parts[chunk]


def _put(block: NDArray[np.int64], codes: NDArray[np.int32], slots: tuple[int, ...], value: int) -> None:
    """Write `value` into each row's slot; an UNKNOWN cell leaves zeros."""
    slot = np.asarray((*slots, UNKNOWN), dtype=np.int64)[codes]
    rows = np.flatnonzero(slot >= 0)
    block[rows, slot[rows]] = value


def _levels(codes: NDArray[np.int32], coordinates: tuple[Coordinate, ...]) -> NDArray[np.int64]:
    """Level of each row at each coordinate, (n, K); 0 for an UNKNOWN cell."""
    out = np.zeros((len(codes), len(coordinates)), dtype=np.int64)
    for k, coordinate in enumerate(coordinates):
        out[:, k] = np.array((*coordinate.levels, 0), dtype=np.int64)[codes[:, coordinate.column]]  # UNKNOWN is -1
    return out
