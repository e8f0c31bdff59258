"""Evaluate: how useful synthetic records are. Train on synthetic, test on real; and how far marginals are apart.

Nothing here is private: every figure is computed from real records. It stays with the person who holds them, and
nothing that answers a coordinator may import this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from cohortmix.core.data.schema import Schema
from cohortmix.core.steps.progress import report
from cohortmix.core.utility.columns import Table, Values, read
from cohortmix.core.utility.marginals import Marginals
from cohortmix.core.utility.models import Scorer, boosted_trees, form_of, probabilities
from cohortmix.core.utility.target import Target

FOLDS = 4  # of the cross-validation that gives the ceiling: each model learns from three quarters of the records


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
    outcome = _outcome(target, real, schema)
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
    outcome = _outcome(target, real, schema)
    form = form_of(scorer, schema, (outcome.name,))
    label, x = outcome.labels(real[outcome.name]), form.features(real, schema, (outcome.name,))
    patient = np.arange(len(label)) if patients is None else patients
    used = label >= 0 if real.weight is None else (label >= 0) & (real.weight > 0)
    fold = np.random.default_rng(0).permutation(int(patient.max(initial=0)) + 1)[patient] % FOLDS
    scores = np.zeros((len(label), outcome.classes))
    for held_out in range(FOLDS):
        train, test = (fold != held_out) & used, fold == held_out
        scores[test] = probabilities(form.scorer, x[train], label[train], x[test], outcome.classes)
        report(
            f"models of {target or schema.target_name}", held_out + 2, FOLDS + 1
        )  # after that of synthetic records
    return auc(label[used], scores[used], None if real.weight is None else real.weight[used])


def auc(
    label: NDArray[np.int64], scores: NDArray[np.float64], weight: NDArray[np.float64] | None = None
) -> float | None:
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


def evaluate(
    synthetic: Table | Values, real: Table, schema: Schema, targets: Sequence[str] = ()
) -> dict[str, Any]:
    """The figures of `cohortmix evaluate`, ready for JSON; a figure that is not defined is None.

    `auc` is that of boosted trees trained on the synthetic records, `ceiling_auc` what the real records reach
    by themselves under cross-validation, on the same records; `reason` says why one of them is None, and is None
    itself where both are figures; `merged` is how many rare values of the target are scored as one class
    (`target.MOST_CLASSES`), 0 where each is a class. `columns` and `pairs` say where the tables differ, the worst
    first. Everywhere a real record weighs 1/m where its patient has m of them; `weighted` says whether any weighs
    less than 1.
    """
    made, known = read(synthetic, schema), read(real, schema)
    marginals = Marginals.of(made, known, schema)
    return {
        "private": False,
        "records": {"synthetic": made.rows, "real": known.rows},
        "weighted": known.weight is not None,
        "targets": [_target_report(target, made, known, schema) for target in targets or (schema.target_name,)],
        "tvd": asdict(marginals.mean),
        "columns": marginals.column_reports(),
        "pairs": marginals.pair_reports(),
    }


def _target_report(target: str, made: Values, known: Values, schema: Schema) -> dict[str, Any]:
    report(f"models of {target}", 0, FOLDS + 1)
    own = train_synthetic_test_real(made, known, schema, target)
    report(f"models of {target}", 1, FOLDS + 1)
    areas = {"auc": own, "ceiling_auc": cross_validated(known, schema, target, patients=known.patient)}
    outcome = _outcome(target, known, schema)
    sides = {"real": known, "synthetic": made}
    reasons = [
        f"the {side} records have {'no value' if classes == 0 else 'one class only'}"
        for side, values in sides.items()
        if (classes := _classes(outcome.labels(values[outcome.name]), values.weight)) < 2
    ]
    merged = Target.parse(target, schema).classes - outcome.classes
    return {"target": target, **areas, "merged": merged + 1 if merged else 0, "reason": "; ".join(reasons) or None}


def _outcome(target: str | None, real: Values, schema: Schema) -> Target:
    """What is predicted, by default the schema's target; its classes are the frequent ones of the real records."""
    outcome = Target.parse(target or schema.target_name, schema)
    return outcome.of_frequent(real[outcome.name], real.weight)


def _classes(label: NDArray[np.int64], weight: NDArray[np.float64] | None) -> int:
    """How many classes the records have that count."""
    counted = label >= 0 if weight is None else (label >= 0) & (weight > 0)
    return len(np.unique(label[counted]))
