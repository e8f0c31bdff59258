"""Statistics of `bench_attack.py`: how far a release moves, which neighbour it is of, what follows from that."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, log, sqrt

import numpy as np
from clustmix_as_published import ClustMix, Mixed, mix
from neighbour_tables import Pair
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from sklearn.ensemble import RandomForestClassifier

from cohortmix.core.audit.lower_bound import LowerBound, lower_bound

LEARNING = 0.4  # of the runs grow the statistic, the others count
HEAD = "| pair | mechanism | attack | moved | mu claimed | mu >= | epsilon >= | claim |\n" + "|---" * 8 + "|"


@dataclass(frozen=True)
class Finding:
    """One line of the table: what an attack on a mechanism measured on a pair.

    Attributes
    ----------
    attack : the statistic.
    claimed, measured : mu, and its lower bound; `epsilon` is that at the claimed delta.
    moved : share of the claimed sensitivity by which releases moved; inf where even their size changed.
    """

    pair: str
    mechanism: str
    attack: str
    runs: int
    claimed: float
    moved: float | None
    measured: float
    epsilon: float

    @property
    def broken(self) -> bool:
        """Whether 95 % confidence excludes what Theorem 2 claims, mu-GDP or with it (1, delta)-DP."""
        return self.epsilon > 1 or self.measured > self.claimed

    @property
    def shown_moved(self) -> str:
        """As text: JSON has no infinity."""
        return "" if self.moved is None else f"{self.moved:.2f}"

    def row(self) -> str:
        """A row of the Markdown table."""
        figures = (f"{figure:.2f}" for figure in (self.claimed, self.measured, self.epsilon))
        verdict = "BROKEN" if self.broken else "not refuted"
        return f"| {' | '.join([self.pair, self.mechanism, self.attack, self.shown_moved, *figures, verdict])} |"


def moved(pair: Pair, parameters: ClustMix, coins: int) -> float:
    """Largest distance of releases without noise, over equal coins, in units of the noise: the mu it gives."""
    return max(
        distance(*(mix(records, pair.schema, parameters, seed) for records in pair.sides)) for seed in range(coins)
    )


def distance(one: Mixed, other: Mixed) -> float:
    """Of centroids matched for the least distance within each class, in units of their noise.

    Infinite where the number of centroids of a class differs, which no noise hides.
    """
    total = 0.0
    for c in np.unique([*one.labels, *other.labels]):
        of_one, of_other = one.labels == c, other.labels == c
        if of_one.sum() != of_other.sum():
            return inf
        cost = cdist(one.means[of_one], other.means[of_other], "sqeuclidean") / one.sigma[of_one, None] ** 2
        total += float(cost[linear_sum_assignment(cost)].sum())
    return sqrt(total)


def learned_bound(null: NDArray[np.float64], alternative: NDArray[np.float64], claimed: float) -> LowerBound:
    """A forest that tells two kinds of release apart, grown on the first runs; bounded on the others."""
    first = int(len(null) * LEARNING)
    forest = RandomForestClassifier(500, random_state=0)
    forest.fit(np.concatenate([null[:first], alternative[:first]]), np.repeat([0, 1], first))
    one, other = (forest.predict_proba(side[first:])[:, 1] for side in (null, alternative))
    return lower_bound(one, other, claimed)


def summary(x: NDArray[np.float64], labels: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """Number, mean, deviation and ends of the released rows of each class, shape (C (1 + 4 D),)."""
    parts = []
    for c in range(classes):
        rows = x[labels == c] if (labels == c).any() else np.zeros((1, x.shape[1]))
        number = [np.count_nonzero(labels == c)]
        parts += [number, rows.mean(axis=0), rows.std(axis=0), rows.min(axis=0), rows.max(axis=0)]
    return np.concatenate(parts)


def epsilon_bound(bound: LowerBound, delta: float) -> float:
    """An epsilon that the mechanism cannot be below at delta: 1 - FNR <= e^epsilon FPR + delta, and reversed.

    The sum of both inequalities says the same of the mean of FPR and FNR in the place of each.
    """
    ratios = ((1 - delta - bound.fnr) / bound.fpr, (1 - delta - bound.fpr) / bound.fnr)
    return max(0.0, *(log(ratio) for ratio in ratios if ratio > 0))


def finding_of(
    pair: str, mechanism: str, attack: str, share: float | None, bound: LowerBound, patients: int
) -> Finding:
    """A line of the table, with the epsilon that its bound gives at the claimed delta, 1/N."""
    epsilon = epsilon_bound(bound, 1 / patients)
    return Finding(pair, mechanism, attack, bound.runs, bound.claimed, share, bound.measured, epsilon)
