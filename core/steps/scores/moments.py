"""Moments: what an answer about scores says, with the noise that is known to be in it. Released values only.

Symbols: K scores, C classes, n patients.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cohortmix.core.privacy.questions.coordinates import DIAGONAL, OFF_DIAGONAL, upper
from cohortmix.core.privacy.questions.score_moment import ScoreMoment

Array = NDArray[np.float64]

LEAST_KEPT = 0.05  # of the scores' variance after clipping; less would be noise


class Answered(Protocol):
    """A noised answer, of one site or of several together."""

    @property
    def estimate(self) -> Array:
        """(d,) each times its weight."""

    @property
    def std(self) -> float:
        """Standard deviation of the noise of each of them."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ScoreMoments:
    """The moments of scores, corrected for what clipping took off their length.

    Attributes
    ----------
    second : (K, K) mean of the product of two scores over all patients; the diagonal is not used.
    second_std : standard deviation of its noise.
    means : (C, K) mean of each score in each class.
    means_std : (C,) standard deviations of their noise.
    """

    second: Array
    second_std: float
    means: Array
    means_std: Array


def read(question: ScoreMoment, answer: Answered, masses: Array) -> ScoreMoments:
    """The moments that an answer gives.

    Scores have variance 1 before they are clipped, so the trace of their second moment says how much of a squared
    length is left on average; every moment is divided by that.

    Parameters
    ----------
    masses : (C,) released patients of each class.
    """
    scores, patients, triangle = len(question.coordinates), float(masses.sum()), upper(len(question.coordinates))
    estimate, entries = answer.estimate, int(triangle.sum())
    second = np.zeros((scores, scores))
    second[triangle] = estimate[:entries]
    off = DIAGONAL / OFF_DIAGONAL  # an answer's unit is that of the diagonal
    second = second + np.triu(second, 1).T * off - np.triu(second, 1) * (1 - off)
    weight = question.label_weight / question.level_unit
    kept = max(float(np.trace(second)) / (scores * patients), LEAST_KEPT)
    by_class = estimate[entries:].reshape(len(masses), scores) * off / weight
    return ScoreMoments(
        second=second / (patients * kept),
        second_std=answer.std * off / (patients * kept),
        means=by_class / (masses[:, None] * sqrt(kept)),
        means_std=answer.std * off / (weight * masses * sqrt(kept)),
    )
