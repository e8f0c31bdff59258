"""Evaluate: how useful synthetic records are. Train on synthetic, test on real; and how far marginals are apart.

A class, a number or a time to an event is predicted: `classification`, `regression` and `survival` say how well.

Nothing here is private: every figure is computed from real records. It stays with the person who holds them, and
nothing that answers a coordinator may import this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohortmix.core.data.dictionary.outcome import Survival
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import InputError
from cohortmix.core.utility.classification import auc as auc
from cohortmix.core.utility.classification import class_report, classes_of, known_of, predicts
from cohortmix.core.utility.columns import Table, Values, read
from cohortmix.core.utility.copies import copies
from cohortmix.core.utility.marginals import Marginals
from cohortmix.core.utility.models import (
    FOLDS,
    Scorer,
    boosted_trees,
    cross_predicted,
    form_of,
    probabilities,
    ticks,
)
from cohortmix.core.utility.regression import regression_report
from cohortmix.core.utility.survival import require_models, survival_report
from cohortmix.core.utility.target import Quantity, Target, parse, targets_of

KINDS = {Target: "classification", Quantity: "regression", Survival: "survival"}


@dataclass(frozen=True, eq=False)
class Scored:
    """Real records as a model sees them.

    Attributes
    ----------
    known : (m,) true for the n records whose class is known.
    label : (n,) their classes, in 0..C-1.
    scores : (n, C) the model's probability of each class.
    weight : (n,) what each of them counts (`columns.Values.weight`); None where all count alike.
    """

    known: NDArray[np.bool_]
    label: NDArray[np.int64]
    scores: NDArray[np.float64]
    weight: NDArray[np.float64] | None = None


def train_synthetic_test_real(
    synthetic: Table | Values,
    real: Table | Values,
    schema: Schema,
    target: str | None = None,
    scorer: Scorer = boosted_trees,
    without: Sequence[str] = (),
) -> float | None:
    """Area under the ROC curve on real records of a classifier trained on synthetic ones.

    A real record weighs 1/m where the schema's patient key says that its patient has m of them, as it does in a
    release (`columns.Values.weight`). The classifier is trained on all synthetic records alike.

    Parameters
    ----------
    target : as in `Target.parse`; the schema's own by default. Of more than `target.MOST_CLASSES` classes those
        that are rare among the real records are one.
    scorer : makes an untrained classifier with `fit` and `predict_proba`.
    without : columns that the classifier may not see, besides the target's own.

    Returns
    -------
    For more than two classes the mean of one against the rest over the classes that the real records have;
    None where no class of theirs has both members and others.
    """
    tested = score_real(synthetic, real, schema, target, scorer, without)
    return auc(tested.label, tested.scores, tested.weight)


def score_real(
    synthetic: Table | Values,
    real: Table | Values,
    schema: Schema,
    target: str | None = None,
    scorer: Scorer = boosted_trees,
    without: Sequence[str] = (),
) -> Scored:
    """Real records, scored by a model of synthetic ones: what `train_synthetic_test_real` takes the AUC of."""
    synthetic, real = read(synthetic, schema), read(real, schema)
    outcome = classes_of(target, real, schema)
    hidden = (*without, outcome.name)
    label, label_real = outcome.labels(synthetic[outcome.name]), outcome.labels(real[outcome.name])
    train, test, form = label >= 0, label_real >= 0, form_of(scorer, schema, hidden)
    x, x_real = (form.features(values, schema, hidden) for values in (synthetic, real))
    scores = probabilities(form.scorer, x[train], label[train], x_real[test], outcome.classes)
    weight = None if real.weight is None else real.weight[test]
    return Scored(test, label_real[test], scores, weight)


def cross_validated(
    real: Table | Values,
    schema: Schema,
    target: str | None = None,
    scorer: Scorer = boosted_trees,
    patients: NDArray[np.int64] | None = None,
) -> float | None:
    """The AUC that the real records themselves reach, each scored by a model that saw neither it nor its patient.

    `patients` is the number of the patient of each record, shape (n,); by default every record is a patient.
    Records of weight 0 take no part; the others are trained on alike, and tested by their weights.
    """
    real = read(real, schema)
    outcome = classes_of(target, real, schema)
    label, weight, known = known_of(real, outcome, schema, scorer, patients)
    return auc(label, cross_predicted(predicts(outcome, schema, scorer), known), weight)


def evaluate(
    synthetic: Table | Values, real: Table, schema: Schema, targets: Sequence[str] = (), strata: str | None = None
) -> dict[str, Any]:
    """The figures of `cohortmix evaluate`, ready for JSON; a figure that is not defined is None.

    Of each target, `models` holds the figures by model and by way (`models.WAYS`), `reason` says why one is None,
    and is None itself where all are figures. `auc` is that of boosted trees trained on the synthetic records,
    `ceiling_auc` what the real records reach by themselves under cross-validation, on the same records; `merged`
    is how many rare values of the target are scored as one class (`target.MOST_CLASSES`), 0 where each is a class.
    Without classes, there is no AUC. `columns` and `pairs` say where the tables differ, the worst first, `copies`
    how many records are the same. Everywhere a real record weighs 1/m where its patient has m of them; `weighted`
    says whether any weighs less than 1.

    Parameters
    ----------
    targets : as in `target.parse`; by default the schema's, if it has one.
    strata : a category column, or a rule, by which the curves of a time to an event are told apart.

    Raises
    ------
    InputError
        For a target that cannot be, a table without a record, a follow-up that is not known, strata without a time
        to an event, or if there is one and scikit-survival is not installed.
    """
    aims = {text: parse(text, schema) for text in targets or targets_of(schema)}
    followed = [text for text, aim in aims.items() if isinstance(aim, Survival)]
    if followed:
        require_models()
    if strata is not None:
        Target.parse(strata, schema)
        if not followed:
            raise InputError(f"strata={strata!r}: expected a time and an event among the targets, got none")
    made, known = read(synthetic, schema), read(real, schema)
    marginals = Marginals.of(made, known, schema)
    return {
        "private": False,
        "records": {"synthetic": made.rows, "real": known.rows},
        "weighted": known.weight is not None,
        "targets": [_target_report(text, aim, made, known, schema, strata) for text, aim in aims.items()],
        "tvd": asdict(marginals.mean),
        "columns": marginals.column_reports(),
        "pairs": marginals.pair_reports(),
        "copies": copies(made, known, schema),
    }


def _target_report(
    text: str, aim: Target | Quantity | Survival, made: Values, known: Values, schema: Schema, strata: str | None
) -> dict[str, Any]:
    head = {"target": text, "kind": KINDS[type(aim)], "auc": None, "ceiling_auc": None, "merged": 0}
    tick = ticks(f"models of {text}", (FOLDS + 2) * (1 if isinstance(aim, Target) else 2))
    if isinstance(aim, Target):
        return _explained(head | class_report(text, made, known, schema, tick))
    if isinstance(aim, Quantity):
        return _explained(head | regression_report(aim, made, known, schema, tick))
    return _explained(head | survival_report(aim, made, known, schema, tick, strata))


def _explained(found: dict[str, Any]) -> dict[str, Any]:
    """The report of a target, with a reason where a figure is None and the records do not say why."""
    figures = [one for ways in found["models"].values() for way in ways.values() for one in way.items()]
    undefined = dict.fromkeys(name.replace("_", " ") for name, figure in figures if figure is None)
    if undefined and found["reason"] is None:
        why = "predictions are all the same, tell all records apart, or are of too few"
        found["reason"] = f"no {', '.join(undefined)}: {why}"
    return found
