"""Scores of a time to an event and of a number: models learn from a table, and are tested on the held-out records.

`bench_outcomes.py` calls it for the releases, the real training records and a floor.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from public_data import Dataset
from scoring import Figures
from sklearn.exceptions import ConvergenceWarning

from cohortmix.core.data.dictionary.columns import Number
from cohortmix.core.data.dictionary.grid import bounds
from cohortmix.core.data.dictionary.outcome import Survival
from cohortmix.core.data.schema import Schema
from cohortmix.core.utility import regression, survival
from cohortmix.core.utility.columns import Values, feature_matrix, read
from cohortmix.core.utility.kaplan_meier import Curve, FollowUp
from cohortmix.core.utility.models import Scorer, form_of


def score_outcome(records: pd.DataFrame, data: Dataset) -> Figures:
    """Figures of the outcome that the schema declares, of models that learned from these records."""
    made, real, test = (read(table, data.schema) for table in (records, data.train, data.test))
    target = data.schema.outcome.survival
    if target is not None:
        return of_survival(target, made, real, test, data.schema)
    return of_number(data.schema.target_name, made, test, data.schema)


def of_survival(target: Survival, made: Values, real: Values, test: Values, schema: Schema) -> Figures:
    """`core.utility.survival.figures` of each model, and how far the records' survival is from the real one.

    All up to the horizon of the real training records. `km_distance` : the largest difference between their
    Kaplan-Meier curve and that of the records. `restricted_mean` : survival time up to the horizon, in the unit of
    the time; `restricted_mean_ratio` : that of the records over that of the real ones.
    """
    followed = {"made": FollowUp.of(made, target, schema, "scored")}
    followed |= {"real": FollowUp.of(real, target, schema, "training")}
    horizon = followed["real"].horizon
    curves = {side: Curve.of(records) for side, records in followed.items()}
    means = {side: curve.mean(horizon) for side, curve in curves.items()}
    figures: Figures = {
        "rows": made.rows,
        "horizon": horizon,
        "km_distance": curves["real"].distance(curves["made"], horizon)[0],
        "restricted_mean": means["made"],
        "restricted_mean_ratio": means["made"] / means["real"],
    }
    tested, hidden = FollowUp.of(test, target, schema, "test"), (target.time, target.event)
    x, x_test = (feature_matrix(values, schema, hidden) for values in (made, test))
    times = np.linspace(0, horizon, survival.GRID)
    for name, fit in survival.FITS.items():
        found = _predicted(fit, x, followed["made"], x_test, times)
        figures[name] = None if found is None else survival.figures(tested, found, times)
    return figures


def _predicted(
    fit: Callable[..., Any],
    x: NDArray[np.float64],
    learned: FollowUp,
    x_test: NDArray[np.float64],
    times: NDArray[np.float64],
) -> NDArray[np.float64] | None:
    """A risk and the survival at each time, (n, 1 + T); None where the model cannot be fitted to the records."""
    if not learned.event.any():
        return None
    y = np.zeros(len(x), dtype=[("event", bool), ("time", float)])
    y["event"], y["time"] = learned.event, learned.time
    with warnings.catch_warnings():
        for kind in (ConvergenceWarning, RuntimeWarning):  # where Cox's model does not converge, it is another one
            warnings.simplefilter("error", kind)
        try:
            return np.asarray(fit(x, y, times)(x_test))
        except survival.FAILURES:
            return None


def of_number(target: str, made: Values, test: Values, schema: Schema) -> Figures:
    """`core.utility.regression.figures` of each model; a record of the test counts as its patient's share."""
    column = schema.columns[target]
    assert isinstance(column, Number)
    y, y_test = (np.clip(values[target], *bounds(column)) for values in (made, test))
    figures: Figures = {"rows": made.rows, "mean": float(y.mean())}
    for name, scorer in regression.MODELS.items():
        predicted = _fitted(scorer, target, made, y, test, schema)
        figures[name] = regression.figures(y_test, predicted, test.weight)
    return figures


def _fitted(
    scorer: Scorer, target: str, made: Values, y: NDArray[np.float64], test: Values, schema: Schema
) -> NDArray[np.float64]:
    form = form_of(scorer, schema, (target,))
    x, x_test = (form.features(values, schema, (target,)) for values in (made, test))
    return np.asarray(form.scorer().fit(x, y).predict(x_test))
