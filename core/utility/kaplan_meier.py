"""Kaplan-Meier: how many are still without the event as time goes by, and how far two such curves are apart.

Not private, as all that is computed from real records. Rows count by their weights, for which libraries have no
place: without weights, the curves are those of `sksurv.nonparametric`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohortmix.core.data.dictionary.columns import Category
from cohortmix.core.data.dictionary.outcome import Survival
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import InputError
from cohortmix.core.data.words import counted
from cohortmix.core.utility.columns import Values
from cohortmix.core.utility.target import Target

FOLLOWED = 0.9
"""Share of the real records whose follow-up is over at the horizon: beyond it, curves rest on a few."""

POINTS = 200  # of a curve in a report: no step can be seen in a drawing


@dataclass(frozen=True, eq=False)
class FollowUp:
    """How long records were followed.

    Attributes
    ----------
    time : (n,) above zero.
    event : (n,) whether the event ended it; else the record is censored.
    weight : (n,) what each record counts, above zero.
    """

    time: NDArray[np.float64]
    event: NDArray[np.bool_]
    weight: NDArray[np.float64]

    @classmethod
    def of(cls, values: Values, survival: Survival, schema: Schema, side: str) -> FollowUp:
        """Of the rows of a table that count; `side` names the table.

        Raises
        ------
        InputError
            If a time is zero or below, or a time or an event is missing: how many, and the first row.
        """
        time, event = values[survival.time], values[survival.event]
        weight = np.ones(len(time)) if values.weight is None else values.weight
        used = weight > 0
        for name, wrong, what in (
            (survival.time, np.isnan(time), "the time is missing"),
            (survival.time, time <= 0, "the time is zero or below"),
            (survival.event, np.isnan(event), "the event is missing, or not declared,"),
        ):
            rows = np.flatnonzero(wrong & used)
            if len(rows):
                raise InputError(
                    f"the {side} table: column {name!r}: {what} in {counted(len(rows), 'row')} (first in row "
                    f"{rows[0] + 1}); leave out who was not followed"
                )
        column = schema.columns[survival.event]
        assert isinstance(column, Category)
        return cls(time[used], event[used] == column.values.index(survival.happened or ""), weight[used])

    def __getitem__(self, rows: Any) -> FollowUp:
        """Some of the records."""
        return FollowUp(self.time[rows], self.event[rows], self.weight[rows])

    @property
    def censored(self) -> float:
        """Share of the records whose event is not known."""
        return float(np.average(~self.event, weights=self.weight))

    @property
    def horizon(self) -> float:
        """The time after which a share `FOLLOWED` of the records is followed no longer."""
        order = np.argsort(self.time)
        over = np.cumsum(self.weight[order])
        least = FOLLOWED * over[-1] * (1 - 1e-9)  # however sums of thirds are rounded
        return float(self.time[order][np.searchsorted(over, least)])


@dataclass(frozen=True, eq=False)
class Curve:
    """A step function from 1 at time 0: `heights[k]` from `times[k]` on, shape (T,) each."""

    times: NDArray[np.float64]
    heights: NDArray[np.float64]

    @classmethod
    def of(cls, followed: FollowUp) -> Curve:
        """The share without the event (Kaplan and Meier 1958); at one time, events come before censorings."""
        times, ended, _, at_risk = _counts(followed)
        return cls(times, np.asarray(np.cumprod(1 - ended / at_risk)))

    @classmethod
    def of_censoring(cls, followed: FollowUp) -> Curve:
        """The share that is not yet censored, where an event would not end the follow-up: G of the weights."""
        times, ended, censored, at_risk = _counts(followed)
        left = at_risk - ended
        return cls(times, np.cumprod(1 - np.divide(censored, left, out=np.zeros(len(times)), where=censored > 0)))

    def at(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """Its height at each time, (n,); beyond the last known time, the last height."""
        return np.append(1.0, self.heights)[np.searchsorted(self.times, times, side="right")]

    def mean(self, horizon: float) -> float:
        """Restricted mean survival time: the area below the curve up to the horizon, in units of time."""
        inside = self.times < horizon
        ends = np.concatenate([[0.0], self.times[inside], [horizon]])
        return float(np.diff(ends) @ np.append(1.0, self.heights[inside]))

    def distance(self, other: Curve, horizon: float) -> tuple[float, float]:
        """The largest difference of two curves up to the horizon, and the time of it.

        Where one of them ends before the horizon, up to there: what follows is not known.
        """
        known = min(horizon, self.times[-1], other.times[-1])
        times = np.concatenate([self.times, other.times])
        times = np.unique(np.append(times[times <= known], known))
        apart = np.abs(self.at(times) - other.at(times))
        return float(apart.max()), float(times[apart.argmax()])

    def points(self, horizon: float) -> dict[str, list[float]]:
        """At most `POINTS` places up to the horizon, or to its own end, for a drawing."""
        places = np.linspace(0, min(horizon, self.times[-1]), POINTS)
        return {"times": places.tolist(), "survival": self.at(places).tolist()}


def compared(synthetic: FollowUp, real: FollowUp, horizon: float) -> dict[str, Any]:
    """Both curves and what they say up to the horizon, ready for JSON; None where there is no record."""
    each = {"synthetic": _summary(synthetic, horizon), "real": _summary(real, horizon)}
    distance, at = None, None
    if len(synthetic.time) and len(real.time):
        distance, at = Curve.of(real).distance(Curve.of(synthetic), horizon)
    figures = {figure: {side: found[figure] for side, found in each.items()} for figure in each["real"]}
    return {"distance": distance, "distance_at": at, **figures}


def by_strata(
    text: str, sides: Mapping[str, Values], followed: Mapping[str, FollowUp], schema: Schema, horizon: float
) -> dict[str, Any]:
    """`compared` for each class of a column or a rule (`Target.parse`), that of the most real records first."""
    target = Target.parse(text, schema)
    target = target.of_frequent(sides["real"][target.name], sides["real"].weight)
    label = {}
    for side, values in sides.items():
        all_rows = target.labels(values[target.name])
        label[side] = all_rows if values.weight is None else all_rows[values.weight > 0]
    groups = []
    for place, name in enumerate(target.names(schema.columns[target.name], text)):
        made, known = (followed[side][label[side] == place] for side in ("synthetic", "real"))
        groups.append({"name": name, **compared(made, known, horizon)})
    return {"column": text, "groups": sorted(groups, key=lambda group: -group["records"]["real"])}


def _summary(followed: FollowUp, horizon: float) -> dict[str, Any]:
    if not len(followed.time):
        return {"records": 0.0, "censored": None, "restricted_mean": None, "curve": None}
    curve = Curve.of(followed)
    return {
        "records": float(followed.weight.sum()),
        "censored": followed.censored,
        "restricted_mean": curve.mean(horizon),
        "curve": curve.points(horizon),
    }


def _counts(followed: FollowUp) -> tuple[NDArray[np.float64], ...]:
    """The distinct times, (T,), and at each the weight that has the event, that is censored, and at risk."""
    times, place = np.unique(followed.time, return_inverse=True)
    ended, censored = (
        np.asarray(np.bincount(place, followed.weight * which, minlength=len(times)), dtype=np.float64)
        for which in (followed.event, ~followed.event)
    )
    return times, ended, censored, np.asarray(np.cumsum((ended + censored)[::-1])[::-1])
