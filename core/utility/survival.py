"""Survival: how well models of synthetic records tell when the event comes to real patients. Not private.

The models are scikit-survival's, which the extra `survival` installs. Its figures know no weights of records;
those here do, and are the same without weights.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgWarning
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cohortmix.core.data.dictionary.outcome import Survival
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import InputError
from cohortmix.core.utility.columns import Values, feature_matrix
from cohortmix.core.utility.concordance import concordance as concordance
from cohortmix.core.utility.kaplan_meier import Curve, FollowUp, by_strata, compared
from cohortmix.core.utility.models import MOST_INDICATORS, WAYS, Known, is_wide, three_ways

RIDGE = 1.0  # of Cox's partial likelihood, on standardized columns: as small as the logistic regression's
NET = 0.1  # of the elastic net, large enough for columns that tell the time exactly
TREES, LEAF = 100, 15  # of a forest; records in a leaf, at least
MOST_DRAWN = 4_000  # records from which a tree grows
BINS, STEPS = 32, 50  # of a column, and of the time: a forest's work grows with the product of both
GRID = 51  # times from 0 to the horizon, over which the Brier score is integrated
BATCH = 500  # records whose survival functions are held at a time
FAILURES = (ValueError, ArithmeticError, np.linalg.LinAlgError, RuntimeWarning, ConvergenceWarning)
NAMES = {"cox": "Cox's model", "random_survival_forest": "a random survival forest"}


def require_models() -> None:
    """Raise InputError where scikit-survival is not installed, before anything is computed."""
    try:
        import sksurv  # noqa: F401
    except ImportError:
        raise InputError(
            "a time to an event needs scikit-survival, which is not there: install 'cohortmix[survival]'"
        ) from None


def survival_report(
    target: Survival, synthetic: Values, real: Values, schema: Schema, tick: Callable[[], None], strata: str | None
) -> dict[str, Any]:
    """Curves, and what Cox's model and a random survival forest reach in the three `models.WAYS`, ready for JSON.

    Every figure is up to the `horizon`, the time to which a tenth of the real records was followed.

    Raises
    ------
    InputError
        If a time is zero or below, or a time or an event is missing.
    """
    sides = {"synthetic": synthetic, "real": real}
    followed = {side: FollowUp.of(values, target, schema, side) for side, values in sides.items()}
    horizon = followed["real"].horizon
    hidden = (target.time, target.event)
    reasons = [f"no event is among the {side} records" for side, of in followed.items() if not of.event.any()]
    if is_wide(schema, hidden):
        reasons.append(f"codes would add more than {MOST_INDICATORS:,} columns, too many for models of survival")
    models: dict[str, Any] = {}
    if not reasons:
        known = {side: _known(sides[side], followed[side], schema, hidden) for side in sides}
        models, reasons = _reached(known, followed, horizon, tick)
    return {
        "time": target.time,
        "event": target.event,
        "happened": target.happened,
        "horizon": horizon,
        "curves": compared(followed["synthetic"], followed["real"], horizon),
        "strata": None if strata is None else by_strata(strata, sides, followed, schema, horizon),
        "models": models,
        "reason": "; ".join(reasons) or None,
    }


def risks(synthetic: Values, real: Values, target: Survival, schema: Schema) -> NDArray[np.float64] | None:
    """(n,) the risk of each real record that counts by Cox's model of the synthetic ones; None without a model."""
    hidden = (target.time, target.event)
    train, test = (
        _known(values, FollowUp.of(values, target, schema, side), schema, hidden)
        for values, side in ((synthetic, "training"), (real, "held-out"))
    )
    if is_wide(schema, hidden):
        return None
    try:
        return np.asarray(_predict(cox, np.zeros(0), train.x, train.y, test.x)[:, 0])
    except FAILURES:
        return None


def _reached(
    known: Mapping[str, Known], followed: Mapping[str, FollowUp], horizon: float, tick: Callable[[], None]
) -> tuple[dict[str, Any], list[str]]:
    """The figures of each model, and why one has none."""
    times, models, reasons = np.linspace(0, horizon, GRID), {}, []
    for name, fit in FITS.items():
        try:
            found = three_ways(partial(_predict, fit, times), known["synthetic"], known["real"], tick)
        except FAILURES:
            reasons.append(f"{NAMES[name]} cannot be fitted to these records")
            continue
        models[name] = {
            way: figures(followed["synthetic" if way == "trts" else "real"], found[way], times) for way in WAYS
        }
    return models, reasons


def figures(followed: FollowUp, predicted: NDArray[np.float64], times: NDArray[np.float64]) -> dict[str, Any]:
    """Figures of predictions (n, 1 + T), a risk and the survival at each of T `times`; one is None if not defined.

    `harrell_c` : of two records of which one had its event while the other was followed, how often it had the
    higher risk (Harrell 1982). `uno_c` : the same up to the last of the times, weighted so that censoring does not
    matter (Uno 2011). `integrated_brier` : mean squared distance of the predicted survival from what was so,
    weighted likewise, over the times (Graf 1999).
    """
    censoring = Curve.of_censoring(followed)
    g = censoring.at(followed.time)
    once = np.zeros(len(g))
    once[g > 0] = 1 / np.square(g[g > 0])
    return {
        "harrell_c": concordance(followed, predicted[:, 0], np.ones(len(g))),
        "uno_c": concordance(followed, predicted[:, 0], np.where(followed.time < times[-1], once, 0)),
        "integrated_brier": integrated_brier(followed, predicted[:, 1:], times),
    }


def integrated_brier(
    followed: FollowUp, survival: NDArray[np.float64], times: NDArray[np.float64]
) -> float | None:
    """Mean over the `times`, (T,), by the trapezoidal rule, of the weighted Brier score of `survival`, (n, T)."""
    censoring = Curve.of_censoring(followed)
    of_event, later = censoring.at(followed.time)[:, None], censoring.at(times)
    had = (followed.time[:, None] <= times) & followed.event[:, None]
    without = followed.time[:, None] > times
    apart = np.divide(np.square(survival), of_event, out=np.zeros(survival.shape), where=had & (of_event > 0))
    apart += np.divide(np.square(1 - survival), later, out=np.zeros(survival.shape), where=without & (later > 0))
    scores = np.average(apart, axis=0, weights=followed.weight)
    return float(np.trapezoid(scores, times) / (times[-1] - times[0]))


def _known(values: Values, followed: FollowUp, schema: Schema, hidden: tuple[str, ...]) -> Known:
    used = np.ones(len(values[hidden[0]]), dtype=bool) if values.weight is None else values.weight > 0
    x = feature_matrix(values, schema, hidden)
    outcome = np.zeros(len(used), dtype=[("event", bool), ("time", float)])
    outcome["time"][used], outcome["event"][used] = followed.time, followed.event
    return Known.of(x, outcome, used, values.patient)


def _predict(
    fit: Callable[..., Any], times: NDArray[np.float64], x: Any, y: NDArray[Any], x_test: Any
) -> NDArray[np.float64]:
    """(n, 1 + T): a risk, and the survival at each of the times; one of FAILURES where no model can be fitted."""
    if not y["event"].any():
        raise ValueError("expected an event to learn from")
    with warnings.catch_warnings():
        for kind in (ConvergenceWarning, LinAlgWarning, RuntimeWarning):
            warnings.simplefilter("error", kind)
        return fit(x, y, times)(x_test) if len(x_test) else np.zeros((0, 1 + len(times)))


def cox(x: NDArray[np.float64], y: NDArray[Any], times: NDArray[np.float64]) -> Callable[..., Any]:
    """Cox's model with a small ridge on standardized columns; where it does not converge, with an elastic net."""
    from sksurv.linear_model import CoxnetSurvivalAnalysis, CoxPHSurvivalAnalysis

    steps = make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler()).fit(x)
    try:
        model = CoxPHSurvivalAnalysis(alpha=RIDGE).fit(steps.transform(x), y)
    except FAILURES:
        model = CoxnetSurvivalAnalysis(alphas=[NET], l1_ratio=0.5, fit_baseline_model=True)
        model.fit(steps.transform(x), y)

    def predict(x_test: NDArray[np.float64]) -> NDArray[np.float64]:
        standard = steps.transform(x_test)
        return np.column_stack([model.predict(standard), _at(model, "survival", standard, times)])

    return predict


def forest(x: NDArray[np.float64], y: NDArray[Any], times: NDArray[np.float64]) -> Callable[..., Any]:
    """A random survival forest (Ishwaran 2008), on `BINS` ranges of each column and `STEPS` of the time.

    The risk is its mortality, the cumulative hazard summed over the `times`: the same for each model.
    """
    from sksurv.ensemble import RandomSurvivalForest

    impute = SimpleImputer(keep_empty_features=True).fit(x)
    shares = np.arange(1, BINS) / BINS
    edges = np.quantile(impute.transform(x), shares, axis=0, method="inverted_cdf")

    def binned(x: NDArray[np.float64]) -> NDArray[np.float64]:
        full = impute.transform(x)
        columns = [np.searchsorted(np.unique(edge), full[:, at]) for at, edge in enumerate(edges.T)]
        return np.stack(columns, axis=1).astype(np.float64) if columns else full

    ends = np.unique(np.quantile(y["time"][y["event"]], np.arange(1, STEPS + 1) / STEPS, method="inverted_cdf"))
    coarse = y.copy()
    coarse["time"] = np.append(ends, ends[-1])[np.searchsorted(ends, y["time"])]
    model = RandomSurvivalForest(
        TREES, min_samples_leaf=LEAF, max_features="sqrt", max_samples=min(len(x), MOST_DRAWN), random_state=0
    ).fit(binned(x), coarse)

    def predict(x_test: NDArray[np.float64]) -> NDArray[np.float64]:
        cells = binned(x_test)
        hazard = _at(model, "cumulative_hazard", cells, times).sum(axis=1)
        return np.column_stack([hazard, _at(model, "survival", cells, times)])

    return predict


FITS: Mapping[str, Callable[..., Any]] = {"cox": cox, "random_survival_forest": forest}


def _at(model: Any, what: str, x: NDArray[np.float64], times: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, T) a model's survival, or cumulative hazard, at the times; in batches, since it has many steps."""
    predict, start = getattr(model, f"predict_{what}_function"), 1.0 if what == "survival" else 0.0
    place = np.searchsorted(model.unique_times_, times, side="right")
    parts = []
    for first in range(0, len(x), BATCH):
        heights = predict(x[first : first + BATCH], return_array=True)
        parts.append(np.column_stack([np.full(len(heights), start), heights])[:, place])
    return np.concatenate(parts)
