"""The Gaussian variant: class centroids and one covariance, for wide tables of numbers.

The same order as for cells: first a few noised answers of the vault, then post-processing. Answers: where each
coordinate lies, how far it spreads, the second moment of the standardized records, and the class centroids with
their masses. What is drawn from is N(mu_y, Sigma), with Sigma common to the classes.

Symbols: K coordinates, C classes, n patients, R the radius of a clip, s the noise of one entry.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from fractions import Fraction
from math import sqrt

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cohortmix.core.adapt import adapt, choose_support
from cohortmix.core.anonymize import simplex
from cohortmix.core.centroids import SiteCentroids
from cohortmix.core.encoding import Encoding
from cohortmix.core.levels import SHARE_SCALE, Array, Levels
from cohortmix.core.meter import Answer
from cohortmix.core.pipeline import TARGETS, Plan
from cohortmix.core.query import DIAGONAL, OFF_DIAGONAL, LevelMoment, LevelSum
from cohortmix.core.records import rows_of_cells
from cohortmix.core.schema import Category, Schema
from cohortmix.core.vault import Vault

SUM_UNIT, MOMENT_UNIT = 1 << 20, 1 << 12  # lattice steps of a level of 1
WIDE = 20  # features from which on the variant is considered
CROWDED = 0.45  # share of the patients that a group of cells would have to hold, for its pairs to be seen
FIRST = Fraction(5, 100)  # of mu^2, for the centre and again for the spread
SECOND = Fraction(45, 100)  # of mu^2, for the second moment; what is left is for the class centroids
FIRST_RADIUS = 0.65  # per square root of K, of t in [-1, 1]
RADIUS, WIDEST = 1.0, 4.0  # the same, of standardized levels
LITTLE = 0.1  # operator norm of its noise, where a clip costs more than the noise of a wider one
OFF = DIAGONAL / OFF_DIAGONAL  # an answer's unit is that of the diagonal: what the other entries count
TO_SD = sqrt(np.pi / 2)  # of a Gaussian: its standard deviation over its mean distance from the centre


@dataclass(frozen=True, eq=False)
class ClassGaussians:
    """What was learned: N(mu_y, Sigma) of standardized levels for each class; released.

    Attributes
    ----------
    levels : the coordinates, with their released centre and scale.
    masses : (C,) patients per class, summing to n.
    means : (C, K) class centroids.
    covariance : (K, K), positive definite.
    masses_std : standard deviation of the noise of each mass, in patients.
    """

    levels: Levels
    masses: Array
    means: Array
    covariance: Array
    masses_std: float

    def draw(self, rows: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], Array]:
        """Classes (rows,) and levels (rows, K) of records."""
        label = rng.choice(len(self.masses), size=rows, p=self.masses / self.masses.sum())
        root = np.linalg.cholesky(self.covariance)
        return label, self.means[label] + rng.standard_normal((rows, len(root))) @ root.T

    def records(self, schema: Schema, rows: int, seed: int) -> pd.DataFrame:
        """Rows of the original table, (rows, columns of the schema); the same seed gives the same rows."""
        rng = np.random.default_rng(seed)
        label, x = self.draw(rows, rng)
        return rows_of_cells(self.levels.to_cells(x), label, schema, rng)

    def posterior(self, x: Array) -> Array:
        """Class probabilities (n, C) at levels (n, K), by Bayes' rule."""
        weights = np.linalg.solve(self.covariance, self.means.T)
        score = x @ weights - 0.5 * np.sum(self.means.T * weights, axis=0) + np.log(self.masses)
        odds = np.exp(score - score.max(axis=1, keepdims=True))
        return np.asarray(odds / odds.sum(axis=1, keepdims=True))


def suits(plan: Plan) -> bool:
    """Whether a table is synthesized by this variant; follows from the schema, N and mu alone.

    Wide, mostly numbers, and either too few patients for pairs of cells or numbers throughout.
    """
    features = Encoding.of(plan.schema).features
    numbers = sum(not isinstance(cells.column, Category) for cells in features)
    if len(features) < WIDE or numbers < 0.75 * len(features):
        return False
    plain = numbers == len(features) and all(cells.missing < 0 for cells in features)
    return plain or sqrt(plan.s_b / plan.patients) > CROWDED


def learn(vault: Vault, plan: Plan) -> tuple[ClassGaussians, Answer]:
    """Ask the four questions, and denoise; the last answer is returned as well.

    Guarantee
    ---------
    test_sensitivity_of_noisy_level_sum, test_sensitivity_of_noisy_level_moment. mu-GDP for the replacement of one
    patient, mu^2 = the sum of the answers' mu2 <= the plan's. Each question follows from the schema, N, mu and the
    answers before it. Public: the plan.
    """
    levels = Levels.of(Encoding.of(plan.schema))
    levels = replace(levels, centre=_centre(levels, _first(vault, levels, plan).estimate, plan.patients))
    levels = replace(levels, scale=_scale(levels, _first(vault, levels, plan, spread=True), plan.patients))
    radius = _moment_radius(len(levels.axes), plan)
    moment = vault.noisy_level_moment(
        LevelMoment(levels.coordinates(MOMENT_UNIT), _steps(radius, levels, MOMENT_UNIT), MOMENT_UNIT),
        plan.mu2 * SECOND,
    )
    r = _steps(RADIUS, levels, SUM_UNIT)
    query = LevelSum(levels.coordinates(SUM_UNIT), r, r, SUM_UNIT)
    sums = vault.noisy_level_sum(query, plan.mu2 * (1 - 2 * FIRST - SECOND))
    return denoise(levels, moment, sums, query, plan.patients), sums


def denoise(levels: Levels, moment: Answer, sums: Answer, query: LevelSum, patients: int) -> ClassGaussians:
    """Class centroids and covariance from both answers."""
    flat = sums.estimate.reshape(-1, len(levels.axes) + 1)
    weight = query.label_weight / query.unit
    raw = flat[:, -1] / weight / patients
    masses = patients * simplex(raw, min(1 / patients, 0.5 / len(raw)))
    every = flat[:, :-1].sum(axis=0) / patients
    apart, noise2 = flat[:, :-1] / masses[:, None] - every, (sums.std / masses) ** 2
    share = masses / patients
    between = (apart * share[:, None]).T @ apart - (share @ noise2) * np.eye(len(every))
    within = _matrix(moment, len(every)) / patients - np.outer(every, every) - between
    covariance = clean(within, moment.std * OFF / patients)
    means = every + np.stack([shrink(*each, covariance) for each in zip(apart, noise2, strict=True)])
    return ClassGaussians(levels, masses, means, covariance, sums.std / weight)


def shrink(apart: Array, noise2: float, covariance: Array) -> Array:
    """What a class centroid differs from the mean of all, as far as it is not noise.

    The posterior mean where classes differ as records do, by N(0, c Sigma), with c from the length of what was
    seen (empirical Bayes: Efron, Morris 1973).
    """
    length2 = float(apart @ apart) - len(apart) * noise2
    if length2 <= 0:
        return np.zeros_like(apart)
    prior = covariance * (length2 / np.trace(covariance))
    return np.asarray(prior @ np.linalg.solve(prior + noise2 * np.eye(len(apart)), apart))


def clean(noisy: Array, s: float) -> Array:
    """A covariance from a symmetric matrix whose entries have noise s (sqrt(2) s on the diagonal).

    Noise alone has eigenvalues up to op = 2 sqrt(K) s. An eigenvalue e above it is debiased,
    (e + sqrt(e^2 - op^2)) / 2 (Benaych-Georges, Nadakuditi 2011); the others share what is left of the trace.
    """
    values, vectors = np.linalg.eigh(noisy)
    op = 2 * sqrt(len(values)) * s
    kept = values > op
    debiased = (values + np.sqrt(np.maximum(values**2 - op**2, 0))) / 2
    rest = (np.trace(noisy) - debiased[kept].sum()) / max(1, int((~kept).sum()))
    spectrum = np.maximum(np.where(kept, debiased, rest), 1e-2)  # of standardized levels, whose mean is about 1
    return np.asarray((vectors * spectrum) @ vectors.T)


def centroids(model: ClassGaussians, plan: Plan, seed: bytes) -> SiteCentroids:
    """The class centroids, and inducing points learned from records that are drawn from the model."""
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(seed).digest(), "big"))
    x = model.draw(TARGETS, rng)[1]
    y = model.posterior(x)
    start = choose_support(x, y, size=plan.support, seed=int(rng.integers(2**31)))
    support = adapt(*start, x, y, blocks=(), alpha=plan.alpha, seed=int(rng.integers(2**31))).support
    classes = len(model.masses)
    return SiteCentroids(
        model.masses,
        model.means,
        np.eye(classes),
        ("gaussian",) * classes,
        model.masses_std,
        support.points,
        support.labels,
    )


def _first(vault: Vault, levels: Levels, plan: Plan, spread: bool = False) -> Answer:
    """Sums of t over all patients, or of its distance from the centre."""
    query = LevelSum(levels.coordinates(SUM_UNIT, spread), _steps(FIRST_RADIUS, levels, SUM_UNIT), 0, SUM_UNIT)
    return vault.noisy_level_sum(query, plan.mu2 * FIRST)


def _centre(levels: Levels, sums: Array, patients: int) -> Array:
    """Mean of t; of a number, over the patients who have one."""
    mean = sums / patients
    return np.asarray(np.clip(mean / _known(levels, mean), np.where(levels.shares, 0, -1), 1))


def _known(levels: Levels, mean: Array) -> Array:
    """(K,) share of the patients of whom a number is known; the coordinate after it counts the others."""
    known = np.ones(len(mean))
    for k, (axis, after) in enumerate(zip(levels.axes, levels.axes[1:], strict=False)):
        if not axis.share and after.column == axis.column:
            known[k] = np.clip(1 - mean[k + 1], 0.05, 1)
    return known


def _scale(levels: Levels, distances: Answer, patients: int) -> Array:
    """Standard deviation of t, shrunk towards that of all numbers as far as it is noise (James, Stein 1961)."""
    numbers = ~levels.shares
    if not numbers.any():
        return np.full(len(numbers), SHARE_SCALE)
    mean, noise = distances.estimate / patients, distances.std / patients
    own = (mean / _known(levels, levels.centre))[numbers]
    every = max(float(own.mean()), noise / sqrt(len(own)), 1e-3)
    keep = max(0.0, 1 - noise**2 / max(float(own.var()), 1e-300))
    scale = np.full(len(numbers), SHARE_SCALE)
    scale[numbers] = TO_SD * np.maximum(every + keep * (own - every), every / 20)
    return scale


def _moment_radius(size: int, plan: Plan) -> float:
    """How far the clip of the second moment opens, from K, N and mu.

    Its noise has the operator norm op = 2 sqrt(K) s, s = r^2 K / (mu n), in units of a standardized level. As long
    as op is LITTLE, a wider clip costs less than the tails that a narrow one cuts off.
    """
    room = sqrt(plan.mu2 * SECOND) * plan.patients / (2 * size**1.5)  # r^2 / op
    return min(max(RADIUS, sqrt(LITTLE * room)), WIDEST)


def _steps(radius: float, levels: Levels, unit: int) -> int:
    return round(radius * sqrt(len(levels.axes)) * unit)


def _matrix(moment: Answer, size: int) -> Array:
    """(K, K) from the weighted upper triangle."""
    out = np.zeros((size, size))
    out[np.triu_indices(size)] = moment.estimate
    out *= np.where(np.eye(size, dtype=bool), 1, OFF)
    return np.asarray(out + np.triu(out, 1).T)
