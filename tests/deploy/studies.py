"""A table of two wards, and the command that simulates a study on it."""

import numpy as np
import pandas as pd

SCHEMA = """
name: toy
patient_key: id
target: y
columns:
  x: {type: number, min: 0, max: 10}
  sex: {type: category, values: [F, M]}
  y: {type: category, values: [alive, dead]}
"""


def cohort(rows: int = 400) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 10, rows).round(3)
    y = np.where(x + rng.normal(0, 1, rows) > 5, "dead", "alive")
    wards = np.repeat(["A", "B"], [rows // 4, rows - rows // 4])
    return pd.DataFrame({"id": range(rows), "x": x, "sex": rng.choice(["F", "M"], rows), "y": y, "ward": wards})


PRIVATELY = (
    "simulate",
    "--data",
    "t.csv",
    "--schema",
    "s.yaml",
    "--epsilon",
    "0.1",
    "--out",
    "out",
    "--accept-degraded",
)
SIMULATE = (*PRIVATELY, "--seed", "1")
