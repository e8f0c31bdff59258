"""Model: what follows from both answers about pairs of columns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cohortmix.core.data.groups import Groups
from cohortmix.core.privacy.questions.coordinates import Coordinate
from cohortmix.core.steps.scores.class_margins import class_margins
from cohortmix.core.steps.scores.couplings import Fitted, fit
from cohortmix.core.steps.scores.functions import UNIT, question
from cohortmix.core.steps.scores.moments import Answered, read

Array = NDArray[np.float64]


def model_of(
    scores: Sequence[Coordinate], groups: Groups, pooled: Array, counted: Array, masses: Array, answer: Answered
) -> Fitted:
    """The maximum-entropy model of both answers.

    Parameters
    ----------
    pooled : (F,) released distributions on the fine cells, which say what a score is in a merged bin on average.
    counted : (C, G) distributions of each class on the merged bins, from answer A.
    masses : (C,) patients of each class.
    answer : of the question about these scores.
    """
    columns = np.array([score.column for score in scores])
    values = _values(scores, groups, pooled)
    moments = read(question(scores), answer, masses)
    margins = class_margins(counted, masses, values, groups.blocks, columns, moments)
    share = masses / masses.sum()
    return fit(margins, share, values, groups.sizes, columns, moments.second, moments.second_std)


def _values(scores: Sequence[Coordinate], groups: Groups, pooled: Array) -> Array:
    """(G, K) mean of each score in each merged bin; of a bin that nobody is in, over its cells."""
    member = groups.membership
    weight = member * np.maximum(pooled, 1e-12)[:, None]
    ends = np.cumsum(groups.cells)
    fine = np.zeros((len(pooled), len(scores)))
    for k, score in enumerate(scores):
        fine[ends[score.column] - len(score.levels) : ends[score.column], k] = np.array(score.levels) / UNIT
    return np.asarray(weight.T @ fine / weight.sum(axis=0)[:, None])
