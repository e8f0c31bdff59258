"""Points: the weighted rows while they are sought, and where the search begins.

A point takes each group of columns from some record of the pool. Of classes, two rows share a point: one for each
of the two classes that are likeliest there. So the weights of fifty rows say how likely, at 25 points.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from sklearn.cluster import KMeans

from cohortmix.core.release.condense.judge import Judge
from cohortmix.core.release.condense.models import Scores
from cohortmix.core.release.condense.seen import Floats, Seen, Whole

RARE, COMMON = 0.01, 0.99  # of a class at a point in the beginning: both of its rows have some weight
NEGLIGIBLE = 0.01  # share of all importance: columns below it begin with one value for all points


@dataclass(frozen=True, eq=False)
class Points:
    """K points and R rows.

    Attributes
    ----------
    donors : (K, G) the record of the pool from which each group of columns is taken.
    point : (R,) the point of each row.
    label : (R,) its class; of survival empty, since the group that holds time and event says it.
    log_weight : (R,) up to a constant: weights add up to the number of records.
    """

    donors: Whole
    point: Whole
    label: Whole
    log_weight: Floats

    def weights(self, total: float) -> Floats:
        """(R,) in records, adding up to `total`."""
        weight = np.exp(self.log_weight - self.log_weight.max())
        return np.asarray(weight / weight.sum() * total)

    def relabelled(self, points: Whole, mass: Floats, probabilities: Floats) -> Points:
        """With the two likeliest classes of some points, (k, C), and weights that follow from their mass (k,)."""
        label, log_weight = self.label.copy(), self.log_weight.copy()
        if not len(label):
            log_weight[points] = np.log(mass)
            return Points(self.donors, self.point, label, log_weight)
        likeliest = np.argsort(-probabilities, axis=1, kind="stable")[:, :2]
        for place, (point, best) in enumerate(zip(points, likeliest, strict=True)):
            own = np.flatnonzero(self.point == point)
            share = np.clip(probabilities[place, best], RARE, COMMON)[: len(own)]
            label[own], log_weight[own] = best[: len(own)], np.log(mass[place] * share / share.sum())
        return Points(self.donors, self.point, label, log_weight)


def with_events(points: Points, pool: Seen) -> Points:
    """Of survival, points of which one has the pool's first event, and the last one its longest time."""
    held = pool.held_by_outcome
    if held is None or pool.time is None:
        return points
    donors = points.donors.copy()
    donors[0, held] = np.where(pool.label == 1, pool.time, np.inf).argmin()
    donors[-1, held] = pool.time.argmax()
    return replace(points, donors=donors)


def importance(full: Scores, judge: Judge, pool: Seen, rng: np.random.Generator) -> Floats:
    """(G,) how much worse the model of all records gets if a group is shuffled, as shares (Breiman 2001)."""
    exact, worse = judge.loss(full), np.zeros(pool.width)
    for place in range(pool.width):
        columns = np.flatnonzero(pool.group == place)
        if len(columns):
            shuffled = judge.x.copy()
            shuffled[:, columns] = judge.x[rng.permutation(len(judge.x))][:, columns]
            worse[place] = max(judge.of_scores(full(shuffled)) - exact, 0)
    return worse / worse.sum() if worse.sum() > 0 else np.full(pool.width, 1 / pool.width)


def first_points(
    pool: Seen,
    places: Whole,
    size: int,
    share: Floats,
    predict: Callable[[Whole], Floats],
    rng: np.random.Generator,
) -> Points:
    """Points near the centres of clusters, in which a group of columns counts by its importance.

    Parameters
    ----------
    places : the records of the pool that are clustered.
    size : R, the rows.
    share : (G,) importance.
    predict : the probabilities (k, C) that the model of all records has for k points.
    """
    survival = pool.time is not None
    count = size if survival else (size + 1) // 2
    x = pool.x[places]
    near, mass = _medoids(_scaled(x, pool.group, share), count, rng)
    base = _typical(x, pool, places)
    kept = share >= NEGLIGIBLE
    if pool.held_by_outcome is not None:
        kept[pool.held_by_outcome] = True
    donors = np.where(kept, places[near][:, None], base)
    point = np.arange(size) % count
    label = np.zeros(0 if survival else size, dtype=np.int64)
    points = Points(donors, point, label, np.zeros(size))
    return points.relabelled(np.arange(count), mass, predict(donors))


def _scaled(x: Floats, group: Whole, share: Floats) -> Floats:
    """Standardized columns, each weighted by the square root of its part of its group's importance."""
    known = ~np.isnan(x)
    mean = np.where(known, x, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    gap = np.where(known, x - mean, 0)
    deviation = np.sqrt((gap**2).mean(axis=0))
    columns = np.bincount(group, minlength=len(share))
    return np.asarray(gap / np.where(deviation > 0, deviation, 1) * np.sqrt(share[group] / columns[group]))


def _medoids(z: Floats, count: int, rng: np.random.Generator) -> tuple[Whole, Floats]:
    """The record nearest to each centre, (count,), and how many records are in its cluster, at least one."""
    distinct = len(np.unique(z, axis=0))
    clusters = min(count, distinct)
    fitted = KMeans(clusters, n_init=1, random_state=int(rng.integers(2**31))).fit(z)
    near = fitted.transform(z).argmin(axis=0)
    mass = np.maximum(np.bincount(fitted.labels_, minlength=clusters), 1).astype(np.float64)
    more = rng.integers(clusters, size=count - clusters)  # fewer distinct records than points: some twice
    return np.concatenate([near, near[more]]), np.concatenate([mass, np.ones(len(more))])


def _typical(x: Floats, pool: Seen, places: Whole) -> Whole:
    """(G,) for each group a record whose columns there are nearest to their medians."""
    filled = np.isnan(x)
    with_value = np.where(filled, np.nan, x)
    middle = np.array([np.median(column[~np.isnan(column)]) if (~np.isnan(column)).any() else 0 for column in x.T])
    gap = np.abs(np.where(np.isnan(with_value), middle, with_value) - middle)
    spread = gap.max(axis=0)
    away = gap / np.where(spread > 0, spread, 1) + filled
    sums = np.zeros((len(x), pool.width))
    np.add.at(sums.T, pool.group, away.T)
    return np.asarray(places[sums.argmin(axis=0)])
