"""Two floors of `bench_utility.py`: what little structure gives under the same budget, at one or several sites.

- `class_gaussians`: a Gaussian for each class with a common covariance, from one noised second moment.
- `label_star`: each column on its own within each class, from one noised histogram of label and column. It serves
  the declared target and fails the others, so that one target is never quoted alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import sqrt

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cohortmix.core.data.encoding import Encoding
from cohortmix.core.data.groups import Groups
from cohortmix.core.data.reading import UNKNOWN
from cohortmix.core.data.rows import rows_of_cells
from cohortmix.core.data.schema import SITE, Schema
from cohortmix.core.data.table import TableSource
from cohortmix.core.gaussian.levels import Levels
from cohortmix.core.privacy.memory_meter import MemoryMeter
from cohortmix.core.privacy.noise import MIN_SIGMA
from cohortmix.core.privacy.noise_source import NoiseSource
from cohortmix.core.privacy.vault import Vault
from cohortmix.core.release.pool import Pool
from cohortmix.core.release.records import draw
from cohortmix.core.steps import anonymize
from cohortmix.core.steps.centroids import Common, SiteCentroids
from cohortmix.core.steps.distributions.simplex import simplex
from cohortmix.core.steps.margins import project

Array = NDArray[np.float64]
LEAST = 1e-3  # eigenvalue of a covariance, of numbers in [-1, 1]


def label_star(
    tables: Sequence[pd.DataFrame], schema: Schema, mu: float, noise: Sequence[NoiseSource]
) -> pd.DataFrame:
    """Naive Bayes: answer A of the product with the whole budget, and its class centroids on fine cells.

    Guarantee
    ---------
    That of `ClassMarginals`: mu-GDP at each site for the replacement of one patient. Public: the schema, N.
    """
    encoding, mu2 = Encoding.of(schema), Fraction(mu) ** 2
    vaults = [
        Vault(_source(table, schema), schema, source.add, MemoryMeter(mu2))
        for table, source in zip(tables, noise, strict=True)
    ]
    total, std = anonymize.add_answers([anonymize.answer_a(vault, encoding, mu2) for vault in vaults])
    patients = sum(vault.patients for vault in vaults)
    margins = project(anonymize.read_sums(encoding, total, std), encoding, patients)
    common = Common(Groups(tuple(tuple(range(size)) for size in encoding.sizes)), margins)
    classes = len(margins.masses)
    star = SiteCentroids(
        masses=margins.masses,
        means=margins.cells,
        labels=np.eye(classes),
        kind=("class",) * classes,
        noise_std=std,
        support_points=np.zeros((0, margins.cells.shape[1])),
        support_labels=np.zeros((0, classes)),
    )
    return draw(Pool.of(schema, common, {SITE: star}), schema, patients, seed=0).drop(columns=SITE)


def class_gaussians(
    tables: Sequence[pd.DataFrame], schema: Schema, mu: float, noise: Sequence[NoiseSource]
) -> pd.DataFrame:
    """Draws of N(m_y, Sigma), from the noised second moment of v = [x, onehot(y)], with x as in `Levels`.

    The vault has no such question, so this is the Gaussian mechanism, with the same sources of noise.

    Guarantee
    ---------
    |x|^2 <= D, one for each column, so that a patient adds the mean of v v^T over its rows, of norm <= D + 1.
    Two such are at most sqrt(2) (D + 1) apart, since v v^T is positive semidefinite; so are their upper triangles
    with weight sqrt(2) off the diagonal. mu-GDP at each site for the replacement of one patient. Public: schema,
    N.
    """
    levels, classes = Levels.of(Encoding.of(schema)), len(schema.classes)
    moment, patients = np.zeros((len(levels.axes) + classes,) * 2), 0
    sigma = sqrt(2) * (len(schema.features) + 1) / mu
    for table, source in zip(tables, noise, strict=True):
        exact, n = second_moment(levels, table, schema)
        moment, patients = moment + noised(exact, sigma, source), patients + n
    masses = patients * simplex(np.diag(moment)[-classes:] / patients, 0.5 / patients)
    means = moment[-classes:, :-classes] / masses[:, None]
    within = moment[:-classes, :-classes] / patients - (means.T * masses / patients) @ means
    values, vectors = np.linalg.eigh(within)
    root = vectors * np.sqrt(np.maximum(values, LEAST))
    rng = np.random.default_rng(0)
    label = rng.choice(classes, size=patients, p=masses / masses.sum())
    x = means[label] + rng.standard_normal((patients, len(root))) @ root.T
    return rows_of_cells(levels.to_cells(x), label, schema, rng)


def second_moment(levels: Levels, table: pd.DataFrame, schema: Schema) -> tuple[Array, int]:
    """Sum over patients of v v^T, their rows weighted 1/m, and the number of patients."""
    onehot, first = np.eye(len(schema.classes)), 0
    moment = np.zeros((len(levels.axes) + len(onehot),) * 2)
    rows = np.ones(len(table))
    if schema.patient_key is not None:
        rows = table.groupby(schema.patient_key)[schema.patient_key].transform("size").to_numpy()
    for batch in _source(table, schema).batches():
        codes, label = levels.encoding.codes(batch)
        known, m = label != UNKNOWN, rows[first : first + len(label), None]
        v = np.hstack([levels.of_cells(codes), onehot[label]])[known]
        moment += (v / m[known]).T @ v
        first += len(label)
    return moment, round(float((1 / rows).sum()))


def noised(exact: Array, sigma: float, noise: NoiseSource) -> Array:
    """A symmetric matrix on a fine lattice, with noise sigma on the diagonal and sigma / sqrt(2) off it."""
    weight, upper = np.where(np.eye(len(exact)), 1, sqrt(2)), np.triu_indices(len(exact))
    steps = 2 * MIN_SIGMA / sigma
    values = np.rint((exact * weight)[upper] * steps).astype(np.int64)
    out = np.zeros_like(exact)
    out[upper] = noise.add(values, 2 * MIN_SIGMA, "second moment of the Gaussian floor") / steps
    return np.asarray((out + np.triu(out, 1).T) / weight)


def _source(table: pd.DataFrame, schema: Schema) -> TableSource:
    return TableSource(table, (*schema.columns, *([schema.patient_key] if schema.patient_key else [])))
