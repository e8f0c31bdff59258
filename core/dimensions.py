"""How many numbers the answers of a release have at most, and so their kappa: known before the first question.

From the schema alone: merged bins are chosen from released values, but no more than these can come of it.
"""

from __future__ import annotations

from cohortmix.core.data.dictionary.columns import Category
from cohortmix.core.data.encoding import Cells, Encoding
from cohortmix.core.data.schema import Schema
from cohortmix.core.gaussian.levels import Levels
from cohortmix.core.privacy import gdp
from cohortmix.core.privacy.noise import MIN_SIGMA
from cohortmix.core.privacy.questions.class_moment import ClassMoment
from cohortmix.core.privacy.questions.coordinates import Coordinate
from cohortmix.core.privacy.questions.level_moment import LevelMoment
from cohortmix.core.privacy.questions.level_sum import LevelSum
from cohortmix.core.privacy.questions.pair_tables import PairTables
from cohortmix.core.privacy.questions.score_moment import ScoreMoment
from cohortmix.core.steps.anonymize import sum_query
from cohortmix.core.steps.bins import LARGEST_GROUP, OF_A_VALUE
from cohortmix.core.steps.point_masses import MOST_COUNTED, possible
from cohortmix.core.steps.scores.functions import most_of_column

# `choose_groups`: of a number's bins at least every second one holds the share LARGEST_GROUP, and missing values
# have one of their own. Of a category's, each holds OF_A_VALUE times less, and the rare values share one.
MOST_OF_NUMBER = round(2 / LARGEST_GROUP) + 2
MOST_OF_CATEGORY = round(OF_A_VALUE / LARGEST_GROUP) + 1


def most_groups(cells: Cells) -> int:
    """Merged bins of one feature that `choose_groups` can make at most, whatever was released."""
    return min(cells.size, MOST_OF_CATEGORY if isinstance(cells.column, Category) else MOST_OF_NUMBER)


def of_cells(encoding: Encoding) -> int:
    """Numbers in answers A and B together, at most."""
    pairs = PairTables(tuple(tuple(range(most_groups(cells))) for cells in encoding.features))
    return sum(question.dimension(encoding.label.size) for question in (sum_query(encoding), pairs))


def of_scores(encoding: Encoding) -> int:
    """The same, where answer B is about scores."""
    scores = (Coordinate(0, ()),) * sum(map(most_of_column, encoding.features))
    asked = (sum_query(encoding), ScoreMoment(scores, 1, 1, 1))
    return max(of_cells(encoding), sum(question.dimension(encoding.label.size) for question in asked))


def of_gaussians(encoding: Encoding) -> int:
    """Numbers in the answers of the Gaussian variant, at most: sums three times, moments of all and by class."""
    x, classes = (Coordinate(0, ()),) * len(Levels.of(encoding).axes), encoding.label.size
    by_class = ClassMoment(x, ((),) * len(x), 1, 1, 1, 1)  # in as many directions as there are coordinates
    questions = (LevelSum(x, 1, 1, 1),) * 3 + (LevelMoment(x, 1, 1), by_class)
    return sum(question.dimension(classes) for question in questions)


def most_kappa(schema: Schema, variant: str = "cells", products: int = 0, values: int = 0) -> float:
    """The largest kappa that a release of this schema can have: no lattice is coarser than MIN_SIGMA steps.

    Parameters
    ----------
    products : of signs that answer C is about at most (`Plan.most_products`).
    values : that answer D counts at most (`point_masses.MOST_COUNTED`).
    """
    encoding = Encoding.of(schema)
    numbers = {"cells": of_cells, "scores": of_scores, "gaussian": of_gaussians}[variant]
    return gdp.kappa(numbers(encoding) + products * encoding.label.size + values, MIN_SIGMA)


def kappa_of_study(schema: Schema, point_masses: bool) -> float:
    """The largest kappa that the releases of one site in a study can have together.

    Parameters
    ----------
    point_masses : whether the study permits answer D, of which a schema may leave nothing to ask.
    """
    return most_kappa(schema, values=MOST_COUNTED if point_masses and possible(Encoding.of(schema)) else 0)
