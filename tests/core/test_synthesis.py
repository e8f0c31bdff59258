"""`synthesize`: a release of one table, tables that are hard but legal, and refusals in one sentence."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.metrics import roc_auc_score

from cohortmix.core import Budget, Schema, synthesize
from cohortmix.core.audit.noise_keyed import KeyedNoise
from cohortmix.core.data.dictionary.columns import Category
from cohortmix.core.data.schema import SchemaError
from cohortmix.core.data.table import InputError
from cohortmix.core.privacy import gdp
from cohortmix.core.privacy.budget import MIN_PATIENTS
from cohortmix.core.single_release import Release

SCHEMA = Schema.from_yaml(
    """
name: cohort
target: outcome
columns:
  age: {type: number, min: 0, max: 99, integer: true}
  dose: {type: number, min: 0, max: 1, missing: true}
  sex: {type: category, values: [F, M]}
  outcome: {type: category, values: [well, ill]}
"""
)


def cohort(n: int = 400, seed: int = 0) -> pd.DataFrame:
    """An easy problem: the ill are twenty years older."""
    rng = np.random.default_rng(seed)
    ill = rng.random(n) < 0.5
    return pd.DataFrame(
        {
            "age": np.clip(rng.normal(np.where(ill, 60, 40), 10), 0, 99).round(),
            "dose": np.where(rng.random(n) < 0.2, np.nan, rng.beta(np.where(ill, 4, 2), 3)),
            "sex": rng.choice(["F", "M"], n),
            "outcome": np.where(ill, "ill", "well"),
        }
    )


def release(table: Any = None, schema: Schema = SCHEMA, mu: float = 2.0, seed: int = 1) -> Release:
    data = cohort() if table is None else table
    return synthesize(data, schema, Budget.from_mu(mu), noise=KeyedNoise(seed), support=10, accept_degraded=True)


@pytest.fixture(scope="module")
def easy(few_steps: None) -> Release:
    return release()


# A release


def test_synthetic_rows_look_like_the_table(easy: Release) -> None:
    rows, table = easy.records(4000), cohort()
    assert list(rows.columns) == list(SCHEMA.columns)
    assert len(easy.records()) == len(table)
    by_class, truth = rows.groupby("outcome")["age"].mean(), table.groupby("outcome")["age"].mean()
    np.testing.assert_allclose(by_class.to_numpy(float), truth.to_numpy(float), atol=5)
    assert abs(rows["dose"].isna().mean() - table["dose"].isna().mean()) < 0.08
    assert abs((rows["outcome"] == "ill").mean() - 0.5) < 0.08


def test_constraints_are_kept_and_said_in_the_receipt_and_nothing_is_without(easy: Release) -> None:
    texts = ["drift<=0.001", "recall(ill)>=0.5", "calibration(sex=F, ill)<=0.2"]
    budget = Budget.from_mu(2.0)
    found = synthesize(cohort(), SCHEMA, budget, noise=KeyedNoise(1), support=10, constraints=texts)
    facts = found.receipt.pop("constraints")
    assert [one["constraint"] for one in facts] == texts
    assert [one["met"] for one in facts] == [True] * 3
    assert found.unmet == ""
    assert facts[0]["value"] <= 0.001
    assert "constraints" not in easy.receipt
    assert {name: value for name, value in found.receipt.items() if name != "constraints"} == easy.receipt
    pd.testing.assert_frame_equal(found.records(50), easy.records(50))  # which do not follow from inducing points


def test_an_impossible_constraint_is_a_fact_and_no_error(few_steps: None) -> None:
    texts = ["recall(well)>=1", "recall(ill)>=1"]  # a record that can be either is found for one of them
    found = synthesize(cohort(), SCHEMA, Budget.from_mu(2.0), noise=KeyedNoise(1), support=10, constraints=texts)
    unmet = [one for one in found.receipt["constraints"] if not one["met"]]
    assert unmet
    assert all(0 <= one["value"] < 1 for one in unmet)
    assert found.unmet == "; ".join(f"{one['constraint']!r} was not met, with {one['value']:.4g}" for one in unmet)
    assert found.unmet in repr(found)


def test_constraints_hold_of_the_gaussian_variant(few_steps: None) -> None:
    columns = {f"x{k}": {"type": "number", "min": -3, "max": 3} for k in range(8)}
    outcome = {"type": "category", "values": ["well", "ill"]}
    schema = Schema.model_validate({"name": "wide", "target": "y", "columns": columns | {"y": outcome}})
    rng = np.random.default_rng(0)
    ill = rng.random(600) < 0.5
    table = pd.DataFrame({name: np.clip(rng.normal(0.5 * ill), -3, 3) for name in columns})
    table["y"] = np.where(ill, "ill", "well")
    texts = ["drift<=0.01", "recall(ill)>=0.1", "calibration(x0>=0, ill)<=0.5"]
    terms: dict[str, Any] = {"noise": KeyedNoise(1), "support": 10, "variant": "gaussian"}
    found = synthesize(table, schema, Budget.from_mu(2.0), constraints=texts, **terms)
    assert [one["met"] for one in found.receipt["constraints"]] == [True] * 3


def test_support_points_are_a_classifier(easy: Release) -> None:
    test = cohort(1000, seed=9)
    p = easy.support.predict_proba(test.drop(columns="outcome"))  # features are enough
    np.testing.assert_allclose(p.sum(axis=1), 1)
    assert p.min() >= 0
    assert roc_auc_score(test["outcome"] == "ill", p[:, 1]) > 0.85
    np.testing.assert_allclose(easy.support.predict_proba(pa.Table.from_pandas(test)), p)


def test_the_condensed_set_names_its_columns(easy: Release) -> None:
    table = easy.centroids
    assert list(table.columns[:5]) == ["kind", "mass", "noise_std", "outcome: well", "outcome: ill"]
    assert set(table["kind"]) == {"mixture", "support"}
    assert table["mass"].sum() == pytest.approx(400, rel=1e-5)
    assert {"sex: F", "sex: M", "dose: missing"} <= set(table.columns)
    for feature in SCHEMA.features:
        shares = table[[name for name in table.columns if name.startswith(f"{feature}: ")]]
        np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-4)
    assert (table["kind"] == "support").sum() == len(easy.support.points) == len(easy.support.labels)


def test_the_receipt_says_what_it_cost(easy: Release) -> None:
    receipt = easy.receipt
    mu2 = Fraction(receipt["mu2"])
    assert 4 * (1 - Fraction(1, 10**6)) < mu2 <= 4
    assert mu2 == sum(Fraction(s["mu2"]) for s in receipt["statements"])
    for statement in receipt["statements"]:
        assert Fraction(statement["mu2"]) == Fraction(int(statement["sensitivity2"]), int(statement["sigma"]) ** 2)
    assert receipt["mu"] == pytest.approx(2, abs=1e-6)
    assert receipt["epsilon"] == pytest.approx(gdp.epsilon_of(2.0, receipt["delta"]), rel=1e-5)
    assert receipt["delta"] == 1e-5
    kappas = [s["dimension"] / (24 * int(s["sigma"]) ** 2) for s in receipt["statements"]]
    assert 0 < receipt["kappa"] == sum(kappas) < 1e-12
    assert (receipt["patients"], receipt["unit"]) == (400, "patient")
    assert receipt["schema_hash"] == SCHEMA.hash
    assert not receipt["degraded_to_class_centroids"]


@pytest.mark.parametrize("budget", [Budget.from_epsilon(1.0), Budget.from_mu(0.3), Budget.from_epsilon(0.2, 1e-6)])
def test_no_budget_is_exceeded(budget: Budget) -> None:
    found = synthesize(cohort(60), SCHEMA, budget, noise=KeyedNoise(1), accept_degraded=True)
    assert Fraction(found.receipt["mu2"]) <= Fraction(budget.resolve(60).mu) ** 2
    assert found.receipt["epsilon"] <= budget.resolve(60).epsilon * (1 + 1e-9)


def test_test_noise_is_marked_not_private_and_real_noise_is_not(easy: Release) -> None:
    real = synthesize(cohort(60), SCHEMA, Budget.from_epsilon(0.5), accept_degraded=True)
    assert (real.receipt["noise"], "warning" in real.receipt, real.records().attrs) == ("opendp", False, {})
    assert (easy.receipt["noise"], easy.receipt["warning"]) == ("TEST", "NOT PRIVATE: test noise")
    for frame in (easy.records(5), easy.centroids):
        assert frame.attrs["warning"] == "NOT PRIVATE: test noise"


def test_real_noise_is_new_each_time() -> None:
    one, other = (synthesize(cohort(60), SCHEMA, Budget.from_epsilon(0.5), accept_degraded=True) for _ in range(2))
    assert not np.array_equal(one.answers[0].values, other.answers[0].values)


def test_the_same_keyed_seed_gives_the_same_release_bit_for_bit(easy: Release) -> None:
    again = release()
    assert again.receipt == easy.receipt
    for name in ("masses", "means", "labels", "support_points", "support_labels"):
        np.testing.assert_array_equal(getattr(again.site, name), getattr(easy.site, name))
    pd.testing.assert_frame_equal(again.records(100, seed=3), easy.records(100, seed=3), check_exact=True)
    assert not np.array_equal(
        release(cohort(60), mu=0.1, seed=2).site.masses, release(cohort(60), mu=0.1).site.masses
    )


def test_records_do_not_depend_on_the_inducing_points(easy: Release, points_stay: None) -> None:
    """So tests of records may go without adapting them."""
    still = release()
    assert not np.array_equal(still.site.support_points, easy.site.support_points)
    for n in (100, 2000):
        pd.testing.assert_frame_equal(still.records(n, seed=n), easy.records(n, seed=n), check_exact=True)


def test_a_frame_and_an_arrow_table_of_it_give_the_same_release() -> None:
    frame = release(cohort(60), mu=0.1)
    arrow = release(pa.Table.from_pandas(cohort(60), preserve_index=False), mu=0.1)
    np.testing.assert_array_equal(frame.answers[0].values, arrow.answers[0].values)


def test_columns_beside_the_schema_are_not_read() -> None:
    plain, wide = release(cohort(60), mu=0.1), release(cohort(60).assign(name="someone", zip=range(60)), mu=0.1)
    np.testing.assert_array_equal(plain.answers[0].values, wide.answers[0].values)


# Hard, and legal


def only(*names: str, schema: Schema = SCHEMA) -> Schema:
    return schema.model_copy(
        update={"columns": {name: schema.columns[name] for name in (*names, schema.target_name)}}
    )


def assert_sound(found: Release, schema: Schema) -> pd.DataFrame:
    rows = found.records(300)
    assert list(rows.columns) == list(schema.columns)
    assert set(rows[schema.target_name]) <= set(schema.classes)
    assert found.site.masses.sum() == pytest.approx(found.patients, rel=1e-5)
    assert np.isfinite(found.site.means).all()
    return rows


CATEGORIES = Schema.from_yaml(
    """
name: codes
target: outcome
columns:
  sex: {type: category, values: [F, M]}
  group: {type: category, values: [a, b, c], missing: true}
  outcome: {type: category, values: [well, ill]}
"""
)


def test_no_numeric_column(few_steps: None) -> None:
    table = cohort().assign(group=lambda frame: np.where(frame["age"] > 50, "a", "b"))
    found = release(table, CATEGORIES)
    rows = assert_sound(found, CATEGORIES)
    assert "mixture" in found.site.kind
    ill = rows["outcome"] == "ill"
    assert (rows.loc[ill, "group"] == "a").mean() > (rows.loc[~ill, "group"] == "a").mean() + 0.3


def test_no_category_column(few_steps: None) -> None:
    schema = only("age", "dose")
    found = release(schema=schema)
    assert "mixture" in found.site.kind
    rows = assert_sound(found, schema)
    means = rows.groupby("outcome")["age"].mean()
    assert means["ill"] > means["well"] + 8


HARD = Schema.from_yaml(
    """
name: hard
target: outcome
columns:
  age: {type: number, min: 0, max: 99, integer: true}
  constant: {type: category, values: [same]}
  never: {type: number, min: 0, max: 9, missing: true}
  absent: {type: category, values: [x, y], missing: true}
  outcome: {type: category, values: [well, ill, nobody]}
"""
)


def test_a_constant_column_two_that_are_missing_everywhere_and_a_class_that_nobody_has(few_steps: None) -> None:
    found = release(cohort().assign(constant="same", never=np.nan, absent=None), HARD, mu=4.0)
    rows = assert_sound(found, HARD)
    assert "mixture" in found.site.kind
    assert (rows["constant"] == "same").all()
    assert rows["never"].isna().mean() > 0.9
    assert rows["absent"].isna().mean() > 0.9
    assert (rows["outcome"] == "nobody").mean() < 0.05
    p = found.support.predict_proba(cohort(50).assign(constant="same", never=np.nan, absent=None))
    np.testing.assert_allclose(p.sum(axis=1), 1)


def test_a_site_too_small_for_a_mixture_degrades_and_says_so() -> None:
    """The whole budget goes to answer A, and there are no inducing points."""
    found = release(cohort(60), mu=0.2)
    assert_sound(found, SCHEMA)
    assert set(found.site.kind) == {"class"}
    assert found.receipt["degraded_to_class_centroids"]
    assert len(found.receipt["statements"]) == 1
    assert Fraction(found.receipt["mu2"]) > Fraction(1, 25) * (1 - Fraction(1, 10**6))
    assert set(found.centroids["kind"]) == {"class"}
    with pytest.raises(ValueError, match="no support points"):
        found.support.predict_proba(cohort(5))


def test_one_feature_has_no_pairs() -> None:
    """Its class centroids are fine enough to tell the classes apart."""
    schema = only("age")
    found = release(schema=schema)
    assert set(found.site.kind) == {"class"}
    assert len(found.answers) == 1
    means = assert_sound(found, schema).groupby("outcome")["age"].mean()
    assert means["ill"] > means["well"] + 12


def test_more_classes_than_patients() -> None:
    values = tuple(f"c{i}" for i in range(70))
    columns = dict(SCHEMA.columns) | {"outcome": Category(type="category", values=values)}
    schema = SCHEMA.model_copy(update={"columns": columns})
    assert_sound(release(cohort(60).assign(outcome="c3"), schema, mu=0.5), schema)


def test_rows_of_one_patient_are_one_patient() -> None:
    schema = SCHEMA.model_copy(update={"patient_key": "pid"})
    table = pd.concat([cohort(60)] * 3).assign(pid=list(range(60)) * 3)
    assert release(table, schema, mu=0.1).receipt["patients"] == 60


# Refusals


@pytest.mark.parametrize(
    ("change", "budget", "error", "sentence"),
    [
        (lambda t: t.head(MIN_PATIENTS - 1), {}, InputError, "49 patients are too few: .* at least 50"),
        (lambda t: t.head(0), {}, InputError, "the table is empty"),
        (lambda t: t.drop(columns="dose"), {}, InputError, "missing column 'dose'"),
        (lambda t: t, {"delta": 1e-3}, ValueError, "delta must be at most .* for N = 400 .*--loose-delta"),
        (lambda t: t, {"epsilon": 0.0}, ValueError, "above zero"),
        (lambda t: t, {"delta": 1.0}, ValueError, "strictly between 0 and 1"),
    ],
)
def test_a_refusal_is_one_sentence(
    change: Callable[[pd.DataFrame], pd.DataFrame], budget: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence) as caught:
        synthesize(change(cohort()), SCHEMA, Budget.from_epsilon(**{"epsilon": 1.0} | budget))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("schema", "budget", "sentence"),
    [
        ("schema.yaml", Budget.from_epsilon(1.0), "expected schema to be a Schema, got str; read"),
        (SCHEMA.model_dump(), Budget.from_epsilon(1.0), "expected schema to be a Schema, got dict"),
        (SCHEMA, 1.0, "expected budget to be a Budget, got float; write Budget.from_epsilon"),
        (SCHEMA, None, "expected budget to be a Budget, got NoneType"),
    ],
)
def test_a_wrong_type_is_one_sentence(schema: Any, budget: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        synthesize(cohort(), schema, budget)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"table": "heart.parquet"}, "got str; read a file first"),
        ({"table": None}, "expected table to be a pandas DataFrame, a pyarrow Table or a Source, got NoneType"),
        ({"table": [1, 2]}, "got list"),
        ({"variant": "foo"}, "expected variant to be 'cells', 'scores' or 'gaussian', got 'foo'"),
        ({"variant": 3}, "got int"),
        ({"accept_degraded": "no"}, "expected accept_degraded to be True or False, got str"),
        ({"constraints": "drift<=0.1"}, "expected constraints to be a list, got str; write ['drift<=0.1']"),
        ({"constraints": [0.1]}, "expected constraints to be Drift, Recall or Calibration, got float"),
        ({"constraints": ["recall(dead)>=0.8"]}, "expected the class 'well' or 'ill', got 'dead'"),
        ({"constraints": ["calibration(BMI>=30, ill)<=0.1"]}, "'BMI' is not in the schema"),
        ({"alpha": "0.5"}, "expected alpha to be a number between 0 and 1, got str"),
        ({"alpha": 1.5}, "expected alpha to be between 0 and 1, got alpha=1.5"),
        ({"alpha": float("nan")}, "expected alpha to be between 0 and 1"),
        ({"support": 0}, "expected support to be at least 1, got support=0"),
        ({"support": 2.5}, "expected support to be a whole number, got float"),
        ({"support": 10**6}, "at most 10,000, got support=1,000,000; the points are learned from 10,000 records"),
        ({"max_unreadable": None}, "expected max_unreadable to be a number between 0 and 1, got NoneType"),
        ({"max_unreadable": True}, "got bool"),
        ({"noise": 1}, "expected noise to have name, private and add, got int; leave it out"),
        ({"checked": {}}, "expected checked to be a Checked, got dict"),
    ],
)
def test_every_argument_is_checked_before_anything_is_spent(change: dict[str, Any], sentence: str) -> None:
    class Unspent(KeyedNoise):
        def add(self, *_: Any) -> Any:
            raise AssertionError("budget was spent")

    options: dict[str, Any] = {"noise": Unspent(1), "table": cohort()} | change
    with pytest.raises(InputError, match=re.escape(sentence)) as caught:
        synthesize(options.pop("table"), SCHEMA, Budget.from_epsilon(1.0), **options)
    assert "\n" not in str(caught.value)


def test_a_record_batch_is_a_table() -> None:
    batch = pa.RecordBatch.from_pandas(cohort(60), preserve_index=False)
    np.testing.assert_array_equal(
        release(batch, mu=0.1).answers[0].values, release(cohort(60), mu=0.1).answers[0].values
    )


@pytest.mark.parametrize(
    ("rows", "seed", "sentence"),
    [
        (1.5, 0, "expected n to be a whole number, got float"),
        ("10", 0, "expected n to be a whole number, got str"),
        (True, 0, "expected n to be a whole number, got bool"),
        (-1, 0, "expected n to be at least 0, got n=-1"),
        (
            10**8,
            0,
            "expected n to be at most 10,000,000, got n=100,000,000; records are made in memory; draw more",
        ),
        (5, -1, "expected seed to be at least 0"),
        (5, None, "expected seed to be a whole number, got NoneType"),
    ],
)
def test_how_many_records_is_checked(easy: Release, rows: Any, seed: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        easy.records(rows, seed)


def test_numpys_numbers_are_numbers(easy: Release) -> None:
    rows: Any = np.int64(3)
    seed: Any = np.int32(1)
    assert len(easy.records(rows, seed)) == 3
    assert len(easy.records(0)) == 0


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        (None, "expected table to be a pandas DataFrame"),
        ([[1, 2]], "expected table to be a pandas DataFrame"),
        (cohort().head(0), "the table is empty"),
        (pa.Table.from_pandas(cohort().head(0)), "the table is empty"),
    ],
)
def test_a_classifier_names_what_is_no_table(easy: Release, table: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        easy.support.predict_proba(table)


def test_a_release_is_printed_in_a_few_lines(easy: Release) -> None:
    shown = repr(easy)
    assert len(shown.splitlines()) <= 6
    assert max(map(len, shown.splitlines())) < 160
    for part in ("400 patients", "NOT PRIVATE: test noise", "'cells'", "mu 2", "inducing points", "centroids"):
        assert part in shown
    real = synthesize(cohort(60), SCHEMA, Budget.from_epsilon(0.5), accept_degraded=True)
    assert "NOT PRIVATE" not in repr(real)
    assert "array(" not in shown + repr(easy.support)


def test_python_checks_a_table_as_the_command_line_does() -> None:
    """A target of which no declared label exists gave pure noise with a normal receipt."""
    with pytest.raises(InputError, match="column 'outcome': none of its values is one of the declared values"):
        synthesize(cohort().assign(outcome="lost"), SCHEMA, Budget.from_epsilon(1.0))
    asked = release(cohort())
    assert asked.checked.columns["outcome"].fits == len(cohort())
    assert asked.checked.columns["dose"].empty == cohort()["dose"].isna().sum()
    assert "checked" not in repr(asked)  # it is the holder's alone
    assert "checked" not in asked.receipt
    assert pickle.loads(pickle.dumps(asked)).checked.columns == {}


def test_the_gaussian_variant_wants_missing_values_declared() -> None:
    """It takes what is nothing for the mean."""
    lines = "\n".join(f"  x{i}: {{type: number, min: -3, max: 3}}" for i in range(20))
    schema = Schema.from_yaml(f"name: t\ntarget: y\ncolumns:\n{lines}\n  y: {{type: category, values: [a, b]}}")
    rng = np.random.default_rng(1)
    table = pd.DataFrame({f"x{i}": rng.normal(size=400) for i in range(20)}).assign(y=["a", "b"] * 200)
    gaps = table.assign(x3=table["x3"].where(rng.random(400) < 0.9))
    assert synthesize(table, schema, Budget.from_mu(0.2), noise=KeyedNoise(1)).variant == "gaussian"
    with pytest.raises(InputError, match=r"column 'x3': 51 of 400 values count as nothing.* `missing: true`"):
        synthesize(gaps, schema, Budget.from_mu(0.2), noise=KeyedNoise(1))


def test_fifty_patients_are_enough() -> None:
    assert release(cohort(MIN_PATIENTS), mu=0.1).receipt["patients"] == MIN_PATIENTS


def test_a_loose_delta_must_be_asked_for_and_is_named() -> None:
    loose = synthesize(
        cohort(60),
        SCHEMA,
        Budget.from_epsilon(0.1, 1e-2, loose_delta=True),
        noise=KeyedNoise(1),
        accept_degraded=True,
    )
    assert loose.receipt["loose_delta"]
    assert not release(cohort(60), mu=0.1).receipt["loose_delta"]


def test_an_unconfirmed_schema_is_refused_before_a_record_is_read() -> None:
    class Untouched:
        names = tuple(SCHEMA.columns)

        def batches(self) -> Any:
            raise AssertionError("a record was read")

    columns = dict(SCHEMA.columns) | {"age": SCHEMA.columns["age"].model_copy(update={"confirmed": False})}
    with pytest.raises(SchemaError, match="not confirmed: age"):
        synthesize(Untouched(), SCHEMA.model_copy(update={"columns": columns}), Budget.from_mu(1.0))


def test_the_threshold_counts_patients_not_rows() -> None:
    schema = SCHEMA.model_copy(update={"patient_key": "pid"})
    table = cohort(400).assign(pid=[row % 40 for row in range(400)])
    with pytest.raises(InputError, match="40 patients are too few"):
        release(table, schema)
