"""Models: what figures are of, the form in which each of them takes the records, and who learns from which.

Like everything that evaluates, this is for records outside of the vault: nothing that answers a coordinator may
import it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeAlias

import numpy as np
from lightgbm import LGBMClassifier, LGBMRegressor
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from cohortmix.core.data.dictionary.columns import Category
from cohortmix.core.data.schema import Schema
from cohortmix.core.steps.progress import report
from cohortmix.core.utility.columns import Values, coded_features, feature_matrix, sparse_features

MOST_INDICATORS = 1_000
"""Columns that one-hot codes may add to a table. Beyond, a dense row of the logistic regression takes 8 kB and
more in each of several copies, and the trees' search for columns to bundle takes minutes."""

MOST_ITERATIONS = 2000

Scorer: TypeAlias = Callable[[], Any]
"""Makes an untrained classifier with `fit` and `predict_proba`, or a regression with `fit` and `predict`."""

FOLDS = 4  # of the cross-validation that gives the ceiling: each model learns from three quarters of the records
TREES: Mapping[str, Any] = {
    "n_estimators": 100, "n_jobs": 1, "deterministic": True, "force_row_wise": True, "verbosity": -1,
}  # fmt: skip


def boosted_trees() -> Any:
    """LightGBM with 100 trees and defaults otherwise; the same data give the same model."""
    return LGBMClassifier(**TREES)


def boosted_regression() -> Any:
    """The same for a number."""
    return LGBMRegressor(**TREES)


def logistic() -> Any:
    """Logistic regression on standardized columns, a missing number replaced by its mean."""
    return _standardized(LogisticRegression(max_iter=MOST_ITERATIONS))


def linear() -> Any:
    """Linear regression on the same columns, with as small a ridge as the logistic regression has."""
    return _standardized(Ridge())


def sparse_logistic() -> Any:
    """`logistic` for a sparse matrix: only numbers are centred, since a centred indicator has no zeros.

    The intercept makes up for that: the optimum is the same, and the figures differ by the solver's tolerance.
    """
    return _sparse_standardized(LogisticRegression(max_iter=MOST_ITERATIONS))


def sparse_linear() -> Any:
    """`linear` for a sparse matrix, likewise."""
    return _sparse_standardized(Ridge())


def _standardized(model: Any) -> Any:
    return make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler(), model)


def _sparse_standardized(model: Any) -> Any:
    centred = make_pipeline(FunctionTransformer(_dense, accept_sparse=True), StandardScaler())
    return make_pipeline(
        SimpleImputer(keep_empty_features=True),
        make_column_transformer(
            (centred, _numbers), remainder=StandardScaler(with_mean=False), sparse_threshold=1
        ),
        model,
    )


@dataclass(frozen=True)
class Form:
    """What a model is given.

    Attributes
    ----------
    scorer : makes it.
    features : makes its matrix (n, W), or frame, of a table, its schema and the columns to leave out.
    """

    scorer: Scorer
    features: Callable[[Values, Schema, Sequence[str]], Any]


NARROW: Mapping[Scorer, Form] = {
    boosted_trees: Form(boosted_trees, sparse_features),
    boosted_regression: Form(boosted_regression, sparse_features),
}
"""Where codes add up to MOST_INDICATORS columns. What standardizes columns fills in all zeros."""

WIDE: Mapping[Scorer, Form] = {
    boosted_trees: Form(boosted_trees, coded_features),
    logistic: Form(sparse_logistic, sparse_features),
    boosted_regression: Form(boosted_regression, coded_features),
    linear: Form(sparse_linear, sparse_features),
}
"""Where they would add more: memory of the order of the records and of the cells that occur."""


def form_of(scorer: Scorer, schema: Schema, without: Sequence[str] = ()) -> Form:
    """The form for a table; that of a scorer which is none of these is always dense."""
    forms = WIDE if is_wide(schema, without) else NARROW
    return forms.get(scorer, Form(scorer, feature_matrix))


def is_wide(schema: Schema, without: Sequence[str] = ()) -> bool:
    """Whether one-hot codes would add more than `MOST_INDICATORS` columns."""
    codes = [column for name, column in schema.columns.items() if name not in without]
    return sum(len(column.values) - 1 for column in codes if isinstance(column, Category)) > MOST_INDICATORS


def probabilities(scorer: Scorer, x: Any, y: NDArray[np.int64], x_test: Any, classes: int) -> NDArray[np.float64]:
    """Probability of each class, shape (n, C): zero for a class that no training record has."""
    scores = np.zeros((x_test.shape[0], classes))
    seen = np.unique(y)
    if len(seen) == 1:
        scores[:, seen[0]] = 1
    if len(seen) > 1 and len(scores):
        model = scorer().fit(x, y)
        scores[:, model.classes_] = model.predict_proba(x_test)
    return scores


@dataclass(frozen=True, eq=False)
class Known:
    """The records of one table from which a model learns, or on which it is tested.

    Attributes
    ----------
    x : (n, W) their features.
    y : (n, ...) what is predicted; anything that takes an array of rows.
    fold : (n,) the part in which each of them is held out, 0..FOLDS-1; that of a patient is one.
    """

    x: Any
    y: Any
    fold: NDArray[np.int64]

    @classmethod
    def of(cls, x: Any, y: Any, used: NDArray[np.bool_], patient: NDArray[np.int64] | None) -> Known:
        """The rows that `used`, (n,), marks; `patient` numbers their patients, and None makes each row one."""
        patient = np.arange(len(used)) if patient is None else patient
        fold = np.random.default_rng(0).permutation(int(patient.max(initial=0)) + 1)[patient] % FOLDS
        return cls(x[used], y[used], fold[used])


Predict: TypeAlias = Callable[[Any, Any, Any], NDArray[np.float64]]
"""Predictions (m, ...) for the features x_test (m, W), of a model that has learned from x and y."""

WAYS = ("tstr", "trtr", "trts")
"""Train on synthetic, test on real; train on real, test on other real ones; train on real, test on synthetic."""


def three_ways(
    predict: Predict, synthetic: Known, real: Known, tick: Callable[[], None]
) -> dict[str, NDArray[np.float64]]:
    """What a model predicts, by `WAYS`; `tick` is called after each of the FOLDS + 2 models."""
    found = {"tstr": predict(synthetic.x, synthetic.y, real.x)}
    tick()
    found["trtr"] = cross_predicted(predict, real, tick)
    found["trts"] = predict(real.x, real.y, synthetic.x)
    tick()
    return found


def cross_predicted(predict: Predict, real: Known, tick: Callable[[], None] = lambda: None) -> NDArray[np.float64]:
    """Predictions for each record by a model that saw neither it nor another one of its patient."""
    parts, places = [], []
    for held_out in range(FOLDS):
        train, test = real.fold != held_out, real.fold == held_out
        parts.append(predict(real.x[train], real.y[train], real.x[test]))
        places.append(np.flatnonzero(test))
        tick()
    return np.concatenate(parts)[np.argsort(np.concatenate(places))]


def ticks(what: str, total: int) -> Callable[[], None]:
    """What is called after each of so many models, for whoever is told of progress."""
    done = count(1)
    report(what, 0, total)
    return lambda: report(what, next(done), total)


def _dense(x: Any) -> NDArray[np.float64]:
    return np.asarray(x.toarray() if issparse(x) else x)


def _numbers(x: Any) -> NDArray[np.intp]:
    """The columns of a sparse matrix that hold more than ones."""
    if not issparse(x):
        return np.arange(x.shape[1])
    cells = x.tocoo()
    return np.unique(cells.col[cells.data != 1])
