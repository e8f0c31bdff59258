"""Small consortia on disk, with real sites, keys and ledgers, and the keyed noise of tests."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import TableSource
from cohortmix.core.privacy.budget import Budget
from cohortmix.deploy.simulation.consortium import Consortium, Terms

ConsortiumOf = Callable[..., Consortium]


@pytest.fixture(scope="session")
def schema() -> Schema:
    return Schema.from_yaml(
        """
        name: toy
        target: outcome
        columns:
          AGE: {type: number, min: 16, max: 105, integer: true}
          SEX: {type: category, values: [F, M]}
          ILL: {type: category, values: [Y, N], missing: true}
          SBP: {type: number, min: 70, max: 250}
          SIDE: {type: category, values: [left, right, none]}
          TYPE: {type: category, values: [A, B, C, D]}
          outcome: {type: category, values: [good, bad]}
        """
    )


@pytest.fixture(scope="session")
def patients() -> Callable[[int], pd.DataFrame]:
    """A table of n patients whose outcome follows from age and illness."""

    def make(n: int, seed: int = 0) -> pd.DataFrame:
        rng = np.random.default_rng(seed)
        age = rng.integers(20, 100, n)
        bad = rng.random(n) < (age - 20) / 80
        ill = np.where(bad ^ (rng.random(n) < 0.2), "Y", "N")
        return pd.DataFrame(
            {
                "AGE": age,
                "SEX": rng.choice(["F", "M"], n),
                "ILL": np.where(rng.random(n) < 0.1, np.array(None), ill),
                "SBP": rng.normal(150, 25, n).round(1).clip(70, 250),
                "SIDE": rng.choice(["left", "right", "none"], n),
                "TYPE": rng.choice(list("ABCD"), n),
                "outcome": np.where(bad, "bad", "good"),
            }
        )

    return make


@pytest.fixture
def consortium_of(tmp_path: Path, schema: Schema, patients: Callable[..., pd.DataFrame]) -> ConsortiumOf:
    """consortium_of({"ITAL": 300, "NORW": 60}, ...): a consortium of sites with so many patients each."""

    def make(sizes: dict[str, int], folder: str = "consortium", **terms: Any) -> Consortium:
        tables = {name: _table(patients(size, seed)) for seed, (name, size) in enumerate(sizes.items())}
        values: dict[str, Any] = {"budget": Budget.from_mu(0.4), "seed": 1, "min_sites": 1} | terms
        return Consortium.create(tmp_path / folder, tables, schema, Terms(**values))

    return make


def _table(frame: pd.DataFrame) -> pa.Table:
    return pa.Table.from_batches(list(TableSource(frame).batches()))
