"""Figures of usefulness: right where the answer is known, and defined on tables that break naive ones."""

import tracemalloc
from collections.abc import Callable

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from mixed_tables import LIKE, REAL, SCHEMA, cohort

from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import InputError, TableSource
from cohortmix.core.steps.progress import observed
from cohortmix.core.utility import models
from cohortmix.core.utility.columns import coded_features, feature_matrix, read, sparse_features
from cohortmix.core.utility.evaluate import auc, cross_validated, evaluate, score_real, train_synthetic_test_real
from cohortmix.core.utility.marginals import marginal_tvd
from cohortmix.core.utility.models import Scorer, boosted_trees, logistic
from cohortmix.core.utility.target import Target

SHUFFLED = LIKE.assign(y=np.random.default_rng(2).permutation(LIKE["y"]))


def test_features_hold_what_a_person_would_expect() -> None:
    frame = pd.DataFrame(
        {"x": [1.5, None], "whole": [2, 3], "day": ["2000-01-02", "x"], "sex": ["M", "?"], "y": ["a", "b"]}
    )
    day = pd.Timestamp("2000-01-02").toordinal()
    np.testing.assert_array_equal(
        feature_matrix(frame, SCHEMA, without=("y",)), [[1.5, 2, day, 0, 1], [np.nan, 3, np.nan, 0, 0]]
    )


def test_a_table_reads_the_same_in_every_form() -> None:
    forms = (REAL, pa.Table.from_pandas(REAL), TableSource(REAL), REAL.astype(str), read(REAL, SCHEMA))
    first, *others = (feature_matrix(form, SCHEMA) for form in forms)
    for other in others:
        np.testing.assert_array_equal(first, other)
    with pytest.raises(InputError, match="missing column 'sex'"):
        read(REAL.drop(columns="sex"), SCHEMA)


def test_sparse_features_are_the_dense_ones_and_give_trees_the_same_figures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """LightGBM bins what is not stored as the zero that it is: no figure of a benchmark depends on the form."""
    gaps = REAL.assign(x=REAL["x"].where(REAL["x"] > 1), sex=REAL["sex"].where(REAL["x"] < 9), whole=0)
    for table in (REAL, gaps, REAL.iloc[:0]):
        for without in ((), ("y",), ("x", "day")):
            sparse = sparse_features(table, SCHEMA, without).toarray()
            np.testing.assert_array_equal(sparse, feature_matrix(table, SCHEMA, without))
    targets = ("y", "y=b|c", "x>5", "sex")
    figures = [
        (train_synthetic_test_real(LIKE, gaps, SCHEMA, t), cross_validated(gaps, SCHEMA, t)) for t in targets
    ]
    monkeypatch.setitem(models.NARROW, boosted_trees, models.Form(boosted_trees, feature_matrix))
    assert figures == [
        (train_synthetic_test_real(LIKE, gaps, SCHEMA, t), cross_validated(gaps, SCHEMA, t)) for t in targets
    ]


def test_codes_by_the_thousand_take_memory_of_the_order_of_the_table() -> None:
    """Dense, 400 records of a column of 20,000 codes are 64 MB, and all cells of two such columns 3.2 GB."""
    codes = [f"C{k}" for k in range(20_000)]
    schema = Schema.from_yaml(
        f"name: t\ntarget: y\ncolumns:\n  one: {{type: category, values: {codes}}}\n"
        f"  two: {{type: category, values: {codes}}}\n  y: {{type: category, values: [a, b]}}\n"
    )
    rng = np.random.default_rng(0)
    table = pd.DataFrame({name: rng.choice(codes[:300], 400) for name in ("one", "two")})
    table["y"] = np.where(table["one"] < "C2", "a", "b")
    tracemalloc.start()
    try:
        found = evaluate(table, table.sample(frac=1, random_state=0), schema)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found["tvd"] == {"columns": 0, "pairs": 0}
    assert peak < 32e6


def test_where_codes_are_many_models_say_nearly_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trees divide sets of codes, and the logistic regression centres numbers alone: the same optimum."""
    gaps = REAL.assign(x=REAL["x"].where(REAL["x"] > 1), sex=REAL["sex"].where(REAL["x"] < 9), whole=0)
    for scorer, off in ((boosted_trees, 0.03), (logistic, 2e-4)):
        for target in ("y", "y=b|c", "x>5"):
            narrow = score_real(LIKE, gaps, SCHEMA, target, scorer)
            monkeypatch.setattr(models, "MOST_INDICATORS", 0)
            wide = score_real(LIKE, gaps, SCHEMA, target, scorer)
            monkeypatch.undo()
            assert not np.array_equal(wide.scores, narrow.scores)
            assert auc(wide.label, wide.scores) == pytest.approx(auc(narrow.label, narrow.scores), abs=off)
            assert scorer is boosted_trees or np.abs(wide.scores - narrow.scores).max() < 0.01


def test_which_tables_have_many_codes() -> None:
    """Up to a thousand columns more than there are; what the model may not see does not count."""
    one = {"type": "category", "values": [f"C{code}" for code in range(1_001)]}
    columns = {
        "one": one,
        "x": {"type": "number", "min": 0, "max": 1},
        "y": {"type": "category", "values": [1, 2]},
    }
    schema = Schema.model_validate({"name": "t", "target": "y", "columns": columns})
    dense = models.Form(logistic, feature_matrix)
    assert models.form_of(logistic, schema, ("y",)) == dense
    assert models.form_of(logistic, schema) == models.Form(models.sparse_logistic, sparse_features)
    assert models.form_of(logistic, schema, ("one",)) == dense
    assert models.form_of(boosted_trees, schema) == models.Form(boosted_trees, coded_features)


def test_rare_classes_of_a_target_are_one() -> None:
    """Those of the real records, by what their rows weigh; equally frequent ones in their declared order."""
    codes = [f"C{code:02d}" for code in range(60)]
    schema = Schema.from_yaml(
        f"name: t\ntarget: y\ncolumns:\n  y: {{type: category, values: [{', '.join(codes)}]}}\n"
        f"  x: {{type: category, values: [{', '.join(codes)}]}}\n"
    )
    real = pd.DataFrame({"y": codes[30:] * 20 + codes[:30] * 10 + [None]})
    real["x"] = real["y"].fillna("C00")
    values = read(real, schema)["y"]
    outcome = Target.parse("y", schema).of_frequent(values)
    assert outcome == Target("y", 50, "", (*range(19), *range(30, 60)))
    labels = outcome.labels(values)
    assert labels[-1] == -1
    assert labels[0] == 19
    assert (np.bincount(labels[:-1]) == [10] * 19 + [20] * 30 + [110]).all()
    first = np.where(np.isin(real["y"], codes[:30]), 4.0, 1.0)
    assert Target.parse("y", schema).of_frequent(values, first).right[:30] == tuple(range(30))
    (found,) = evaluate(real, real, schema)["targets"]
    assert found["merged"] == 11
    assert found["auc"] > 0.9
    assert evaluate(LIKE, REAL, SCHEMA)["targets"][0]["merged"] == 0


def test_a_category_of_fifty_values_stays_as_it_is() -> None:
    target = Target("y", 50)
    assert target.of_frequent(np.zeros(3)) is target


def test_it_says_how_far_it_is() -> None:
    told: list[tuple[str, int, int]] = []
    with observed(lambda *step: told.append(step)):
        evaluate(LIKE, REAL, SCHEMA, ("y", "x>5"))
    pairs = [(done, total) for part, done, total in told if part == "pairs of columns"]
    assert pairs == [(done, 10) for done in range(1, 11)]
    for target in ("y", "x>5"):
        assert [(d, t) for part, d, t in told if part == f"models of {target}"] == [(d, 6) for d in range(7)]


def score(synthetic: pd.DataFrame, target: str, scorer: Scorer = boosted_trees) -> float:
    found = train_synthetic_test_real(synthetic, REAL, SCHEMA, target, scorer)
    assert found is not None
    return found


@pytest.mark.parametrize("scorer", [boosted_trees, logistic])
def test_records_of_the_same_law_predict(scorer: Scorer) -> None:
    assert score(LIKE, "y=b|c", scorer) > 0.9
    assert score(LIKE, "x>5", scorer) > 0.85
    assert score(LIKE, "day<2000-07-01", scorer) < 0.6  # nothing predicts the day


def test_shuffled_labels_do_not_predict() -> None:
    assert score(SHUFFLED, "y") < 0.6 < 0.8 < score(LIKE, "y")


def test_the_same_data_give_the_same_score_and_a_hidden_column_is_not_seen() -> None:
    first, again = (train_synthetic_test_real(LIKE, REAL, SCHEMA) for _ in range(2))
    assert first == again
    blind = train_synthetic_test_real(LIKE, REAL, SCHEMA, without=("x",))
    assert blind is not None
    assert first is not None
    assert blind < 0.6 < first


def test_auc_agrees_with_counting_pairs() -> None:
    label, score = np.array([0, 0, 1, 1, 0]), np.array([0.1, 0.4, 0.4, 0.9, 0.2])
    wins = [float(s > t) + (s == t) / 2 for s in score[label == 1] for t in score[label == 0]]
    assert auc(label, np.stack([1 - score, score], axis=1)) == pytest.approx(np.mean(wins))


def test_auc_of_several_classes_is_the_mean_of_one_against_the_rest() -> None:
    rng = np.random.default_rng(3)
    label, scores = rng.integers(0, 3, 50), rng.random((50, 3))
    one_by_one = [
        auc((label == c).astype(int), np.stack([1 - scores[:, c], scores[:, c]], axis=1)) for c in range(3)
    ]
    assert auc(label, scores) == pytest.approx(np.mean(np.array(one_by_one, dtype=float)))


def test_a_class_that_nobody_real_has_is_left_out_and_one_class_alone_has_no_auc() -> None:
    two = REAL[REAL["y"] != "c"]
    assert train_synthetic_test_real(LIKE, two, SCHEMA) is not None
    assert train_synthetic_test_real(LIKE, REAL[REAL["y"] == "a"], SCHEMA) is None
    assert train_synthetic_test_real(LIKE, REAL.iloc[:0], SCHEMA) is None


def test_synthetic_records_that_lost_a_class_score_as_a_guess_of_it() -> None:
    assert train_synthetic_test_real(LIKE[LIKE["y"] == "a"], REAL, SCHEMA) == 0.5
    lost = train_synthetic_test_real(LIKE[LIKE["y"] != "c"], REAL, SCHEMA)
    assert lost is not None
    assert 0.6 < lost < train_synthetic_test_real(LIKE, REAL, SCHEMA)  # type: ignore[operator]


def test_records_without_a_known_target_are_left_out() -> None:
    unknown = REAL.assign(y=REAL["y"].where(np.arange(len(REAL)) % 2 == 0, "?"))
    kept = REAL[np.arange(len(REAL)) % 2 == 0]
    assert train_synthetic_test_real(LIKE, unknown, SCHEMA) == train_synthetic_test_real(LIKE, kept, SCHEMA)


DEGENERATE: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "a constant column": lambda table: table.assign(x=1.0, whole=2, sex="F"),
    "a column missing everywhere": lambda table: table.assign(x=None, sex=None),
    "a single record": lambda table: table.iloc[:1],
    "nothing but the target": lambda table: table.assign(x=None, whole=None, day=None, sex=None),
}


@pytest.mark.parametrize("broken", DEGENERATE)
@pytest.mark.parametrize("scorer", [boosted_trees, logistic])
def test_degenerate_tables_do_not_break_it(broken: str, scorer: Scorer) -> None:
    for synthetic, real in ((DEGENERATE[broken](LIKE), REAL), (LIKE, DEGENERATE[broken](REAL))):
        found = train_synthetic_test_real(synthetic, real, SCHEMA, scorer=scorer)
        assert found is None or 0 <= found <= 1
        assert 0 <= marginal_tvd(synthetic, real, SCHEMA).pairs <= 1


def test_cross_validation_never_scores_a_record_by_a_model_that_saw_its_patient() -> None:
    """Labels without a pattern, each patient four times: rows of a patient on both sides would give it away."""
    rng = np.random.default_rng(4)
    once = cohort(100, seed=4).assign(y=rng.choice(["a", "b", "c"], 100))
    table = pd.concat([once] * 4, ignore_index=True)
    leaking = cross_validated(table, SCHEMA)
    sound = cross_validated(table, SCHEMA, patients=table["id"].to_numpy())
    assert leaking is not None
    assert sound is not None
    assert sound < 0.6 < 0.9 < leaking
    assert evaluate(LIKE, table, SCHEMA)["targets"][0]["ceiling_auc"] == sound


def test_of_each_target_there_are_figures_in_all_three_ways() -> None:
    (outcome,) = evaluate(LIKE, REAL, SCHEMA)["targets"]
    ways = outcome["models"]["boosted_trees"]
    assert (ways["tstr"]["auc"], ways["trtr"]["auc"]) == (outcome["auc"], outcome["ceiling_auc"])
    assert ways["trts"]["auc"] == train_synthetic_test_real(REAL, LIKE, SCHEMA)
    assert outcome["kind"] == "classification"
    share = (REAL["y"] == outcome["smallest"]["class"]).mean()
    assert outcome["smallest"]["share"] == pytest.approx(share)
    assert share == REAL["y"].value_counts(normalize=True).min()
    for figures in ways.values():
        assert figures["average_precision"] > share + 0.3
        assert figures["recall"] > share + 0.3
        assert 0 < figures["brier"] < 0.5
    (lost,) = evaluate(SHUFFLED, REAL, SCHEMA)["targets"]
    worse = lost["models"]["boosted_trees"]
    assert worse["trtr"] == ways["trtr"]
    for key in ("average_precision", "recall"):
        assert worse["tstr"][key] < ways["tstr"][key] - 0.2
    assert worse["tstr"]["brier"] > ways["tstr"]["brier"] + 0.2
    for side in ("tstr", "trtr"):
        assert sum(group["real"] for group in outcome["groups"][side]) / 10 == pytest.approx(share, abs=0.01)


def test_the_smallest_class_of_a_rule_is_named() -> None:
    often, rare = evaluate(LIKE, REAL, SCHEMA, ("x>8", "x>2"))["targets"]
    assert often["smallest"]["class"] == "x>8"
    assert rare["smallest"]["class"] == "not x>2"
    merged = Target("y", 3, "", (0, 2))
    assert merged.names(SCHEMA.columns["y"], "y") == ("a", "c", "all others")


def test_without_a_target_there_are_marginals_alone() -> None:
    nothing = SCHEMA.model_copy(update={"target": None})
    found = evaluate(LIKE, REAL, nothing)
    assert found["targets"] == []
    assert found["tvd"] == evaluate(LIKE, REAL, SCHEMA)["tvd"]
    assert [one["target"] for one in evaluate(LIKE, REAL, nothing, ("y",))["targets"]] == ["y"]
    with pytest.raises(InputError, match="the schema has no target; name what to predict"):
        train_synthetic_test_real(LIKE, REAL, nothing)


def test_real_records_against_themselves_reach_what_they_can() -> None:
    """No model is better than one of the records that it is tested on, and no marginal is nearer than none."""
    again = REAL.sample(frac=1, random_state=1)
    found = evaluate(again, REAL, SCHEMA, ("y", "x"))
    assert found["tvd"] == {"columns": 0, "pairs": 0}
    assert found["copies"]["share"] == 1
    for column in found["columns"]:
        assert column.get("wasserstein", 0) == pytest.approx(0, abs=1e-12)
        assert column.get("standardized_difference", 0) == pytest.approx(0, abs=1e-12)
    for target, figure in zip(found["targets"], ("auc", "r2"), strict=True):
        ways = target["models"]["boosted_trees"]
        assert ways["tstr"][figure] >= ways["trtr"][figure]


def test_the_report_holds_each_target_once() -> None:
    report = evaluate(LIKE, REAL, SCHEMA, ("y=a", "sex"))
    assert [one["target"] for one in report["targets"]] == ["y=a", "sex"]
    assert report["records"] == {"synthetic": 600, "real": 600}
    assert report["private"] is False
    outcome, sex = report["targets"]
    assert abs(outcome["auc"] - outcome["ceiling_auc"]) < 0.1
    assert abs(sex["auc"] - 0.5) < 0.1


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("x>5", [0, 0, 1, -1]),
        ("x >= 5", [0, 1, 1, -1]),
        ("x<=5", [1, 1, 0, -1]),
        ("x=5", [0, 1, 0, -1]),
        ("y", [0, 1, 2, -1]),
        ("y=b", [0, 1, 0, -1]),
        ("y=a|c", [1, 0, 1, -1]),
        ("day>=2000-01-03", [0, 0, 1, 1]),
    ],
)
def test_targets_as_a_person_types_them(text: str, labels: list[int]) -> None:
    table = pd.DataFrame(
        {
            "x": [4, 5, 6, None],
            "whole": 1,
            "day": pd.date_range("2000-01-01", periods=4),
            "sex": "F",
            "y": ["a", "b", "c", "?"],
        }
    )
    target = Target.parse(text, SCHEMA)
    assert target.labels(read(table, SCHEMA)[target.name]).tolist() == labels
    assert target.classes == (3 if text == "y" else 2)


def test_a_column_whose_name_holds_a_sign_is_found_first() -> None:
    column = SCHEMA.columns["sex"]
    schema = SCHEMA.model_copy(update={"columns": {"a=b": column, **SCHEMA.columns}})
    assert Target.parse("a=b", schema) == Target("a=b", 2)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("z", "no column 'z'; the schema has 'x', 'whole'"),
        ("x", "'x' is a number; say where to cut it into classes, as in 'x>=10'"),
        ("day", "'day' is no category; say where to cut it, as in 'day<1995-01-01'"),
        ("x>F", "expected a number after the sign, got 'F'"),
        ("day>5", "expected a date after the sign, got '5'"),
        ("sex>F", "a category has no order"),
        ("sex=F|X", "'X' is not one of the declared 'F' and 'M'"),
    ],
)
def test_a_target_that_cannot_be_is_named(text: str, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        Target.parse(text, SCHEMA)
    assert sentence in str(caught.value)


# Patients with several rows


VISITS = Schema.from_yaml(
    """
name: visits
patient_key: id
max_rows_per_patient: 3
target: y
columns:
  x: {type: number, min: 0, max: 10, missing: true}
  sex: {type: category, values: [F, M]}
  y: {type: category, values: [a, b]}
"""
)


def visits(seed: int = 0, patients: int = 300) -> pd.DataFrame:
    """The ill (b) come three times, or five times, of which two are not read; the well come once."""
    rng = np.random.default_rng(seed)
    ill = rng.random(patients) < 0.5
    once = pd.DataFrame(
        {
            "id": np.arange(patients),
            "x": np.clip(rng.normal(np.where(ill, 6, 3), 1.5), 0, 10),
            "sex": np.where(rng.random(patients) < np.where(ill, 0.8, 0.3), "F", "M"),
            "y": np.where(ill, "b", "a"),
        }
    )
    rows = np.where(ill, np.where(rng.random(patients) < 0.5, 3, 5), 1)
    nobody = once.assign(id=None, x=9.9, sex="F")
    return pd.concat([once.loc[once.index.repeat(rows)], nobody], ignore_index=True)


def test_a_row_weighs_as_it_does_in_the_vault() -> None:
    table = pd.DataFrame({"id": ["p", "q", "p", None, "p", "p", "q", "r"], "x": 1.0, "sex": "F", "y": "a"})
    found = read(table, VISITS)
    assert found.weight is not None
    np.testing.assert_allclose(found.weight, [1 / 3, 1 / 2, 1 / 3, 0, 1 / 3, 0, 1 / 2, 1])
    assert found.rows == 6
    assert read(table.drop(columns="id"), VISITS).weight is None
    assert read(table.assign(id=range(8)), VISITS).weight is None


def test_a_release_of_patients_is_ranked_as_what_it_is() -> None:
    """One record of each patient is what a release tells of them; by rows the wrong release looked better."""
    real = visits()
    by_patient = real.dropna(subset=["id"]).drop_duplicates("id").drop(columns="id")
    by_row = real.drop(columns="id")
    right, wrong = (evaluate(made, real, VISITS) for made in (by_patient, by_row))
    assert right["tvd"]["columns"] == pytest.approx(0, abs=1e-12)
    assert right["tvd"]["pairs"] == pytest.approx(0, abs=1e-12)
    assert wrong["tvd"]["columns"] > 0.15
    for column in right["columns"]:
        assert column["missing"]["real"] == column["missing"]["synthetic"]
        for shown in column.get("values", []):
            assert shown["real"] == pytest.approx(shown["synthetic"])
        for shown in column.get("quantiles", {}).values():
            assert shown["real"] == shown["synthetic"]
    assert right["weighted"]
    assert right["records"]["real"] == len(real[real["id"].notna()].groupby("id").head(3))


def test_auc_counts_a_patient_once() -> None:
    rng = np.random.default_rng(6)
    label, scores, m = rng.integers(0, 2, 80), rng.random((80, 2)), rng.integers(1, 4, 80)
    repeated = np.repeat(np.arange(80), m)
    assert auc(label[repeated], scores[repeated], (1 / m)[repeated]) == pytest.approx(auc(label, scores))
    nothing = np.append(np.ones(80), 0.0)
    assert auc(np.append(label, 2), np.append(scores, [[1, 0]], axis=0), nothing) == auc(label, scores)
    rest = np.where(label == 1, 0.0, 1.0)
    assert auc(label, scores, rest) is None


def test_patients_with_one_row_give_the_figures_of_rows_digit_by_digit() -> None:
    keyed = evaluate(LIKE, REAL.assign(id=np.arange(len(REAL))), SCHEMA, ("y", "x>5"))
    plain = SCHEMA.model_copy(update={"patient_key": None})
    assert evaluate(LIKE, REAL, plain, ("y", "x>5")) == keyed
    assert not keyed["weighted"]


def test_why_there_is_no_auc_is_said() -> None:
    nobody, few = evaluate(LIKE, REAL, SCHEMA, ("x>10", "y"))["targets"]
    assert (nobody["auc"], nobody["ceiling_auc"], few["reason"]) == (None, None, None)
    assert nobody["reason"] == "the real records have one class only; the synthetic records have one class only"
    lost = evaluate(LIKE.assign(y="a"), REAL, SCHEMA)["targets"][0]
    assert lost["reason"] == "the synthetic records have one class only"
