"""Held out: what a model of some records reaches on other ones, in the one figure that suits the target.

A class has the area under the ROC curve of boosted trees, a number their R^2, a time to an event Harrell's
concordance of Cox's model; of each, more is better. Not private, as every figure on real records.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cohortmix.core.data.dictionary.outcome import Survival
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import InputError
from cohortmix.core.utility.classification import auc
from cohortmix.core.utility.columns import Table, Values, read
from cohortmix.core.utility.concordance import concordance, pairs_of_each
from cohortmix.core.utility.evaluate import score_real
from cohortmix.core.utility.interval import Difference, auc_difference, ratio_difference
from cohortmix.core.utility.kaplan_meier import FollowUp
from cohortmix.core.utility.regression import figures, predictions
from cohortmix.core.utility.survival import require_models, risks
from cohortmix.core.utility.target import Quantity, Target, parse


@dataclass(frozen=True, eq=False)
class Predicted:
    """What one model says of the held-out records.

    Attributes
    ----------
    known : (n,) which of them have an outcome, m of them.
    truth : (m, ...) their outcomes.
    values : (m, ...) the predictions; None where no model can be fitted.
    """

    known: NDArray[np.bool_]
    truth: Any
    values: Any


class HeldOut(Protocol):
    """Held-out records, and how models are compared on them; each record counts alike."""

    @property
    def name(self) -> str:
        """Of the figure."""
        ...

    def predicted(self, records: Table) -> Predicted:
        """What a model that learned from these records says of the held-out ones."""
        ...

    def figure(self, one: Predicted) -> float | None:
        """Its figure; None where it is not defined."""
        ...

    def gain(self, first: Predicted, second: Predicted) -> Difference | None:
        """By how much the figure of the second is above that of the first."""
        ...


def held_out(table: Table, schema: Schema) -> HeldOut:
    """Held-out records of the schema's target.

    Raises
    ------
    InputError
        If the schema has no target, or a follow-up is not known, or scikit-survival is not there for one.
    """
    if schema.target is None:
        raise InputError(
            "the schema has no target, and models are compared by what they predict: hold no records out, and "
            "compare the tables with `cohortmix evaluate`"
        )
    values, target = read(table, schema), parse(schema.target_name, schema)
    if isinstance(target, Target):
        return _Classes(values, schema)
    if isinstance(target, Quantity):
        return _Number(values, schema, target.name)
    require_models()
    # Without weights: a held-out record counts as it does in the other figures.
    return _FollowUps(
        Values(values), schema, target, FollowUp.of(Values(values), target, schema, "held-out"), values.patient
    )


@dataclass(frozen=True, eq=False)
class _Classes:
    values: Values
    schema: Schema
    name: str = "auc"

    def predicted(self, records: Table) -> Predicted:
        scored = score_real(records, self.values, self.schema)
        return Predicted(scored.known, scored.label, scored.scores)

    def figure(self, one: Predicted) -> float | None:
        return auc(one.truth, one.values)

    def gain(self, first: Predicted, second: Predicted) -> Difference | None:
        return auc_difference(first.truth, first.values, second.values, _of(self.values.patient, first.known))


@dataclass(frozen=True, eq=False)
class _Number:
    values: Values
    schema: Schema
    column: str
    name: str = "r2"

    def predicted(self, records: Table) -> Predicted:
        return Predicted(
            *predictions(Values(read(records, self.schema)), Values(self.values), self.schema, self.column)
        )

    def figure(self, one: Predicted) -> float | None:
        return figures(one.truth, one.values, None)["r2"]

    def gain(self, first: Predicted, second: Predicted) -> Difference | None:
        y = first.truth
        if not len(y):
            return None
        gained = np.square(first.values - y) - np.square(second.values - y)
        return ratio_difference(gained, np.square(y - y.mean()), 1, _of(self.values.patient, first.known))


@dataclass(frozen=True, eq=False)
class _FollowUps:
    values: Values
    schema: Schema
    target: Survival
    followed: FollowUp
    patient: NDArray[np.int64] | None
    name: str = "concordance"

    def predicted(self, records: Table) -> Predicted:
        made = Values(read(records, self.schema))
        every = np.ones(len(self.followed.time), dtype=bool)
        return Predicted(every, self.followed.time, risks(made, self.values, self.target, self.schema))

    def figure(self, one: Predicted) -> float | None:
        return None if one.values is None else concordance(self.followed, one.values, np.ones(len(one.values)))

    def gain(self, first: Predicted, second: Predicted) -> Difference | None:
        if first.values is None or second.values is None:
            return None
        before, possible = pairs_of_each(self.followed, first.values)
        after, _ = pairs_of_each(self.followed, second.values)
        return ratio_difference(after - before, possible, 2, self.patient)


def _of(patient: NDArray[np.int64] | None, known: NDArray[np.bool_]) -> NDArray[np.int64] | None:
    return None if patient is None else patient[known]
