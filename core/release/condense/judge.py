"""Judge: how good a model is that was fitted on a few weighted rows, on fixed records of the release.

Of classes: cross-entropy with what the same model says that is fitted on all records. Such labels have no noise
of drawn ones, and a set that comes near to them does so on other records as well. Of survival: the share of pairs
of patients in wrong order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from cohortmix.core.release.condense.models import Model, Scores
from cohortmix.core.release.condense.seen import Floats, Seen, Whole

LEAST = 0.003  # of a probability: beyond, one record that is wrong would outweigh hundreds
MOST_PAIRS = 100_000
Pairs = tuple[NDArray[np.intp], NDArray[np.intp]]


@dataclass(frozen=True, eq=False)
class Judge:
    """The loss of a fitted model on m records.

    Attributes
    ----------
    x : (m, W) their features.
    soft : (m, C) of classes, what the model of all records says.
    pairs : of survival, who had the event before another was still followed.
    """

    x: Floats
    soft: Floats
    pairs: Pairs

    @classmethod
    def of(cls, model: Model, full: Scores, pool: Seen, places: Whole, rng: np.random.Generator) -> Judge:
        """Of records at these places of the pool; `full` is the model of the whole pool."""
        x = np.ascontiguousarray(pool.x[places])
        if model.survival:
            return cls(x, np.empty((0, 0)), _pairs(pool.some(places), rng, MOST_PAIRS))
        none = np.empty(0, dtype=np.intp)
        return cls(x, full(x), (none, none))

    def loss(self, scores: Scores) -> float:
        """Smaller is better; in nats of a record, or the share of pairs in wrong order."""
        return self.of_scores(scores(self.x))

    def of_scores(self, found: Floats) -> float:
        """The same of scores of the m records."""
        if found.ndim == 1:
            return 1 - _concordance(found, self.pairs)
        return float(-(self.soft * np.log(np.clip(found, LEAST, 1))).sum() / len(found))


def figure(scores: Scores, seen: Seen, rng: np.random.Generator) -> float | None:
    """What is reported: area under the ROC curve, for C > 2 the mean of one class against the rest; concordance.

    None where the records have one class, or no pair of patients in order.
    """
    found = scores(seen.x)
    if seen.time is not None:
        pairs = _pairs(seen, rng, 10 * MOST_PAIRS)
        return _concordance(found, pairs) if len(pairs[0]) else None
    present = [c for c in range(seen.classes) if 0 < np.count_nonzero(seen.label == c) < len(seen)]
    present = present[-1:] if seen.classes == 2 else present
    areas = [float(roc_auc_score(seen.label == c, found[:, c])) for c in present]
    return float(np.mean(areas)) if areas else None


def _pairs(seen: Seen, rng: np.random.Generator, most: int) -> Pairs:
    """Pairs of places of which the first had the event before the second's time; `most` of them at random."""
    assert seen.time is not None
    order = np.argsort(seen.time, kind="stable")
    later = len(seen) - np.searchsorted(seen.time[order], seen.time, side="right")  # who was followed for longer
    later = np.where(seen.label == 1, later, 0)
    total = int(later.sum())
    chosen = np.arange(total) if total <= most else np.sort(rng.choice(total, most, replace=False))
    first = np.searchsorted(np.cumsum(later), chosen, side="right")
    behind = np.cumsum(later)[first] - chosen  # 1, ..., later[first]
    return first, order[len(seen) - behind]


def _concordance(risk: Floats, pairs: Pairs) -> float:
    """The share of pairs in which the first has the higher risk; a tie counts half (Harrell's C)."""
    gap = risk[pairs[0]] - risk[pairs[1]]
    return float(((gap > 0).sum() + (gap == 0).sum() / 2) / max(len(gap), 1))
