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
from cohortmix.core.release.condense.points import Points
from cohortmix.core.release.condense.search import Sought, search
from cohortmix.core.release.condense.seen import Floats, Seen, Whole

CLIP = 2.0  # nats that one record's loss counts at most; a model that knows the class shares loses .6 on average
PUBLIC = 5_000  # rows of uniform values, of which points are made


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


def condensed_under_noise(
    x: Floats, label: Whole, schema: Schema, model: str, size: int, mu: float, evaluations: int, seed: int
) -> tuple[Seen, Points]:
    """Rows for one model, and the public pool that they are made of.

    Parameters
    ----------
    x, label : (n, W) and (n,), the real records as `Seen` has them.
    """
    rng = np.random.default_rng(seed)
    pool = Seen.of(uniform_rows(schema, PUBLIC, rng), schema)
    sigma = sigma_of(len(x), mu, evaluations)
    none = np.empty(0, dtype=np.intp)
    judge = NoisedJudge(x, np.empty((0, 0)), (none, none), label, sigma, rng)
    even: Scores = lambda rows: np.full((len(rows), pool.classes), 1 / pool.classes)  # noqa: E731
    share = np.full(pool.width, 1 / pool.width)
    count = (size + 1) // 2
    start = Points(
        np.repeat(rng.integers(len(pool), size=(count, 1)), pool.width, axis=1),
        np.arange(size) % count,
        (np.arange(size) >= count).astype(np.int64),
        np.zeros(size),
    )
    return pool, search(Sought(pool, np.arange(0), MODELS[model], judge, even, share), start, evaluations, rng)[0]


def sigma_of(n: int, mu: float, evaluations: int) -> float:
    """Standard deviation of the noise of each evaluation, in nats of a record."""
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
