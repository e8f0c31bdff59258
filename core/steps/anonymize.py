"""Anonymize: sums over patients with Gaussian noise, the only one of the three steps that asks the vault.

The paper mixes the patients of a cluster and adds Gaussian noise (Eq. 7; mu-GDP by Theorem 1). Here each mixture
is a sum over all patients, and two questions are enough for all that follows:

answer A  the class-conditional one-way marginals: patients of each class in each fine cell of each feature, and
          beside the fine cells of a number in its coarse bins;
answer B  the class-conditional pair tables: patients of each class in each pair of merged bins of two features. Of
          many columns and few patients it is the second moment of scores instead (`core/steps/scores`).

Where the noise permits, one table is asked a third one:

answer C  class-conditional products of the signs of three to five features, which no table of pairs shows
          (`core/steps/products`).

Where a fine cell holds clearly more than those beside it, a table or the sites of a study are asked a last one:

answer D  how many patients have each value in that cell (`core/steps/point_masses.py`).

Symbols: D features, C classes, F fine cells and G merged bins of all features side by side, n patients,
s_A and s_B the standard deviations of one cell of A and of one cell of a pair table of B, in patients.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from math import sqrt
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from cohortmix.core.data.dictionary.columns import Category
from cohortmix.core.data.encoding import Cells, Encoding
from cohortmix.core.privacy.joint import ALONE, Terms
from cohortmix.core.privacy.meter import Answer
from cohortmix.core.privacy.questions.class_marginals import Block, ClassMarginals
from cohortmix.core.privacy.questions.pair_tables import PairTables
from cohortmix.core.privacy.questions.score_moment import ScoreMoment
from cohortmix.core.privacy.questions.sign_products import SignProducts
from cohortmix.core.privacy.vault import Vault
from cohortmix.core.steps import point_masses
from cohortmix.core.steps.centroids import Common
from cohortmix.core.steps.distributions.simplex import Array
from cohortmix.core.steps.plan import Plan, noise_of
from cohortmix.core.steps.scores import functions as scores

UNIT = 1 << 20  # lattice steps per patient of answer A
FINE = 0.7  # weight of a fine cell for each of its coarse bin: classes differ between bins more than within
MANY_VALUES = 16  # of a category, above which its cells weigh more than 1
HEAVIEST = 3.0  # weight of a cell of a category


class Measured(Protocol):
    """A noised answer of one site, or of several together: unbiased estimates and their noise."""

    @property
    def estimate(self) -> Array:
        """(d,) in patients, each times its weight."""

    @property
    def std(self) -> float:
        """Standard deviation of the noise of each of them."""


@dataclass(frozen=True, eq=False)
class Total:
    """A sum over several sites, read off their masked answers; everything in it is public.

    Attributes
    ----------
    values : (d,) int64, exact sum plus the noise of every site in it, in noise steps.
    variance : of all of this noise, in noise steps^2.
    unit : noise steps of 1.
    share : patients of these sites, as a share of those that the sum shall stand for: below 1 where a site was in
        the first sum of a study and is not in this one.
    """

    values: NDArray[np.int64]
    variance: int
    unit: int
    share: float = 1.0

    @property
    def estimate(self) -> Array:
        """The sums, (d,), in units of 1, each times its weight; noise of mean 0."""
        return self.values / (self.unit * self.share)

    @property
    def std(self) -> float:
        """Standard deviation of the noise of each estimate, in the same units."""
        return sqrt(self.variance) / (self.unit * self.share)


@dataclass(frozen=True, eq=False, kw_only=True)
class ClassSums:
    """Answer A, read: unbiased estimates of patients per class and cell.

    Attributes
    ----------
    cells : (C, F) patients per fine cell, not projected: noise may make them negative.
    masses : (C,) patients per class.
    masses_std : standard deviation of each of them, of one class that was asked about.
    s_a : standard deviation of one cell of weight 1, of one class that was asked about.
    summed : (C,) how many of those each of these is the sum of: neighbouring slices of a number or a time.
    """

    cells: Array
    masses: Array
    masses_std: float
    s_a: float
    summed: NDArray[np.int64]


def weight_of(cells: Cells) -> float:
    """Weight of a fine cell in answer A, beside coarse bins of weight 1.

    The error of m noised cells of weight w is about m / w, and the answer's noise grows with the sum of all w^2;
    the total error is least for w proportional to m^(1/3). So a column of many codes weighs more, up to a limit.
    """
    if cells.coarse is not None:
        return FINE * cells.weight
    many = isinstance(cells.column, Category) and cells.size > MANY_VALUES
    return min((cells.size / MANY_VALUES) ** (1 / 3), HEAVIEST) if many else 1.0


def sum_query(encoding: Encoding) -> ClassMarginals:
    """The question of answer A: cells and coarse bins by their weights, and the class by sqrt(D/4)."""
    blocks = []
    for column, cells in enumerate(encoding.features):
        if cells.coarse is not None:
            blocks.append(Block(column, cells.coarse, round(cells.weight * UNIT)))
        blocks.append(Block(column, tuple(range(cells.size)), round(weight_of(cells) * UNIT)))
    return ClassMarginals(tuple(blocks), round(sqrt(len(encoding.features) / 4) * UNIT), UNIT)


def noise_a(encoding: Encoding, mu2: float) -> float:
    """s_A in patients: sqrt(2) B / mu, B the norm of a record's vector of answer A."""
    return noise_of(sum_query(encoding), mu2)


def answer_a(vault: Vault, encoding: Encoding, mu2: Fraction, terms: Terms = ALONE) -> Answer:
    """The class-conditional one-way marginals, through the vault.

    Guarantee
    ---------
    test_sensitivity_of_class_marginals. mu-GDP for the replacement of one patient, mu^2 = the answer's
    mu2 <= `mu2`. Public: the schema, N, the terms; with those of a joint study this holds for the sum over sites.
    """
    return vault.answer(sum_query(encoding), mu2, terms)


def pair_query(plan: Plan, common: Common) -> PairTables | ScoreMoment:
    """The question of answer B: pair tables of merged bins, or the second moment of scores."""
    return scores.question(common.scores) if plan.by_scores else PairTables(common.groups.of_cells)


def answer_b(vault: Vault, plan: Plan, common: Common, terms: Terms = ALONE) -> Answer:
    """The class-conditional pair tables of merged bins, or the second moment of scores, through the vault.

    Guarantee
    ---------
    test_sensitivity_of_pair_tables, test_sensitivity_of_score_moment. mu-GDP for the replacement of one patient,
    mu^2 = the answer's mu2 <= that of the plan. Public: the schema, the plan, groups and scores (they come from
    answers A), N, the terms.
    """
    return vault.answer(pair_query(plan, common), plan.mu2_moments, terms)


def answer_c(vault: Vault, plan: Plan, question: SignProducts) -> Answer:
    """The class-conditional sums of products of signs, through the vault.

    Guarantee
    ---------
    test_sensitivity_of_sign_products. mu-GDP for the replacement of one patient, mu^2 = the answer's mu2 <= that
    of the plan. Public: the schema, the plan, the question (it comes from answer A), N.
    """
    return vault.answer(question, plan.mu2_products)


def answer_d(vault: Vault, plan: Plan, terms: Terms = ALONE) -> Answer:
    """The counts of the values within the cells that the plan looks into, through the vault.

    Guarantee
    ---------
    test_sensitivity_of_value_counts. mu-GDP for the replacement of one patient, mu^2 = the answer's mu2 <= that of
    the plan. Public: the schema, the plan (its cells come from answers A), N, the terms.
    """
    return vault.answer(point_masses.question(plan.looks), plan.mu2_looks, terms)


class Added(NamedTuple):
    """A sum of answers, in patients, and the standard deviation of its noise."""

    estimate: Array
    std: float


def add_answers(answers: Iterable[Measured]) -> Added:
    """Sum of several sites' answers to one question, in patients, and its standard deviation.

    One after the other: of many sites all answers together can be more than the memory holds.
    """
    total, variance = np.zeros(1), 0.0
    for answer in answers:
        total, variance = total + answer.estimate, variance + answer.std**2
    return Added(total, sqrt(variance))


def read_sums(encoding: Encoding, estimate: Array, s_a: float) -> ClassSums:
    """Least squares of coarse bins and fine cells together; `estimate` is the flat answer A in patients."""
    query = sum_query(encoding)
    flat = estimate.reshape(encoding.label.size, query.width)
    cells, start = [], 0
    for feature in encoding.features:
        coarse = None
        if feature.coarse is not None:
            size = max(feature.coarse) + 1
            coarse, start = flat[:, start : start + size] / feature.weight, start + size
        fine, start = flat[:, start : start + feature.size], start + feature.size
        fine = fine / weight_of(feature)
        cells.append(fine if coarse is None else _least_squares(coarse, fine, feature))
    weight = query.label_weight / UNIT
    return ClassSums(
        cells=np.concatenate(cells, axis=1),
        masses=flat[:, -1] / weight,
        masses_std=s_a / weight,
        s_a=s_a,
        summed=np.ones(len(flat), dtype=np.int64),
    )


def _least_squares(coarse: Array, fine: Array, feature: Cells) -> Array:
    """Fine cells (C, m) that agree best with both: what their coarse bin counts beyond them is spread over them.

    The bins are measured with variance 1, the cells with v = 1 / FINE^2; a cell's share of the difference of a bin
    of k cells is v / (1 + k v).
    """
    assert feature.coarse is not None
    bin_of = np.asarray(feature.coarse)
    count = np.bincount(bin_of)
    sums = np.stack([np.bincount(bin_of, row, len(count)) for row in fine])
    share = (1 / FINE**2) / (1 + count / FINE**2)
    return np.asarray(fine + ((coarse - sums) * share)[:, bin_of])
