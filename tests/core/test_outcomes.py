"""Releases whose outcome is a number, a time and its event, or nothing: what of it comes back in the records."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from cohortmix.core import Budget, Schema, synthesize
from cohortmix.core.audit.noise_keyed import KeyedNoise
from cohortmix.core.single_release import Variant

TEXT = """
name: followed
target: {target}
columns:
  risk: {{type: number, min: -4, max: 4}}
  arm: {{type: category, values: [new, old]}}
  days: {{type: number, min: 1, max: 2000, integer: true}}
  dead: {{type: category, values: [0, 1]}}
"""
SURVIVAL = "{time: days, event: dead}"


def schema(target: str) -> Schema:
    return Schema.from_yaml(TEXT.format(target=target))


def cohort(n: int = 3000, seed: int = 0) -> pd.DataFrame:
    """Who is at risk dies earlier; censored whenever the study ends for them."""
    rng = np.random.default_rng(seed)
    risk = rng.normal(size=n).clip(-4, 4)
    died, left = rng.exponential(600 * np.exp(-risk)), rng.uniform(1, 2000, n)
    return pd.DataFrame(
        {
            "risk": risk,
            "arm": rng.choice(["new", "old"], n),
            "days": np.clip(np.ceil(np.minimum(died, left)), 1, 2000).astype(int),
            "dead": (died <= left).astype(int),
        }
    )


def survival_at(records: pd.DataFrame, days: list[int]) -> np.ndarray:
    """Kaplan and Meier's estimate, written down once more."""
    time, dead = records["days"].to_numpy(float), records["dead"].astype(str).to_numpy() == "1"
    steps = [(at, 1 - (dead & (time == at)).sum() / (time >= at).sum()) for at in np.unique(time[dead])]
    return np.array([np.prod([factor for at, factor in steps if at <= day]) for day in days])


@pytest.mark.parametrize("variant", ["cells", "scores", "gaussian"])
def test_a_time_and_its_event(variant: Variant) -> None:
    table = cohort()
    found = synthesize(table, schema(SURVIVAL), Budget.from_mu(8), noise=KeyedNoise(1), variant=variant)
    records = found.records()
    assert list(records) == list(table)
    assert records["days"].min() >= 1
    assert set(records["dead"]) == {"0", "1"}
    days = [100, 300, 600, 1000]
    assert np.abs(survival_at(records, days) - survival_at(table, days)).max() < 0.05
    assert np.abs(survival_at(records.assign(dead="1"), days) - survival_at(table, days)).max() > 0.1
    dead = records[records["dead"] == "1"]
    assert spearmanr(dead["risk"].astype(float), dead["days"].astype(float))[0] < -0.2
    assert found.receipt["statements"]


@pytest.mark.parametrize("variant", ["cells", "scores", "gaussian"])
def test_a_number(variant: Variant) -> None:
    table = cohort()
    found = synthesize(table, schema("days"), Budget.from_mu(8), noise=KeyedNoise(1), variant=variant)
    records = found.records()
    correlation = spearmanr(records["risk"].astype(float), records["days"].astype(float))[0]
    assert correlation == pytest.approx(spearmanr(table["risk"], table["days"])[0], abs=0.12)
    if variant == "gaussian":
        return  # within a class its numbers are normal, whatever theirs were
    assert records["days"].astype(float).quantile([0.1, 0.5, 0.9]).to_numpy() == pytest.approx(
        table["days"].quantile([0.1, 0.5, 0.9]).to_numpy(), rel=0.2, abs=15
    )


def test_no_outcome() -> None:
    table = cohort()
    found = synthesize(table, schema("null"), Budget.from_mu(8), noise=KeyedNoise(1))
    records = found.records()
    assert list(records) == list(table)
    assert (records["dead"] == "1").mean() == pytest.approx(table["dead"].mean(), abs=0.03)
    assert found.lost.target is None


def test_a_budget_for_little_keeps_the_curve_better_than_the_worst_one_could() -> None:
    """Of 400 patients, at the price of epsilon 1: class centroids, whose times are within their slices."""
    table = cohort(400)
    found = synthesize(table, schema(SURVIVAL), Budget.from_epsilon(1), noise=KeyedNoise(2), accept_degraded=True)
    days = [100, 300, 600, 1000]
    distance = np.abs(survival_at(found.records(4000), days) - survival_at(table, days)).max()
    assert distance < 0.2 < np.abs(survival_at(table, days) - 1).max()
