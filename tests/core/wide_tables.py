"""A wide table whose dependence is known: twenty columns, in pairs that go together, and an outcome."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from cohortmix.core.data.schema import Schema

PAIRS = 8  # of numbers, (a0, b0), (a1, b1), ...: correlation RHO within a pair, none between two
RHO = 0.8
COLUMNS: dict[str, Any] = {
    **{
        f"{side}{pair}": {"type": "number", "min": -4, "max": 4, "missing": side == "b" and pair < 2}
        for pair in range(PAIRS)
        for side in "ab"
    },
    "ward": {"type": "category", "values": ["north", "south", "east"]},
    "rare": {"type": "category", "values": ["no", "yes"]},
    "outcome": {"type": "category", "values": ["well", "ill"]},
}
SCHEMA = Schema.model_validate({"name": "wide", "target": "outcome", "columns": COLUMNS})


def patients(number: int, seed: int = 0) -> pd.DataFrame:
    """Jointly normal pairs; `a0` is higher in the north and in the ill; `b0` and `b1` are missing together."""
    rng = np.random.default_rng(seed)
    data: dict[str, Any] = {}
    ill = rng.random(number) < 0.3
    north = rng.random(number) < 0.4
    for pair in range(PAIRS):
        a, noise = rng.normal(size=(2, number))
        a = a + (pair == 0) * (1.2 * ill + 0.8 * north)
        b = RHO * a + np.sqrt(1 - RHO**2) * noise
        data[f"a{pair}"], data[f"b{pair}"] = np.clip(a, -4, 4), np.clip(b, -4, 4)
    absent = rng.random(number) < 0.3
    for name in ("b0", "b1"):
        data[name] = np.where(absent, np.nan, data[name])
    data["ward"] = np.where(north, "north", np.where(rng.random(number) < 0.5, "south", "east"))
    data["rare"] = np.where(rng.random(number) < norm.cdf(-2.5), "yes", "no")
    data["outcome"] = np.where(ill, "ill", "well")
    return pd.DataFrame(data)[list(COLUMNS)]
