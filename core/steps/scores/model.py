"""Model: what follows from both answers about pairs of columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from cohortmix.core.data.groups import Groups
from cohortmix.core.data.keeping.pairs import shares_allowed
from cohortmix.core.data.schema import Schema
from cohortmix.core.privacy.questions.coordinates import Coordinate
from cohortmix.core.steps.scores.couplings import Fitted, fit
from cohortmix.core.steps.scores.functions import UNIT
from cohortmix.core.steps.scores.moments import ScoreMoments

Array = NDArray[np.float64]

NEVER = 1e-13  # share of the pairs of two bins that keep a rule, below which a model has none


def model_of(
    scores: Sequence[Coordinate],
    groups: Groups,
    cells: Array,
    masses: Array,
    moments: ScoreMoments,
    report: Callable[[int, int], None],
    schema: Schema,
) -> Fitted:
    """The maximum-entropy model of both answers; it has no pair of bins that a rule of the schema forbids.

    Parameters
    ----------
    cells : (C, F) distributions of each class on the fine cells, from both answers.
    masses : (C,) patients of each class.
    moments : of these scores.
    report : is told how many steps are done, and how many there are.
    """
    columns, share = np.array([score.column for score in scores]), masses / masses.sum()
    pooled, margins = share @ cells, groups.sums(cells)
    values, second, held = _values(scores, groups, pooled), moments.second, None
    allowed = list(shares_allowed(schema, groups, pooled))
    if allowed:
        values, columns, second, held = _with_rules(values, columns, second, groups, allowed)
    return fit(margins, share, values, groups.sizes, columns, second, moments.second_std, report, held)


def _with_rules(
    values: Array,
    columns: NDArray[np.int64],
    second: Array,
    groups: Groups,
    allowed: Iterable[tuple[int, int, Array]],
) -> tuple[Array, NDArray[np.int64], Array, Array]:
    """The scores with further ones, by which the model has what rules of two columns leave.

    Of one of the columns that is an indicator of each bin, of the other the log share that this bin leaves of its
    bins, and between both a coupling of 1 that is held. Also their columns, moments, and held couplings.
    """
    more, of_columns = [], []
    for i, j, share in allowed:
        logits = np.log(np.maximum(share, NEVER))
        for number in np.flatnonzero(logits.any(axis=1)):
            for column, score in ((i, np.eye(len(logits))[number]), (j, logits[number])):
                placed = np.zeros(len(values))
                placed[groups.blocks[column]] = score
                more.append(placed)
                of_columns.append(column)
    first, count = len(columns), len(columns) + len(more)
    held = np.full((count, count), np.nan)
    held[first:], held[:, first:] = 0, 0
    indicators = np.arange(first, count, 2)
    held[indicators, indicators + 1] = held[indicators + 1, indicators] = 1
    moved = np.zeros((count, count))
    moved[:first, :first] = second
    columns = np.concatenate([columns, np.array(of_columns, dtype=columns.dtype)])
    order = np.argsort(columns, kind="stable")
    values = np.column_stack([values, *more])[:, order]
    return values, columns[order], moved[np.ix_(order, order)], held[np.ix_(order, order)]


def _values(scores: Sequence[Coordinate], groups: Groups, pooled: Array) -> Array:
    """(G, K) mean of each score in each merged bin; of a bin that nobody is in, over its cells."""
    member = groups.membership
    weight = member * np.maximum(pooled, 1e-12)[:, None]
    ends = np.cumsum(groups.cells)
    fine = np.zeros((len(pooled), len(scores)))
    for k, score in enumerate(scores):
        fine[ends[score.column] - len(score.levels) : ends[score.column], k] = np.array(score.levels) / UNIT
    return np.asarray(weight.T @ fine / weight.sum(axis=0)[:, None])
