"""Scores: how useful records are, by the same models, targets and test records for every method.

`cell_runs.py` calls it for `bench_utility.py` and `bench_losses.py`, and `bench_ablation.py` by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from public_data import Dataset
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier

from cohortmix.core.data.schema import Schema
from cohortmix.core.release.condensed import PooledSupport
from cohortmix.core.steps.centroids import SiteCentroids
from cohortmix.core.utility.columns import Values, feature_matrix, read
from cohortmix.core.utility.evaluate import auc, train_synthetic_test_real
from cohortmix.core.utility.marginals import marginal_tvd
from cohortmix.core.utility.models import boosted_trees, logistic

Figures = dict[str, Any]
WIDE = 100  # columns from which on pairs are compared among as many of them, and models see fewer rows
WIDE_ROWS = 20_000  # a fixed draw of the records, on which models of a wide table are trained


def neighbours_of(pixel: int) -> tuple[str, ...]:
    """The eight pixels beside one of an image of 28 x 28."""
    return tuple(f"p{pixel + 28 * down + right}" for down in (-1, 0, 1) for right in (-1, 0, 1) if down or right)


TARGETS: dict[str, Mapping[str, tuple[str, ...]]] = {
    # What models predict: the declared target first, then others by public rules. Columns that give a target away
    # are hidden besides its own.
    "adult": {
        "income": (),
        "sex": ("relationship",),
        "hours-per-week>40": (),
        "age>=40": (),
        "education-num>=13": ("education",),
        "marital-status=Married-AF-spouse|Married-civ-spouse|Married-spouse-absent": ("relationship",),
    },
    "heart": {"disease": (), "sex=1": (), "age>=55": (), "cp=4": (), "exang=1": ()},
    "stroke": {
        "outcome": (),
        "AGE>=75": (),
        "SEX=F": (),
        "RCONSC=D|U": (),
        "RATRIAL=Y": (),
        "RVISINF=Y": ("RCT",),
    },
    "hospitals": {
        "outcome": (),
        "AGE>=75": (),
        "SEX=F": (),
        "RCONSC=D|U": (),
        "RATRIAL=Y": (),
        "RVISINF=Y": ("RCT",),
    },
    "creditcard": {"Class": (), "V1>0": (), "V2>0": (), "V3>0": (), "V4>0": ()},
    "isolet": {"vowel": (), "f150>0": (), "f200>0": (), "f300>0": (), "f550>0": ()},
    "mnist": {"digit": (), **{f"p{pixel}>127": neighbours_of(pixel) for pixel in (210, 350, 406, 490)}},
    "diabetes130": {
        "readmitted": (),
        "gender=Female": (),
        "age=[70-80)|[80-90)|[90-100)": (),
        "insulin=No": ("diabetesMed", "change"),
        "time_in_hospital>=5": (),
        "discharge=home": (),
    },
    "physionet2019": {
        "sepsis": (),
        "Gender=1": (),
        "Age>=65": (),
        "HR_mean>=90": (),
        "Creatinine_mean>=1.2": (),
        "Unit=surgical": (),
    },
    "support2": {
        "hospdead": (),
        "age>=65": (),
        "sex=male": (),
        "dzgroup=ARF/MOSF w/Sepsis|MOSF w/Malig": ("ca",),
        "crea>=1.5": (),
        "diabetes=1": (),
        "alb>=3": (),
    },
    "wdbc": {
        "diagnosis": (),
        "mean_radius>=15": ("mean_perimeter", "mean_area", "worst_radius", "worst_perimeter", "worst_area"),
        "mean_texture>=20": ("worst_texture",),
        "mean_smoothness>=0.1": ("worst_smoothness",),
        "mean_symmetry>=0.18": ("worst_symmetry",),
    },
    "metabric": {"dead": (), "ER=1": (), "age>=60": (), "hormone=1": (), "chemo=1": ()},
    "gbsg2": {"recurrence": (), "horTh=yes": (), "age>=55": ("menostat",), "progrec>=20": (), "tgrade=III": ()},
}


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


def score_records(records: pd.DataFrame | Values, data: Dataset) -> Figures:
    """Area under the ROC curve for each model and target, their means, and the distance of the marginals.

    For a target of several classes the mean of one against the rest, and the accuracy too.
    """
    schema, wide = data.schema, len(data.schema.columns) > WIDE
    values, test = read(records, schema), read(data.test, schema)
    distance = marginal_tvd(*_compared(values, test, schema))
    figures: Figures = {"rows": len(values[schema.target_name]), "tvd1": distance.columns, "tvd2": distance.pairs}
    trained_on = _some_rows(values) if wide else values
    scorers = WIDE_SCORERS if wide else SCORERS
    for model, scorer in scorers.items():
        figures[model] = _by_target(trained_on, test, data, scorer)
    return figures


def score_sites_alone(table: pd.DataFrame, site: NDArray[np.str_], data: Dataset) -> Figures:
    """What each site would reach alone, with its real records: the declared target, on the test records of all."""
    test = read(data.test, data.schema)
    return {
        model: {
            str(name): train_synthetic_test_real(table[site == name], test, data.schema, scorer=scorer)
            for name in np.unique(site)
        }
        for model, scorer in SCORERS.items()
    }


def score_condensed(sites: Sequence[SiteCentroids], support: PooledSupport, data: Dataset) -> Figures:
    """The condensed set alone: kernel ridge on the inducing points, a decision tree on the weighted centroids."""
    label = read(data.test, data.schema)[data.schema.target_name].astype(np.int64)
    tree = DecisionTreeClassifier(min_weight_fraction_leaf=0.01, random_state=0)
    means = np.concatenate([site.means for site in sites])
    labels = np.concatenate([site.labels for site in sites])
    weights = labels * np.concatenate([site.masses for site in sites])[:, None]
    k, classes = np.nonzero(weights > 0)
    tree.fit(means[k], classes, sample_weight=weights[k, classes])
    scores = np.zeros((len(label), labels.shape[1]))
    scores[:, tree.classes_] = tree.predict_proba(support.encode(data.test))
    figures: Figures = {"decision tree": auc(label, scores), "centroids": len(means)}
    if support.parts:  # a site too small for a mixture has none
        figures |= {"kernel ridge": auc(label, support.predict_proba(data.test)), "points": len(support.points)}
    return figures


def _compared(values: Values, test: Values, schema: Schema) -> tuple[Values, Values, Schema]:
    """Of a wide table, WIDE features at even distances and the target stand for all."""
    if len(schema.columns) <= WIDE:
        return values, test, schema
    kept = [*schema.features[:: -(-len(schema.features) // WIDE)], schema.target_name]
    return values, test, schema.model_copy(update={"columns": {name: schema.columns[name] for name in kept}})


def _some_rows(values: Values) -> Values:
    rows = len(next(iter(values.values())))
    chosen = np.random.default_rng(0).permutation(rows)[:WIDE_ROWS]
    some = Values({name: column[chosen] for name, column in values.items()})
    some.weight = None if values.weight is None else values.weight[chosen]
    some.patient = None if values.patient is None else values.patient[chosen]
    return some


def _by_target(records: Values, test: Values, data: Dataset, scorer: Callable[[], Any]) -> Figures:
    declared, *others = TARGETS[data.name].items()
    figures: Figures = {}
    if len(data.schema.classes) > 2:
        first, figures["accuracy"] = _by_class(records, test, data.schema, scorer)
    else:
        first = train_synthetic_test_real(records, test, data.schema, declared[0], scorer, declared[1])
    areas = {declared[0]: first} | {
        target: train_synthetic_test_real(records, test, data.schema, target, scorer, hidden)
        for target, hidden in others
    }
    return {**figures, "targets": areas, "mean": _mean(list(areas.values()))}


def _by_class(
    records: Values, test: Values, schema: Schema, scorer: Callable[[], Any]
) -> tuple[float | None, float]:
    """Area under the ROC curve and accuracy of one model; every class has records."""
    x, x_test = (feature_matrix(values, schema, (schema.target_name,)) for values in (records, test))
    scores = scorer().fit(x, records[schema.target_name]).predict_proba(x_test)
    label = test[schema.target_name].astype(np.int64)
    return auc(label, scores), float(np.mean(scores.argmax(axis=1) == label))


def _mean(areas: list[float | None]) -> float | None:
    known = [area for area in areas if area is not None]
    return float(np.mean(known)) if known else None
