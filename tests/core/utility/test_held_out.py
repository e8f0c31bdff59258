"""What models reach on held-out records: the figure of the target's kind, and how sure a difference of two is."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from three_hospitals import records, schema

from cohortmix.core.data.table import InputError
from cohortmix.core.utility.concordance import concordance, pairs_of_each
from cohortmix.core.utility.evaluate import evaluate
from cohortmix.core.utility.held_out import held_out
from cohortmix.core.utility.interval import Z95, ratio_difference
from cohortmix.core.utility.kaplan_meier import FollowUp

TRAINING, TEST = records(500, 1), records(400, 2)
FIGURES = {
    "category": ("auc", "boosted_trees", "auc"),
    "number": ("r2", "boosted_trees", "r2"),
    "survival": ("concordance", "cox", "harrell_c"),
}


def shuffled(table: pd.DataFrame) -> pd.DataFrame:
    """Outcomes of other patients: nothing can be learned from these records."""
    rows = np.random.default_rng(3).permutation(len(table))
    return table.assign(**{name: table[name].to_numpy()[rows] for name in ("DAYS", "DEATH")})


@pytest.mark.parametrize("kind", FIGURES)
def test_each_kind_has_the_figure_that_evaluate_gives_it(kind: str) -> None:
    name, model, figure = FIGURES[kind]
    compared = held_out(TEST, schema(kind))
    assert compared.name == name
    good, bad = (compared.predicted(table) for table in (TRAINING, shuffled(TRAINING)))
    (target,) = evaluate(TRAINING, TEST, schema(kind))["targets"]
    assert compared.figure(good) == pytest.approx(target["models"][model]["tstr"][figure], abs=1e-12)
    gain, loss = compared.gain(bad, good), compared.gain(good, bad)
    assert gain is not None
    assert loss is not None
    difference = (compared.figure(good) or 0) - (compared.figure(bad) or 0)
    assert gain.estimate == pytest.approx(difference, abs=1e-12)
    assert 0 < gain.low < gain.estimate < gain.high, "a model of nothing is worse, by more than chance"
    assert (loss.estimate, loss.low, loss.high) == pytest.approx((-gain.estimate, -gain.high, -gain.low))


def test_a_table_without_a_target_has_nothing_to_predict() -> None:
    with pytest.raises(InputError, match="the schema has no target, and models are compared by what they predict"):
        held_out(TEST, schema("none"))


def test_a_follow_up_that_is_not_known_is_refused_and_no_value_is_shown() -> None:
    with pytest.raises(InputError, match="the held-out table: column 'DAYS': the time is zero or below in 1 row"):
        held_out(TEST.assign(DAYS=[-7.25, *TEST["DAYS"][1:]]), schema("survival"))


def test_records_without_an_event_teach_no_model() -> None:
    compared = held_out(TEST, schema("survival"))
    nothing, good = compared.predicted(TRAINING.assign(DEATH="no")), compared.predicted(TRAINING)
    assert compared.figure(nothing) is None
    assert compared.gain(nothing, good) is compared.gain(good, nothing) is None


def followed(rows: int, seed: int) -> FollowUp:
    """With ties in time."""
    rng = np.random.default_rng(seed)
    time, event = np.ceil(rng.exponential(10, rows)), rng.random(rows) < 0.6
    return FollowUp(time, event, rng.integers(1, 3, rows).astype(float))


@pytest.mark.parametrize("seed", range(3))
def test_pairs_of_each_record_are_those_that_a_loop_counts(seed: int) -> None:
    here = followed(60, seed)
    risk = np.random.default_rng(seed).normal(size=60).round(1)
    later = (here.time > here.time[:, None]) | ((here.time == here.time[:, None]) & ~here.event)
    pairs = later * here.event[:, None] * np.outer(here.weight, here.weight)
    wins = pairs * ((risk[:, None] > risk) + 0.5 * (risk[:, None] == risk))
    concordant, comparable = pairs_of_each(here, risk)
    assert comparable == pytest.approx(pairs.sum(axis=0) + pairs.sum(axis=1))
    assert concordant == pytest.approx(wins.sum(axis=0) + wins.sum(axis=1))
    assert concordant.sum() / comparable.sum() == pytest.approx(concordance(here, risk, np.ones(60)))


@pytest.mark.parametrize("kind", ["number", "survival"])
def test_the_interval_is_as_wide_as_other_patients_would_make_it(kind: str) -> None:
    """Against resampled patients: 2/3 or 3/2 of their standard error would be another one."""
    plain = schema(kind).model_copy(update={"patient_key": "id"})
    table = TEST.assign(id=np.arange(len(TEST)))
    half_as_many = records(60, 5)
    compared = held_out(table, plain)
    gain = compared.gain(compared.predicted(half_as_many), compared.predicted(TRAINING))
    assert gain is not None
    rng, estimates = np.random.default_rng(0), []
    for _ in range(60):
        again = held_out(TEST.iloc[rng.integers(0, len(TEST), len(TEST))], schema(kind))
        other = again.gain(again.predicted(half_as_many), again.predicted(TRAINING))
        assert other is not None
        estimates.append(other.estimate)
    error = (gain.high - gain.low) / (2 * Z95)
    assert 2 / 3 < error / np.std(estimates) < 3 / 2


def test_an_interval_counts_patients_and_not_their_records() -> None:
    rng = np.random.default_rng(4)
    gained, possible = rng.normal(size=100), rng.uniform(1, 2, 100)
    often, possibly, patients = np.tile(gained, 10), np.tile(possible, 10), np.tile(np.arange(100), 10)
    once, again = ratio_difference(gained, possible, 1), ratio_difference(often, possibly, 1, patients)
    nobody = ratio_difference(often, possibly, 1)
    widths = [found.high - found.low for found in (once, again, nobody) if found is not None]
    assert widths[1] == pytest.approx(widths[0])
    assert widths[2] == pytest.approx(widths[0] / 10**0.5, rel=0.01)
    assert ratio_difference(np.ones(3), np.zeros(3), 1) is None
    assert ratio_difference(np.ones(3), np.ones(3), 1, np.zeros(3, dtype=np.int64)) is None
