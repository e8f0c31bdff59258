"""Classification: what predicted probabilities of classes are worth, beyond the area under the ROC curve.

The figures below the AUC are of one class, the smallest of the real records, against all others: that is the one
whose patients a model is built to find, and the first that a release loses. Not private.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score

from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import InputError
from cohortmix.core.utility.columns import Values, Weight
from cohortmix.core.utility.models import (
    WAYS,
    Known,
    Predict,
    Scorer,
    boosted_trees,
    form_of,
    probabilities,
    three_ways,
)
from cohortmix.core.utility.target import Target

LEAST = 1e-12  # probability of a class: a model that is certain has no finite logit
GROUPS = 10  # of a plot, of equally many records by their predictions
STEEPEST = 60.0  # logits: further than any share of members is from any prediction

Labels: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True)
class Smallest:
    """The class of which the figures are.

    Attributes
    ----------
    number : among the C classes.
    share : of the real records, by their weights.
    """

    number: int
    share: float

    @classmethod
    def of(cls, label: Labels, weight: Weight, classes: int) -> Smallest:
        """Of the classes that the n > 0 real records have, the rarest; of equally rare ones the last."""
        counts = np.bincount(label, weight, minlength=classes)
        number = max(np.flatnonzero(counts), key=lambda c: (-counts[c], c))
        return cls(int(number), float(counts[number] / counts.sum()))


def auc(label: Labels, scores: NDArray[np.float64], weight: NDArray[np.float64] | None = None) -> float | None:
    """Area under the ROC curve of scores (n, C); for C > 2 the mean over classes of one against the rest.

    Classes without members, or without others, have no curve; None where that leaves none. A record of `weight`
    (n,) stands for that part of a patient: a pair of records counts by the product of their weights.
    """
    if weight is not None:
        counted = weight > 0
        label, scores, weight = label[counted], scores[counted], weight[counted]
    present = [c for c in range(scores.shape[1]) if 0 < np.count_nonzero(label == c) < len(label)]
    if scores.shape[1] == 2:
        present = present[-1:]
    areas = [float(roc_auc_score(label == c, scores[:, c], sample_weight=weight)) for c in present]
    return float(np.mean(areas)) if areas else None


def figures(
    label: Labels, scores: NDArray[np.float64], weight: Weight, smallest: Smallest
) -> dict[str, float | None]:
    """The figures of records (n,) and of a model's probabilities (n, C); one that is not defined is None.

    `average_precision` : area below the curve of precision over recall, of the smallest class; a guess has the
    class's share.
    `brier` : mean squared distance of the probabilities from what was so, summed over the classes, of two classes
    halved (Brier 1950; as `sklearn.metrics.brier_score_loss`).
    `calibration_slope`, `calibration_intercept` : of the smallest class, the field's standard (TRIPOD; Van Calster
    et al. 2019). Logits of what was so on predicted logits: a slope below 1 says that predictions are too extreme;
    an intercept, with the slope held at 1, above 0 that they are too low.
    `recall` : the share of the smallest class that a model finds which calls as many records positive as the real
    records have members of it; its precision is then the same, where these are the records tested.
    """
    member, predicted = label == smallest.number, scores[:, smallest.number]
    precision = None
    if 0 < np.count_nonzero(member) < len(member):
        precision = float(average_precision_score(member, predicted, sample_weight=weight))
    slope, intercept = calibration(member, predicted, weight)
    return {
        "average_precision": precision,
        "brier": _brier(label, scores, weight),
        "calibration_slope": slope,
        "calibration_intercept": intercept,
        "recall": recall(member, predicted, weight, smallest.share),
    }


def calibration(
    member: NDArray[np.bool_], predicted: NDArray[np.float64], weight: Weight
) -> tuple[float | None, float | None]:
    """Calibration slope, and calibration-in-the-large (Cox 1958); None where no finite one is the likeliest."""
    if not 0 < np.count_nonzero(member) < len(member):
        return None, None
    if predicted.min() < LEAST or predicted.max() > 1 - LEAST:
        return None, None
    x, share = logit(predicted), np.average(member, weights=weight)

    def surplus(intercept: float) -> float:
        return float(np.average(expit(x + intercept), weights=weight) - share)

    intercept = float(brentq(surplus, -STEEPEST, STEEPEST, xtol=1e-12))
    yes, no = x[member], x[~member]
    if no.max() <= yes.min() or yes.max() <= no.min():  # told apart, or not at all: the slope has no end
        return None, intercept
    model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
    spread = x.std()  # so that the solver's steps suit any scale
    model.fit((x / spread)[:, None], member, sample_weight=weight)
    return float(model.coef_[0, 0] / spread), intercept


def recall(
    member: NDArray[np.bool_], predicted: NDArray[np.float64], weight: Weight, share: float
) -> float | None:
    """Share of the members among the records predicted highest, of which a `share` of all is called positive.

    Of records with the same prediction at the threshold, as many as there is room for are called so, each alike.
    """
    weight = np.ones(len(member)) if weight is None else weight
    if not (weight * member).sum():
        return None
    place = np.unique(-predicted, return_inverse=True)[1]
    at_value, members = np.bincount(place, weight), np.bincount(place, weight * member)
    before = np.cumsum(at_value) - at_value
    called = np.clip((share * weight.sum() - before) / at_value, 0, 1)
    return float(called @ members / members.sum())


def in_groups(predicted: NDArray[np.float64], real: NDArray[Any], weight: Weight) -> list[dict[str, float]]:
    """Means of what was predicted and of what was so, in at most `GROUPS` of records in order of the prediction.

    `low` and `high` are the quartiles of what was so. Records of one prediction are of one group.
    """
    weight = np.ones(len(predicted)) if weight is None else weight
    values, place = np.unique(predicted, return_inverse=True)
    sizes = np.bincount(place, weight, minlength=len(values))
    middle = (np.cumsum(sizes) - sizes / 2) / sizes.sum()
    group = (middle * GROUPS).astype(np.int64)[place]
    return [_group(predicted[group == g], real[group == g], weight[group == g]) for g in np.unique(group)]


def _group(predicted: NDArray[np.float64], real: NDArray[Any], weight: NDArray[np.float64]) -> dict[str, float]:
    low, high = np.quantile(real.astype(float), (0.25, 0.75), method="inverted_cdf", weights=weight)
    means = (float(np.average(values, weights=weight)) for values in (predicted, real))
    return {**dict(zip(("predicted", "real"), means, strict=True)), "low": float(low), "high": float(high)}


def _brier(label: Labels, scores: NDArray[np.float64], weight: Weight) -> float | None:
    if not len(label):
        return None
    apart = np.square(scores).sum(axis=1) - 2 * scores[np.arange(len(label)), label] + 1
    return float(np.average(apart, weights=weight)) / (2 if scores.shape[1] == 2 else 1)


def class_report(
    text: str, made: Values, known: Values, schema: Schema, tick: Callable[[], None]
) -> dict[str, Any]:
    outcome = classes_of(text, known, schema)
    sides = {"real": known, "synthetic": made}
    ready = {
        side: known_of(values, outcome, schema, boosted_trees, values.patient) for side, values in sides.items()
    }
    found = three_ways(predicts(outcome, schema, boosted_trees), ready["synthetic"][2], ready["real"][2], tick)
    merged = Target.parse(text, schema).classes - outcome.classes
    reasons = [
        f"the {side} records have {'no value' if classes == 0 else 'one class only'}"
        for side, (label, _, _) in ready.items()
        if (classes := len(np.unique(label))) < 2
    ]
    areas = {way: auc(*_tested(ready, way, found)) for way in WAYS}
    report: dict[str, Any] = {
        "auc": areas["tstr"],
        "ceiling_auc": areas["trtr"],
        "merged": merged + 1 if merged else 0,
        "smallest": None,
        "models": {},
        "groups": {},
        "reason": "; ".join(reasons) or None,
    }
    label, weight, _ = ready["real"]
    if len(label):
        rare = Smallest.of(label, weight, outcome.classes)
        name = outcome.names(schema.columns[outcome.name], text)[rare.number]
        report["smallest"] = {"class": name, "share": rare.share}
        trees = {way: {"auc": areas[way], **figures(*_tested(ready, way, found), rare)} for way in WAYS}
        report["models"] = {"boosted_trees": trees}
        report["groups"] = {
            way: in_groups(found[way][:, rare.number], label == rare.number, weight) for way in ("tstr", "trtr")
        }
    return report


def _tested(ready: Mapping[str, Any], way: str, found: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    """Labels, scores and weights of the records on which a model was tested."""
    label, weight, _ = ready["synthetic" if way == "trts" else "real"]
    return label, found[way], weight


def known_of(
    values: Values, outcome: Target, schema: Schema, scorer: Scorer, patient: Labels | None
) -> tuple[Labels, NDArray[np.float64] | None, Known]:
    """Of the records that count and whose class is known: labels, weights, and what a model is given."""
    label = outcome.labels(values[outcome.name])
    used = label >= 0 if values.weight is None else (label >= 0) & (values.weight > 0)
    x = form_of(scorer, schema, (outcome.name,)).features(values, schema, (outcome.name,))
    weight = None if values.weight is None else values.weight[used]
    return label[used], weight, Known.of(x, label, used, patient)


def predicts(outcome: Target, schema: Schema, scorer: Scorer) -> Predict:
    """A model of the probability of each class."""
    model = form_of(scorer, schema, (outcome.name,)).scorer
    return lambda x, y, x_test: probabilities(model, x, y, x_test, outcome.classes)


def classes_of(target: str | None, real: Values, schema: Schema) -> Target:
    """What is predicted, by default the schema's target; its classes are the frequent ones of the real records."""
    if target is None and schema.target is None:
        raise InputError("the schema has no target; name what to predict")
    outcome = Target.parse(target or schema.target_name, schema)
    return outcome.of_frequent(real[outcome.name], real.weight)
