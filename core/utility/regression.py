"""Regression: how well models of synthetic records predict a number of real ones. Not private."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import mean_absolute_error, r2_score

from cohortmix.core.data.dictionary.columns import Number
from cohortmix.core.data.dictionary.grid import bounds
from cohortmix.core.data.schema import Schema
from cohortmix.core.utility.classification import in_groups
from cohortmix.core.utility.columns import Values, Weight, correlation
from cohortmix.core.utility.models import (
    WAYS,
    Known,
    Scorer,
    boosted_regression,
    form_of,
    linear,
    three_ways,
)
from cohortmix.core.utility.target import Quantity

MODELS: Mapping[str, Scorer] = {"boosted_trees": boosted_regression, "linear": linear}


def regression_report(
    target: Quantity, synthetic: Values, real: Values, schema: Schema, tick: Callable[[], None]
) -> dict[str, Any]:
    """What each model reaches in the three `models.WAYS`, ready for JSON, and why a figure is None.

    Records without the number, or of weight 0, take no part. Models learn from all others alike. What is beyond a
    declared bound counts as the bound, as in a release.
    """
    sides = {"synthetic": synthetic, "real": real}
    used = {side: _used(values, target.name) for side, values in sides.items()}
    y = {side: _numbers(values, target.name, schema)[used[side]] for side, values in sides.items()}
    reasons = [
        f"the {side} records have {'one value only' if len(numbers) else 'no value'}"
        for side, numbers in y.items()
        if not len(numbers) or numbers.min() == numbers.max()
    ]
    weight = {side: None if v.weight is None else v.weight[used[side]] for side, v in sides.items()}
    models, groups = {}, {}
    for name, scorer in MODELS.items():
        made, known = (_known(scorer, sides[side], schema, target.name, used[side]) for side in sides)
        found = three_ways(partial(_predict, scorer, schema, target.name), made, known, tick)
        tested = {way: "synthetic" if way == "trts" else "real" for way in WAYS}
        models[name] = {way: figures(y[tested[way]], found[way], weight[tested[way]]) for way in WAYS}
        if name == "boosted_trees":
            groups = {way: in_groups(found[way], y["real"], weight["real"]) for way in ("tstr", "trtr")}
    return {"models": models, "groups": groups, "reason": "; ".join(reasons) or None}


def predictions(
    synthetic: Values, real: Values, schema: Schema, name: str, scorer: Scorer = boosted_regression
) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.float64]]:
    """Which real records have the number and count, and of those, (m,), the number and what a model predicts.

    The model is of the synthetic records. Numbers are within their declared bounds.
    """
    used = _used(real, name)
    made, known = (
        _known(scorer, synthetic, schema, name, _used(synthetic, name)),
        _known(scorer, real, schema, name, used),
    )
    return used, known.y, np.asarray(_predict(scorer, schema, name, made.x, made.y, known.x))


def figures(y: NDArray[np.float64], predicted: NDArray[np.float64], weight: Weight) -> dict[str, float | None]:
    """R^2, mean absolute error and Spearman's rank correlation of predictions (n,); None where not defined.

    R^2 is 1 less the share of the variance that is left, and below 0 for predictions worse than the mean.
    """
    varies = len(y) > 1 and y.min() < y.max()
    return {
        "r2": float(r2_score(y, predicted, sample_weight=weight)) if varies else None,
        "mean_absolute_error": float(mean_absolute_error(y, predicted, sample_weight=weight)) if len(y) else None,
        "spearman": spearman(y, predicted, weight),
    }


def spearman(x: NDArray[np.float64], y: NDArray[np.float64], weight: Weight = None) -> float | None:
    """Rank correlation; a record's rank is the weight below it and half of that beside it. None of a constant."""
    weight = np.ones(len(x)) if weight is None else weight
    return correlation(_ranks(x, weight), _ranks(y, weight), weight)


def _ranks(values: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    place = np.unique(values, return_inverse=True)[1]
    at_value = np.bincount(place, weight)
    return np.asarray((np.cumsum(at_value) - at_value / 2)[place])


def _numbers(values: Values, name: str, schema: Schema) -> NDArray[np.float64]:
    column = schema.columns[name]
    assert isinstance(column, Number)
    return np.clip(values[name], *bounds(column))


def _used(values: Values, name: str) -> NDArray[np.bool_]:
    known = ~np.isnan(values[name])
    return known if values.weight is None else known & (values.weight > 0)


def _known(scorer: Scorer, values: Values, schema: Schema, name: str, used: NDArray[np.bool_]) -> Known:
    x = form_of(scorer, schema, (name,)).features(values, schema, (name,))
    return Known.of(x, _numbers(values, name, schema), used, values.patient)


def _predict(scorer: Scorer, schema: Schema, name: str, x: Any, y: NDArray[np.float64], x_test: Any) -> Any:
    """Of records that have one number, or of none, that number, or 0."""
    if len(y) < 2 or y.min() == y.max() or not x_test.shape[0]:
        return np.full(x_test.shape[0], y[0] if len(y) else 0.0)
    with np.errstate(over="ignore"):  # of a feature far beyond its bounds, whose variance is then infinite
        return form_of(scorer, schema, (name,)).scorer().fit(x, y).predict(x_test)
