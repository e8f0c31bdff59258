"""A lower bound on mu from draws: what an attacker who knows all but one patient can in fact tell apart.

The exact answers of D and D' are fixed vectors a and a', and the noise of each number is independent. Hence the
numbers in which a and a' agree say nothing, and of the others the log-likelihood ratio, up to constants
sum (y - a)(a' - a) / sigma^2, is the best statistic of any attack (Neyman, Pearson). Its false alarms and misses
are counted, bounded by Clopper and Pearson, and turned into mu as in Nasr et al. 2023 (arXiv 2302.07956):
mu >= Phi^-1(1 - FPR_ub) - Phi^-1(FNR_ub).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, ndtr, ndtri

from cohortmix.core.noise import NoiseSource
from cohortmix.core.replay import Entry

CONFIDENCE = 0.95
RUNS = 24_000  # draws a side
TIGHT = 0.8  # of the claim: what enough runs have to be able to show
PLACING = 12  # one in so many runs places the thresholds; the errors are counted on the others
QUANTILES = np.array([0.5, 0.005, 0.995])
"""Thresholds: the middle shows most of a Gaussian, the ends show a leak that is rare."""
SHARES = np.array([0.9, 0.05, 0.05])
"""Of 1 - confidence, for each of them (union bound)."""
DRAW_NUMBERS = 1 << 16  # per call of the noise source


@dataclass(frozen=True)
class LowerBound:
    """What was measured of a claim.

    Attributes
    ----------
    claimed : mu that was paid.
    measured : a mu that the mechanism cannot be below, at this confidence; 0 where nothing was seen.
    confidence, runs : of the bound; draws a side, one in PLACING of which placed the thresholds.
    fpr, fnr : upper confidence bounds on the attack's false alarms and misses.
    attainable : what so many runs show of a claim that is tight.
    """

    claimed: float
    measured: float
    confidence: float
    runs: int
    fpr: float
    fnr: float
    attainable: float

    @property
    def holds(self) -> bool:
        """False where less privacy was seen than claimed; by chance with probability 1 - confidence at most."""
        return self.measured <= self.claimed

    @property
    def enough(self) -> bool:
        """Whether so many runs could show TIGHT of the claim."""
        return self.attainable >= TIGHT * self.claimed


def lower_bound(
    null: NDArray[np.float64],
    alternative: NDArray[np.float64],
    claimed: float,
    confidence: float = CONFIDENCE,
) -> LowerBound:
    """Bound mu from a statistic under D and under D', larger under D'.

    The largest of the bounds at the thresholds. These are placed by the first runs, and their errors are counted
    on all others: each rate has an exact Clopper-Pearson bound, and a union bound joins them.

    Parameters
    ----------
    null, alternative : (runs,), independent draws of the statistic.
    claimed : mu that the mechanism claims.

    Raises
    ------
    ValueError
        If the sides differ in length or have fewer than PLACING draws, or the confidence is not in (0, 1).
    """
    runs = len(null)
    if len(alternative) != runs or runs < PLACING:
        raise ValueError(
            f"expected equally many draws a side, {PLACING} or more; got {runs} and {len(alternative)}"
        )
    if not 0 < confidence < 1:
        raise ValueError(f"expected a confidence in (0, 1), got confidence={confidence}")
    first = runs // PLACING
    thresholds = np.quantile(np.concatenate([null[:first], alternative[:first]]), QUANTILES)
    fpr, fnr = _rates(null[first:], alternative[first:], thresholds, (1 - confidence) * SHARES / 2)
    best = np.argmax(_mu(fpr, fnr))
    measured, shown = max(0.0, float(_mu(fpr, fnr)[best])), attainable(claimed, runs, confidence)
    return LowerBound(claimed, measured, confidence, runs, float(fpr[best]), float(fnr[best]), shown)


def attainable(mu: float, runs: int, confidence: float = CONFIDENCE) -> float:
    """The bound that `runs` draws a side of a mechanism that is exactly mu-GDP give at the median."""
    counted = runs - runs // PLACING
    errors = np.array([round(counted * float(ndtr(-mu / 2)))])
    rate = clopper_pearson(errors, counted, (1 - confidence) * SHARES[0] / 2)
    return max(0.0, float(_mu(rate, rate)[0]))


def runs_needed(mu: float, confidence: float = CONFIDENCE) -> int:
    """A number of draws a side, in thousands, that can show TIGHT of a claim."""
    runs = 1000
    while attainable(mu, runs, confidence) < TIGHT * mu:
        runs += max(1000, runs // 10_000 * 1000)
    return runs


def log_likelihood_ratios(
    ones: Sequence[Entry],
    others: Sequence[Entry],
    noise: NoiseSource,
    runs: int,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The statistic, up to constants, of `runs` fresh answers about D and as many about D'.

    The noise is drawn on the exact integers, by the source itself, at the scale that the vault asked it for.

    Parameters
    ----------
    ones, others : the same questions about D and about D'.
    report : told draws done and to do.
    """
    sides = np.zeros((2, runs))
    differing = [np.flatnonzero(a.exact != b.exact) for a, b in zip(ones, others, strict=True)]
    total, done = 2 * runs * sum(map(len, differing)), 0
    for one, other, at in zip(ones, others, differing, strict=True):
        direction = (other.exact - one.exact)[at] / float(one.sigma) ** 2
        most = max(1, DRAW_NUMBERS // max(1, len(at)))
        for side, entry in enumerate((one, other)):
            for begin in range(0, runs if len(at) else 0, most):
                count = min(most, runs - begin)
                purpose = f"{entry.purpose}:side {side}:{begin}"
                noised = noise.add(np.tile(entry.exact[at], count), entry.sigma, purpose).reshape(count, -1)
                sides[side, begin : begin + count] += (noised - one.exact[at]) @ direction
                done += noised.size
                report(done, total)
    return sides[0], sides[1]


def clopper_pearson(
    errors: NDArray[np.int64], runs: int, level: NDArray[np.float64] | float
) -> NDArray[np.float64]:
    """Upper confidence bounds on a probability, each false with probability `level` at most."""
    bound = betaincinv(errors + 1, np.maximum(runs - errors, 1), 1 - level)
    return np.where(errors >= runs, 1.0, bound)


def _rates(
    null: NDArray[np.float64],
    alternative: NDArray[np.float64],
    at: NDArray[np.float64],
    level: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Upper bounds on false alarms and misses of the tests "above the threshold"."""
    false_alarms = len(null) - np.searchsorted(np.sort(null), at, side="right")
    misses = np.searchsorted(np.sort(alternative), at, side="right")
    return clopper_pearson(false_alarms, len(null), level), clopper_pearson(misses, len(alternative), level)


def _mu(fpr: NDArray[np.float64], fnr: NDArray[np.float64]) -> NDArray[np.float64]:
    """mu of a test with these errors: Phi^-1(1 - FPR) - Phi^-1(FNR)."""
    return np.asarray(-ndtri(fpr) - ndtri(fnr))
