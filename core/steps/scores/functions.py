"""Functions: the scores of every column, from its released distribution, with mean 0 and variance 1 under it.

A number or date has its normal score, the standard normal quantile of the share of values below it (van der
Waerden 1952), so that a correlation of scores is hardly moved by a tail, and is the same in any unit. Missing
values lie at its mean and have an indicator of their own. A category has an indicator for each of its values but
the commonest. Where noise allows, a number has a second score, a parabola of its ranks.

What is rarer than FEWEST has no score: its indicator would be long, and would shorten all others when it is
clipped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import scipy  # loads `special` at its first use: it takes a while
from numpy.typing import NDArray

from cohortmix.core.data.dictionary.columns import Category
from cohortmix.core.data.encoding import Cells, Encoding
from cohortmix.core.data.schema import Schema
from cohortmix.core.privacy.questions.coordinates import Coordinate
from cohortmix.core.privacy.questions.score_moment import ScoreMoment

Array = NDArray[np.float64]

UNIT = 1 << 10  # lattice steps of a score of 1
FEWEST = 0.02  # least share of the patients of whom an indicator is 1, or 0
RARER = 1.25  # by which it is raised until there are few enough scores
MOST = 4096  # scores of a table
MOST_OF_NUMBER = 3  # scores of one number: two functions of its values, and whether it is missing
FARTHEST = 2.5  # largest normal score
LONGEST = 4.0  # largest score of any kind
CLIP2 = 0.6  # R^2 for each score: a record's squared norm is about 1 for each, and shorter records cost less noise
LABEL = 0.35  # weight of the class, in units of R
USUAL_VALUES = 8  # of a category's values, as many have scores at most, as far as is known beforehand
NOTHING = 1e-4  # variance below which a function says nothing


def usual_number(schema: Schema) -> int:
    """About how many scores a table has, by its schema alone."""
    columns = [schema.columns[name] for name in schema.features]
    return sum(
        min(len(column.values) - 1, USUAL_VALUES) if isinstance(column, Category) else 1 + column.missing
        for column in columns
    )


def noise_of_correlations(scores: int, mu: float, patients: int) -> float:
    """Standard deviation of the noise of a correlation of two of so many scores, at a budget of mu.

    B^2 / mu for an entry of the moment, of patients whose scores were clipped to sqrt(CLIP2) of their length.
    """
    return scores * (1 + LABEL**2) / (mu * patients)


def most_of_column(cells: Cells) -> int:
    """The most scores that a column can have, whatever was released."""
    if not isinstance(cells.column, Category):
        return MOST_OF_NUMBER
    return max(1, min(cells.size - 1, round(1 / FEWEST) - 1))


def choose(encoding: Encoding, pooled: Array, curved: bool, most: int = MOST) -> tuple[Coordinate, ...]:
    """The scores of all columns; one that says nothing where all columns are nearly constant.

    Parameters
    ----------
    pooled : (F,) released distributions of the features on their fine cells, side by side.
    curved : whether numbers have a second score.
    most : of all columns together; then what is rarer still has none.
    """
    fewest = FEWEST
    scores = _all(encoding, pooled, curved, fewest)
    while len(scores) > most and fewest < 1:
        fewest *= RARER
        scores = _all(encoding, pooled, curved, fewest)
    return scores or (Coordinate(0, (0,) * encoding.sizes[0]),)


def _all(encoding: Encoding, pooled: Array, curved: bool, fewest: float) -> tuple[Coordinate, ...]:
    return tuple(
        Coordinate(column, tuple(np.rint(UNIT * np.clip(values, -LONGEST, LONGEST)).astype(int).tolist()))
        for column, (cells, block) in enumerate(zip(encoding.features, encoding.blocks, strict=True))
        for values in _of_column(cells, np.maximum(pooled[block], 0) / pooled[block].sum(), curved, fewest)
    )


def question(scores: Sequence[Coordinate]) -> ScoreMoment:
    """What is asked about these scores."""
    radius = max(1, round(UNIT * (CLIP2 * len(scores)) ** 0.5))
    return ScoreMoment(tuple(scores), radius, max(1, round(LABEL * radius)), UNIT)


def _of_column(cells: Cells, share: Array, curved: bool, fewest: float) -> Iterator[Array]:
    """Each (m,) on the cells of a column."""
    indicators = [slot for slot in range(cells.size) if fewest <= share[slot] <= 1 - fewest]
    if isinstance(cells.column, Category):
        commonest = int(share.argmax())
        for slot in indicators:
            if slot != commonest or len(indicators) == 1:
                yield _standardized((np.arange(cells.size) == slot).astype(float), share)
        return
    known = share.copy()
    if cells.missing >= 0:
        known[cells.missing] = 0
    if known.sum() > FEWEST:
        rank = (np.cumsum(known) - known / 2) / known.sum()
        normal = np.clip(scipy.special.ndtri(np.clip(rank, NOTHING, 1 - NOTHING)), -FARTHEST, FARTHEST)
        for function in (normal, (2 * rank - 1) ** 2)[: 1 + curved]:
            score = _standardized(function, known / known.sum()) / known.sum() ** 0.5
            if cells.missing >= 0:
                score[cells.missing] = 0
            if score.any():
                yield score
    if cells.missing in indicators:
        yield _standardized((np.arange(cells.size) == cells.missing).astype(float), share)


def _standardized(function: Array, share: Array) -> Array:
    """With mean 0 and variance 1 under these shares; 0 everywhere if it is nearly constant."""
    apart = function - share @ function
    variance = float(share @ apart**2)
    return np.asarray(apart / variance**0.5 if variance > NOTHING else np.zeros_like(apart))
