"""Tables with a column of each kind, for figures of usefulness."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cohortmix.core.data.schema import Schema

SCHEMA = Schema.from_yaml("""
name: t
patient_key: id
target: y
columns:
  x: {type: number, min: 0, max: 10, missing: true}
  whole: {type: number, min: 0, max: 4, integer: true}
  day: {type: date, min: 2000-01-01, max: 2000-12-31}
  sex: {type: category, values: [F, M]}
  y: {type: category, values: [a, b, c]}
""")


def cohort(rows: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 10, rows)
    return pd.DataFrame(
        {
            "id": np.arange(rows),
            "x": x,
            "whole": rng.integers(0, 5, rows),
            "day": pd.Timestamp("2000-01-01") + pd.to_timedelta(rng.integers(0, 366, rows), "D"),
            "sex": rng.choice(["F", "M"], rows),
            "y": np.array(["a", "b", "c"])[(x + rng.normal(0, 0.5, rows) > [[3], [7]]).sum(axis=0)],
        }
    )


REAL, LIKE = cohort(600, seed=0), cohort(600, seed=1)
