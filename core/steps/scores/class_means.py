"""Class means: what the class means of the scores say of the distribution of each column in each class.

Answer A counts every cell of a class; the mean of a score says how far the class is shifted, with less noise. It
is a linear function of the cells, so both are what one distribution is fitted to (`steps/margins.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cohortmix.core.privacy.questions.coordinates import Coordinate
from cohortmix.core.steps.scores.functions import UNIT
from cohortmix.core.steps.scores.moments import ScoreMoments

Array = NDArray[np.float64]

CLIPPED = (
    0.1  # of a difference between classes, by which it may be wrong: who is unusual is clipped more than others
)


class ClassMeans(NamedTuple):
    """Of the scores of one column, of which it has k.

    Attributes
    ----------
    functions : (k, m) the scores on the column's m fine cells.
    means : (C, k) what was measured.
    std : (C, k) standard deviation of its error.
    """

    functions: Array
    means: Array
    std: Array


def class_means(
    scores: Sequence[Coordinate], moments: ScoreMoments, share: Array, sizes: Sequence[int]
) -> list[ClassMeans]:
    """Of each column.

    Parameters
    ----------
    moments : of these scores.
    share : (C,) of the patients in each class.
    sizes : fine cells of each column.
    """
    apart = moments.means - share @ moments.means
    std = np.hypot(moments.means_std[:, None], CLIPPED * apart)
    out = []
    for column in range(len(sizes)):
        own = [k for k, score in enumerate(scores) if score.column == column]
        levels = np.array([scores[k].levels for k in own], dtype=np.float64)
        functions = levels / UNIT if own else np.zeros((0, sizes[column]))
        out.append(ClassMeans(functions, moments.means[:, own], std[:, own]))
    return out
