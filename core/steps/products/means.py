"""Means: answer C, read: the mean in each class of each product of signs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortmix.core.data.groups import Groups
from cohortmix.core.privacy.questions.sign_products import SignProducts
from cohortmix.core.steps.scores.moments import Answered

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False, kw_only=True)
class SignMeans:
    """Means of products of signs within each class; released.

    Attributes
    ----------
    signs : (G,) -1, 0 or 1, the sign of each merged bin.
    subsets : (T,) the features of each product.
    means : (C, T), with noise, so that some may lie beyond 1.
    std : (C,) standard deviation of their noise.
    """

    signs: NDArray[np.int64]
    subsets: tuple[tuple[int, ...], ...]
    means: Array
    std: Array


def read(question: SignProducts, groups: Groups, answer: Answered, masses: Array) -> SignMeans:
    """The means that an answer gives.

    Parameters
    ----------
    masses : (C,) released patients of each class.
    """
    signs = [
        np.array(signs)[[cells[0] for cells in groups.members(feature)]]  # it is the same in all cells of a bin
        for feature, signs in enumerate(question.signs)
    ]
    return SignMeans(
        signs=np.concatenate(signs),
        subsets=question.subsets,
        means=answer.estimate.reshape(len(masses), -1) / masses[:, None],
        std=answer.std / masses,
    )
