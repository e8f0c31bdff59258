"""Search: points are changed at random, and a change stays if the model fitted on them is no worse.

Iterated local search (Lourenço, Martin, Stützle 2003): where nothing has become better for a while, three points
are drawn anew, and the best points so far are kept. The model is a black box: it is fitted, and asked for scores.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from cohortmix.core.release.condense.judge import Judge
from cohortmix.core.release.condense.models import Model, Scores
from cohortmix.core.release.condense.points import NEGLIGIBLE, Points
from cohortmix.core.release.condense.seen import Floats, Seen, Whole
from cohortmix.core.steps.progress import report

ANY_GROUP = 0.1  # share of changes that are to any group of columns alike; the others go by importance
COPIED = 0.2  # of these changes, how many copy from another point: a tree then sees no difference there
ASKED = 0.3  # how many ask the model of all records for the weights of the changed point anew
STEP = 0.7  # standard deviation of a change of a log weight
MORE = 0.5  # further changes at once, on average
PATIENCE, KICKED = 0.2, 3  # share of all evaluations without a gain, after which so many points are drawn anew
BETTER = 1e-6
WIDEST = 12.0  # between the largest log weight and the smallest


@dataclass(frozen=True, eq=False)
class Sought:
    """What a search changes its points by.

    Attributes
    ----------
    pool : the records of which points are made.
    places : those on which the loss is measured, and from which the search starts.
    model, judge : what is fitted, and how good it is.
    full : the model of all records.
    share : (G,) importance of each group of columns.
    """

    pool: Seen
    places: Whole
    model: Model
    judge: Judge
    full: Scores
    share: Floats

    def fitted(self, points: Points) -> Scores:
        """The model of these rows alone."""
        return fit_rows(self.model, self.pool, points)

    def loss(self, points: Points) -> float:
        """How good it is."""
        return self.judge.loss(self.fitted(points))

    def predict(self, donors: Whole) -> Floats:
        """(k, C) what the model of all records says of points; of survival nothing."""
        if self.model.survival:
            return np.ones((len(donors), 1))
        return self.full(self.pool.features(donors))


def fit_rows(model: Model, pool: Seen, points: Points) -> Scores:
    """The model of weighted rows."""
    x, weight = pool.features(points.donors)[points.point], points.weights(len(pool))
    if not model.survival:
        return model.fit(x, points.label, None, weight, pool.classes)
    assert pool.time is not None
    assert pool.held_by_outcome is not None
    of = points.donors[points.point, pool.held_by_outcome]
    return model.fit(x, pool.label[of], pool.time[of], weight, 2)


def search(
    sought: Sought, start: Points, evaluations: int, rng: np.random.Generator
) -> tuple[Points, float, float]:
    """The best points found, the loss at the start, and theirs."""
    first = sought.loss(start)
    best = now = (first, start)
    waited = 0
    for done in range(1, evaluations):
        report("condensing", done, evaluations)
        if kick := waited > max(PATIENCE * evaluations, 20):
            changed = _kicked(best[1], sought, rng)
        else:
            changed = _changed(now[1], sought, rng)
        loss = sought.loss(changed) if _usable(changed, sought) else np.inf
        waited = 0 if kick or loss < now[0] - BETTER else waited + 1
        if loss <= now[0] or (kick and loss < np.inf):
            now = (loss, changed)
        if loss < best[0]:
            best = now
    report("condensing", evaluations, evaluations)
    return best[1], first, best[0]


def _usable(points: Points, sought: Sought) -> bool:
    """Whether a model can learn from the rows: of two classes, or of an event that others outlive."""
    if not sought.model.survival:
        return len(np.unique(points.label)) > 1
    pool = sought.pool
    assert pool.time is not None
    of = points.donors[:, pool.held_by_outcome]
    died = pool.label[of] == 1
    return bool(died.any() and pool.time[of][died].min() < pool.time[of].max())


def _changed(points: Points, sought: Sought, rng: np.random.Generator) -> Points:
    """One change or several."""
    for _ in range(1 + rng.poisson(MORE)):
        points = _CHANGES[rng.choice(len(_CHANGES), p=_HOW_OFTEN)](points, sought, rng)
    top = points.log_weight.max()
    return replace(points, log_weight=np.maximum(points.log_weight, top - WIDEST))


def _kicked(points: Points, sought: Sought, rng: np.random.Generator) -> Points:
    count = len(points.donors)
    for point in rng.choice(count, min(KICKED, count), replace=False):
        points = _from_record(points, sought, rng, int(point))
    return points


def _asked(points: Points, sought: Sought, point: int) -> Points:
    """With the weights of one point's rows as the model of all records has its classes; its mass stays."""
    mass = np.exp(points.log_weight[points.point == point]).sum(keepdims=True)
    return points.relabelled(np.array([point]), mass, sought.predict(points.donors[[point]]))


def _some_group(sought: Sought, rng: np.random.Generator) -> int:
    share, width = sought.share, len(sought.share)
    return int(rng.choice(width, p=ANY_GROUP / width + (1 - ANY_GROUP) * share))


def _value(points: Points, sought: Sought, rng: np.random.Generator) -> Points:
    """A group of columns from another record, or from another point."""
    donors, count = points.donors.copy(), len(points.donors)
    point, group = int(rng.integers(count)), _some_group(sought, rng)
    copied = rng.random() < COPIED
    donors[point, group] = donors[rng.integers(count), group] if copied else rng.integers(len(sought.pool))
    points = replace(points, donors=donors)
    return _asked(points, sought, point) if rng.random() < ASKED else points


def _record(points: Points, sought: Sought, rng: np.random.Generator) -> Points:
    return _from_record(points, sought, rng, int(rng.integers(len(points.donors))))


def _from_record(points: Points, sought: Sought, rng: np.random.Generator, point: int) -> Points:
    """All groups that matter from one record."""
    donors, kept = points.donors.copy(), sought.share >= NEGLIGIBLE
    if sought.pool.held_by_outcome is not None:
        kept[sought.pool.held_by_outcome] = True
    donors[point, kept] = rng.integers(len(sought.pool))
    return _asked(replace(points, donors=donors), sought, point)


def _halved(points: Points, sought: Sought, rng: np.random.Generator) -> Points:
    """A point becomes another one but for one group, and takes half of its weight."""
    count = len(points.donors)
    point, other = (int(place) for place in rng.integers(count, size=2))
    if point == other:
        return points
    donors, log_weight = points.donors.copy(), points.log_weight.copy()
    donors[point] = donors[other]
    donors[point, _some_group(sought, rng)] = rng.integers(len(sought.pool))
    log_weight[points.point == other] -= np.log(2)
    half = np.log(np.exp(log_weight[points.point == other]).sum())
    own = points.point == point
    log_weight[own] = half - np.log(own.sum())
    return _asked(replace(points, donors=donors, log_weight=log_weight), sought, point)


def _weight(points: Points, sought: Sought, rng: np.random.Generator) -> Points:
    """The weight of one row."""
    log_weight = points.log_weight.copy()
    log_weight[rng.integers(len(log_weight))] += rng.normal() * STEP
    return replace(points, log_weight=log_weight)


def _mass(points: Points, sought: Sought, rng: np.random.Generator) -> Points:
    """The weight of all rows of one point."""
    log_weight = points.log_weight.copy()
    log_weight[points.point == rng.integers(len(points.donors))] += rng.normal() * STEP
    return replace(points, log_weight=log_weight)


Change = Callable[[Points, Sought, np.random.Generator], Points]
_CHANGES: tuple[Change, ...] = (_value, _record, _halved, _weight, _mass)
_HOW_OFTEN = (0.4, 0.1, 0.1, 0.2, 0.2)
