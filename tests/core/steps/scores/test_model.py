"""The model of scores has the margins and moments that were measured, and nothing that was not."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from wide_tables import PAIRS, RHO, SCHEMA, patients

from cohortmix.core.audit.noise_keyed import KeyedNoise
from cohortmix.core.privacy.budget import Budget
from cohortmix.core.privacy.questions.pair_tables import PairTables
from cohortmix.core.privacy.questions.score_moment import ScoreMoment
from cohortmix.core.single_release import Release
from cohortmix.core.steps.plan import Plan
from cohortmix.core.steps.scores import couplings
from cohortmix.core.synthesis import synthesize

N = 3_000


@pytest.fixture(scope="module")
def release(few_steps: None) -> Release:
    """At mu 1, by the rule."""
    return synthesize(patients(N), SCHEMA, Budget.from_mu(1.0), noise=KeyedNoise(3))


@pytest.fixture(scope="module")
def records(release: Release) -> pd.DataFrame:
    return release.records(20_000).astype({name: float for name in SCHEMA.features if name[0] in "ab"})


def test_many_columns_and_few_patients_are_asked_about_scores(release: Release) -> None:
    assert release.variant == release.receipt["variant"] == "scores"
    assert len(release.answers) == 2
    assert release.receipt["mu"] == pytest.approx(1.0)


@pytest.mark.parametrize("pair", range(1, PAIRS))
def test_what_goes_together_does_so_in_the_records(records: pd.DataFrame, pair: int) -> None:
    both = records[[f"a{pair}", f"b{pair}"]].dropna()
    assert both.corr("spearman").iloc[0, 1] == pytest.approx(RHO, abs=0.15)


def test_what_does_not_go_together_does_not(records: pd.DataFrame) -> None:
    apart = [abs(records[f"a{one}"].corr(records[f"a{one + 1}"])) for one in range(1, PAIRS - 1)]
    assert np.mean(apart) < 0.08


def test_classes_and_categories_differ_as_they_did(records: pd.DataFrame) -> None:
    means = records.groupby("outcome")["a0"].mean()
    assert means["ill"] - means["well"] == pytest.approx(1.2, abs=0.3)
    of_ward = records.groupby("ward")["a0"].mean()
    assert of_ward["north"] - of_ward["east"] == pytest.approx(0.8, abs=0.35)


def test_what_is_missing_together_stays_so(records: pd.DataFrame) -> None:
    assert records["b0"].isna().mean() == pytest.approx(0.3, abs=0.05)
    assert records["b0"].isna().corr(records["b1"].isna()) > 0.8


def test_margins_stay_what_they_were(records: pd.DataFrame) -> None:
    true = patients(N)
    for name in ("a1", "b3"):
        assert records[name].mean() == pytest.approx(true[name].mean(), abs=0.12)
        assert records[name].std() == pytest.approx(true[name].std(), rel=0.15)
    assert (records["outcome"] == "ill").mean() == pytest.approx((true["outcome"] == "ill").mean(), abs=0.03)


def test_cells_lose_what_scores_keep(few_steps: None) -> None:
    """The same table and budget, asked for tables: the negation of the test above."""
    cells = synthesize(
        patients(N), SCHEMA, Budget.from_mu(0.4), noise=KeyedNoise(3), variant="cells", accept_degraded=True
    )
    scores = synthesize(patients(N), SCHEMA, Budget.from_mu(0.4), noise=KeyedNoise(3), variant="scores")
    kept = [
        np.mean([made["a" + str(p)].astype(float).corr(made["b" + str(p)].astype(float)) for p in range(2, PAIRS)])
        for made in (cells.records(20_000), scores.records(20_000))
    ]
    assert kept[0] < 0.3 < 0.5 < kept[1]


# --- the rule, from public facts


def plan(patients: int, mu: float) -> Plan:
    return Plan(SCHEMA, Fraction(mu) ** 2, patients)


def test_the_rule_follows_from_schema_patients_and_budget() -> None:
    assert plan(3_000, 0.5).by_scores
    assert not plan(100, 0.5).by_scores, "noise would exceed every correlation"
    assert not plan(10**6, 1.0).by_scores, "tables can be afforded"
    columns = {name: SCHEMA.columns[name] for name in ("a1", "b1", "a2", "outcome")}
    narrow = SCHEMA.model_copy(update={"columns": columns})
    assert not Plan(narrow, Fraction(1, 4), 3_000).by_scores
    assert plan(3_000, 0.5).fits_mixture


def test_both_answers_cost_what_the_plan_says(release: Release) -> None:
    own = plan(N, 1.0)
    assert own.mu2_sums + own.mu2_moments == own.mu2
    for answer, cost in zip(release.answers, (own.mu2_sums, own.mu2_moments), strict=True):
        assert cost * (1 - Fraction(1, 2**20)) < answer.mu2 <= cost


def test_what_is_asked_follows_from_the_first_answer_alone(release: Release) -> None:
    """Another table with the same released margins is asked the same; and no pair tables are asked."""
    from cohortmix.core.steps import anonymize

    asked = anonymize.pair_query(plan(N, 1.0), release.common)  # type: ignore[arg-type]
    assert isinstance(asked, ScoreMoment)
    assert not isinstance(asked, PairTables)
    assert {score.column for score in asked.coordinates} <= set(range(len(SCHEMA.features)))


def test_what_a_sweep_costs_does_not_grow_beyond_so_many_columns() -> None:
    few = couplings.chains_of_class(couplings.COLUMNS, 2, std=0.0)
    assert few == couplings.chains_of_class(3, 2, std=0.0) == couplings.CHAINS // 2
    for columns in (65, 100, 300, 10**6):
        chains = couplings.chains_of_class(columns, 2, std=0.0)
        assert chains >= 1
        assert chains == 1 or 0.95 * few < chains * columns / couplings.COLUMNS <= few


@pytest.mark.parametrize("std", [0.001, 0.04, 0.06, 0.3])
def test_there_are_as_many_chains_as_the_noise_leaves_visible(std: float) -> None:
    """The error of a moment of M chains is M^-1/2: half of the noise, and no more chains than that takes."""
    chains = couplings.chains_of_class(20, 1, std)
    assert couplings.FEWEST_CHAINS <= chains <= couplings.CHAINS
    assert chains**-0.5 <= 0.501 * std or chains == couplings.CHAINS
    assert chains**-0.5 >= 0.499 * std or chains == couplings.FEWEST_CHAINS
