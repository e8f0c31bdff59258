"""The records of three hospitals, and schemas of each kind of outcome over them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cohortmix.core.data.schema import Schema

TARGETS = {
    "category": "DEATH",
    "number": "DAYS",
    "survival": "{time: DAYS, event: DEATH}",
    "none": "null",
}
TEXT = """
name: three-hospitals
target: TARGET
columns:
  AGE: {type: number, min: 18, max: 100, integer: true}
  STAGE: {type: category, values: [I, II, III]}
  DAYS: {type: number, min: 0.5, max: 2000, unit: days}
  DEATH: {type: category, values: [no, yes]}
"""
SITES = ["North"] * 300 + ["South"] * 240 + ["West"] * 180


def text(kind: str) -> str:
    """The schema of a kind of outcome."""
    return TEXT.replace("TARGET", TARGETS[kind])


def schema(kind: str) -> Schema:
    """The same, read."""
    return Schema.from_yaml(text(kind))


def records(rows: int = len(SITES), seed: int = 0) -> pd.DataFrame:
    """Patients of higher age and stage die earlier; some leave before."""
    rng = np.random.default_rng(seed)
    age, stage = rng.integers(30, 90, rows), rng.choice(3, rows, p=[0.5, 0.3, 0.2])
    dies = rng.exponential(900 * np.exp(-0.03 * (age - 60) - 0.9 * stage))
    leaves = rng.uniform(100, 2000, rows)
    return pd.DataFrame(
        {
            "AGE": age,
            "STAGE": np.array(["I", "II", "III"])[stage],
            "DAYS": np.minimum(dies, leaves).clip(0.5, 2000).round(1),
            "DEATH": np.where(dies <= leaves, "yes", "no"),
        }
    )
