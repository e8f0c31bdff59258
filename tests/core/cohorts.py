"""Patients of two classes, and what a vault would answer of them."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cohortmix.core import Schema
from cohortmix.core.data.encoding import Encoding
from cohortmix.core.steps.anonymize import FINE

SCHEMA = Schema.from_yaml(
    """
name: three
target: outcome
columns:
  age: {type: number, min: 0, max: 99, integer: true, missing: true}
  sex: {type: category, values: [F, M, other], missing: true}
  dose: {type: number, min: 0, max: 1, knots: 16}
  outcome: {type: category, values: [well, ill]}
"""
)
ENCODING = Encoding.of(SCHEMA)
AGE, SEX, DOSE = ENCODING.blocks
N = 4000


def cohort(seed: int = 0, n: int = N) -> pa.RecordBatch:
    """The ill are older, and more of them are men; a tenth of the ages is missing."""
    rng = np.random.default_rng(seed)
    ill = rng.random(n) < 0.3
    age = np.clip(rng.normal(np.where(ill, 70, 45), 15, n), 0, 99).round()
    sex = np.where(rng.random(n) < np.where(ill, 0.7, 0.5), "M", "F")
    return pa.record_batch(
        {
            "age": pa.array(age, mask=rng.random(n) < 0.1),
            "sex": sex,
            "dose": rng.beta(2, 5, n),
            "outcome": np.where(ill, "ill", "well"),
        }
    )


BATCH = cohort()


def counts(batch: pa.RecordBatch = BATCH) -> NDArray[np.float64]:
    """True patients per class and fine cell, (C, F)."""
    features, label = ENCODING.codes(batch)
    hot = np.concatenate([np.eye(size)[features[:, j]] for j, size in enumerate(ENCODING.sizes)], axis=1)
    return np.stack([hot[label == c].sum(axis=0) for c in range(2)])


def estimate(cells: NDArray[np.float64], s_a: float = 0.0, seed: int = 0) -> NDArray[np.float64]:
    """What a vault would answer for these counts, in patients; in plain numpy."""
    parts: list[NDArray[np.float64]] = []
    for feature, block in zip(ENCODING.features, ENCODING.blocks, strict=True):
        if feature.coarse is not None:
            bins = np.eye(max(feature.coarse) + 1)[list(feature.coarse)]
            parts += [cells[:, block] @ bins, cells[:, block] * FINE]
        else:
            parts.append(cells[:, block])
    parts.append(cells[:, SEX].sum(axis=1, keepdims=True) * sqrt(3 / 4))
    exact = np.concatenate(parts, axis=1)
    return np.asarray(exact + s_a * np.random.default_rng(seed).standard_normal(exact.shape)).ravel()
