"""Model: what follows from both answers about pairs of columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from cohortmix.core.data.groups import Groups
from cohortmix.core.privacy.questions.coordinates import Coordinate
from cohortmix.core.steps.scores.couplings import Fitted, fit
from cohortmix.core.steps.scores.functions import UNIT
from cohortmix.core.steps.scores.moments import ScoreMoments

Array = NDArray[np.float64]


def model_of(
    scores: Sequence[Coordinate],
    groups: Groups,
    cells: Array,
    masses: Array,
    moments: ScoreMoments,
    report: Callable[[int, int], None],
) -> Fitted:
    """The maximum-entropy model of both answers.

    Parameters
    ----------
    cells : (C, F) distributions of each class on the fine cells, from both answers.
    masses : (C,) patients of each class.
    moments : of these scores.
    report : is told how many steps are done, and how many there are.
    """
    columns, share = np.array([score.column for score in scores]), masses / masses.sum()
    values = _values(scores, groups, share @ cells)
    margins = groups.sums(cells)
    return fit(margins, share, values, groups.sizes, columns, moments.second, moments.second_std, report)


def _values(scores: Sequence[Coordinate], groups: Groups, pooled: Array) -> Array:
    """(G, K) mean of each score in each merged bin; of a bin that nobody is in, over its cells."""
    member = groups.membership
    weight = member * np.maximum(pooled, 1e-12)[:, None]
    ends = np.cumsum(groups.cells)
    fine = np.zeros((len(pooled), len(scores)))
    for k, score in enumerate(scores):
        fine[ends[score.column] - len(score.levels) : ends[score.column], k] = np.array(score.levels) / UNIT
    return np.asarray(weight.T @ fine / weight.sum(axis=0)[:, None])
