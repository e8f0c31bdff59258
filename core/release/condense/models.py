"""Models: the classical ones that a condensed set serves, each with weights, and nothing but `fit` and scores.

A row of weight w counts as w records. Bounds on leaves are shares of all weight, not numbers of rows, so that a
model means the same on fifty rows and on all records.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from cohortmix.core.data.table import InputError
from cohortmix.core.release.condense.cox import fit_cox
from cohortmix.core.release.condense.seen import Floats, Whole

Scores: TypeAlias = Callable[[Floats], Floats]
"""Of rows (n, W): probabilities (n, C), or of survival a risk (n,)."""
SMALLEST_LEAF = 0.01  # of a tree, a share of all weight; a hundredth and less would be leaves of single rows of 50
WITHOUT = "scikit-survival is not installed, which survival-forest needs: pip install 'cohortmix[survival]'"


@dataclass(frozen=True)
class Model:
    """A kind of model.

    Attributes
    ----------
    survival : whether it predicts a time to an event, else a class.
    fit : of rows (n, W), their label (n,), time (n,) or None, weight (n,), and the number of classes.
    evaluations : how often a search fits it unless told otherwise: half a minute or so on one processor.
    facts : what it is, for whoever fits it again.
    """

    survival: bool
    fit: Callable[[Floats, Whole, Floats | None, Floats, int], Scores]
    evaluations: int
    facts: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Standard:
    """Weighted means and standard deviations of columns (W,); a missing value is the mean, a constant column 0."""

    mean: Floats
    scale: Floats

    @classmethod
    def of(cls, x: Floats, weight: Floats) -> Standard:
        """Of rows (n, W) with weights (n,)."""
        known = ~np.isnan(x)
        total = np.maximum(weight @ known, np.finfo(np.float64).tiny)
        mean = weight @ np.where(known, x, 0) / total
        variance = weight @ np.where(known, x - mean, 0) ** 2 / weight.sum()
        # Beside a large mean, rounding leaves a constant column a little variance.
        constant = variance <= (1e-9 * (1 + np.abs(mean))) ** 2
        return cls(mean, np.where(constant, np.inf, np.sqrt(variance)))

    def __call__(self, x: Floats) -> Floats:
        return np.asarray(np.where(np.isnan(x), 0, x - self.mean) / self.scale)


TREE: Mapping[str, Any] = {"max_depth": 6, "min_weight_fraction_leaf": SMALLEST_LEAF, "random_state": 0}
FOREST: Mapping[str, Any] = {
    "n_estimators": 50,
    "min_weight_fraction_leaf": SMALLEST_LEAF / 2,
    "n_jobs": 1,
    "random_state": 0,
}
BOOSTED: Mapping[str, Any] = {
    "n_estimators": 100, "num_leaves": 7, "min_child_samples": 1, "min_data_in_bin": 1, "min_child_weight": 5.0,
    "n_jobs": 1, "deterministic": True, "force_row_wise": True, "verbosity": -1,
}  # fmt: skip
LOGISTIC: Mapping[str, Any] = {"C": 1.0, "max_iter": 300, "tol": 1e-3}
COX_RIDGE = 1.0  # in records, on standardized columns: nothing beside thousands of them
SURVIVAL_FOREST: Mapping[str, Any] = {
    **FOREST, "max_depth": 6, "min_samples_split": 2, "min_samples_leaf": 1, "low_memory": True,
}  # fmt: skip


def _tree(x: Floats, label: Whole, time: Floats | None, weight: Floats, classes: int) -> Scores:
    model = DecisionTreeClassifier(**TREE).fit(_single(x), label, sample_weight=weight, check_input=False)
    return _filled(lambda rows: model.predict_proba(_single(rows), check_input=False), model.classes_, classes)


def _forest(x: Floats, label: Whole, time: Floats | None, weight: Floats, classes: int) -> Scores:
    model = RandomForestClassifier(**FOREST).fit(x, label, sample_weight=weight)
    return _filled(model.predict_proba, model.classes_, classes)


def _boosted(x: Floats, label: Whole, time: Floats | None, weight: Floats, classes: int) -> Scores:
    from lightgbm import LGBMClassifier  # takes a while to load, and is not needed by all

    model = LGBMClassifier(**BOOSTED).fit(x, label, sample_weight=weight)
    return _filled(lambda rows: np.asarray(model.predict_proba(rows)), model.classes_, classes)


def _logistic(x: Floats, label: Whole, time: Floats | None, weight: Floats, classes: int) -> Scores:
    standard = Standard.of(x, weight)
    model = LogisticRegression(**LOGISTIC).fit(standard(x), label, sample_weight=weight)
    return _filled(lambda rows: model.predict_proba(standard(rows)), model.classes_, classes)


def _cox(x: Floats, label: Whole, time: Floats | None, weight: Floats, classes: int) -> Scores:
    assert time is not None
    standard = Standard.of(x, weight)
    b = fit_cox(standard(x), time, label == 1, weight, COX_RIDGE)
    return lambda rows: np.asarray(standard(rows) @ b)


def _survival_forest(x: Floats, label: Whole, time: Floats | None, weight: Floats, classes: int) -> Scores:
    assert time is not None
    try:
        from sksurv.ensemble import RandomSurvivalForest
        from sksurv.util import Surv
    except ImportError:
        raise InputError(WITHOUT) from None
    outcome = Surv.from_arrays(label == 1, time)
    model = RandomSurvivalForest(**SURVIVAL_FOREST).fit(x, outcome, sample_weight=weight)
    return lambda rows: np.asarray(model.predict(rows))


def _single(x: Floats) -> Any:
    """As trees hold numbers."""
    return np.ascontiguousarray(x, dtype=np.float32)


def _filled(scores: Scores, seen: Whole, classes: int) -> Scores:
    """Scores with a column for each class, zero for those that no row has."""
    if len(seen) == classes:
        return scores

    def all_classes(x: Floats) -> Floats:
        out = np.zeros((len(x), classes))
        out[:, seen] = scores(x)
        return out

    return all_classes


def _facts(name: str, parameters: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {"is": name, "parameters": dict(parameters), **more}


_SCALED = "columns standardized by weighted mean and standard deviation, a missing number the mean"
MODELS: Mapping[str, Model] = {
    "tree": Model(False, _tree, 30_000, _facts("sklearn.tree.DecisionTreeClassifier", TREE)),
    "forest": Model(False, _forest, 1000, _facts("sklearn.ensemble.RandomForestClassifier", FOREST)),
    "boosted": Model(False, _boosted, 1500, _facts("lightgbm.LGBMClassifier", BOOSTED)),
    "logistic": Model(
        False, _logistic, 4000, _facts("sklearn.linear_model.LogisticRegression", LOGISTIC, features=_SCALED)
    ),
    "cox": Model(
        True, _cox, 6000, _facts("Cox regression, Breslow's ties", {"ridge": COX_RIDGE}, features=_SCALED)
    ),
    "survival-forest": Model(
        True, _survival_forest, 400, _facts("sksurv.ensemble.RandomSurvivalForest", SURVIVAL_FOREST)
    ),
}
"""By the name that a person gives."""
