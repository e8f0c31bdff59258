"""Steps from the real records to a release, one loss at a time: what `bench_losses.py` measures.

    real records -> their fine cells -> the groups of a release -> a release without noise -> the release

The first step costs what cells blur, the second what groups do, the third what pairs of features do not say of a
record, the last what privacy does. Only the last step would be private, with noise that nobody can repeat.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import pandas as pd
from mechanism_variants import Change
from numpy.typing import NDArray

from cohortmix.core.audit.noise_keyed import KeyedNoise
from cohortmix.core.data.encoding import Encoding
from cohortmix.core.data.rows import rows_of_cells
from cohortmix.core.data.schema import SITE, Schema
from cohortmix.core.data.table import TableSource
from cohortmix.core.privacy.budget import Budget
from cohortmix.core.privacy.noise_source import NOT_PRIVATE, NoiseSource
from cohortmix.core.release.pool import Pool
from cohortmix.core.release.records import draw
from cohortmix.core.single_release import Release
from cohortmix.core.steps import approximate
from cohortmix.core.synthesis import synthesize


class NoNoise(KeyedNoise):
    """Answers as they are. NOT PRIVATE; their stated noise is that of the plan, so that all else is."""

    def add(self, values: NDArray[np.int64], sigma: int, purpose: str) -> NDArray[np.int64]:
        """The values."""
        return values


@dataclass(frozen=True, eq=False)
class RealGroups(Pool):
    """A pool of real records, as groups of a release: label (n,) and groups (n, D)."""

    label: NDArray[np.int64]
    codes: NDArray[np.int32]

    def draw(
        self, rows: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
        """All of them, each once."""
        assert rows == len(self.label)
        return np.zeros(rows, np.int64), self.label, self.codes


def on_cells(table: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """The records, each value drawn from its fine cell. NOT PRIVATE."""
    codes, label = _codes(table, schema)
    names = [cells.name for cells in Encoding.of(schema).features]
    rng = np.random.default_rng(0)
    blurred = rows_of_cells(dict(zip(names, codes.T.copy(), strict=True)), label, schema, rng)
    blurred.attrs["warning"] = NOT_PRIVATE
    return blurred


def on_groups(table: pd.DataFrame, schema: Schema, budget: Budget, noise: NoiseSource) -> pd.DataFrame:
    """The records, each value drawn from its group by a release's shape within the group. NOT PRIVATE."""
    pool = synthesize(table, schema, budget, noise=noise, accept_degraded=True).pool
    codes, label = _codes(table, schema)
    groups = np.stack([np.asarray(of_cells)[codes[:, j]] for j, of_cells in enumerate(pool.groups)], axis=1)
    parts = {part.name: getattr(pool, part.name) for part in fields(Pool)}
    real = RealGroups(**parts, label=label, codes=groups.astype(np.int32))
    blurred = draw(real, schema, len(label), seed=0).drop(columns=SITE)
    blurred.attrs["warning"] = NOT_PRIVATE
    return blurred


def without_noise(table: pd.DataFrame, schema: Schema, budget: Budget) -> Release:
    """A release of the same budget whose answers are exact. NOT PRIVATE.

    The mixture is fitted to the end: what stops it as soon as residuals are within the noise, would stop it here
    before it has learned anything.
    """
    with Change(approximate, "ENOUGH", 0.0).made():
        return synthesize(table, schema, budget, noise=NoNoise(0), accept_degraded=True)


def _codes(table: pd.DataFrame, schema: Schema) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Fine cells (n, D) and classes (n,) of records without unknown values."""
    encoding = Encoding.of(schema)
    parts = [encoding.codes(batch) for batch in TableSource(table, tuple(schema.columns)).batches()]
    codes, label = (np.concatenate(part) for part in zip(*parts, strict=True))
    assert (codes >= 0).all()
    assert (label >= 0).all()
    return codes, label.astype(np.int64)
