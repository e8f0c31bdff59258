"""A lower bound on mu from draws: what an attacker who knows all patients but one can in fact tell apart.

The exact answers of D and D' are fixed vectors a and a', and the noise of each number is independent. Hence the
numbers in which a and a' agree say nothing, and of the others the log-likelihood ratio, up to constants
sum (y - a)(a' - a) / sigma^2, is the best statistic of any attack (Neyman, Pearson). Its false alarms and misses
are counted, bounded by Clopper and Pearson, and turned into mu as in Nasr et al. 2023 (arXiv 2302.07956):
mu >= Phi^-1(1 - FPR_ub) - Phi^-1(FNR_ub).

At the threshold in the middle both kinds of error are counted together. mu-GDP keeps their mean at Phi(-mu/2) or
above (`gdp.advantage`), and an upper bound on the mean is tighter than two upper bounds. A sum of n independent
errors with unequal probabilities has no heavier tail than the binomial law of the same mean (Hoeffding 1956,
Theorem 4), so that Clopper and Pearson's bound, applied to all n, holds for the mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import scipy  # loads `special` at its first use: it takes a while
from numpy.typing import NDArray

from cohortmix.core.audit.replay import Entry
from cohortmix.core.privacy.noise_source import NoiseSource

CONFIDENCE = 0.95  # of every bound: one audit in twenty of a tight mechanism may show more than the claim
RUNS = 28_000  # draws a side: for a tight claim of 0.3 they show less than 0.24 not one time in a thousand
DRAWS_PER_PIPELINE = 140  # draws in place of which one whole pipeline is run, which takes longer by about as much
TIGHT = 0.8  # share of the claim that enough runs have to be able to show
PLACING = 12  # one run in so many places the thresholds; the errors are counted on the others
MIDDLE, ENDS = 0.5, (0.005, 0.995)
"""Quantiles that are thresholds: the middle shows most of a Gaussian, the ends show a leak that is rare."""
SHARE_OF_MIDDLE = 0.9  # part of 1 - confidence; the two ends have equal parts of the rest (union bound)
DRAW_NUMBERS = 1 << 16  # numbers per call of the noise source, to bound the memory


@dataclass(frozen=True, kw_only=True)
class LowerBound:
    """What was measured of a claim.

    Attributes
    ----------
    claimed : mu that was paid.
    measured : a mu that the mechanism cannot be below, at this confidence; 0 where nothing was seen.
    confidence, runs : of the bound; draws a side, one in PLACING of which placed the thresholds.
    fpr, fnr : upper confidence bounds on the attack's false alarms and misses; where it does best in the middle,
        both are the bound on their mean.
    attainable : the bound that so many runs give for a claim that is tight.
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
        """Whether so many runs could show the share TIGHT of the claim."""
        return self.attainable >= TIGHT * self.claimed


def lower_bound(
    null: NDArray[np.float64],
    alternative: NDArray[np.float64],
    claimed: float,
    confidence: float = CONFIDENCE,
) -> LowerBound:
    """Bound mu from a statistic under D and under D', larger under D'.

    The largest of the bounds at several thresholds. The first runs place the thresholds, and the errors are
    counted on all others: each rate has an exact Clopper-Pearson bound, and a union bound joins them.

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
    first, level = runs // PLACING, 1 - confidence
    placing = np.concatenate([null[:first], alternative[:first]])
    counted = null[first:], alternative[first:]
    rates = [_mean_rate(*counted, float(np.quantile(placing, MIDDLE)), level * SHARE_OF_MIDDLE)]
    for quantile in ENDS:
        level_of_end = level * (1 - SHARE_OF_MIDDLE) / len(ENDS)
        rates.append(_rates(*counted, float(np.quantile(placing, quantile)), level_of_end))
    fpr, fnr = max(rates, key=lambda pair: _mu(*pair))
    shown = attainable(claimed, runs, confidence)
    return LowerBound(
        claimed=claimed,
        measured=max(0.0, _mu(fpr, fnr)),
        confidence=confidence,
        runs=runs,
        fpr=fpr,
        fnr=fnr,
        attainable=shown,
    )


def attainable(mu: float, runs: int, confidence: float = CONFIDENCE) -> float:
    """The bound that `runs` draws a side give, at the median, for a mechanism that is exactly mu-GDP."""
    counted = 2 * (runs - runs // PLACING)
    mean = clopper_pearson(
        round(counted * float(scipy.special.ndtr(-mu / 2))), counted, (1 - confidence) * SHARE_OF_MIDDLE
    )
    return max(0.0, _mu(mean, mean))


def runs_needed(mu: float, confidence: float = CONFIDENCE) -> int:
    """Draws a side that can show the share TIGHT of a claim; at most a tenth more than the least number."""
    runs = PLACING
    while attainable(mu, runs, confidence) < TIGHT * mu:
        runs += max(1, runs // 10)
    return runs


def log_likelihood_ratios(
    ones: Sequence[Entry],
    others: Sequence[Entry],
    noise: NoiseSource,
    runs: int,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The statistic, up to constants, of `runs` fresh answers about D and as many about D'.

    The noise is drawn on the exact integers, by the source itself, at the scale for which the vault asked it.

    Parameters
    ----------
    ones, others : the same questions about D and about D'.
    report : is told the numbers of draws made and to make.
    """
    sides = np.zeros((2, runs))
    differing = [np.flatnonzero(a.exact != b.exact) for a, b in zip(ones, others, strict=True)]
    total, done = 2 * runs * sum(map(len, differing)), 0
    with ThreadPoolExecutor(2) as pool:  # the source lets other threads run while it draws
        for one, other, at in zip(ones, others, differing, strict=True):
            direction = (other.exact - one.exact)[at] / float(one.sigma) ** 2
            most = max(1, DRAW_NUMBERS // max(1, len(at)))
            for begin in range(0, runs if len(at) else 0, most):
                count = min(most, runs - begin)
                drawn = [
                    pool.submit(_noised, entry, at, count, noise, f"side {side}:{begin}")
                    for side, entry in enumerate((one, other))
                ]
                for side, noised in enumerate(drawn):
                    sides[side, begin : begin + count] += (noised.result() - one.exact[at]) @ direction
                done += 2 * count * len(at)
                report(done, total)
    return sides[0], sides[1]


def clopper_pearson(errors: int, runs: int, level: float) -> float:
    """Upper confidence bound on a probability, false with probability `level` at most."""
    return 1.0 if errors >= runs else float(scipy.special.betaincinv(errors + 1, runs - errors, 1 - level))


def _noised(entry: Entry, at: NDArray[np.int64], count: int, noise: NoiseSource, which: str) -> NDArray[np.int64]:
    """(count, len(at)): the entries `at` of so many fresh answers; `which` makes their purpose unique."""
    values = np.tile(entry.exact[at], count)
    return noise.add(values, entry.sigma, f"{entry.purpose}:{which}").reshape(count, -1)


def _mean_rate(
    null: NDArray[np.float64], alternative: NDArray[np.float64], threshold: float, level: float
) -> tuple[float, float]:
    """An upper bound on the mean rate of false alarms and misses of the test "above the threshold", twice."""
    mean = clopper_pearson(sum(_errors(null, alternative, threshold)), 2 * len(null), level)
    return mean, mean


def _rates(
    null: NDArray[np.float64], alternative: NDArray[np.float64], threshold: float, level: float
) -> tuple[float, float]:
    """Upper bounds on the rates of false alarms and of misses, both true at once but for probability `level`."""
    false_alarms, misses = _errors(null, alternative, threshold)
    return clopper_pearson(false_alarms, len(null), level / 2), clopper_pearson(misses, len(null), level / 2)


def _errors(null: NDArray[np.float64], alternative: NDArray[np.float64], threshold: float) -> tuple[int, int]:
    """Numbers of false alarms and of misses."""
    return int((null > threshold).sum()), int((alternative <= threshold).sum())


def _mu(fpr: float, fnr: float) -> float:
    """mu of a test with these errors: Phi^-1(1 - FPR) - Phi^-1(FNR)."""
    return float(-scipy.special.ndtri(fpr) - scipy.special.ndtri(fnr))
