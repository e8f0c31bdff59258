"""Condensation on real records, each function evaluation of which is noised: the published way to make it private.

"Democratising Clinical AI through Dataset Condensation for Classical Clinical Models" (Thakur et al.) looks for
rows by zero-order optimization on the records themselves, and adds noise to what it sees of them. Its code and
constants are not at hand, so the search is ours, and what it does not see through noise is public: values
are drawn uniformly from the schema's domain, no column is known to matter, no model of all records is asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cohortmix.core.data.dictionary.columns import Category, Column, Date
from cohortmix.core.data.dictionary.grid import limits
from cohortmix.core.data.schema import Schema
from cohortmix.core.release.condense.judge import LEAST, Judge
from cohortmix.core.release.condense.models import MODELS, Scores
from cohortmix.core.release.condense.points import Points, with_events
from cohortmix.core.release.condense.search import Sought, search
from cohortmix.core.release.condense.seen import Floats, Seen, Whole
from cohortmix.core.utility.columns import feature_matrix, read
from cohortmix.core.utility.kaplan_meier import FollowUp

CLIP = 2.0  # nats that one record's loss counts at most; a model that knows the class shares loses .6 on average
PUBLIC = 5_000  # rows of uniform values, of which points are made
RIVALS = 25  # of a record on each side; more of them cost time, and change no sensitivity


@dataclass(frozen=True, eq=False)
class Known:
    """n real records as models see them; unlike those of a release they may have values that are not declared.

    Attributes
    ----------
    x : (n, W) features, as `Seen` has them.
    label : (n,) the class; of survival, whether the event happened.
    time : (n,) of survival, how long a patient was followed; else None.
    """

    x: Floats
    label: Whole
    time: Floats | None

    @classmethod
    def of(cls, table: pd.DataFrame, schema: Schema) -> Known:
        """Of a table; InputError where a time or an event is missing."""
        values, target = read(table, schema), schema.outcome.survival
        if target is None:
            name = schema.target_name
            return cls(feature_matrix(values, schema, (name,)), values[name].astype(np.int64), None)
        followed = FollowUp.of(values, target, schema, "real")
        x = feature_matrix(values, schema, (target.time, target.event))
        return cls(x, followed.event.astype(np.int64), followed.time)


@dataclass(frozen=True, eq=False)
class NoisedJudge(Judge):
    """The mean loss of real records, clipped and noised.

    Guarantee
    ---------
    Replacing one of the n records moves the mean of losses in [0, CLIP] by CLIP / n at most. Each evaluation has
    noise of standard deviation CLIP sqrt(T) / (n mu), so T of them are mu-GDP together (Dong, Roth, Su 2022).
    """

    label: Whole
    sigma: float
    rng: np.random.Generator

    def of_scores(self, found: Floats) -> float:
        """One evaluation, which costs mu / sqrt(T)."""
        own = found[np.arange(len(found)), self.label]
        exact = float(np.clip(-np.log(np.clip(own, LEAST, 1)), 0, CLIP).mean())
        return exact + float(self.rng.normal(0, self.sigma))


@dataclass(frozen=True, eq=False)
class NoisedOrder(Judge):
    """The share of pairs of real records in wrong order, noised.

    Harrell's C divides by the number of pairs that can be ordered, which depends on all records. Here the number
    is public: the records stand on a circle, whatever their values, and each makes a pair with the `RIVALS` before
    it and those behind it. A pair that cannot be ordered counts 0, one in wrong order 1, equal risks 1/2; the
    least loss is the greatest C of these pairs.

    Guarantee
    ---------
    Replacing one of the n records leaves the others in their places, and changes the pairs that it is in: 2 k of
    n k where it has k rivals on each side, each by 1 at most. So the share moves by 2 / n at most, which is
    CLIP / n of `NoisedJudge`, and T evaluations with the same noise are mu-GDP together.
    """

    total: int
    sigma: float
    rng: np.random.Generator

    @classmethod
    def among(cls, x: Floats, label: Whole, time: Floats, sigma: float, rng: np.random.Generator) -> NoisedOrder:
        """Of n real records; `pairs` are those that can be ordered, who had the event first."""
        n = len(x)
        steps = np.arange(1, min(RIVALS, (n - 1) // 2) + 1)
        one = np.tile(np.arange(n), len(steps))
        other = (one + np.repeat(steps, n)) % n
        first, second = np.concatenate([one, other]), np.concatenate([other, one])
        known = (label[first] == 1) & (time[first] < time[second])
        return cls(x, np.empty((0, 0)), (first[known], second[known]), len(one), sigma, rng)

    def of_scores(self, found: Floats) -> float:
        """One evaluation, which costs mu / sqrt(T)."""
        gap = found[self.pairs[0]] - found[self.pairs[1]]
        wrong = float((gap < 0).sum() + (gap == 0).sum() / 2)
        return wrong / self.total + float(self.rng.normal(0, self.sigma))


def condensed_under_noise(
    real: Known, schema: Schema, model: str, size: int, mu: float, evaluations: int, seed: int
) -> tuple[Seen, Points]:
    """Rows for one model, and the public pool that they are made of."""
    rng = np.random.default_rng(seed)
    pool = Seen.of(uniform_rows(schema, PUBLIC, rng), schema)
    sigma = sigma_of(len(real.x), mu, evaluations)
    none = np.empty(0, dtype=np.intp)
    judge: Judge
    if real.time is None:
        judge = NoisedJudge(real.x, np.empty((0, 0)), (none, none), real.label, sigma, rng)
    else:
        judge = NoisedOrder.among(real.x, real.label, real.time, sigma, rng)
    even: Scores = lambda rows: np.full((len(rows), pool.classes), 1 / pool.classes)  # noqa: E731
    share = np.full(pool.width, 1 / pool.width)
    start = _first(pool, size, rng)
    return pool, search(Sought(pool, np.arange(0), MODELS[model], judge, even, share), start, evaluations, rng)[0]


def _first(pool: Seen, size: int, rng: np.random.Generator) -> Points:
    """Whole rows of the pool, all of one weight; of classes each with two of them."""
    survival = pool.time is not None
    count = size if survival else (size + 1) // 2
    donors = np.repeat(rng.integers(len(pool), size=(count, 1)), pool.width, axis=1)
    row = np.arange(size)
    label = (row[:0] if survival else row >= count).astype(np.int64)
    return with_events(Points(donors, row % count, label, np.zeros(size)), pool)


def sigma_of(n: int, mu: float, evaluations: int) -> float:
    """Standard deviation of the noise of each evaluation: in nats of a record, or a share of the pairs."""
    return CLIP * sqrt(evaluations) / (n * mu)


def uniform_rows(schema: Schema, rows: int, rng: np.random.Generator) -> pd.DataFrame:
    """Rows whose values are uniform on what the schema declares, none of them missing."""
    return pd.DataFrame({name: _uniform(column, rows, rng) for name, column in schema.columns.items()})


def _uniform(column: Column, rows: int, rng: np.random.Generator) -> NDArray[Any] | list[Any]:
    if isinstance(column, Category):
        return np.asarray(column.values, dtype=object)[rng.integers(len(column.values), size=rows)]
    low, high = limits(column)
    if isinstance(column, Date):
        from datetime import date

        return [date.fromordinal(int(day)) for day in rng.integers(int(low), int(high) + 1, rows)]
    if column.transform == "log1p":
        drawn = np.expm1(rng.uniform(np.log1p(low), np.log1p(high), rows))
    else:
        drawn = rng.uniform(low, high, rows)
    return np.array([min(max(column.as_written(float(value)), low), high) for value in drawn])
