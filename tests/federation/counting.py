"""Studies whose sites share an imputed value: 2502 in a part of the rows, the same at every site."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from by_hand import carry

from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import TableSource
from cohortmix.core.privacy.budget import Budget
from cohortmix.deploy.simulation.consortium import Consortium, Terms
from cohortmix.server.coordinator import Coordinator
from cohortmix.server.result import StudyResult

IMPUTED = 2502.0
SIZES = {"ITAL": 3_000, "NORW": 2_500, "UK": 2_000}
SCHEMA = Schema.from_yaml(
    """
name: counting
target: outcome
columns:
  urine: {type: number, integer: true, min: 0, max: 10000}
  lactate: {type: number, min: 0, max: 30, decimals: 2}
  sex: {type: category, values: [F, M]}
  outcome: {type: category, values: [good, bad]}
"""
)


def records(patients: int, seed: int, imputed: float = 0.3) -> pd.DataFrame:
    """Patients of whom a share has the imputed value."""
    rng = np.random.default_rng([11, seed])
    lactate = rng.gamma(2, 1, patients).clip(0, 30).round(2)
    urine = rng.gamma(4, 600, patients).clip(0, 10_000).round()
    return pd.DataFrame(
        {
            "urine": np.where(rng.random(patients) < imputed, IMPUTED, urine),
            "lactate": lactate,
            "sex": rng.choice(["F", "M"], patients),
            "outcome": np.where(rng.random(patients) < 1 / (1 + np.exp(2 - lactate)), "bad", "good"),
        }
    )


def counting_consortium(
    folder: Path, sizes: dict[str, int] | None = None, imputed: float = 0.3, **terms: Any
) -> Consortium:
    """A consortium at epsilon 1 of sites with so many patients each."""
    values: dict[str, Any] = {"budget": Budget.from_epsilon(1.0, 1e-5), "seed": 1, "min_sites": 1} | terms
    frames = [records(size, seed, imputed) for seed, size in enumerate((sizes or SIZES).values())]
    tables = {
        name: pa.Table.from_batches(list(TableSource(frame).batches()))
        for name, frame in zip(sizes or SIZES, frames, strict=True)
    }
    return Consortium.create(folder, tables, SCHEMA, Terms(**values))


def both_rounds(consortium: Consortium, coordinator: Coordinator, silent: tuple[str, ...] = ()) -> StudyResult:
    """What a study without joint noise knows in the end; `silent` sites are missing from round 2."""
    carry(consortium, coordinator)
    coordinator.freeze()
    carry(consortium, coordinator, only={entry.name for entry in coordinator.spec.sites} - set(silent))
    return coordinator.finish()


def share_of_imputed(records: pd.DataFrame) -> float:
    """Share of the rows with exactly the imputed value."""
    return float((records["urine"] == IMPUTED).mean())
