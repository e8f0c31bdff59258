"""Tables whose outcome is a parity: no table of two columns shows it, within the classes or between them."""

from __future__ import annotations

import numpy as np
import pandas as pd
from lightgbm import LGBMClassifier
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from cohortmix.core import Schema

FEATURES = 9


def schema(numbers: int = 0) -> Schema:
    """`numbers` columns of numbers, then columns of two values; the outcome makes ten."""
    columns = [
        f"  x{j}: " + ("{type: number, min: 0, max: 100}" if j < numbers else "{type: category, values: [a, b]}")
        for j in range(FEATURES)
    ]
    outcome = "  outcome: {type: category, values: [well, ill]}"
    return Schema.from_yaml("\n".join(["name: parity", "target: outcome", "columns:", *columns, outcome]))


def patients(order: int, n: int, seed: int, numbers: int = 0) -> pd.DataFrame:
    """Ill are those with an odd number of high values among the first `order` columns; half of each are high."""
    rng = np.random.default_rng(seed)
    high = rng.integers(0, 2, (n, FEATURES))
    value: NDArray[np.float64] = (50 * high + 50 * rng.random(high.shape)).round(2)
    texts: NDArray[np.str_] = np.array(["a", "b"])[high]
    columns = {f"x{j}": (value if j < numbers else texts)[:, j] for j in range(FEATURES)}
    ill = high[:, :order].sum(axis=1) % 2 == 1
    return pd.DataFrame(columns | {"outcome": np.where(ill, "ill", "well")})


def area(records: pd.DataFrame, truth: pd.DataFrame) -> float:
    """Area under the ROC curve, on real patients, of boosted trees that have seen synthetic ones."""
    model = LGBMClassifier(n_estimators=100, n_jobs=1, verbose=-1)
    model.fit(_numbers(records), records["outcome"] == "ill")
    return float(roc_auc_score(truth["outcome"] == "ill", np.asarray(model.predict_proba(_numbers(truth)))[:, 1]))


def _numbers(records: pd.DataFrame) -> pd.DataFrame:
    features = {name: column for name, column in records.items() if name != "outcome"}
    read = {name: (x == "b") if x.iloc[0] in ("a", "b") else x for name, x in features.items()}
    return pd.DataFrame({name: x.astype(float) for name, x in read.items()})
