"""How many numbers the answers of a release have at most, and so their kappa: known before the first question.

From the schema alone: merged bins are chosen from released values, but no more than these can come of it.
"""

from __future__ import annotations

from cohortmix.core.data.encoding import Cells, Encoding
from cohortmix.core.data.schema import Category, Schema
from cohortmix.core.gaussian.levels import Levels
from cohortmix.core.privacy import gdp
from cohortmix.core.privacy.noise import MIN_SIGMA
from cohortmix.core.steps.anonymize import sum_query
from cohortmix.core.steps.bins import LARGEST_GROUP, OF_A_VALUE

# `choose_groups`: of a number's bins at least every second one holds the share LARGEST_GROUP, and missing values
# have one of their own. Of a category's, each holds OF_A_VALUE times less, and the rare values share one.
MOST_OF_NUMBER = round(2 / LARGEST_GROUP) + 2
MOST_OF_CATEGORY = round(OF_A_VALUE / LARGEST_GROUP) + 1


def most_groups(cells: Cells) -> int:
    """Merged bins of one feature that `choose_groups` can make at most, whatever was released."""
    return min(cells.size, MOST_OF_CATEGORY if isinstance(cells.column, Category) else MOST_OF_NUMBER)


def of_cells(encoding: Encoding) -> int:
    """Numbers in answers A and B together, at most."""
    groups = [most_groups(cells) for cells in encoding.features]
    pairs = (sum(groups) ** 2 - sum(size**2 for size in groups)) // 2
    return encoding.label.size * (sum_query(encoding).width + pairs)


def of_gaussians(encoding: Encoding) -> int:
    """Numbers in the answers of the Gaussian variant, at most: sums three times, moments of all and by class."""
    size, classes = len(Levels.of(encoding).axes), encoding.label.size
    return classes * 3 * (size + 1) + size * (size + 1) // 2 + classes * (size + 1) * (size + 2) // 2


def most_kappa(schema: Schema, variant: str = "cells") -> float:
    """The largest kappa that a release of this schema can have: no lattice is coarser than MIN_SIGMA steps."""
    encoding = Encoding.of(schema)
    return gdp.kappa(of_gaussians(encoding) if variant == "gaussian" else of_cells(encoding), MIN_SIGMA)
