"""Meters: where noised answers are paid for and kept."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Answer:
    """One noised answer; everything in it is public, unless it has `sharers`.

    Attributes
    ----------
    values : (d,) int64, exact sum plus noise, in noise steps.
    sigma : standard deviation of the noise, in noise steps; without that of `spare`.
    unit : noise steps of 1 (a patient, a level, a squared level): `values / unit` estimates the weighted sum.
    sensitivity2 : squared L2 sensitivity, in noise steps^2.
    mu2 : sensitivity2 / (sharers sigma^2), what it cost.
    question : SHA-256 of question and schema, `question_hash`.
    sharers : 1 for an answer that may be read by itself. Else S - t of a joint study (`joint`): then this answer
        alone has too little noise, and leaves its site only under masks.
    spare : (d,) int64, noise in `values` that is taken off again where all sites are in the sum; None without.
    spare_sigma : its standard deviation, in noise steps.
    """

    values: NDArray[np.int64]
    sigma: int
    unit: int
    sensitivity2: int
    mu2: Fraction
    question: str
    sharers: int = 1
    spare: NDArray[np.int64] | None = None
    spare_sigma: int = 0

    @property
    def estimate(self) -> NDArray[np.float64]:
        """The sums, (d,), in units of 1 (patients or levels), each times its weight; noise of mean 0."""
        return self.values / self.unit

    @property
    def std(self) -> float:
        """Standard deviation of the noise of each estimate, in the same units."""
        return self.sigma / self.unit


class BudgetExceeded(Exception):  # noqa: N818 (the field's own word)
    """A question would cost more than what is left."""


class Meter(Protocol):
    """Where answers are paid for and kept; a site's ledger implements it, `memory_meter` for one process.

    `index` counts the questions of one request. An answer is durable before anything reads it: a re-run
    then finds it here and draws only what is missing.
    """

    def load(self, index: int) -> Answer | None:
        """The answer already stored under this index."""

    def debit(self, index: int, question: str, mu2: Fraction) -> None:
        """Pay; once per index. Raises BudgetExceeded over the limit or for another question."""

    def store(self, index: int, answer: Answer) -> None:
        """Make an answer durable."""
