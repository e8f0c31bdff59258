"""Models: the classifiers that figures are of, and the form in which each of them takes the records.

Like everything that evaluates, this is for records outside of the vault: nothing that answers a coordinator may
import it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from lightgbm import LGBMClassifier
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from cohortmix.core.data.dictionary.columns import Category
from cohortmix.core.data.schema import Schema
from cohortmix.core.utility.columns import Values, coded_features, feature_matrix, sparse_features

MOST_INDICATORS = 1_000
"""Columns that one-hot codes may add to a table. Beyond, a dense row of the logistic regression takes 8 kB and
more in each of several copies, and the trees' search for columns to bundle takes minutes."""

MOST_ITERATIONS = 2000

Scorer: TypeAlias = Callable[[], Any]
"""Makes an untrained classifier with `fit` and `predict_proba`."""


def boosted_trees() -> Any:
    """LightGBM with 100 trees and defaults otherwise; the same data give the same model."""
    return LGBMClassifier(n_estimators=100, n_jobs=1, deterministic=True, force_row_wise=True, verbosity=-1)


def logistic() -> Any:
    """Logistic regression on standardized columns, a missing number replaced by its mean."""
    return make_pipeline(
        SimpleImputer(keep_empty_features=True), StandardScaler(), LogisticRegression(max_iter=MOST_ITERATIONS)
    )


def sparse_logistic() -> Any:
    """`logistic` for a sparse matrix: only numbers are centred, since a centred indicator has no zeros.

    The intercept makes up for that: the optimum is the same, and the figures differ by the solver's tolerance.
    """
    centred = make_pipeline(FunctionTransformer(_dense, accept_sparse=True), StandardScaler())
    return make_pipeline(
        SimpleImputer(keep_empty_features=True),
        make_column_transformer(
            (centred, _numbers), remainder=StandardScaler(with_mean=False), sparse_threshold=1
        ),
        LogisticRegression(max_iter=MOST_ITERATIONS),
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


NARROW: Mapping[Scorer, Form] = {boosted_trees: Form(boosted_trees, sparse_features)}
"""Where codes add up to MOST_INDICATORS columns. What standardizes columns fills in all zeros."""

WIDE: Mapping[Scorer, Form] = {
    boosted_trees: Form(boosted_trees, coded_features),
    logistic: Form(sparse_logistic, sparse_features),
}
"""Where they would add more: memory of the order of the records and of the cells that occur."""


def form_of(scorer: Scorer, schema: Schema, without: Sequence[str] = ()) -> Form:
    """The form for a table; that of a scorer which is none of these two is always dense."""
    codes = [column for name, column in schema.columns.items() if name not in without]
    added = sum(len(column.values) - 1 for column in codes if isinstance(column, Category))
    forms = WIDE if added > MOST_INDICATORS else NARROW
    return forms.get(scorer, Form(scorer, feature_matrix))


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


def _dense(x: Any) -> NDArray[np.float64]:
    return np.asarray(x.toarray() if issparse(x) else x)


def _numbers(x: Any) -> NDArray[np.intp]:
    """The columns of a sparse matrix that hold more than ones."""
    if not issparse(x):
        return np.arange(x.shape[1])
    cells = x.tocoo()
    return np.unique(cells.col[cells.data != 1])
