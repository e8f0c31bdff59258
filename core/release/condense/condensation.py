"""Condensation: released records are divided, rows are sought, and what these give is measured on the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import sklearn

from cohortmix.core.data.table import InputError
from cohortmix.core.release.condense.judge import Judge, figure
from cohortmix.core.release.condense.models import MODELS, Model
from cohortmix.core.release.condense.points import Points, first_points, importance, with_events
from cohortmix.core.release.condense.search import Sought, fit_rows, search
from cohortmix.core.release.condense.seen import WEIGHT, Seen
from cohortmix.core.steps.progress import report

HELD_OUT, MOST_HELD_OUT = 0.2, 10_000  # share of the records that are for the reported figures alone
JUDGED = 4_000  # records on which each evaluation measures the loss


@dataclass(frozen=True, eq=False, repr=False)
class Condensed:
    """Weighted rows for one model, and how good that model is on them. As private as the release that they are of.

    Attributes
    ----------
    rows : (R, columns of the schema and `weight`); the weights are in records and add up to those learned from.
    facts : what was done and reached, in plain data; figures are of released records that no model saw.
    """

    rows: pd.DataFrame
    facts: dict[str, Any]

    def __repr__(self) -> str:
        facts = self.facts
        name, reached = facts["figure"], facts["reached"]
        shown = {key: "-" if value is None else f"{value:.3f}" for key, value in reached.items()}
        return (
            f"Condensed({len(self.rows)} weighted rows for {facts['model']!r}: {name} {shown['condensed']} on "
            f"other released records, {shown['all records']} with all {facts['records']:,} records)"
        )


def condensation(records: Seen, model: str, size: int, evaluations: int, seed: int) -> Condensed:
    """Rows for one model, by function evaluations alone; the same arguments give the same rows on one machine.

    Parameters
    ----------
    records : n of a release.
    model : one of `MODELS` that suits the target.
    size : R, at least 2 and at most the records that are learned from.
    evaluations : how often the model is fitted on rows, at least 1.

    Raises
    ------
    InputError
        If the records have one class, or no event that others outlive, or fewer of them than rows are left for
        learning.
    """
    kind, rng = MODELS[model], np.random.default_rng(seed)
    order = rng.permutation(len(records))
    held_out = min(int(HELD_OUT * len(records)), MOST_HELD_OUT)
    tested, pool = records.some(order[:held_out]), records.some(order[held_out:])
    if size > len(pool):
        raise InputError(
            f"size={size:,} is too many rows: {len(pool):,} records are learned from, a fifth being kept for tests"
        )
    _require_learnable(pool)
    with sklearn.config_context(assume_finite=True, skip_parameter_validation=True):
        sought = _sought(pool, kind, rng)
        start = with_events(first_points(pool, sought.places, size, sought.share, sought.predict, rng), pool)
        points, first, last = search(sought, start, evaluations, rng)
        fitted = {"start": fit_rows(kind, pool, start), "condensed": fit_rows(kind, pool, points)}
        scores = {**fitted, "all records": sought.full}
        reached = {name: figure(of, tested, np.random.default_rng(seed)) for name, of in scores.items()}
        loss = {"start": first, "condensed": last, "all records": sought.judge.loss(sought.full)}
    facts = {
        "model": model,
        "fits": dict(kind.facts),
        "size": size,
        "seed": seed,
        "evaluations": evaluations,
        "objective": _OBJECTIVE[kind.survival],
        "loss": loss,
        "figure": "concordance" if kind.survival else "AUC",
        "reached": reached,
        "records": len(pool),
        "held_out": held_out,
    }
    return Condensed(_as_rows(points, pool), facts)


def _sought(pool: Seen, kind: Model, rng: np.random.Generator) -> Sought:
    """The model of all records, and the records on which others are compared with it."""
    report("model of all records", 0, 1)
    full = kind.fit(pool.x, pool.label, pool.time, np.ones(len(pool)), pool.classes)
    places = rng.permutation(len(pool))[:JUDGED]
    judge = Judge.of(kind, full, pool, places, rng)
    share = importance(full, judge, pool, rng)
    report("model of all records", 1, 1)
    return Sought(pool, places, kind, judge, full, share)


_OBJECTIVE = {
    False: "cross-entropy with the model of all records",
    True: "share of pairs of patients in wrong order",
}


def _as_rows(points: Points, pool: Seen) -> pd.DataFrame:
    label = points.label if len(points.label) else None
    rows = pool.rows(points.donors[points.point], label)
    return rows.assign(**{WEIGHT: points.weights(len(pool))})


def _require_learnable(pool: Seen) -> None:
    """Raise InputError unless there is something to tell apart."""
    if pool.time is None:
        if len(np.unique(pool.label)) < 2:
            raise InputError("the records have one class of the target: a model has nothing to tell apart")
        return
    died = pool.label == 1
    if not died.any() or pool.time[died].min() >= pool.time.max():
        raise InputError("no record has an event that another outlives: a model has nothing to put in order")
