"""The Gaussian variant: standardized values and back, denoising against known noise, and a release of it."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from cohortmix.core import Budget, Schema, synthesize
from cohortmix.core.audit.noise_keyed import KeyedNoise
from cohortmix.core.audit.replay import Replays, run
from cohortmix.core.data.encoding import Encoding
from cohortmix.core.data.table import TableSource
from cohortmix.core.gaussian import model as gaussian
from cohortmix.core.gaussian.denoise import denoise
from cohortmix.core.gaussian.learn import is_narrow
from cohortmix.core.gaussian.levels import FURTHEST, Levels
from cohortmix.core.gaussian.model import ClassGaussians, suits
from cohortmix.core.privacy.meter import Answer
from cohortmix.core.privacy.noise_source import NoiseSource
from cohortmix.core.privacy.questions.class_moment import ClassMoment
from cohortmix.core.privacy.questions.coordinates import DIAGONAL, weights
from cohortmix.core.single_release import Release
from cohortmix.core.steps.adapt import adapt
from cohortmix.core.steps.plan import Plan

NUMBERS = 24
SCHEMA = Schema.model_validate(
    {
        "name": "wide",
        "target": "outcome",
        "columns": {f"v{at}": {"type": "number", "min": -20, "max": 20} for at in range(NUMBERS)}
        | {
            "whole": {"type": "number", "min": 0, "max": 9, "integer": True},
            "later": {"type": "number", "min": 0, "max": 9, "integer": True, "after": "whole"},
            "lab": {"type": "number", "min": 0, "max": 100, "transform": "log1p", "missing": True},
            "other": {"type": "number", "min": 0, "max": 100, "missing": True, "with": "lab"},
            "sex": {"type": "category", "values": ["F", "M"]},
            "code": {"type": "category", "values": ["a", "b", "c"], "missing": True},
            "day": {"type": "date", "min": "1991-01-01", "max": "1996-12-31"},
            "outcome": {"type": "category", "values": ["well", "ill"]},
        },
    }
)
ENCODING = Encoding.of(SCHEMA)


def cohort(n: int = 3000, seed: int = 0) -> pd.DataFrame:
    """Correlated numbers of different spread; the ill differ in four of them and in sex."""
    rng = np.random.default_rng(seed)
    ill = rng.random(n) < 0.3
    common = rng.normal(size=n)
    table = pd.DataFrame(
        {
            f"v{at}": (1 + at / 8) * (0.6 * common + rng.normal(size=n) + 1.2 * ill * (at < 4))
            for at in range(NUMBERS)
        }
    )
    lab = np.where(rng.random(n) < 0.3, np.nan, rng.exponential(3, n))
    day = pd.Timestamp("1992-01-01") + pd.to_timedelta(rng.integers(0, 1000, n), "D")
    return table.assign(
        whole=rng.integers(0, 7, n),
        later=7,
        lab=lab,
        other=lab,
        sex=np.where(rng.random(n) < 0.2 + 0.6 * ill, "F", "M"),
        code=rng.choice(["a", "b", "c"], n, p=[0.1, 0.3, 0.6]),
        day=day,
        outcome=np.where(ill, "ill", "well"),
    )


@pytest.fixture(scope="module")
def wide() -> Any:
    """A release, its inducing points in seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gaussian, "TARGETS", 2000)
        patch.setattr(gaussian, "adapt", partial(adapt, steps=20))
        yield synthesize(
            cohort(), SCHEMA, Budget.from_mu(1.5), noise=KeyedNoise(1), support=20, variant="gaussian"
        )


# Levels


def test_levels_and_cells_are_inverse() -> None:
    (batch,) = TableSource(cohort(200), SCHEMA.features).batches()
    codes = ENCODING.feature_codes(batch)
    levels = Levels.of(ENCODING)
    moved = replace(levels, centre=np.full(len(levels.axes), 0.1), scale=np.full(len(levels.axes), 0.2))
    for either in (levels, moved):
        back = either.to_cells(either.of_cells(codes))
        for at, cells in enumerate(ENCODING.features):
            np.testing.assert_array_equal(back[cells.name], codes[:, at], err_msg=cells.name)


def test_a_level_is_the_place_between_the_bounds_and_an_unknown_cell_lies_at_the_centre() -> None:
    levels = Levels.of(ENCODING)
    low = levels.of_cells(np.zeros((1, len(ENCODING.features)), dtype=np.int32))[0]
    high = levels.of_cells(np.array([[cells.size - 1 for cells in ENCODING.features]], dtype=np.int32))[0]
    by_name = {axis.name: at for at, axis in enumerate(levels.axes)}
    assert (low[by_name["v0"]], high[by_name["v0"]]) == (-1, 1)
    assert (low[by_name["code: a"]], high[by_name["code: a"]]) == (1, 0)
    assert (high[by_name["lab"]], high[by_name["lab: missing"]]) == (0, 1)
    assert "sex: F" in by_name
    assert "sex: M" not in by_name  # what is left
    unknown = np.full((1, len(ENCODING.features)), -1, dtype=np.int32)
    assert not levels.of_cells(unknown).any()


def test_the_vault_is_asked_for_the_same_levels() -> None:
    """Coordinates in lattice steps are the levels, and with `spread` their absolute values."""
    levels = Levels.of(ENCODING)
    levels = replace(levels, centre=np.full(len(levels.axes), 0.3), scale=np.full(len(levels.axes), 0.05))
    plain, spread = levels.coordinates(1000), levels.coordinates(1000, spread=True)
    for at, axis in enumerate(levels.axes):
        assert plain[at].column == axis.column
        codes = np.zeros((len(axis.places), len(ENCODING.features)), dtype=np.int32)
        codes[:, axis.column] = np.arange(len(axis.places))
        expected = levels.of_cells(codes)[:, at]
        np.testing.assert_allclose(np.array(plain[at].levels) / 1000, expected, atol=5e-4)
        assert spread[at].levels == tuple(abs(level) for level in plain[at].levels)
        assert np.abs(expected).max() <= FURTHEST


# Denoising


def test_without_noise_the_moments_are_those_of_the_classes() -> None:
    """From an answer that holds exact sums: masses, centroids and covariances, class by class."""
    rng = np.random.default_rng(0)
    x = [
        rng.normal(size=(2000, 3)) @ np.diag(spread) + shift for spread, shift in (([1, 2, 1], 0), ([2, 1, 1], 1))
    ]
    query = ClassMoment((), ((), (), ()), 1, 10_000, 2000, 1000)
    answer = Answer(_entries(x, query), 2**32, DIAGONAL * 1000**2, 1, Fraction(1), "")
    masses, means, covariances = denoise(replace(answer, sigma=1), query, 2, 4000)
    np.testing.assert_allclose(masses, 2000, rtol=1e-6)
    for c, own in enumerate(x):
        np.testing.assert_allclose(covariances[c], np.cov(own.T, bias=True), atol=1e-4)
        np.testing.assert_allclose(means[c], own.mean(axis=0), atol=1e-3)


def _entries(x: list[Any], query: ClassMoment) -> Any:
    """What a vault would answer about classes of standardized records."""
    psi = [np.column_stack([own * query.level_unit, np.full(len(own), query.label_weight)]) for own in x]
    upper = np.triu_indices(query.width)
    return np.concatenate([(each.T @ each)[upper] * weights(query.width) for each in psi]).astype(np.int64)


def test_the_posterior_is_bayes_rule_on_what_is_drawn(wide: Release) -> None:
    assert isinstance(wide.common, ClassGaussians)
    label, x = wide.common.draw(4000, np.random.default_rng(0))
    p = wide.common.posterior(x)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    for low in (0.0, 0.2, 0.5, 0.8):
        near = (p[:, 1] >= low) & (p[:, 1] < low + 0.2)
        assert label[near].mean() == pytest.approx(p[near, 1].mean(), abs=0.08)


# A release


def test_what_is_drawn_looks_like_the_table(wide: Release) -> None:
    rows, table = wide.records(4000), cohort()
    assert wide.variant == "gaussian"
    assert list(rows.columns) == list(SCHEMA.columns)
    names = [f"v{at}" for at in range(NUMBERS)]
    np.testing.assert_allclose(rows[names].mean(), table[names].mean(), atol=0.35)
    np.testing.assert_allclose(rows[names].std() / table[names].std(), 1, atol=0.2)
    np.testing.assert_allclose(rows[names].astype(float).corr(), table[names].corr(), atol=0.2)
    apart = [frame.groupby("outcome")[names].mean().diff().iloc[1] for frame in (rows, table)]
    np.testing.assert_allclose(np.abs(apart[0]), np.abs(apart[1]), atol=0.6)
    for column in ("sex", "code", "outcome"):
        shares = [frame[column].value_counts(normalize=True) for frame in (rows, table)]
        np.testing.assert_allclose(shares[0].sort_index(), shares[1].sort_index(), atol=0.08)
    assert rows["lab"].isna().mean() == pytest.approx(0.3, abs=0.08)


def test_the_rules_of_the_schema_hold_in_every_row(wide: Release) -> None:
    rows = wide.records(3000)
    assert (rows["lab"].isna() == rows["other"].isna()).all()
    assert (rows["later"] >= rows["whole"]).all()
    assert rows["whole"].dtype == "Int64"
    assert rows["v23"].between(-20, 20).all()
    assert rows["day"].between(pd.Timestamp("1991-01-01").date(), pd.Timestamp("1996-12-31").date()).all()


def test_the_support_is_a_classifier_and_the_centroids_speak_in_units(wide: Release) -> None:
    test = cohort(2000, seed=9)
    p = wide.support.predict_proba(test.drop(columns="outcome"))
    assert roc_auc_score(test["outcome"] == "ill", p[:, 1]) > 0.8
    found = wide.centroids
    assert list(found["kind"][:3]) == ["gaussian", "gaussian", "support"]
    assert found["mass"].sum() == pytest.approx(3000)
    centroid = found[found["outcome: ill"] == 1].iloc[0]
    ill = cohort()[cohort()["outcome"] == "ill"]
    for name in ("v0", "v3", "whole"):
        assert centroid[name] == pytest.approx(ill[name].mean(), abs=0.5)
    day: Any = ill["day"].mean()  # a time, of a column of times
    assert abs((centroid["day"] - day.date()).days) < 60
    assert centroid["sex: F"] == pytest.approx(0.8, abs=0.1)


def test_the_questions_cost_the_budget(wide: Release) -> None:
    receipt = wide.receipt
    assert len(receipt["statements"]) == 3
    assert receipt["variant"] == "gaussian"
    assert not receipt["degraded_to_class_centroids"]
    spent = sum(Fraction(each["mu2"]) for each in receipt["statements"])
    assert Fraction(receipt["mu2"]) == spent
    assert 1.5**2 * (1 - 1e-6) < spent <= 1.5**2


@pytest.mark.parametrize(("mu", "questions"), [(20, 3), (0.3, 5)])
def test_nothing_but_the_answers_depends_on_the_records(mu: float, questions: int) -> None:
    """Record and replay, narrow and wide: given the released answers, a neighbour asks and releases the same."""
    table = cohort(400)
    neighbour = table.copy()
    neighbour.loc[17, [f"v{at}" for at in range(NUMBERS)]] *= -1e6
    neighbour.loc[17, ["sex", "outcome"]] = ["F", "ill"] if table.loc[17, "outcome"] == "well" else ["M", "well"]

    def mechanism(frame: pd.DataFrame, noise: NoiseSource) -> tuple[tuple[Answer, ...], Release]:
        release = synthesize(frame, SCHEMA, Budget.from_mu(mu), noise=noise, support=20, variant="gaussian")
        return release.answers, release

    recorded, replays = run(partial(mechanism, table), KeyedNoise(1)), Replays()
    replays.compare("one patient", recorded, run(partial(mechanism, neighbour), KeyedNoise(2), recorded))
    assert replays.violations == []
    assert set(replays.reached) == set(range(questions))
    assert min(replays.reached.values()) > 0


def test_nobody_known_and_classes_without_patients() -> None:
    """Every cell missing or undeclared, one class: rows come out all the same, where somebody accepts that."""
    nothing = pd.DataFrame({name: [None] * 60 for name in SCHEMA.columns}).assign(outcome="ill")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gaussian, "TARGETS", 200)
        patch.setattr(gaussian, "adapt", partial(adapt, steps=5))
        found = synthesize(
            nothing,
            SCHEMA,
            Budget.from_mu(0.3),
            noise=KeyedNoise(2),
            support=5,
            variant="gaussian",
            max_unreadable=1.0,
        )
    rows = found.records(50)
    assert len(rows) == 50
    assert np.isfinite(found.site.means).all()


# Which tables


def plan(schema: Schema, patients: int, mu: float = 0.3) -> Plan:
    return Plan(schema, Fraction(mu) ** 2, patients)


def some(columns: dict[str, Any]) -> Schema:
    outcome = {"type": "category", "values": ["well", "ill"]}
    return Schema.model_validate({"name": "x", "target": "outcome", "columns": columns | {"outcome": outcome}})


def test_the_variant_follows_from_the_schema_the_patients_and_the_budget() -> None:
    number, known = {"type": "number", "min": 0, "max": 1, "missing": True}, {"type": "number", "min": 0, "max": 1}
    category = {"type": "category", "values": ["a", "b"]}
    many = some({f"n{at}": number for at in range(300)})
    assert suits(plan(many, 3000))
    assert not suits(plan(many, 1_000_000))  # cells have room
    assert not suits(plan(many, 3000, mu=100.0))
    assert not suits(plan(many, 300))  # drowned: class centroids say more
    thirty = some({f"n{at}": known for at in range(30)})
    assert suits(plan(thirty, 1_000_000))  # numbers throughout
    assert not suits(plan(thirty, 3000))  # scores have room
    assert suits(plan(some({f"n{at}": known for at in range(300)}), 30_000))  # of too many columns
    assert not suits(plan(some({f"n{at}": known for at in range(19)}), 300))  # not wide
    assert not suits(plan(some({f"c{at}": category for at in range(300)}), 3000))


def test_directions_are_chosen_where_the_moment_of_a_class_would_drown() -> None:
    """From K, C, N and mu alone; and few coordinates are few enough."""
    schema = some({f"n{at}": {"type": "number", "min": 0, "max": 1} for at in range(30)})
    narrow = [is_narrow(30, plan(schema, patients)) for patients in (1000, 10_000, 10**6)]
    assert narrow == sorted(narrow)
    assert (narrow[0], narrow[-1]) == (False, True)
    assert is_narrow(10, plan(schema, 50))
    assert not is_narrow(30, plan(schema, 10**6, mu=1e-3))


def test_columns_declared_alike_share_a_scale() -> None:
    """Pixels, or principal components, keep their relation; a column with bounds of its own is standardized."""
    pixel, other = {"type": "number", "min": 0, "max": 1}, {"type": "number", "min": 0, "max": 7}
    schema = some(
        {f"n{at}": pixel for at in range(20)} | {"log": pixel | {"max": 2, "transform": "log1p"}, "o": other}
    )
    levels = Levels.of(Encoding.of(schema))
    assert len(set(levels.alike[:20])) == 1
    assert len(set(levels.alike)) == 3
    rng = np.random.default_rng(3)
    table = pd.DataFrame({f"n{at}": rng.uniform(0.5 - at / 50, 0.5 + at / 50, 2000) for at in range(20)})
    table = table.assign(
        log=rng.uniform(0, 2, 2000), o=rng.uniform(3, 4, 2000), outcome=rng.choice(["well", "ill"], 2000)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gaussian, "TARGETS", 200)
        patch.setattr(gaussian, "adapt", partial(adapt, steps=5))
        found = synthesize(table, schema, Budget.from_mu(5), noise=KeyedNoise(1), support=5, variant="gaussian")
    assert isinstance(found.common, ClassGaussians)
    scale = found.common.levels.scale
    assert len(set(scale[:20])) == 1
    assert scale[0] == pytest.approx(2 * np.sqrt(table.iloc[:, :20].var().mean()), rel=0.2)
    assert scale[-1] == pytest.approx(2 / 7 * table["o"].std(), rel=0.2)
    drawn = found.records(4000)
    np.testing.assert_allclose(drawn["n19"].std() / drawn["n4"].std(), 19 / 4, rtol=0.25)
