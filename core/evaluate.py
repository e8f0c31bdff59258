"""How useful is it? Train on synthetic, test on real; and how far the marginals are apart.

Nothing here is private: every figure is computed from real records. It stays with whoever holds them, and
nothing on the way of a reply to a coordinator may import this module.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from cohortmix.core.schema import Category, Column, Date, Number, Schema
from cohortmix.core.table import (
    InputError,
    Source,
    TableSource,
    bounds,
    category_codes,
    numbers,
    patient_keys,
    plain,
    require_columns,
)
from cohortmix.core.target import Target

CELLS = 10  # of a number's range, where marginals are compared
FOLDS = 4  # of the cross-validation that gives the ceiling

Table: TypeAlias = pd.DataFrame | pa.Table | Source
Values: TypeAlias = dict[str, NDArray[np.float64]]
Scorer: TypeAlias = Callable[[], Any]


def boosted_trees() -> Any:
    """LightGBM with 100 trees and defaults otherwise; the same data give the same model."""
    from lightgbm import LGBMClassifier

    return LGBMClassifier(n_estimators=100, n_jobs=1, deterministic=True, force_row_wise=True, verbosity=-1)


def logistic() -> Any:
    """Logistic regression on standardized columns, a missing number replaced by its mean."""
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(
        SimpleImputer(keep_empty_features=True), StandardScaler(), LogisticRegression(max_iter=2000)
    )


@dataclass(frozen=True, eq=False)
class Scored:
    """Real records as a model sees them.

    Attributes
    ----------
    known : (m,) true for the n records whose class is known.
    label : (n,) their classes, in 0..C-1.
    scores : (n, C) the model's probability of each class.
    """

    known: NDArray[np.bool_]
    label: NDArray[np.int64]
    scores: NDArray[np.float64]


@dataclass(frozen=True)
class TotalVariation:
    """Mean total variation distance, in [0, 1], over all columns and over all pairs of columns."""

    columns: float
    pairs: float


def read(table: Table | Values, schema: Schema) -> Values:
    """The schema's columns as numbers, each of shape (n,); what was read already is returned as it is.

    A number is itself, a date its ordinal in days, a category its position among the declared values; NaN
    stands for no value, and for a category that is not declared.

    Raises
    ------
    InputError
        For a column that the table lacks.
    """
    if isinstance(table, dict):
        return table
    source = TableSource(table) if isinstance(table, pd.DataFrame | pa.Table) else table
    require_columns(source.names, tuple(schema.columns))
    parts: dict[str, list[NDArray[np.float64]]] = {name: [] for name in schema.columns}
    for batch in source.batches():
        for name, column in schema.columns.items():
            parts[name].append(_as_numbers(plain(batch.column(name), column), column))
    return {name: np.concatenate([*arrays, np.empty(0)]) for name, arrays in parts.items()}


def feature_matrix(table: Table | Values, schema: Schema, without: Sequence[str] = ()) -> NDArray[np.float64]:
    """What a classifier sees, shape (n, W): numbers and days as they are, categories one-hot.

    Parameters
    ----------
    without : columns to leave out, the target among them.

    Notes
    -----
    No value is NaN in a number and a row of zeros in a category, so that trees and linear models both work.
    """
    values = read(table, schema)
    blocks = []
    for name, column in schema.columns.items():
        if name in without:
            continue
        one = values[name][:, None]
        blocks.append(one == np.arange(len(column.values)) if isinstance(column, Category) else one)
    return np.concatenate(blocks, axis=1, dtype=np.float64)


def binary_target(table: Table | Values, schema: Schema, column: str, rule: str) -> NDArray[np.int64]:
    """Two classes made of one column, -1 where unknown: `binary_target(table, schema, "hours", ">40")`."""
    return Target.parse(column + rule, schema).labels(read(table, schema)[column])


def train_synthetic_test_real(
    synthetic: Table | Values,
    real: Table | Values,
    schema: Schema,
    target: str | None = None,
    scorer: Scorer = boosted_trees,
    without: Sequence[str] = (),
) -> float | None:
    """Area under the ROC curve on real records of a classifier trained on synthetic ones.

    Parameters
    ----------
    target : as in `Target.parse`; the schema's own by default.
    scorer : makes an untrained classifier with `fit` and `predict_proba`.
    without : columns that the classifier may not see, besides the target's own.

    Returns
    -------
    For more than two classes the mean of one against the rest over the classes that the real records have;
    None where no class of theirs has both members and others.
    """
    tested = score_real(synthetic, real, schema, target, scorer, without)
    return auc(tested.label, tested.scores)


def score_real(
    synthetic: Table | Values,
    real: Table | Values,
    schema: Schema,
    target: str | None = None,
    scorer: Scorer = boosted_trees,
    without: Sequence[str] = (),
) -> Scored:
    """What `train_synthetic_test_real` takes the area of: real records, scored by a model of synthetic ones."""
    asked = Target.parse(target or schema.target, schema)
    synthetic, real, hidden = read(synthetic, schema), read(real, schema), (*without, asked.name)
    label, label_real = asked.labels(synthetic[asked.name]), asked.labels(real[asked.name])
    train, test = label >= 0, label_real >= 0
    x, x_real = feature_matrix(synthetic, schema, hidden), feature_matrix(real, schema, hidden)
    scores = _scores(scorer, x[train], label[train], x_real[test], asked.classes)
    return Scored(test, label_real[test], scores)


def cross_validated(
    real: Table | Values,
    schema: Schema,
    target: str | None = None,
    scorer: Scorer = boosted_trees,
    patients: NDArray[np.int64] | None = None,
) -> float | None:
    """What the real records themselves reach, each scored by a model that saw neither it nor its patient.

    `patients` says whose each record is, shape (n,); by default each is another's.
    """
    asked = Target.parse(target or schema.target, schema)
    real = read(real, schema)
    label, x = asked.labels(real[asked.name]), feature_matrix(real, schema, (asked.name,))
    owner = np.arange(len(label)) if patients is None else patients
    fold = np.random.default_rng(0).permutation(int(owner.max(initial=0)) + 1)[owner] % FOLDS
    scores = np.zeros((len(label), asked.classes))
    for held_out in range(FOLDS):
        train, test = (fold != held_out) & (label >= 0), fold == held_out
        scores[test] = _scores(scorer, x[train], label[train], x[test], asked.classes)
    return auc(label[label >= 0], scores[label >= 0])


def auc(label: NDArray[np.int64], scores: NDArray[np.float64]) -> float | None:
    """Area under the ROC curve of scores (n, C); for C > 2 the mean of one class against the rest."""
    from sklearn.metrics import roc_auc_score

    present = [c for c in range(scores.shape[1]) if 0 < np.count_nonzero(label == c) < len(label)]
    if scores.shape[1] == 2:
        present = present[-1:]
    areas = [float(roc_auc_score(label == c, scores[:, c])) for c in present]
    return float(np.mean(areas)) if areas else None


def marginal_tvd(synthetic: Table | Values, real: Table | Values, schema: Schema) -> TotalVariation:
    """How far one- and two-column marginals are apart, the target's among them.

    Numbers and dates are cut into at most ten cells of equal width between the declared bounds (after the
    declared transform); no value is a cell of its own.

    Raises
    ------
    InputError
        If either table has no record.
    """
    mine, theirs = read(synthetic, schema), read(real, schema)
    for name, values in (("synthetic", mine), ("real", theirs)):
        if not len(values[schema.target]):
            raise InputError(f"the {name} table is empty: it holds no record")
    codes = {name: [_cells(side[name], schema, name) for side in (mine, theirs)] for name in schema.columns}
    single = [_distance(a, b) for a, b in codes.values()]
    size = 1 + max(int(codes_of.max()) for sides in codes.values() for codes_of in sides)
    pairs = [_distance(a * size + c, b * size + d) for (a, b), (c, d) in combinations(codes.values(), 2)]
    return TotalVariation(float(np.mean(single)), float(np.mean(pairs)))


def evaluate(
    synthetic: Table | Values, real: Table, schema: Schema, targets: Sequence[str] = ()
) -> dict[str, Any]:
    """The figures of `cohortmix evaluate`, ready for JSON; a figure that is not defined is None.

    `auc` is that of boosted trees trained on the synthetic records, `ceiling_auc` what the real records reach
    by themselves under cross-validation, on the same records.
    """
    mine, theirs = read(synthetic, schema), read(real, schema)
    distance = marginal_tvd(mine, theirs, schema)
    patients = _patients(real, schema)
    return {
        "private": False,
        "records": {"synthetic": len(mine[schema.target]), "real": len(theirs[schema.target])},
        "targets": [
            {
                "target": target,
                "auc": train_synthetic_test_real(mine, theirs, schema, target),
                "ceiling_auc": cross_validated(theirs, schema, target, patients=patients),
            }
            for target in targets or (schema.target,)
        ],
        "tvd": asdict(distance),
    }


def _as_numbers(array: pa.Array, column: Column) -> NDArray[np.float64]:
    if not isinstance(column, Category):
        return numbers(array, column)
    codes = category_codes(array, column)
    return np.where(codes < 0, np.nan, codes)


def _scores(
    scorer: Scorer, x: NDArray[np.float64], y: NDArray[np.int64], x_test: NDArray[np.float64], classes: int
) -> NDArray[np.float64]:
    """Probability of each class, shape (n, C); a class that was never seen has none."""
    scores = np.zeros((len(x_test), classes))
    seen = np.unique(y)
    if len(seen) == 1:
        scores[:, seen[0]] = 1
    if len(seen) > 1 and len(x_test):
        model = scorer().fit(x, y)
        scores[:, model.classes_] = model.predict_proba(x_test)
    return scores


def _cells(values: NDArray[np.float64], schema: Schema, name: str) -> NDArray[np.int64]:
    """The public cell of each value, shape (n,); the last one holds what has no value."""
    column = schema.columns[name]
    if isinstance(column, Category):
        return np.where(np.isnan(values), len(column.values), values).astype(np.int64)
    low, high = bounds(column)
    values, count = np.clip(values, low, high), CELLS
    if isinstance(column, Number) and column.transform == "log1p":
        low, high, values = np.log1p(low), np.log1p(high), np.log1p(values)
    elif isinstance(column, Date) or column.integer:
        high += 1  # of whole numbers each cell holds as many as the next, and at least one
        count = int(min(CELLS, high - low))
    found = np.minimum((values - low) / (high - low) * count, count - 1)
    return np.where(np.isnan(values), count, found).astype(np.int64)


def _distance(a: NDArray[np.int64], b: NDArray[np.int64]) -> float:
    size = int(max(a.max(), b.max())) + 1
    p, q = np.bincount(a, minlength=size) / len(a), np.bincount(b, minlength=size) / len(b)
    return float(np.abs(p - q).sum() / 2)


def _patients(table: Table, schema: Schema) -> NDArray[np.int64] | None:
    """Whose each record is, shape (n,); None where a record is a patient."""
    source = TableSource(table) if isinstance(table, pd.DataFrame | pa.Table) else table
    if schema.patient_key is None or schema.patient_key not in source.names:
        return None
    keys = [key for batch in source.batches() for key in patient_keys(batch.column(schema.patient_key))]
    return np.asarray(pd.factorize(np.asarray(keys, dtype=object))[0])
