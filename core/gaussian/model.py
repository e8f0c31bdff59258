"""The Gaussian variant: a Gaussian for each class, for wide tables of numbers.

The same order as for cells: first a few noised answers of the vault (`learn`), then post-processing. Records are x
= B z + e: scores z ~ N(m_y, S_y) by class, in a few directions or in all, and a residual e ~ N(0, R) that is
common to the classes.

Symbols: K coordinates, D scores, C classes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from math import sqrt

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cohortmix.core.data.dictionary.columns import Category
from cohortmix.core.data.encoding import Encoding
from cohortmix.core.data.rows import rows_of_cells
from cohortmix.core.data.schema import Schema
from cohortmix.core.gaussian.levels import Array, Levels
from cohortmix.core.steps.adapt import adapt
from cohortmix.core.steps.adapting.lagrangian import bounds_of
from cohortmix.core.steps.centroids import SiteCentroids
from cohortmix.core.steps.plan import TARGETS, Plan
from cohortmix.core.steps.scores.functions import usual_number
from cohortmix.core.steps.support import choose_support

WIDE = 20  # features from which on the variant is considered
MOSTLY = 0.75  # share of the features that have to be numbers or dates
CROWDED = 0.45  # share of the patients that a merged bin would have to hold, for its pairs to stand out from noise
DROWNED = (
    0.08  # noise of the length of a mean, in units of the values' length, above which class centroids say more
)
ROOMY = 0.5  # crowding below which a table of numbers throughout is not asked about scores
WIDEST = 100  # numbers of which scores are asked, where there is a choice: those of more take minutes to fit


@dataclass(frozen=True, eq=False, kw_only=True)
class ClassGaussians:
    """What was learned of the classes' standardized values; released.

    Attributes
    ----------
    levels : the coordinates, with their released centre and scale.
    masses : (C,) patients per class, summing to n.
    scores : (C, D) m_y, class centroids.
    covariances : (C, D, D) S_y, positive definite.
    directions : (K, D), the scores of a record are z = x A.
    loadings : (K, D) B, by which a record's standardized values are expected to be x = B z.
    residual : (K, K) R, positive semidefinite.
    masses_std : standard deviation of the noise of each mass, in patients.
    """

    levels: Levels
    masses: Array
    scores: Array
    covariances: Array
    directions: Array
    loadings: Array
    residual: Array
    masses_std: float

    @property
    def means(self) -> Array:
        """(C, K) class centroids, in standardized values."""
        return np.asarray(self.scores @ self.loadings.T)

    def draw(self, rows: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], Array]:
        """Classes (rows,) and standardized values (rows, K) of records."""
        label = rng.choice(len(self.masses), size=rows, p=self.masses / self.masses.sum())
        z = rng.standard_normal((rows, self.scores.shape[1]))
        for c, covariance in enumerate(self.covariances):
            z[label == c] = self.scores[c] + z[label == c] @ np.linalg.cholesky(covariance).T
        values, vectors = np.linalg.eigh(self.residual)
        e = rng.standard_normal((rows, len(values))) @ (vectors * np.sqrt(np.maximum(values, 0))).T
        return label, z @ self.loadings.T + e

    def records(self, schema: Schema, rows: int, seed: int) -> pd.DataFrame:
        """Rows of the original table, (rows, columns of the schema); the same seed gives the same rows."""
        rng = np.random.default_rng(seed)
        label, x = self.draw(rows, rng)
        return rows_of_cells(self.levels.to_cells(x), label, schema, rng)

    def posterior(self, x: Array) -> Array:
        """Class probabilities (n, C) at standardized values (n, K), by Bayes' rule."""
        z, score = x @ self.directions, np.empty((len(x), len(self.masses)))
        for c, covariance in enumerate(self.covariances):
            root = np.linalg.cholesky(covariance)
            white = np.linalg.solve(root, (z - self.scores[c]).T)
            score[:, c] = np.log(self.masses[c]) - np.log(np.diag(root)).sum() - 0.5 * np.sum(white**2, axis=0)
        odds = np.exp(score - score.max(axis=1, keepdims=True))
        return np.asarray(odds / odds.sum(axis=1, keepdims=True))


def suits(plan: Plan) -> bool:
    """Whether a table is synthesized by this variant; follows from the schema, N and mu alone.

    It is wide and mostly numbers, and has patients enough for a mean, but not for scores (`Plan.by_scores`); and
    either it is numbers throughout, or has too few patients for pairs of cells as well. Of very many numbers no
    scores are asked, nor where numbers throughout have room for pairs of cells.
    """
    features = Encoding.of(plan.schema).features
    numbers = sum(not isinstance(cells.column, Category) for cells in features)
    if len(features) < WIDE or numbers < MOSTLY * len(features):
        return False
    if sqrt(usual_number(plan.schema) / plan.mu2) / plan.patients > DROWNED:
        return False
    plain = numbers == len(features) and all(cells.missing < 0 for cells in features)
    if plan.by_scores and not (plain and (len(features) > WIDEST or plan.crowding < ROOMY)):
        return False
    return plain or sqrt(plan.s_b / plan.patients) > CROWDED


def centroids(model: ClassGaussians, plan: Plan, seed: bytes) -> SiteCentroids:
    """The class centroids, and inducing points learned from records that are drawn from the model."""
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(seed).digest(), "big"))
    x = model.draw(TARGETS, rng)[1]
    y = model.posterior(x)
    start = choose_support(x, y, size=plan.support, seed=int(rng.integers(2**31)))
    cells = list(model.levels.to_cells(x).values())
    bounds = bounds_of(plan.constraints, plan.schema, y, lambda feature, shares: shares[cells[feature]])
    drawn = int(rng.integers(2**31))
    support = adapt(*start, x, y, blocks=(), alpha=plan.alpha, constraints=bounds, seed=drawn)
    classes = len(model.masses)
    return SiteCentroids(
        masses=model.masses,
        means=model.means,
        labels=np.eye(classes),
        kind=("gaussian",) * classes,
        noise_std=model.masses_std,
        support_points=support.points,
        support_labels=support.labels,
        constraints=support.constraints,
    )
