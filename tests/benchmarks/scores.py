"""Scores: how useful records are, by the same models and the same test records for every method."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from datasets import Dataset
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier
from targets import TARGETS

from cohortmix.core.data.schema import Schema
from cohortmix.core.release.condensed import PooledSupport
from cohortmix.core.steps.centroids import SiteCentroids
from cohortmix.core.utility.columns import Values, feature_matrix, read
from cohortmix.core.utility.evaluate import auc, boosted_trees, logistic, train_synthetic_test_real
from cohortmix.core.utility.marginals import marginal_tvd

Figures = dict[str, Any]
WIDE = 100  # columns from which on pairs are compared among as many of them, and models see fewer rows
WIDE_ROWS = 20_000  # a fixed draw of the records, on which models are trained then


def linear_discriminant() -> Any:
    """Linear discriminants with a shrunken covariance (Ledoit, Wolf 2004)."""
    return LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")


def quadratic_discriminant() -> Any:
    """Quadratic discriminants on 30 principal components."""
    return make_pipeline(PCA(30, random_state=0), QuadraticDiscriminantAnalysis(reg_param=1e-3))


SCORERS: Mapping[str, Callable[[], Any]] = {"trees": boosted_trees, "logistic": logistic}
WIDE_SCORERS: Mapping[str, Callable[[], Any]] = {
    **SCORERS,
    "discriminant": linear_discriminant,
    "quadratic": quadratic_discriminant,
}


def of_records(records: pd.DataFrame | Values, data: Dataset) -> Figures:
    """Area under the ROC curve for each model and target, their means, and the distance of the marginals.

    For a target of several classes the mean of one against the rest, and the accuracy too.
    """
    schema, wide = data.schema, len(data.schema.columns) > WIDE
    mine, test = read(records, schema), read(data.test, schema)
    distance = marginal_tvd(*_compared(mine, test, schema))
    figures: Figures = {"rows": len(mine[schema.target]), "tvd1": distance.columns, "tvd2": distance.pairs}
    seen = _some_rows(mine) if wide else mine
    scorers = WIDE_SCORERS if wide else SCORERS
    for model, scorer in scorers.items():
        figures[model] = _by_target(seen, test, data, scorer)
    return figures


def of_own_records(table: pd.DataFrame, site: NDArray[np.str_], data: Dataset) -> Figures:
    """What each site would reach alone, with its real records: the declared target, on the test records of all."""
    test = read(data.test, data.schema)
    return {
        model: {
            str(name): train_synthetic_test_real(table[site == name], test, data.schema, scorer=scorer)
            for name in np.unique(site)
        }
        for model, scorer in SCORERS.items()
    }


def of_condensed(sites: Sequence[SiteCentroids], support: PooledSupport, data: Dataset) -> Figures:
    """The condensed set alone: kernel ridge on the inducing points, a decision tree on the weighted centroids."""
    label = read(data.test, data.schema)[data.schema.target].astype(np.int64)
    tree = DecisionTreeClassifier(min_weight_fraction_leaf=0.01, random_state=0)
    means, soft = (np.concatenate([getattr(each, part) for each in sites]) for part in ("means", "labels"))
    weights = soft * np.concatenate([each.masses for each in sites])[:, None]
    k, classes = np.nonzero(weights > 0)
    tree.fit(means[k], classes, sample_weight=weights[k, classes])
    scores = np.zeros((len(label), soft.shape[1]))
    scores[:, tree.classes_] = tree.predict_proba(support.encode(data.test))
    found: Figures = {"decision tree": auc(label, scores), "centroids": len(means)}
    if support.parts:  # a site too small for a mixture has none
        found |= {"kernel ridge": auc(label, support.predict_proba(data.test)), "points": len(support.points)}
    return found


def _compared(mine: Values, test: Values, schema: Schema) -> tuple[Values, Values, Schema]:
    """Of a wide table, WIDE features at even distances and the target stand for all."""
    if len(schema.columns) <= WIDE:
        return mine, test, schema
    kept = [*schema.features[:: -(-len(schema.features) // WIDE)], schema.target]
    return mine, test, schema.model_copy(update={"columns": {name: schema.columns[name] for name in kept}})


def _some_rows(values: Values) -> Values:
    rows = len(next(iter(values.values())))
    chosen = np.random.default_rng(0).permutation(rows)[:WIDE_ROWS]
    return {name: column[chosen] for name, column in values.items()}


def _by_target(records: Values, test: Values, data: Dataset, scorer: Callable[[], Any]) -> Figures:
    declared, *others = TARGETS[data.name].items()
    figures: Figures = {}
    if len(data.schema.classes) > 2:
        first, figures["accuracy"] = _of_classes(records, test, data.schema, scorer)
    else:
        first = train_synthetic_test_real(records, test, data.schema, declared[0], scorer, declared[1])
    areas = {declared[0]: first} | {
        target: train_synthetic_test_real(records, test, data.schema, target, scorer, hidden)
        for target, hidden in others
    }
    return {**figures, "targets": areas, "mean": _mean(list(areas.values()))}


def _of_classes(
    records: Values, test: Values, schema: Schema, scorer: Callable[[], Any]
) -> tuple[float | None, float]:
    """Area under the ROC curve and accuracy of one model; every class has records."""
    x, x_test = (feature_matrix(each, schema, (schema.target,)) for each in (records, test))
    scores = scorer().fit(x, records[schema.target]).predict_proba(x_test)
    label = test[schema.target].astype(np.int64)
    return auc(label, scores), float(np.mean(scores.argmax(axis=1) == label))


def _mean(areas: list[float | None]) -> float | None:
    known = [area for area in areas if area is not None]
    return float(np.mean(known)) if known else None
