"""A small table with a column of each kind, whose audit takes seconds."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from cohortmix.core import Schema

SCHEMA = Schema.from_yaml(
    """
name: cohort
patient_key: pid
target: outcome
columns:
  age: {type: number, min: 0, max: 9, integer: true}
  dose: {type: number, min: 0, max: 20, missing: true}
  sex: {type: category, values: [F, M], missing: true}
  day: {type: date, min: 1991-01-01, max: 1996-12-31}
  outcome: {type: category, values: [ill, well]}
"""
)


def table(patients: int = 180) -> pa.Table:
    """Each third patient has two records; one row belongs to nobody."""
    rng = np.random.default_rng(1)
    pid = [*range(patients), *range(0, patients, 3), None]
    rows = len(pid)
    age = rng.integers(0, 10, rows)
    return pa.table(
        {
            "pid": pid,
            "age": age,
            "dose": [None if rng.random() < 0.1 else float(x) for x in rng.exponential(2, rows)],
            "sex": rng.choice(["F", "M"], rows).tolist(),
            "day": pa.array(rng.integers(7670, 9800, rows).astype(np.int32)).cast(pa.date32()),
            "outcome": np.where(rng.random(rows) < age / 10, "ill", "well").tolist(),
        }
    )
